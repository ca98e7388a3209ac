"""keras-parts zoo"""

import click

from keras_parts.cli.options import Answer, answers


@click.group()
def zoo():
    """The trained segmenters that come with the package."""


@zoo.command("list")
@answers
def list_models(quiet):
    """List the models: what each was trained on, its parts, and how good they are."""
    from keras_parts import zoo

    cards = zoo.list()
    rows = [("name", "version", "trained on", "parts", "measured")]
    rows += [
        (
            card.name,
            card.version,
            f"{card.dataset} ({card.split})",
            str(card.parts),
            "; ".join(_measured(*metrics) for metrics in card.metrics.items()),
        )
        for card in cards
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return Answer({"models": [card.to_json() for card in cards]}, "\n".join(lines))


def _measured(protocol, metrics):
    values = ", ".join(f"{name} {value:.1f}" for name, value in metrics.items())
    return f"{protocol}: {values}"
