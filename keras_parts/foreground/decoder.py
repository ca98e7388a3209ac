"""A decoder of positions with their surroundings: object or background, from their features."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_parts.discovery.objectives import (
    foreground_cross_entropy,
    foreground_dice,
    limit_outliers,
)
from keras_parts.foreground.classifier import channel_moments
from keras_parts.models.heads import Fusion

STEPS = 100
_BATCH = 8
_WIDTH, _UNITS = 64, 2
_RATE, _WEIGHT_DECAY, _WARM_UP = 2e-3, 1e-2, 20
_FEATURES = "features"  # name of the only map that is fused
_OUTLIERS = 1.0  # the largest loss of a mask, in medians of a batch


class ObjectDecoder(keras.Model):
    """From features `(batch, h, w, channels)` to the logits `(batch, h, w, 1)` of the object.

    A position is judged with its surroundings, so that the decoder learns what shapes the objects
    of all photographs have.

    Args:
        mean, std: `(channels,)`, by which the features are standardised.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray):
        super().__init__(name="object_decoder")
        self.mean, self.std = mean, std
        self.fusion = Fusion(_WIDTH, _UNITS)
        self.logits = layers.Conv2D(1, 1)

    def build(self, input_shape: Any) -> None:
        self.fusion.build({_FEATURES: input_shape})
        self.logits.build((*input_shape[:-1], _WIDTH))

    def call(self, features: Any) -> Any:
        standardised = (ops.cast(features, "float32") - self.mean) / self.std
        return self.logits(self.fusion({_FEATURES: standardised}))

    def probabilities(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The probability of the object at each position, `(h, w)` float32 for each image."""
        maps: list[np.ndarray] = []
        for start in range(0, len(features), _BATCH):
            batch = list(features[start : start + _BATCH])
            logits = self.predict_on_batch(np.stack(batch + batch[-1:] * (_BATCH - len(batch))))
            maps.extend(1 / (1 + np.exp(-np.clip(logits[: len(batch), ..., 0], -30, 30))))
        return maps


def fit_decoder(
    features: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    seed: int = 0,
    steps: int = STEPS,
    after_step: Callable[[], Any] = lambda: None,
) -> ObjectDecoder:
    """Fit an `ObjectDecoder` to masks, some of which are wrong.

    A mask that the decoder contradicts counts as much as the median of its batch at most, and there
    are few steps: errors of single masks are learned last.

    Args:
        features: of each photograph, `(h, w, channels)`.
        targets: of each photograph, `(h, w)`, the share of the object at each position, 0 to 1.
        seed: of the first weights and the order of the photographs.
        steps: number of steps.
        after_step: called after each step.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground.decoder import fit_decoder
        >>> features = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype("float32")
        >>> decoder = fit_decoder(features, features[..., 0] > 0, steps=2)
        >>> [each.shape for each in decoder.probabilities(features)]
        [(9, 9), (9, 9)]
    """
    decoder = ObjectDecoder(*channel_moments(features))
    decoder.build((None, *features[0].shape))
    for number, variable in enumerate(decoder.trainable_variables):
        if len(variable.shape) > 1:
            initializer = keras.initializers.GlorotUniform(seed=seed + number)
            variable.assign(initializer(variable.shape))
    warm_up = min(_WARM_UP, steps // 2)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=_WEIGHT_DECAY, clipnorm=5.0)
    decoder.compile(optimizer, loss=_loss)
    random = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = random.integers(0, len(features), _BATCH)
        maps = np.stack([features[index] for index in chosen])
        target = np.stack([targets[index] for index in chosen])[..., None].astype(np.float32)
        if random.random() < 0.5:
            maps, target = maps[:, :, ::-1], target[:, :, ::-1]
        decoder.train_on_batch(maps, target)
        after_step()
    return decoder


def _loss(target, logits):
    losses = foreground_cross_entropy(logits, target, reduction="none")
    losses += foreground_dice(logits, target, reduction="none")
    return ops.mean(limit_outliers(losses, _OUTLIERS))
