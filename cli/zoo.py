"""keras-parts zoo; `pack` and `publish` are in `zoo_pack.py`."""

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

import click

from keras_parts.cli.completion import complete_model
from keras_parts.cli.group import ZOO, Group
from keras_parts.cli.options import (
    CommandResult,
    common_options,
    examples,
    output_options,
    text_table,
    trust_option,
)
from keras_parts.cli.zoo_pack import metrics_text, pack, publish

_MODEL = (
    "NAME or NAME@VERSION of `zoo list`, a folder, or the address of an entry, http(s)://... "
    "(without a version, the latest one) or hf://USER/REPOSITORY."
)


@click.group(cls=Group, epilog=examples("zoo list", "zoo card cub"))
def zoo() -> None:
    """Trained segmenters: list, download, verify, pack and publish them.

    Environment variables: KERAS_PARTS_HOME is the folder for downloads; KERAS_PARTS_ZOO names
    folders or addresses with further models or copies of the files, separated by commas;
    KERAS_PARTS_OFFLINE=1 forbids network requests. Proxies are set with HTTPS_PROXY.
    """


zoo.add_command(pack)
zoo.add_command(publish)

_COLUMNS = (
    "name", "version", "what", "trained on", "parts", "MB", "commercial use", "measured",
    "data's terms",
)  # fmt: skip
_ABOUT_WIDTH = 40
"""Characters of what a model finds in the list of models."""
_TERMS_WIDTH = 70
"""Characters of the data's terms in the list of models."""


@zoo.command("list", epilog=examples("zoo list --dataset cub"))
@click.option("--dataset", metavar="NAME", help="Only models trained on this data set.")
@click.option("--parts", "-k", type=int, metavar="K", help="Only models with K parts.")
@click.option(
    "--commercial",
    is_flag=True,
    help="Only models whose weights and training data have an open licence.",
)
@click.option(
    "--refresh", is_flag=True, help="Request the indices of the addresses in KERAS_PARTS_ZOO."
)
@output_options
def list_models(
    dataset: str | None, parts: int | None, commercial: bool, refresh: bool, quiet: bool
) -> CommandResult:
    """List the models: their training data with its terms, parts and metrics.

    Whether commercial use is allowed is concluded from the words of the terms, which `zoo card`
    shows in full: "unclear" means that they do not say it.
    """
    from keras_parts import zoo
    from keras_parts.zoo.terms import commercial_use

    cards = zoo.list(dataset=dataset, num_parts=parts, commercial=commercial, refresh=refresh)
    allowed = {True: "yes", False: "no", None: "unclear"}
    rows: list[Sequence[str]] = [_COLUMNS]
    rows += [
        (
            card.name,
            card.version,
            _what(card.about),
            f"{card.training.dataset} ({card.training.split})",
            str(card.num_parts),
            f"{card.size / 1e6:.1f}",
            allowed[commercial_use(card.licences)],
            metrics_text(card.evaluation),
            textwrap.shorten(card.licences.data, _TERMS_WIDTH, placeholder=" ..."),
        )
        for card in cards
    ]
    return CommandResult({"models": [card.to_json() for card in cards]}, text_table(rows))


def _what(about: str) -> str:
    """What a model finds, from its description: the words before the first comma or full stop."""
    first = about.partition(",")[0].partition(". ")[0].rstrip(".")
    return textwrap.shorten(first, _ABOUT_WIDTH, placeholder=" ...")


@zoo.command(epilog=examples("zoo card cub"))
@click.argument("model", shell_complete=complete_model)
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    help="Write the card as README.md, and its picture, to this folder.",
)
@trust_option
@output_options
def card(model: str, output: str | None, trust: bool, quiet: bool) -> CommandResult:
    """Show the card of a model.

    MODEL: see `zoo path`.
    """
    from keras_parts import zoo
    from keras_parts.zoo.cards import PICTURE_FILE
    from keras_parts.zoo.rendering import to_markdown

    found = zoo.info(model, trust=trust)
    picture = None
    if PICTURE_FILE in found.files:
        picture = zoo.path(model, trust=trust, progress=not quiet) / PICTURE_FILE
    if output:
        _write_card(Path(output), to_markdown(found), picture)
    text = to_markdown(found, picture.as_uri() if picture else "").rstrip()
    return CommandResult(found.to_json() | {"picture": picture}, text)


