"""What a discovered part means: which landmarks or labelled parts it covers, and a name for it."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_parts.data.dataset import DatasetInfo
from keras_parts.data.sides import other_side, without_side
from keras_parts.errors import ConfigError
from keras_parts.metrics.protocols.base import Result

_COVERED = 0.5
"""A region is covered by a part that gets at least this share of the region's observations."""
_WORDS = 3  # most labels in a name
_UNUSED = "unused"


@dataclass(frozen=True)
class PartMeaning:
    """One part.

    Attributes:
        part: its number, from 1.
        name: readable, unique among the parts: "head", "belly and breast", "some of the skin".
        covers: (label, share of the label's observations that fall into this part), the labels
            that have more in this part than in any other, the largest share first.
        share: of all observations.
    """

    part: int
    name: str
    covers: tuple[tuple[str, float], ...]
    share: float

    def __str__(self):
        if not self.covers:
            return f"part {self.part}: {self.name}"
        covers = ", ".join(f"{label} {100 * share:.0f} %" for label, share in self.covers)
        return f"part {self.part}: {self.name} ({covers})"


def part_meanings(result: Result, info: DatasetInfo) -> tuple[PartMeaning, ...]:
    """What each part means, by the contingency table of a foreground protocol.

    A label belongs to the part that got most of it. Labels of a region of the data set, or the
    left and the right of a pair, that belong to the same part are called by one name.

    Args:
        result: of a protocol whose clusters are the K parts alone.
        info: of the data set that it was measured on.

    Raises:
        ConfigError: the result has no table, or one with a background.
    """
    counts = _table(result)
    totals = counts.sum(1)
    seen = np.flatnonzero(totals)
    shares = counts[seen] / totals[seen, None]
    owner = shares.argmax(1)
    meanings, taken = [], set()
    for part in range(counts.shape[1]):
        mine = sorted(np.flatnonzero(owner == part), key=lambda row: -shares[row, part])
        covers = [(result.labels[seen[row]], float(shares[row, part])) for row in mine]
        weights = {result.labels[seen[row]]: int(counts[seen[row], part]) for row in mine}
        amounts = dict(zip(result.labels, totals.tolist(), strict=True))
        name = _name(weights, amounts, info.regions) or _leftover(counts[:, part], result.labels)
        meanings.append(
            PartMeaning(
                part=part + 1,
                name=_unique(name, taken),
                covers=tuple(covers),
                share=float(counts[:, part].sum() / counts.sum()),
            )
        )
    return tuple(meanings)


def confusion_picture(
    result: Result, names: Sequence[str] = (), title: str = "", percent: bool = True
) -> Image.Image:
    """The contingency table as a picture: a row a label, a column a part, shares of the row.

    Args:
        result: of any protocol with a table.
        names: of the columns; by default part 1, part 2, ..., after the background where the
            protocol has one.
        title: above the picture.
        percent: write the shares into the cells.

    Returns:
        `PIL.Image`, mode RGB.

    Raises:
        ConfigError: the result has no table, or names do not fit its columns.
    """
    from matplotlib.figure import Figure

    if result.counts is None:
        raise ConfigError("this protocol has no contingency table to draw")
    used = np.flatnonzero(result.counts.sum(1))
    counts = result.counts[used]
    names = tuple(names) or _columns(result)
    if len(names) != counts.shape[1]:
        raise ConfigError(f"{len(names)} names for {counts.shape[1]} columns")
    shares = 100 * counts / counts.sum(1, keepdims=True)
    figure = Figure((2.6 + 0.75 * len(names), 1.6 + 0.3 * len(used)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(used)), [result.labels[row] for row in used])
    axes.set_title(title)
    figure.colorbar(image, label="% of the label")
    if percent:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 1:
                colour = "white" if share > 60 else "black"
                axes.text(
                    column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=8
                )
    file = io.BytesIO()
    figure.savefig(file, dpi=110, format="png")
    file.seek(0)
    return Image.open(file).convert("RGB")


def _columns(result):
    """Names of the table's columns."""
    background = () if result.of_parts_alone else ("background",)
    parts = result.counts.shape[1] - len(background)
    return (*background, *(f"part {part + 1}" for part in range(parts)))


def _table(result):
    if result.counts is None:
        raise ConfigError("this protocol has no contingency table: take a foreground protocol")
    if not result.of_parts_alone:
        raise ConfigError("parts get their meaning from a foreground protocol, without background")
    return result.counts


def _name(weights: Mapping[str, int], amounts: Mapping[str, int], regions):
    """A name for labels with so many observations each in a part; "" for none."""
    words = dict(weights)
    for region, members in regions.items():
        inside = [label for label in members if label in words]
        amount = sum(amounts.get(label, 0) for label in members)
        if len(inside) > 1 and sum(words[label] for label in inside) >= _COVERED * amount:
            words[region] = sum(words.pop(label) for label in inside)
    for label in list(words):
        pair = other_side(label)
        if pair != label and label in words and pair in words:
            words[f"{without_side(label)}s"] = words.pop(label) + words.pop(pair)
    ordered = sorted(words, key=lambda word: -words[word])
    total = sum(words.values())
    # what is hardly there does not help to tell the parts apart
    named = [word for word in ordered if words[word] >= 0.1 * total][:_WORDS]
    return " and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]]))


def _leftover(counts, labels):
    """A name for a part that is no label's best: it is some of the label it has most of."""
    return f"some of {labels[counts.argmax()]}" if counts.any() else _UNUSED


def _unique(name, taken):
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} {number}"
    taken.add(candidate)
    return candidate
