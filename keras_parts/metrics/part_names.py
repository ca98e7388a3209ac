"""The meaning of a discovered part: the landmarks or labelled parts that it covers, and a name."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from keras_parts.data.dataset import DatasetInfo
from keras_parts.data.sides import other_side, without_side
from keras_parts.errors import ConfigError
from keras_parts.extras import import_from_extra
from keras_parts.metrics.protocols.base import Result
from keras_parts.metrics.report import Report, Runs
from keras_parts.models.part_names import plain_name, unique_name

_MIN_COVERED = 0.5
"""A part covers a region if it contains at least this share of the region's observations."""
_MIN_NAMED = 0.1
"""The name of a part leaves out labels below this share of the part."""
_MAX_LABELS = 3
"""Maximum number of labels in a name."""
_UNUSED = "unused"


@dataclass(frozen=True)
class PartMeaning:
    """The meaning of one part.

    Attributes:
        part: its number, from 1.
        name: a readable name, unique among the parts: "head", "belly and breast", "some of skin".
        covers: (label, share of the label's observations in this part) for each label that has
            more observations in this part than in any other, the largest share first.
        share: this part's share of all observations.

    Example:
        >>> from keras_parts.metrics import PartMeaning
        >>> print(PartMeaning(1, "head", (("beak", 0.95),), 0.2))
        part 1: head (beak 95 %)
    """

    part: int
    name: str
    covers: tuple[tuple[str, float], ...]
    share: float

    def __str__(self) -> str:
        if not self.covers:
            return f"part {self.part}: {self.name}"
        covers = ", ".join(f"{label} {100 * share:.0f} %" for label, share in self.covers)
        return f"part {self.part}: {self.name} ({covers})"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "part": self.part,
            "name": self.name,
            "covers": dict(self.covers),
            "share": self.share,
        }


def part_meanings(result: Result, info: DatasetInfo) -> tuple[PartMeaning, ...]:
    """The meaning of each part, from the contingency table of a foreground protocol.

    A label belongs to the part that contains more of its observations than any other part. If
    labels of the same part form a region of the data set or a pair of left and right, the part's
    name contains the region ("head") or the pair ("wings") instead of the labels.

    Args:
        result: the result of a foreground protocol: its clusters are the K parts alone.
        info: description of the measured data set.

    Raises:
        ConfigError: the result has no table, or one with a background.

    Example:
        >>> import numpy as np
        >>> from keras_parts.data import DatasetInfo
        >>> from keras_parts.metrics import Result, part_meanings
        >>> bird = DatasetInfo("bird", landmarks=("beak", "left wing", "right wing"))
        >>> table = np.array([[9, 1], [0, 8], [2, 6]])
        >>> result = Result({"FG-NMI": 50.0}, 10, 26, counts=table, labels=bird.landmarks)
        >>> [meaning.name for meaning in part_meanings(result, bird)]
        ['beak', 'wings']
    """
    counts = _table(result)
    totals = counts.sum(1)
    observed = np.flatnonzero(totals)
    shares = counts[observed] / totals[observed, None]
    owners = shares.argmax(1)
    label_totals = dict(zip(result.labels, totals.tolist(), strict=True))
    names_taken: set[str] = set()
    meanings = []
    for part in range(counts.shape[1]):
        rows = sorted(np.flatnonzero(owners == part), key=lambda row: -shares[row, part])
        covered = {result.labels[observed[row]]: int(counts[observed[row], part]) for row in rows}
        name = _name(covered, label_totals, info.regions) or _partial(
            counts[:, part], result.labels
        )
        meanings.append(
            PartMeaning(
                part=part + 1,
                name=unique_name(plain_name(name), names_taken),
                covers=tuple(
                    (result.labels[observed[row]], float(shares[row, part])) for row in rows
                ),
                share=float(counts[:, part].sum() / counts.sum()),
            )
        )
    return tuple(meanings)


def naming_result(report: Report | Runs) -> Result | None:
    """The result of the last foreground protocol, which names the parts; None if none was run.

    In `PROTOCOLS`, pixels come after keypoints, because they describe a part more fully.
    """
    foreground = [result for result in report.results.values() if result.foreground_only]
    return foreground[-1] if foreground else None


