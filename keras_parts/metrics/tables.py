"""Results of several methods as plain text: a table for each protocol, with the published numbers
for the same data set, split, K and protocol."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_parts.metrics.protocols import PROTOCOLS
from keras_parts.metrics.published import Published, published_values

if TYPE_CHECKING:
    from keras_parts.metrics.report import Report, Runs

_MISSING = "-"
_LOCATIONS = ("data_dir", "masks")
"""Reader options that locate files: they do not select images."""


def results_table(methods: Sequence[Runs], *, width: int = 100) -> str:
    """Results of several methods as plain text, one table for each protocol.

    Args:
        methods: measured on the same data with the same K; the first one's protocols are shown.
        width: maximum number of characters in a line of text; rows of tables may be longer.
    """
    first = methods[0]
    lines = [f"{measured_data(first)}, {first.num_images:,} images, K={first.num_parts}"]
    for note in first.notes:
        lines += textwrap.wrap(note, width)
    lines += map(_share_line, methods)
    for name in first.results:
        lines += ["", *_section(name, methods, width)]
    lines += _not_run(first.skipped)
    return "\n".join(lines) + "\n"


def measured_data(report: Report | Runs) -> str:
    """The data set, split and subset as in headings: "cub, test split (classes=[1])"."""
    split = f"{report.split} split" if report.split else ""
    subset = f"({report.subset})" if report.subset else ""
    return ", ".join(filter(None, (report.dataset, " ".join(filter(None, (split, subset))))))


def describe_subset(options: Mapping[str, Any], dataset: str) -> str:
    """The reader options that select a subset of the images: "classes=[1], subset=cmr".

    Args:
        options: all options of the reader, by name.
        dataset: the data set's name. An option that is part of it selects no subset: the class in
            "pascal_part/horse".
    """
    return ", ".join(
        f"{option}={value if isinstance(value, str) else json.dumps(value)}"
        for option, value in options.items()
        if option not in _LOCATIONS and value not in dataset.split("/")
    )


def _share_line(method):
    """The line with the sizes of a method's parts."""
    if len(method.reports) == 1:
        shares = "  ".join(f"{100 * share:.1f}" for share in method.reports[0].shares)
        return f"Parts of {method.method}, % of the object's pixels: {shares}"
    # Part numbers have no meaning across runs, so a mean of part 1 would have none.
    smallest = "  ".join(f"{100 * min(report.shares):.1f}" for report in method.reports)
    return f"Smallest part of {method.method}, % of the object's pixels, by run: {smallest}"


def _section(name, methods, width):
    """The lines of one protocol."""
    measured = [method for method in methods if name in method.results]
    protocol = PROTOCOLS[name]
    metrics = [
        metric
        for metric in protocol.metrics
        if any(method.values(name, metric) for method in measured)
    ]
    rows = [("method", *metrics, "trained with", "source")]
    for method in measured:
        rows += _measured_rows(method, name, metrics, first=method is measured[0])
    rows += _best_rows(measured[0], name, metrics)
    published, notes = _published_rows(methods[0], name, metrics)
    lines = textwrap.wrap(_title(protocol, measured[0]), width)
    lines += _aligned([*rows, *published], num_numbers=len(metrics))
    lines += _left_out(protocol, measured, width)
    return lines + [f"[{i}] published on: {note}" for i, note in enumerate(notes, 1)]


def _left_out(protocol, methods, width):
    """What the methods left out: the same for all of them, because it depends on the data."""
    notes = dict.fromkeys(note for one in methods for note in one.results[protocol.name].notes)
    return [line for note in notes for line in textwrap.wrap(note, width)]


def _title(protocol, method):
    result = method.results[protocol.name]
    title = (
        f"{protocol.name}: {protocol.title}; {result.num_observations:,} {protocol.observed} of "
        f"{result.num_images:,} images"
    )
    return f"{title}; masks: {method.masks}" if "foreground" in protocol.needs else title


def _published_rows(method, protocol, metrics):
    """(rows, notes): published values for the same data and K; a row cites its note as [1]."""
    if method.subset:  # published values are for whole splits
        return [], []
    known = published_values(method.dataset, method.num_parts, protocol, split=method.split)
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for (name, supervision, source, note), values in _by_method(known).items():
        cells = [_number(values.get(metric)) for metric in metrics]
        if set(cells) == {_MISSING}:
            continue
        if note and note not in notes:
            notes.append(note)
        reference = f" [{notes.index(note) + 1}]" if note else ""
        rows.append((name + reference, *cells, supervision, source))
    return rows, notes


def _measured_rows(method, name, metrics, first):
    runs = len(method.reports)
    title = method.method if runs == 1 else f"{method.method} ({runs} runs)"
    cells = [_mean_and_deviation(method.values(name, metric)) for metric in metrics]
    yield (title, *cells, method.supervision, "measured here")
    if found := method.intervals.get(name):
        yield ("  95 % interval over images", *(_range(found.get(m)) for m in metrics), "", "")
    midpoint = [
        _mean_and_deviation(method.values(name, f"{metric} of the midpoint")) for metric in metrics
    ]
    if first and set(midpoint) != {_MISSING}:
        yield ("image midpoint", *midpoint, "none", "measured here")


def _best_rows(method, name, metrics):
    """The largest values that K parts can have, and what share of them a method reaches."""
    best = method.results[name].best
    if not best:
        return
    title = f"best that {method.num_parts} parts can have"
    yield (title, *map(_number, map(best.get, metrics)), "", "computed from the labels")
    means = (np.mean(method.values(name, metric)) for metric in metrics)
    shares = (
        f"{100 * mean / best[metric]:.0f} %" if best[metric] else _MISSING
        for metric, mean in zip(metrics, means, strict=True)
    )
    yield (f"  share of it: {method.method}", *shares, "", "")


def _not_run(skipped: Mapping[str, str]) -> Iterable[str]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        by_reason.setdefault(reason, []).append(name)
    if by_reason:
        yield ""
    for reason, names in by_reason.items():
        yield f"Not run: {', '.join(names)} {'needs' if len(names) == 1 else 'need'} {reason}"


def _by_method(
    entries: Sequence[Published],
) -> dict[tuple[str, str, str, str], dict[str, float]]:
    rows: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for entry in entries:
        key = (entry.method, entry.supervision, entry.source, entry.note)
        rows.setdefault(key, {})[entry.metric] = entry.value
    return rows


def _mean_and_deviation(values):
    """One value, or the mean and standard deviation of several."""
    if len(values) < 2:
        return _number(values[0] if values else None)
    mean, deviation = _number(np.mean(values)), _number(np.std(values, ddof=1))
    return mean if len(set(values)) == 1 else f"{mean} ± {deviation}"


def _range(interval):
    return _MISSING if interval is None else f"{_number(interval[0])} to {_number(interval[1])}"


def _number(value):
    if value is None:
        return _MISSING
    rounded = Decimal(repr(float(value))).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return str(rounded + 0)  # no "-0.0"


def _aligned(rows, num_numbers):
    """Rows of cells as lines: `num_numbers` columns after the first are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if 0 < column <= num_numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines
