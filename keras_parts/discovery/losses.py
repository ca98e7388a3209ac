"""The losses by name, each with its own settings.

To add a loss, see CONTRIBUTING.md.

Recipes import this module without Keras: `keras_parts.objectives` is first imported when a loss is
computed.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import keras_parts
from keras_parts.discovery.defaults import LOSS_WEIGHTS
from keras_parts.errors import ConfigError
from keras_parts.settings import Settings, choice, integer, number

if TYPE_CHECKING:
    from keras_parts.discovery.views import Views

Tensor = Any
"""A tensor of the running backend."""
WeightedLosses = Mapping[str, tuple[Callable[["Views"], Tensor], float]]
"""`{name: (function of the views, weight)}`."""


@dataclass(frozen=True)
class Loss(Settings):
    """Base of a loss: a frozen dataclass with the settings of the loss, called with `Views`.

    Attributes:
        name: name of the loss in recipes, logs and `LOSSES`.
        needs_features: whether the loss is computed from teacher features.

    Example:
        >>> from dataclasses import dataclass
        >>> from keras import ops
        >>> from keras_parts.discovery import LOSSES, Loss, create_loss
        >>> from keras_parts.settings import number
        >>> @dataclass(frozen=True)
        ... class Confidence(Loss):
        ...     name = "confidence"
        ...     power: float = number(1.0, 0, 8)
        ...
        ...     def __call__(self, views):
        ...         return -ops.mean(ops.max(ops.softmax(views.logits), axis=-1) ** self.power)
        >>> LOSSES["confidence"] = Confidence
        >>> create_loss("confidence", {"power": 2.0})
        Confidence(power=2.0)
        >>> del LOSSES["confidence"]
    """

    name: ClassVar[str]
    needs_features: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        cls.prefix = f"{getattr(cls, 'name', cls.__name__)}."

    def __call__(self, views: "Views") -> Tensor:
        """The loss of a batch, a float32 scalar."""
        raise NotImplementedError


@dataclass(frozen=True)
class FeatureConsistency(Loss):
    """See `keras_parts.objectives.feature_consistency`; prominence weights the positions."""

    name: ClassVar[str] = "feature_consistency"

    def __call__(self, views: "Views") -> Tensor:
        # A squared distance is a sum over channels: the losses of the maps add up to the loss of
        # all channels, and each map is upsampled only once, from its own resolution.
        return sum(
            keras_parts.objectives.feature_consistency(
                views.logits, views.weighted_foreground, features, reduction="mean"
            )
            for features in views.feature_maps
        )


@dataclass(frozen=True)
class VisualConsistency(Loss):
    """See `keras_parts.objectives.visual_consistency`; the image is in CIE Lab."""

    name: ClassVar[str] = "visual_consistency"
    needs_features: ClassVar[bool] = False

    def __call__(self, views: "Views") -> Tensor:
        return keras_parts.objectives.visual_consistency(views.logits, views.foreground, views.lab)


@dataclass(frozen=True)
class Contrastive(Loss):
    """See `keras_parts.objectives.contrastive`.

    Attributes:
        temperature: divisor of the cosine of two descriptors.
        positives: "all" averages over all positives of an anchor, "one" draws one at random.
    """

    name: ClassVar[str] = "contrastive"
    temperature: float = number(0.19, 1e-3, 100)
    positives: str = choice("all", ("all", "one"))

    def __call__(self, views: "Views") -> Tensor:
        return keras_parts.objectives.contrastive(
            views.descriptors, self.temperature, self.positives, views.seed
        )


@dataclass(frozen=True)
class Equivariance(Loss):
    """See `keras_parts.objectives.equivariance`."""

    name: ClassVar[str] = "equivariance"
    needs_features: ClassVar[bool] = False

    def __call__(self, views: "Views") -> Tensor:
        return keras_parts.objectives.equivariance(
            views.target_logits, views.warped_logits, views.warped_foreground
        )


@dataclass(frozen=True)
class Distillation(Loss):
    """The parts stay those of the teacher: `keras_parts.objectives.equivariance` of its logits and
    those of the first view. Its features must be part logits, see
    `keras_parts.discovery.create_teacher`."""

    name: ClassVar[str] = "distillation"

    def __call__(self, views: "Views") -> Tensor:
        from keras_parts.discovery.views import join_maps
        from keras_parts.ops import resize_aligned

        targets = join_maps(views.feature_maps)
        if targets.shape[-1] != views.logits.shape[-1]:
            raise ConfigError(
                f"distillation: the teacher has {targets.shape[-1]} channels, the segmenter "
                f"{views.logits.shape[-1]} parts: give the teacher 'segmenter' with as many parts, "
                "and 'part_logits' as its only layer"
            )
        targets = resize_aligned(targets, views.logits.shape[1:3])
        return keras_parts.objectives.equivariance(targets, views.logits, views.foreground)


@dataclass(frozen=True)
class Foreground(Loss):
    """The mean over both views of `keras_parts.objectives.foreground_cross_entropy` and, weighted,
    `keras_parts.objectives.foreground_dice`.

    Attributes:
        dice: weight of the Dice loss relative to the cross-entropy.
        outline: additional weight of the pixels at the outline in the cross-entropy.
        outliers: maximum of an image's loss in medians of the batch, see
            `keras_parts.objectives.limit_outliers`; None does not limit it.
    """

    name: ClassVar[str] = "foreground"
    needs_features: ClassVar[bool] = False
    dice: float = number(1.0, 0, 100)
    outline: float = number(0.0, 0, 100)
    outliers: float | None = number(None, 1, 1e6, optional=True)

    def __call__(self, views: "Views") -> Tensor:
        pairs = (
            (views.foreground_logits, views.foreground),
            (views.warped_foreground_logits, views.second_foreground),
        )
        return sum(self._of_view(*pair) for pair in pairs) / len(pairs)

    def _of_view(self, logits: Tensor, foreground: Tensor) -> Tensor:
        from keras import ops

        objectives = keras_parts.objectives
        losses = objectives.foreground_cross_entropy(
            logits, foreground, self.outline, reduction="none"
        )
        if self.dice:
            losses += self.dice * objectives.foreground_dice(logits, foreground, reduction="none")
        if self.outliers is not None:
            losses = objectives.limit_outliers(losses, self.outliers)
        return ops.mean(losses)


@dataclass(frozen=True)
class Balance(Loss):
    """See `keras_parts.objectives.balance`."""

    name: ClassVar[str] = "balance"
    needs_features: ClassVar[bool] = False

    def __call__(self, views: "Views") -> Tensor:
        return keras_parts.objectives.balance(views.logits, views.foreground)


@dataclass(frozen=True)
class Presence(Loss):
    """See `keras_parts.objectives.presence`.

    Attributes:
        minimum: share of the foreground, relative to an equal share, below which a part is empty.
    """

    name: ClassVar[str] = "presence"
    minimum: float = number(0.1, 0, 1)

    def __call__(self, views: "Views") -> Tensor:
        return keras_parts.objectives.presence(
            views.logits, views.foreground, views.compared_features, self.minimum
        )


@dataclass(frozen=True)
class Clusters(Loss):
    """See `keras_parts.objectives.cluster_cross_entropy`; it decays, as it only initialises parts.

    Attributes:
        decay_steps: number of training steps in which the factor of the loss falls linearly from 1
            to 0.
        centres: float32 `(parts, channels)`, from `keras_parts.discovery.find_clusters`; with None
            the loss is 0.
    """

    name: ClassVar[str] = "clusters"
    decay_steps: int = integer(80, 1, 10**8)
    centres: Any = field(default=None, repr=False, compare=False)

    def __call__(self, views: "Views") -> Tensor:
        from keras import ops

        if self.centres is None:
            return ops.zeros(())
        factor = ops.maximum(0.0, 1.0 - views.step / self.decay_steps)
        return factor * keras_parts.objectives.cluster_cross_entropy(
            views.logits, views.foreground, views.compared_features, self.centres
        )


LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        FeatureConsistency,
        VisualConsistency,
        Contrastive,
        Equivariance,
        Distillation,
        Foreground,
        Balance,
        Presence,
        Clusters,
    )
}
"""Loss name -> class."""


def create_losses(
    weights: Mapping[str, float], settings: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, tuple[Loss, float]]:
    """The losses of `LOSSES` that have a weight, as `PartDiscovery` takes them.

    Args:
        weights: `{name: weight}`.
        settings: `{name: {setting: value}}`; the other settings have their default values.

    Returns:
        `{name: (loss, weight)}`.

    Raises:
        ConfigError: there is no such loss or setting, or a value is outside its range.

    Example:
        >>> from keras_parts.discovery import create_losses
        >>> create_losses({"contrastive": 0.75}, {"contrastive": {"temperature": 0.2}})
        {'contrastive': (Contrastive(temperature=0.2, positives='all'), 0.75)}
    """
    settings = settings or {}
    return {
        name: (create_loss(name, settings.get(name, {})), float(weight))
        for name, weight in weights.items()
    }


def complete_losses(losses: Mapping[str, Any] | None) -> dict[str, tuple[Any, float]]:
    """The losses of `PartDiscovery` as functions and weights.

    Args:
        losses: `{name: (function, weight)}`, or `{name: weight}` for those of `LOSSES`; None for
            those of the recipe "default", without the clusters, which must be found first.

    Returns:
        `{name: (function, weight)}`.

    Raises:
        ConfigError: a value is neither, a weight is no number of at least 0, a function does not
            take one argument, or there is no loss of this name.
    """
    if losses is None:
        losses = {name: weight for name, weight in LOSS_WEIGHTS.items() if name != Clusters.name}
    if not isinstance(losses, Mapping):
        raise ConfigError(f"losses is {losses!r}, expected {{name: (function, weight)}}")
    return {name: _weighted(name, value) for name, value in losses.items()}


def _weighted(name: str, value: Any) -> tuple[Any, float]:
    if _is_weight(value):
        return create_loss(name, {}), float(value)
    is_pair = isinstance(value, tuple | list) and len(value) == 2
    if not is_pair or not callable(value[0]) or not _is_weight(value[1]):
        raise ConfigError(
            f"loss {name!r} is {value!r}, expected a weight of at least 0, or (function of the "
            "views, weight)"
        )
    _check_signature(name, value[0])
    return value[0], float(value[1])


def _check_signature(name, function):
    """Refuse functions that cannot be called with the views alone, such as losses of Keras."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions of C have none
        return
    try:
        signature.bind(None)
    except TypeError:
        raise ConfigError(
            f"loss {name!r} takes {signature}, expected one argument, the views: losses of Keras "
            "compare labels, for which you compile a PartSegmenter"
        ) from None


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def create_loss(name: str, settings: Mapping[str, Any]) -> Loss:
    """A loss of `LOSSES` with its settings.

    Args:
        name: name in `LOSSES`.
        settings: `{setting: value}`; the other settings have their default values.

    Raises:
        ConfigError: there is no such loss or setting, or a value is outside its range.

    Example:
        >>> from keras_parts.discovery import create_loss
        >>> create_loss("contrastive", {"positives": "one"})
        Contrastive(temperature=0.19, positives='one')
    """
    if name not in LOSSES:
        raise ConfigError(f"there is no loss {name!r}; there are {', '.join(LOSSES)}")
    known = LOSSES[name].setting_names()
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        listed = f"has only {', '.join(known)}" if known else "has no settings"
        raise ConfigError(f"there is no setting {name}.{unknown[0]}: the loss {listed}")
    return LOSSES[name](**settings)