def _write_card(folder: Path, text: str, picture: Path | None) -> None:
    from keras_parts.files import atomic_path, atomic_write

    folder.mkdir(parents=True, exist_ok=True)
    if picture:
        with atomic_path(folder / picture.name) as path:
            shutil.copyfile(picture, path)
    with atomic_write(folder / "README.md", "w") as file:
        file.write(text)


@zoo.command(epilog=examples("zoo verify cub"))
@click.argument("models", nargs=-1, shell_complete=complete_model)
@trust_option
@common_options
def verify(models: Sequence[str], trust: bool, seed: int | None, quiet: bool) -> CommandResult:
    """Check the files, weights and logits of models.

    The logits are computed on the chosen backend and compared with the golden pair: a stored input
    and its logits.

    MODELS: see `zoo path`; by default all models that need no download.
    """
    from keras_parts.cli.runtime import import_keras

    models = models or _local_models()
    import_keras()
    import keras

    backend = keras.config.backend()
    rows = [_verified(model, trust) for model in models]
    lines = [
        f"{row['model']}: sound; logits on {backend} differ by {row['difference']:.1g}"
        if row["sound"]
        else f"{row['model']}: NOT SOUND: {row['error']}"
        for row in rows
    ]
    text = "\n".join(lines) or "There are no models on this machine."
    code = 0 if all(row["sound"] for row in rows) else ZOO
    return CommandResult({"backend": backend, "models": rows}, text, code)


def _verified(model: str, trust: bool) -> dict:
    from keras_parts import zoo
    from keras_parts.errors import KerasPartsError

    try:
        return {"model": model, "sound": True, **zoo.verify(model, trust=trust)}
    except KerasPartsError as error:
        return {"model": model, "sound": False, "error": str(error)}


def _local_models() -> list[str]:
    """Models that need no download."""
    from keras_parts.zoo import registry, store

    return [
        entry.card.id
        for entry in registry.entries()
        if entry.packaged or store.is_downloaded(entry.card)
    ]


@zoo.command(epilog=examples("zoo remove mine@1.0.0"))
@click.argument("models", nargs=-1, required=True, shell_complete=complete_model)
@output_options
def remove(models: Sequence[str], quiet: bool) -> CommandResult:
    """Remove downloaded models.

    MODELS are NAME for all versions, or NAME@VERSION.
    """
    from keras_parts import zoo

    freed = zoo.remove(*models)
    return CommandResult({"bytes": freed}, f"Removed {freed / 1e6:.1f} MB.")


@zoo.command(epilog=examples("zoo prune"))
@output_options
def prune(quiet: bool) -> CommandResult:
    """Remove incomplete and superseded downloads.

    A version is superseded if a later one was downloaded too.
    """
    from keras_parts import zoo

    freed = zoo.prune()
    return CommandResult({"bytes": freed}, f"Removed {freed / 1e6:.1f} MB.")


@zoo.command(
    help=f"Print the folder of a model's files, downloaded if necessary.\n\nMODEL: {_MODEL}",
    epilog=examples("zoo path cub"),
)
@click.argument("model", shell_complete=complete_model)
@trust_option
@output_options
def path(model: str, trust: bool, quiet: bool) -> CommandResult:
    from keras_parts import zoo

    folder = zoo.path(model, trust=trust, progress=not quiet)
    return CommandResult({"path": folder}, str(folder))


@zoo.command(epilog=examples("zoo download cub faces-4 --to models/"))
@click.argument("models", nargs=-1, required=True, shell_complete=complete_model)
@click.option("--to", required=True, metavar="DIR", help="Folder, created if necessary.")
@trust_option
@output_options
def download(models: Sequence[str], to: str, trust: bool, quiet: bool) -> CommandResult:
    """Copy models into a folder for a machine without a network.

    On that machine, set KERAS_PARTS_ZOO to the folder. MODELS: see `zoo path`.
    """
    from keras_parts import zoo

    cards = zoo.download(*models, to=to, trust=trust, progress=not quiet)
    names = ", ".join(card.id for card in cards)
    return CommandResult(
        {"models": [card.id for card in cards], "folder": to}, f"{names}: in {to}."
    )
