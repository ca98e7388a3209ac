"""`Report`: the results of an evaluation as numbers, JSON, and a table with published numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_parts.errors import ConfigError
from keras_parts.metrics.bootstrap import bootstrap_intervals
from keras_parts.metrics.protocols import PROTOCOLS, Result
from keras_parts.metrics.tables import measured_data, results_table


@dataclass(frozen=True, eq=False)
class Report:
    """The results of one model on one data set.

    Attributes:
        dataset: the data set's name.
        num_parts: K.
        num_images: number of images in the split.
        results: protocol name to `Result`.
        shares: `(parts,)` share of the object's pixels in each part; 0 for an empty part.
        skipped: name of a protocol that was not run, to what it lacked.
        method: the model's name in tables.
        masks: source of the given masks.
        split: name of the split; "" if unknown. Tables show published numbers for "test" only.
        subset: the reader options that selected a subset of the split, such as "classes=[1]"; ""
            for the whole split. Tables show published numbers for whole splits only.
        supervision: what the model was trained with, such as "masks"; "" if unknown.
        notes: remarks on the data, such as what a partial copy lacks.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "test", count=4)
        >>> report = metrics.evaluate(metrics.colour_baseline(animals, 2), animals, 2)
        >>> report.num_images, sorted(report.values["pixels-foreground"])
        (4, ['FG-ARI', 'FG-NMI'])
        >>> print(report.to_table())
        toy, 4 images, K=2
        ...
    """

    dataset: str
    num_parts: int
    num_images: int
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
        """{protocol: {metric: value in per cent}}."""
        return {name: dict(result.values) for name, result in self.results.items()}

    def to_json(self) -> str:
        """The whole report, contingency tables included, as a JSON object."""
        protocols = {
            name: {
                "title": PROTOCOLS[name].title,
                "values": dict(result.values),
                "best": dict(result.best),
                "samples": result.num_images,
                "observations": result.num_observations,
                "shares": list(result.shares),
                "labels": list(result.labels),
                "notes": list(result.notes),
                "counts": None if result.counts is None else result.counts.tolist(),
            }
            for name, result in self.results.items()
        }
        content = {
            "method": self.method,
            "dataset": self.dataset,
            "split": self.split,
            "subset": self.subset,
            "parts": self.num_parts,
            "samples": self.num_images,
            "masks": self.masks,
            "supervision": self.supervision,
            "notes": list(self.notes),
            "shares": list(self.shares),
            "protocols": protocols,
            "skipped": dict(self.skipped),
        }
        return json.dumps(content, indent=2)

    def to_table(self, *beside: "Report | Runs", width: int = 100) -> str:
        """The report as plain text: a table for each protocol.

        Published numbers of the same K are added where the whole test split was measured.

        Args:
            *beside: reports of baselines on the same data with the same K, shown in further rows.
            width: maximum number of characters in a line of text; rows of tables may be longer.

        Raises:
            ConfigError: a report of `beside` has another data set, split, subset or K.
        """
        return Runs((self,)).to_table(*beside, width=width)


@dataclass(frozen=True, eq=False)
class Runs:
    """Several runs of one method with different seeds: printed as mean and standard deviation.

    Attributes:
        reports: one report for each run, of the same protocols on the same split.
        method: the method's name in tables; by default the first report's.
        intervals: {protocol: {metric: (low, high)}} in per cent, see `with_intervals`.

    Raises:
        ConfigError: there are no reports, or they differ in data, K or protocols.

    Example:
        >>> from keras_parts import data, metrics
        >>> from keras_parts.metrics import Runs
        >>> animals = data.load("toy", "test", count=4)
        >>> models = [metrics.colour_baseline(animals, 2, seed) for seed in (0, 1)]
        >>> runs = Runs([metrics.evaluate(model, animals, 2) for model in models])
        >>> sorted(runs.summary()["pixels-foreground"]["FG-NMI"])
        ['interval', 'mean', 'std', 'values']
    """

    reports: Sequence[Report]
    method: str = ""
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.reports:
            raise ConfigError("there are no runs to combine")
        first = self.reports[0]
        object.__setattr__(self, "method", self.method or first.method)
        for other in self.reports:
            if _comparable(other) != _comparable(first):
                raise ConfigError(
                    f"{other.method} and {first.method} are not runs of one method: data set, "
                    "split, K, number of images and protocols must be the same"
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
    def num_parts(self) -> int:
        return self.reports[0].num_parts

    @property
    def num_images(self) -> int:
        return self.reports[0].num_images

    @property
    def results(self) -> Mapping[str, Result]:
        """The results of the first run."""
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
        """The metric in per cent, one value for each run that measured it."""
        found = [report.results[protocol].values.get(metric) for report in self.reports]
        return [value for value in found if value is not None]

    def with_intervals(
        self, *, level: float = 0.95, num_draws: int = 1000, seed: int = 0
    ) -> "Runs":
        """A copy with bootstrap intervals over images, see `bootstrap_intervals`."""
        options = {"num_draws": num_draws, "seed": seed}
        found = {
            protocol: bootstrap_intervals(
                [report.results[protocol] for report in self.reports], level=level, **options
            )
            for protocol in self.results
        }
        return Runs(self.reports, self.method, found)

    def summary(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{protocol: {metric: {"mean", "std", "interval", "values"}}}; std is None for one run."""
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
        """The summary and the report of each run as a JSON object."""
        content = {
            "method": self.method,
            "dataset": self.dataset,
            "split": self.split,
            "subset": self.subset,
            "parts": self.num_parts,
            "samples": self.num_images,
            "masks": self.masks,
            "supervision": self.supervision,
            "notes": list(self.notes),
            "summary": self.summary(),
            "runs": [json.loads(report.to_json()) for report in self.reports],
        }
        return json.dumps(content, indent=2)

    def to_table(self, *beside: "Report | Runs", width: int = 100) -> str:
        """The runs as plain text, see `Report.to_table`."""
        others = [one if isinstance(one, Runs) else Runs((one,)) for one in beside]
        for other in others:
            if _setting(other) != _setting(self):
                raise ConfigError(
                    f"{other.method} was measured on {_setting(other)}, but {self.method} on "
                    f"{_setting(self)}: one table needs the same data and K"
                )
        return results_table([self, *others], width=width)


def _setting(report: Report | Runs) -> str:
    """The data and K, which must be the same for all results in a table."""
    return f"{measured_data(report)} with K={report.num_parts}"


def _comparable(report: Report) -> tuple[str, int, set[str]]:
    """The properties that runs of one method must share."""
    return _setting(report), report.num_images, set(report.results)
