"""keras-parts parts"""

from dataclasses import asdict
from typing import Any

import click

from keras_parts.cli.completion import complete_recipe
from keras_parts.cli.data import data_options
from keras_parts.cli.options import CommandResult, common_options, examples, given, text_table
from keras_parts.cli.runtime import import_keras


@click.command(
    epilog=examples("parts photos/", "parts --dataset toy --try 4,5,6"),
)
@data_options
@click.option("--split", default="train", show_default=True, help="Split to use.")
@click.option(
    "--try",
    "counts",
    default="3-10",
    show_default=True,
    metavar="K-K|K,K,...",
    help="Numbers of parts to compare.",
)
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME|FILE",
    shell_complete=complete_recipe,
    help="Its teacher and crops are used, see `train` [default: the recipe of the data set if "
    "there is one].",
)
@click.option(
    "--images",
    "max_images",
    type=click.IntRange(3),
    default=300,
    show_default=True,
    metavar="N",
    help="Maximum number of images to use, at regular distances.",
)
@click.option("--output", "-o", metavar="DIR", help="Folder of the page [default: parts/DATASET].")
@common_options
def parts(
    data: Any,
    split: str,
    counts: str,
    recipe_name: str | None,
    max_images: int,
    output: str | None,
    seed: int | None,
    quiet: bool,
) -> CommandResult:
    """Help to choose the number of parts.

    PHOTOS is the folder of your own photographs; --dataset chooses another data set. Objects are
    found first where there are no masks.

    For each number K, the features of the objects are clustered, which takes minutes; nothing is
    trained. A page shows the clusters in the same images for each K, and how stable they are:
    whether clusters of other images agree with them.
    """
    from keras_parts.extras import check_train_extra
    from keras_parts.training.recipes import recipe_for

    numbers = parse_counts(counts)
    chosen = recipe_for(data.name, recipe_name, settings=given(seed=seed))
    check_train_extra()
    data = data.with_masks()
    dataset = data.photographs(split) if data.discovers else data(split)
    import_keras()
    from keras_parts.training.part_count_page import write_part_counts
    from keras_parts.training.part_counts import compare_part_counts

    if data.discovers:
        dataset = data(split)
    output = output or f"parts/{data.name}"
    found = compare_part_counts(chosen, dataset, numbers, max_images=max_images, progress=not quiet)
    page = write_part_counts(found, output, title=f"How many parts? {data.name}")
    content = {
        "output": str(page),
        "dataset": data.name,
        "images": found.num_images,
        "samples": found.total,
        "recommended": found.recommended,
        "reason": found.reason,
        "notes": list(found.notes),
        "measured": [asdict(one) for one in found.measured],
    }
    header = ("K", "stability", "explained", "smallest part", "rarest part in")
    rows = [
        (
            str(one.num_parts),
            f"{one.stability:.2f} ± {one.error:.2f}",
            f"{one.explained:.0%}",
            f"{one.smallest:.1%}",
            f"{one.presence:.0%} of images",
        )
        for one in found.measured
    ]
    lines = [
        text_table([header, *rows]),
        f"{found.reason}.",
        *(f"Note: {note}" for note in found.notes),
        f"Measured on {found.num_images:,} of {found.total:,} images. Pictures: open {page} in a "
        "browser.",
        f"Next:\n  keras-parts train {data.options} --parts {found.recommended}",
    ]
    return CommandResult(content, "\n".join(lines))


def parse_counts(text: str) -> tuple[int, ...]:
    """The numbers of parts that "3-10" or "4,6,8" names.

    Raises:
        UsageError: the text is neither.
    """
    numbers: list[int] = []
    for piece in text.split(","):
        first, dash, last = (part.strip() for part in piece.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise click.UsageError(f"--try {text}: expected numbers such as 3-10 or 4,6,8")
        numbers += range(int(first), int(last or first) + 1)
    if not numbers:
        raise click.UsageError(f"--try {text}: there is no number from the first to the last")
    return tuple(sorted(set(numbers)))
