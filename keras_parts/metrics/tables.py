"""Results of several methods as plain text: a table a protocol, with published numbers of the same
data set, split, K and protocol."""

import textwrap
from decimal import ROUND_HALF_UP, Decimal

import numpy as np

from keras_parts.metrics.protocols import PROTOCOLS
from keras_parts.metrics.published import Published, published_values

_MISSING = "-"


def comparison(methods, width: int = 100) -> str:
    """The table of some methods.

    Args:
        methods: `keras_parts.metrics.Runs`, all of the same data and K, the first one's protocols
            are shown.
        width: number of columns that descriptions are wrapped at.
    """
    first = methods[0]
    lines = [f"{measured_data(first)}, {first.samples:,} images, K={first.parts}"]
    for note in first.notes:
        lines += textwrap.wrap(note, width)
    for method in methods:
        shares = np.mean([report.shares for report in method.reports], axis=0)
        if len(method.reports) == 1:
            text = "  ".join(f"{100 * share:.1f}" for share in shares)
            lines.append(f"Parts of {method.method}, % of the object's pixels: {text}")
        else:  # the parts of different runs are different parts
            least = [100 * min(report.shares) for report in method.reports]
            text = "  ".join(f"{share:.1f}" for share in least)
            lines.append(
                f"Smallest part of {method.method}, % of the object's pixels, by run: {text}"
            )
    for name in first.results:
        lines += ["", *_section(name, methods, width)]
    lines += _not_run(first.skipped)
    return "\n".join(lines) + "\n"


def measured_data(report) -> str:
    """For headings: "cub, test split (classes=[1])" of a `Report` or `Runs`."""
    split = f"{report.split} split" if report.split else ""
    subset = f"({report.subset})" if report.subset else ""
    return ", ".join(filter(None, (report.dataset, " ".join(filter(None, (split, subset))))))


def _section(name, methods, width):
    ours = [method for method in methods if name in method.results]
    result, protocol = ours[0].results[name], PROTOCOLS[name]
    first = methods[0]
    known = published_values(first.dataset, first.parts, name, split=first.split)
    if first.subset:  # nothing published is of that
        known = []
    metrics = [metric for metric in protocol.metrics if any(m.values(name, metric) for m in ours)]
    rows = [("method", *metrics, "trained with", "source")]
    for method in ours:
        rows += _own_rows(method, name, metrics, first=method is ours[0])
    notes = []
    for (method, supervision, source, note), values in _by_method(known).items():
        cells = [_number(values.get(metric)) for metric in metrics]
        if set(cells) == {_MISSING}:
            continue
        if note and note not in notes:
            notes.append(note)
        mark = f" [{notes.index(note) + 1}]" if note else ""
        rows.append((method + mark, *cells, supervision, source))
    title = (
        f"{name}: {protocol.title}; {result.observations:,} {protocol.observed} of "
        f"{result.samples:,} images"
    )
    if "foreground" in protocol.needs:
        title += f"; masks: {ours[0].masks}"
    lines = [*textwrap.wrap(title, width), *_aligned(rows, numbers=len(metrics))]
    return lines + [f"[{i}] published on: {note}" for i, note in enumerate(notes, 1)]


def _own_rows(method, name, metrics, first):
    runs = len(method.reports)
    title = method.method if runs == 1 else f"{method.method} ({runs} runs)"
    cells = [_mean(method.values(name, metric)) for metric in metrics]
    yield (title, *cells, method.supervision, "measured here")
    if found := method.intervals.get(name):
        yield ("  95 % interval over images", *(_range(found.get(m)) for m in metrics), "", "")
    midpoint = [_mean(method.values(name, f"{metric} of the midpoint")) for metric in metrics]
    if first and set(midpoint) != {_MISSING}:
        yield ("image midpoint", *midpoint, "none", "measured here")


def _not_run(skipped):
    by_reason = {}
    for name, reason in skipped.items():
        by_reason.setdefault(reason, []).append(name)
    if by_reason:
        yield ""
    for reason, names in by_reason.items():
        yield f"Not run: {', '.join(names)} {'needs' if len(names) == 1 else 'need'} {reason}"


def _by_method(entries: list[Published]):
    rows = {}
    for entry in entries:
        key = (entry.method, entry.supervision, entry.source, entry.note)
        rows.setdefault(key, {})[entry.metric] = entry.value
    return rows


def _mean(values):
    """One number, or mean and standard deviation of several."""
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


def _aligned(rows, numbers):
    """Rows of cells as lines: `numbers` columns after the first are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if 0 < place <= numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines
