"""`Report`: what an evaluation found, as numbers, JSON and a table beside published numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_parts.errors import ConfigError
from keras_parts.metrics.bootstrap import intervals
from keras_parts.metrics.protocols import PROTOCOLS, Result
from keras_parts.metrics.tables import comparison, measured_data


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
        masks: where given masks came from.
        split: of the data set; "" if it is not known. Published numbers are those of "test".
        subset: what was taken of the split, such as "classes=[1]"; "" for all of it. Published
            numbers stand beside all of it alone.
        supervision: what the model was trained with, such as "masks"; "" if it is not known.
        notes: what is worth telling of the data, such as what a partial copy lacks.
    """

    dataset: str
    parts: int
    samples: int
    results: Mapping[str, Result]
    shares: tuple[float, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    method: str = "this model"
    masks: str = "the data set's own"
    split: str = ""
    subset: str = ""
    supervision: str = ""
    notes: tuple[str, ...] = ()

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
            "split": self.split,
            "subset": self.subset,
            "parts": self.parts,
            "samples": self.samples,
            "masks": self.masks,
            "supervision": self.supervision,
            "notes": list(self.notes),
            "shares": list(self.shares),
            "protocols": protocols,
            "skipped": dict(self.skipped),
        }
        return json.dumps(content, indent=2)

    def to_table(self, *beside: "Report | Runs", width: int = 100) -> str:
        """The report as plain text: a table a protocol, with published numbers of the same K where
        the test split was measured.

        Args:
            *beside: reports of baselines on the same data with the same K, in their own rows.
            width: number of columns that descriptions are wrapped at.

        Raises:
            ConfigError: a report beside is of another data set, split, subset or K.
        """
        return Runs((self,)).to_table(*beside, width=width)


@dataclass(frozen=True, eq=False)
class Runs:
    """Several runs of one method, which differ in their seed: printed as mean and deviation.

    Attributes:
        reports: one a run, of the same protocols on the same split.
        method: the method's name in tables; by default the first report's.
        intervals: {protocol: {metric: (low, high)}} in per cent, see `with_intervals`.

    Raises:
        ConfigError: there are no reports, or they do not belong together.
    """

    reports: Sequence[Report]
    method: str = ""
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self):
        if not self.reports:
            raise ConfigError("there are no runs to put together")
        first = self.reports[0]
        object.__setattr__(self, "method", self.method or first.method)
        for other in self.reports:
            if (_measured(other), other.samples, set(other.results)) != (
                _measured(first), first.samples, set(first.results)
            ):  # fmt: skip
                raise ConfigError(
                    f"{other.method} and {first.method} are no runs of one method: they differ in "
                    "data set, split, K, images or protocols"
                )

    @property
    def dataset(self) -> str:
        return self.reports[0].dataset

    @property
    def split(self) -> str:
        return self.reports[0].split

    @property
    def subset(self) -> str:
        return self.reports[0].subset

    @property
    def parts(self) -> int:
        return self.reports[0].parts

    @property
    def samples(self) -> int:
        return self.reports[0].samples

    @property
    def results(self) -> Mapping[str, Result]:
        """Those of the first run."""
        return self.reports[0].results

    @property
    def skipped(self) -> Mapping[str, str]:
        return self.reports[0].skipped

    @property
    def masks(self) -> str:
        return self.reports[0].masks

    @property
    def supervision(self) -> str:
        return self.reports[0].supervision

    @property
    def notes(self) -> tuple[str, ...]:
        return self.reports[0].notes

    def values(self, protocol: str, metric: str) -> list[float]:
        """Per cent, one a run; empty where nothing was measured."""
        found = [report.results[protocol].values.get(metric) for report in self.reports]
        return [value for value in found if value is not None]

    def with_intervals(self, level: float = 0.95, draws: int = 1000, seed: int = 0) -> "Runs":
        """The same with bootstrap intervals over images, see `keras_parts.metrics.intervals`."""
        found = {
            protocol: intervals([one.results[protocol] for one in self.reports], level, draws, seed)
            for protocol in self.results
        }
        return Runs(self.reports, self.method, found)

    def summary(self) -> dict[str, dict[str, dict]]:
        """{protocol: {metric: {"mean", "std", "interval", "values"}}}, std None for one run."""
        return {
            protocol: {
                metric: {
                    "mean": float(np.mean(values)),
                    "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                    "interval": self.intervals.get(protocol, {}).get(metric),
                    "values": values,
                }
                for metric in result.values
                if (values := self.values(protocol, metric))
            }
            for protocol, result in self.results.items()
        }

    def to_json(self) -> str:
        """The summary, and every run's report, as a JSON object."""
        content = {
            "method": self.method,
            "dataset": self.dataset,
            "split": self.split,
            "subset": self.subset,
            "parts": self.parts,
            "samples": self.samples,
            "masks": self.masks,
            "supervision": self.supervision,
            "notes": list(self.notes),
            "summary": self.summary(),
            "runs": [json.loads(report.to_json()) for report in self.reports],
        }
        return json.dumps(content, indent=2)

    def to_table(self, *beside: "Report | Runs", width: int = 100) -> str:
        """As `Report.to_table`."""
        others = [one if isinstance(one, Runs) else Runs((one,)) for one in beside]
        for other in others:
            if _measured(other) != _measured(self):
                raise ConfigError(
                    f"{other.method} was measured on {_measured(other)}: it cannot stand beside "
                    f"{_measured(self)}"
                )
        return comparison([self, *others], width)


def _measured(report):
    """What must be the same of results that stand side by side."""
    return f"{measured_data(report)} with K={report.parts}"
