"""Cards as Markdown, for terminals and for model pages."""

from collections.abc import Iterable, Sequence

from keras_parts.zoo.cards import PICTURE_FILE, Card, Evaluation


def to_markdown(card: Card, picture: str = PICTURE_FILE, *, address: str = "") -> str:
    """A card as Markdown.

    Args:
        card: of a model.
        picture: the address of its picture, relative to the Markdown file; "" for none.
        address: from which anybody can load the model; "" if its name is enough.
    """
    sections = [
        f"# {card.name} {card.version}",
        card.about,
        f"![Its parts]({picture})" if picture and PICTURE_FILE in card.files else "",
        _use(card, address),
        "## Parts",
        _parts(card),
        *_evaluation(card),
        "## Training",
        _training(card),
        f"## Intended use\n\n{card.intended_use}",
        f"## Limits\n\n{card.limits}",
        "## Licences",
        _list(
            ("code of keras-parts", card.licences.code),
            ("weights", card.licences.weights),
            ("training data", card.licences.data),
        ),
        f"## Citation\n\n{card.citation}",
        "## Files",
        _table(
            ("file", "bytes", "sha256"),
            [(name, f"{file.size:,}", f"`{file.sha256}`") for name, file in card.files.items()],
        ),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _use(card: Card, address: str) -> str:
    call = (
        f'keras_parts.zoo.load("{address}", trust=True)'
        if address
        else (f'keras_parts.zoo.load("{card.id}")')
    )
    return f"```python\nimport keras_parts\n\nsegmenter = {call}\n```"


def _parts(card: Card) -> str:
    mirrored = {part: other for pair in card.pairs for part, other in (pair, pair[::-1])}
    shares = card.evaluation.shares if card.evaluation else ()
    rows = []
    for part, (name, colour) in enumerate(zip(card.part_names, card.palette, strict=True), 1):
        share = f"{100 * shares[part - 1]:.1f} %" if part <= len(shares) else ""
        other = card.part_names[mirrored[part] - 1] if part in mirrored else ""
        rows.append((str(part), name, "#{:02x}{:02x}{:02x}".format(*colour), share, other))
    return _table(("part", "name", "colour", "share of the object", "mirrored"), rows)


def _evaluation(card: Card) -> list[str]:
    evaluation = card.evaluation
    if evaluation is None:
        return ["## Evaluation", "Not measured."]
    heading = (
        f"{evaluation.dataset}, split {evaluation.split}, {evaluation.num_images:,} images; "
        "per cent, with the files of this entry."
    )
    if evaluation.seeds:
        seeds = ", ".join(str(result.seed) for result in evaluation.seeds)
        heading += (
            f" Mean and standard deviation over the seeds {seeds}; this one, seed "
            f"{card.training.seed}, was chosen by {evaluation.chosen_by}."
        )
    columns = ("protocol", "metric", "this model", "all seeds", "best possible", "share of it")
    titles = _list(*evaluation.titles.items())
    return ["## Evaluation", heading, _table(columns, _metrics(evaluation)), titles]


def _metrics(evaluation: Evaluation) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for protocol, metrics in evaluation.values.items():
        for metric, value in metrics.items():
            spread = evaluation.spread(protocol, metric)
            seeds = "{:.1f} ± {:.1f}".format(*spread) if spread else ""
            best = (evaluation.best or {}).get(protocol, {}).get(metric)
            share = (f"{best:.1f}", f"{100 * value / best:.0f} %") if best else ("", "")
            rows.append((protocol, metric, f"{value:.1f}", seeds, *share))
    return rows


def _training(card: Card) -> str:
    training = card.training
    images = f"{training.num_images:,} images" if training.num_images is not None else ""
    categories = f"{training.num_categories} categories" if training.num_categories else ""
    data = ", ".join(filter(None, (f"{training.dataset} ({training.split})", images, categories)))
    versions = ", ".join(f"{name} {version}" for name, version in training.versions.items())
    return _list(
        ("data", data),
        ("recipe", f"{training.recipe.get('name', 'unknown')}, all settings in card.json"),
        ("initial weights", _initial_weights(card)),
        ("teacher", str(training.recipe.get("teacher", "unknown"))),
        ("seed", str(training.seed)),
        ("steps", str(training.steps or "unknown")),
        ("architecture", f"{card.architecture}, {card.num_parameters:,} parameters"),
        ("input", _input(card)),
        ("commit", training.commit or "unknown"),
        ("versions", versions),
    )


def _initial_weights(card: Card) -> str:
    recipe = card.training.recipe
    if model := recipe.get("init_from"):
        return f"of the model {model}"
    weights = recipe.get("backbone_weights", "unknown")
    if weights == "pretrained" and card.architecture.startswith("efficientnet_lite"):
        number = card.architecture.removeprefix("efficientnet_lite")
        return f"EfficientNet-Lite{number} trained on ImageNet, Apache-2.0 (NOTICE)"
    return str(weights)


def _input(card: Card) -> str:
    # Format 1 of segmenter.json calls these "size" and "fit".
    config = card.segmenter
    size = config.get("image_size", config.get("size"))
    return f"{size} px, {config.get('resize_mode', config.get('fit'))}"


def _list(*items: tuple[str, str]) -> str:
    return "\n".join(f"- {_cell(name)}: {_cell(text)}" for name, text in items)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """A text of a card, without characters that would break the Markdown around it."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.replace("|", "\\|").split())
