"""The baselines by name."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_parts.data.dataset import Dataset
from keras_parts.errors import ConfigError, suggestion
from keras_parts.metrics.baselines.centroids import (
    colour_baseline,
    feature_baseline,
    position_baseline,
)
from keras_parts.metrics.baselines.factorisation import factor_baseline
from keras_parts.metrics.baselines.features import FeatureExtractor
from keras_parts.metrics.baselines.slic import slic_baseline
from keras_parts.metrics.baselines.spectral import spectral_baseline
from keras_parts.metrics.part_model import PartModel


@dataclass(frozen=True)
class Baseline:
    """A baseline; call it to fit it on a train split.

    Attributes:
        title: what it does, for tables; "{features}" stands for the name of the features.
        make: function from `(dataset, num_parts, seed)` to a `PartModel`, or from `(features,
            dataset, num_parts, seed)` if it needs features.
        needs_features: whether it clusters given features.
        supervision: what it is fitted with besides images of one category.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "train", count=4)
        >>> metrics.BASELINES["kmeans-colour"](animals, 3).has_background
        False
    """

    title: str
    make: Callable[..., PartModel]
    needs_features: bool
    supervision: str = "masks"

    def __call__(
        self,
        dataset: Dataset,
        num_parts: int,
        seed: int = 0,
        features: FeatureExtractor | None = None,
    ) -> PartModel:
        """Fit the baseline.

        Args:
            dataset: the train split, with masks.
            num_parts: K.
            seed: seed for choosing vectors and for clustering.
            features: the features to cluster, for baselines that need them.

        Raises:
            ConfigError: the baseline needs features and none are given, or a library is not
                installed.
            DataError: an image has no mask, or there are fewer foreground vectors than parts.
        """
        if not self.needs_features:
            return self.make(dataset, num_parts, seed)
        if features is None:
            title = self.title.format(features="features")
            raise ConfigError(
                f"{title} needs the features of a teacher: give `features`, such as "
                "keras_parts.metrics.teacher_features(...).extract"
            )
        return self.make(features, dataset, num_parts, seed)


BASELINES = {
    "kmeans-colour": Baseline("k-means on Lab colour", colour_baseline, needs_features=False),
    "kmeans-position": Baseline(
        "k-means on colour and position", position_baseline, needs_features=False
    ),
    "slic": Baseline("SLIC superpixels", slic_baseline, needs_features=False),
    "kmeans-features": Baseline("k-means on {features}", feature_baseline, needs_features=True),
    "nmf-features": Baseline("NMF of {features}", factor_baseline, needs_features=True),
    "spectral-features": Baseline(
        "spectral clustering of {features}", spectral_baseline, needs_features=True
    ),
}


def baseline_named(name: str) -> Baseline:
    """The baseline of this name in `BASELINES`.

    Raises:
        ConfigError: there is no baseline of this name.

    Example:
        >>> from keras_parts.metrics import baseline_named
        >>> baseline_named("kmeans-colour").title
        'k-means on Lab colour'
    """
    if name not in BASELINES:
        raise ConfigError(
            f"no baseline is called {name!r}: choose from {', '.join(BASELINES)}"
            f"{suggestion(name, BASELINES)}"
        )
    return BASELINES[name]
