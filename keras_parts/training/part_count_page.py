"""Pictures and a page that let people choose the number of parts."""

import os
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from keras_parts.extras import import_from_extra
from keras_parts.files import atomic_path
from keras_parts.results.page import write_page
from keras_parts.results.parts import Parts
from keras_parts.results.pictures import contact_sheet, save_picture
from keras_parts.training.part_counts import PartCount, PartCounts

CURVE_FILE, SHEET_FILE = "curve.png", "parts.png"
_CELL = 160
"""Side of a picture in pixels."""
_COLUMNS = 4
"""Pictures in a row of the sheet of one number of parts."""
_OPACITY = 0.6


def write_part_counts(found: PartCounts, folder: str | os.PathLike, *, title: str) -> Path:
    """Write what `compare_part_counts` found into a folder, for people to choose.

    Args:
        found: the result.
        folder: gets `index.html` with everything; `parts.png`, a row of the same images for each
            number of parts, and `parts-K.png`, one of these rows; and `curve.png`, what was
            measured.
        title: of the page.

    Returns:
        The path of `index.html`.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.training import compare_part_counts, recipe
        >>> from keras_parts.training.part_count_page import write_part_counts
        >>> animals = data.load("toy", "train", count=9, size=65)
        >>> small = recipe("toy", image_size=65)
        >>> found = compare_part_counts(small, animals, (2, 3), progress=False)
        >>> write_part_counts(found, "counts", title="Animals").name
        'index.html'
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = {one: _overlays(found.parts(one.num_parts)) for one in found.measured}
    pictures = [picture for row in rows.values() for picture in row]
    columns = len(pictures) // len(rows)
    starts = [text for one in rows for text in (_label(one, found), *[""] * (columns - 1))]
    save_picture(contact_sheet(pictures, columns, captions=starts, cell=_CELL), folder / SHEET_FILE)
    _draw_curve(found, folder / CURVE_FILE)
    figures = [("What was measured", CURVE_FILE)]
    for one, row in rows.items():
        name = f"parts-{one.num_parts}.png"
        save_picture(contact_sheet(row, _COLUMNS, cell=_CELL), folder / name)
        figures.append((f"{_label(one, found)}: {describe(one)}", name))
    return write_page(
        folder,
        found.parts(found.recommended),
        title=title,
        settings={"recommended": found.reason},
        figures=figures,
        total=found.total,
    )


def describe(one: PartCount) -> str:
    """What was measured of a number of parts, as text."""
    return (
        f"stability {one.stability:.2f} ± {one.error:.2f}, explained {one.explained:.0%}, smallest "
        f"part {one.smallest:.1%} of the object, rarest part in {one.presence:.0%} of the images"
    )


def _label(one: PartCount, found: PartCounts) -> str:
    is_recommended = one.num_parts == found.recommended
    return f"K={one.num_parts}" + (", recommended" if is_recommended else "")


def _overlays(parts: Mapping[str, Parts]) -> list[Image.Image]:
    return [one.overlay(alpha=_OPACITY, names=False, legend=False) for one in parts.values()]


def _draw_curve(found: PartCounts, path: Path) -> None:
    Figure = import_from_extra("matplotlib.figure", "train").Figure
    figure = Figure(figsize=(10.5, 3.2), dpi=110, layout="constrained")
    counts = [one.num_parts for one in found.measured]
    curves = {
        "stability (adjusted Rand index)": [one.stability for one in found.measured],
        "explained variance of the features": [one.explained for one in found.measured],
        "smallest part's share of the object": [one.smallest for one in found.measured],
    }
    for number, (title, values) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), number + 1)
        errors = [one.error for one in found.measured] if number == 0 else None
        axes.errorbar(counts, values, errors, marker="o", color=f"C{number}", capsize=3)
        axes.axvline(found.recommended, color="grey", linestyle=":")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("number of parts K", fontsize=8)
        axes.set_xticks(counts)
        axes.tick_params(labelsize=8)
        if number == 0:
            axes.set_ylim(min(0, *values), 1)
        axes.grid(alpha=0.3)
    with atomic_path(path) as unfinished:
        figure.savefig(unfinished, format="png")