def report_meanings(report: Report | Runs, info: DatasetInfo) -> tuple[PartMeaning, ...]:
    """The meaning of each part of a measured model, see `part_meanings`.

    Args:
        report: the report of one run; part numbers have no meaning across runs.
        info: description of the measured data set.

    Returns:
        One meaning for each part; empty for several runs, or if no foreground protocol was run.

    Example:
        >>> from keras_parts import data, metrics
        >>> from keras_parts.metrics import report_meanings
        >>> animals = data.load("toy", "test", count=4)
        >>> report = metrics.evaluate(metrics.colour_baseline(animals, 2), animals, 2)
        >>> [meaning.part for meaning in report_meanings(report, animals.info)]
        [1, 2]
    """
    result = naming_result(report)
    if result is None or (isinstance(report, Runs) and len(report.reports) > 1):
        return ()
    return part_meanings(result, info)


def confusion_picture(result: Result, names: Sequence[str] = (), *, title: str = "") -> Image.Image:
    """The contingency table as a picture: a row for each label, a column for each part.

    Args:
        result: the result of a protocol with a contingency table.
        names: names of the columns; by default "part 1", "part 2", ..., after "background" if the
            protocol has one.
        title: title above the picture.

    Returns:
        `PIL.Image`, mode RGB.

    Raises:
        ConfigError: the result has no table, or the names do not match its columns.

    Example:
        >>> import numpy as np
        >>> from keras_parts.metrics import Result, confusion_picture
        >>> table = np.array([[9, 1], [0, 8]])
        >>> result = Result({"FG-NMI": 50.0}, 10, 18, counts=table, labels=("beak", "tail"))
        >>> confusion_picture(result).mode
        'RGB'
    """
    Figure = import_from_extra("matplotlib.figure", "train").Figure
    if result.counts is None:
        raise ConfigError(
            "this protocol has no contingency table to draw: take an NMI and ARI protocol"
        )
    used = np.flatnonzero(result.counts.sum(1))
    counts = result.counts[used]
    names = tuple(names) or _column_names(result)
    if len(names) != counts.shape[1]:
        raise ConfigError(f"{len(names)} names for {counts.shape[1]} columns: give one for each")
    shares = 100 * counts / counts.sum(1, keepdims=True)
    figure = Figure((2.6 + 0.75 * len(names), 1.6 + 0.3 * len(used)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(used)), [result.labels[row] for row in used])
    axes.set_title(title)
    figure.colorbar(image, label="% of the label")
    _write_shares(axes, shares)
    return _rendered(figure)


def _write_shares(axes, shares):
    for (row, column), share in np.ndenumerate(shares):
        if share >= 1:
            colour = "white" if share > 60 else "black"
            style = {"ha": "center", "va": "center", "color": colour, "fontsize": 8}
            axes.text(column, row, f"{share:.0f}", **style)


def _rendered(figure: Any) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, dpi=110, format="png")
    file.seek(0)
    return Image.open(file).convert("RGB")


def _column_names(result):
    background = () if result.foreground_only else ("background",)
    parts = result.counts.shape[1] - len(background)
    return (*background, *(f"part {part + 1}" for part in range(parts)))


def _table(result: Result) -> np.ndarray:
    if result.counts is None:
        raise ConfigError("this protocol has no contingency table: take a foreground protocol")
    if not result.foreground_only:
        raise ConfigError("this protocol has a background: name parts by a foreground protocol")
    return result.counts


def _name(
    covered: Mapping[str, int],
    totals: Mapping[str, int],
    regions: Mapping[str, Sequence[str]],
) -> str:
    """The name of a part from the labels that belong to it; "" if there are none.

    Args:
        covered: number of observations in this part, for each label that belongs to it.
        totals: number of observations in all parts, for each label.
        regions: labels of each region of the data set.
    """
    weights = dict(covered)
    for region, members in regions.items():
        inside = [label for label in members if label in weights]
        total = sum(totals.get(label, 0) for label in members)
        if len(inside) > 1 and sum(weights[label] for label in inside) >= _MIN_COVERED * total:
            weights[region] = sum(weights.pop(label) for label in inside)
    for label in list(weights):
        pair = other_side(label)
        if pair != label and label in weights and pair in weights:
            weights[f"{without_side(label)}s"] = weights.pop(label) + weights.pop(pair)
    ordered = sorted(weights, key=lambda label: -weights[label])
    least = _MIN_NAMED * sum(weights.values())
    named = [label for label in ordered if weights[label] >= least][:_MAX_LABELS]
    return " and ".join(named)


def _partial(counts, labels):
    """The name of a part to which no label belongs: "some of" its most frequent label."""
    return f"some of {labels[counts.argmax()]}" if counts.any() else _UNUSED
