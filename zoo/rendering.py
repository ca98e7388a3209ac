"""Cards for people: Markdown, for terminals and for model pages."""

from keras_parts.zoo.cards import PICTURE_FILE, Card


def to_markdown(card: Card, picture: str = PICTURE_FILE) -> str:
    """A card as Markdown.

    Args:
        card: of a model.
        picture: the address of its picture, relative to where the text will lie; "" for none.
    """
    sections = [
        f"# {card.name} {card.version}",
        card.about,
        f"![Parts that it finds]({picture})" if picture and PICTURE_FILE in card.files else "",
        _use(card),
        "## Parts",
        _parts(card),
        *_evaluation(card),
        "## Training",
        _training(card),
        f"## Intended use\n\n{card.intended_use}",
        f"## Limits\n\n{card.limits}",
        "## Licences",
        _list(
            ("code", card.licences.code),
            ("weights", card.licences.weights),
            ("training data", card.licences.data),
        ),
        f"## Citation\n\n{card.citation}",
        "## Files",
        _table(
            ("file", "bytes", "sha256"),
            [(name, f"{one.size:,}", f"`{one.sha256}`") for name, one in card.files.items()],
        ),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def hub_readme(card: Card) -> str:
    """The page of a model on Hugging Face: what its search goes by, then the card."""
    head = [
        "---",
        "library_name: keras-parts",
        "pipeline_tag: image-segmentation",
        "tags: [keras, part-discovery, unsupervised]",
        "---",
        "",
    ]
    return "\n".join(head) + "\n" + to_markdown(card)


def _use(card):
    return f'```python\nimport keras_parts\n\nsegmenter = keras_parts.zoo.load("{card.id}")\n```'


def _parts(card):
    mirrored = {part: other for pair in card.pairs for part, other in (pair, pair[::-1])}
    shares = card.evaluation.shares if card.evaluation else ()
    rows = []
    for place, (name, colour) in enumerate(zip(card.part_names, card.palette, strict=True)):
        share = f"{100 * shares[place]:.1f} %" if place < len(shares) else ""
        other = mirrored.get(place + 1)
        rows.append(
            (
                str(place + 1),
                name,
                "#{:02x}{:02x}{:02x}".format(*colour),
                share,
                card.part_names[other - 1] if other else "",
            )
        )
    return _table(("part", "name", "colour", "share of the object", "mirrored"), rows)


def _evaluation(card):
    found = card.evaluation
    if found is None:
        return ["## Evaluation", "Not measured."]
    rows = []
    for protocol, metrics in found.values.items():
        for metric, value in metrics.items():
            spread = found.spread(protocol, metric)
            seeds = "{:.1f} ± {:.1f}".format(*spread) if spread else ""
            rows.append((protocol, metric, f"{value:.1f}", seeds))
    heading = (
        f"{found.dataset}, split {found.split}, {found.images:,} images; per cent, with the "
        "files of this entry."
    )
    titles = _list(*found.titles.items())
    if found.seeds:
        numbers = ", ".join(str(one.seed) for one in found.seeds)
        heading += (
            f" Mean and standard deviation over the seeds {numbers}; this one, seed "
            f"{card.training.seed}, was chosen by {found.chosen_by}."
        )
    columns = ("protocol", "metric", "this model", "all seeds")
    return ["## Evaluation", heading, _table(columns, rows), titles]


def _training(card):
    found = card.training
    images = f"{found.images:,} images" if found.images is not None else ""
    categories = f"{found.categories} categories" if found.categories else ""
    data = ", ".join(filter(None, (f"{found.dataset} ({found.split})", images, categories)))
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    return _list(
        ("data", data),
        ("recipe", f"{found.recipe.get('name', 'unknown')}, all settings in card.json"),
        ("seed", str(found.seed)),
        ("steps", str(found.steps or "unknown")),
        ("architecture", f"{card.architecture}, {card.parameters:,} parameters"),
        ("input", f"{card.segmenter.get('size')} px, {card.segmenter.get('fit')}"),
        ("commit", found.commit or "unknown"),
        ("versions", versions),
    )


def _list(*items):
    return "\n".join(f"- {_cell(name)}: {_cell(text)}" for name, text in items)


def _table(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text):
    """A text of a card that cannot break out of its place."""
    shown = "".join(character if character.isprintable() else " " for character in str(text))
    return " ".join(shown.replace("|", "\\|").split())
