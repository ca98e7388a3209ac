"""`Report`: what an evaluation found, as numbers, JSON and a table beside published numbers."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from keras_parts.errors import ConfigError
from keras_parts.metrics.protocols import PROTOCOLS, Result
from keras_parts.metrics.published import Published, published_values

_MISSING = "-"


@dataclass(frozen=True, eq=False)
class Report:
    """The results of one model on one data set.

    Attributes:
        dataset: the data set's name.
        parts: K.
        samples: number of images in the split.
        results: protocol name to `Result`.
        shares: `(parts,)` share of each part of the object's pixels; a dead part has 0.
        skipped: protocol name to what it lacked to run.
        method: the model's name in tables.
    """

    dataset: str
    parts: int
    samples: int
    results: Mapping[str, Result]
    shares: tuple[float, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    method: str = "this model"

    @property
    def values(self) -> dict[str, dict[str, float]]:
        """Protocol name to metric name to per cent."""
        return {name: dict(result.values) for name, result in self.results.items()}

    def to_json(self) -> str:
        """Everything of the report, contingency tables included, as a JSON object."""
        protocols = {
            name: {
                "title": PROTOCOLS[name].title,
                "values": dict(result.values),
                "samples": result.samples,
                "observations": result.observations,
                "shares": list(result.shares),
                "labels": list(result.labels),
                "counts": None if result.counts is None else result.counts.tolist(),
            }
            for name, result in self.results.items()
        }
        content = {
            "method": self.method,
            "dataset": self.dataset,
            "parts": self.parts,
            "samples": self.samples,
            "shares": list(self.shares),
            "protocols": protocols,
            "skipped": dict(self.skipped),
        }
        return json.dumps(content, indent=2)

    def to_table(self, *beside: "Report", width: int = 100) -> str:
        """The report as plain text: a table a protocol, with published numbers of the same K.

        Args:
            *beside: reports of baselines on the same data set with the same K, in their own rows.
            width: number of columns that descriptions are wrapped at.

        Raises:
            ConfigError: a report beside is of another data set or K.
        """
        for other in beside:
            if (other.dataset, other.parts) != (self.dataset, self.parts):
                raise ConfigError(
                    f"{other.method} was measured on {other.dataset} with K={other.parts}: it "
                    f"cannot stand beside {self.dataset} with K={self.parts}"
                )
        lines = [f"{self.dataset}, {self.samples:,} images, K={self.parts}"]
        for report in (self, *beside):
            shares = "  ".join(f"{100 * share:.1f}" for share in report.shares)
            lines.append(f"Parts of {report.method}, % of the object's pixels: {shares}")
        for name in self.results:
            lines += ["", *_section(name, (self, *beside), width)]
        lines += _not_run(self.skipped)
        return "\n".join(lines) + "\n"


def _section(name, reports, width):
    ours = [report for report in reports if name in report.results]
    result = ours[0].results[name]
    known = published_values(reports[0].dataset, reports[0].parts, name)
    metrics = PROTOCOLS[name].metrics
    metrics = [metric for metric in metrics if any(metric in r.results[name].values for r in ours)]
    rows = [("method", *metrics, "trained with", "source")]
    for report in ours:
        rows += _own_rows(report.method, report.results[name], metrics, first=report is ours[0])
    notes = []
    for (method, supervision, source, note), values in _by_method(known).items():
        cells = [_number(values.get(metric)) for metric in metrics]
        if set(cells) == {_MISSING}:
            continue
        if note and note not in notes:
            notes.append(note)
        mark = f" [{notes.index(note) + 1}]" if note else ""
        rows.append((method + mark, *cells, supervision, source))
    counted = f"{result.observations:,} {'pixels' if name.startswith('pixels') else 'keypoints'}"
    title = f"{name}: {PROTOCOLS[name].title}; {counted} of {result.samples:,} images"
    lines = [*textwrap.wrap(title, width), *_aligned(rows, numbers=len(metrics))]
    return lines + [f"[{i}] published on: {note}" for i, note in enumerate(notes, 1)]


def _own_rows(method, result, metrics, first):
    yield (method, *(_number(result.values.get(metric)) for metric in metrics), "", "measured here")
    midpoint = [result.values.get(f"{metric} of the midpoint") for metric in metrics]
    if first and any(value is not None for value in midpoint):
        yield ("image midpoint", *map(_number, midpoint), "", "measured here")


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
