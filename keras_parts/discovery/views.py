"""`Views`: the tensors of a training step from which the losses are computed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keras import ops

from keras_parts.ops import (
    finest_size,
    part_descriptors,
    part_means,
    prominence,
    resize_aligned,
)

Tensor = Any
"""A tensor of the running backend."""


@dataclass(frozen=True, eq=False)
class Views:
    """Two views of a batch: the images, and the same images warped.

    All tensors are float32. Maps are at the resolution of the losses, `(height, width)`; teacher
    features keep their own, `(h, w)`.

    Attributes:
        logits: `(batch, height, width, parts)` of the first view.
        foreground: `(batch, height, width, 1)`, 0 or 1.
        foreground_logits: `(batch, height, width, 1)` of the first view.
        lab: `(batch, height, width, 3)`, the image without colour jitter in CIE Lab.
        teacher_features: function that computes `feature_maps`, which not every loss needs.
        target_logits: the logits of the first view, warped like the second view.
        warped_logits: the logits of the second view.
        warped_foreground: the foreground of the second view where the first view shows it too.
        second_foreground: the whole foreground of the second view. It differs from
            `warped_foreground` only if the second view is of a scene, see
            `keras_parts.data.SceneSettings`.
        warped_foreground_logits: the foreground logits of the second view.
        batch: the batch itself, with whatever losses of your own take from it.
        centre_features: whether `descriptors` and `compared_features` are relative to the mean
            feature of the foreground of their image.
        prominence_exponent: exponent of `keras_parts.ops.prominence` in `weighted_foreground`.
        seed: a `keras.random.SeedGenerator`, for losses that draw random numbers.
        step: scalar, number of training steps made so far.

    Example:
        >>> import numpy as np
        >>> from keras_parts import PartDiscovery, PartSegmenter
        >>> from keras_parts.models import SegmenterConfig
        >>> segmenter = PartSegmenter(SegmenterConfig(3, "small", image_size=33))
        >>> discovery = PartDiscovery(segmenter, losses={}, loss_size=9)
        >>> batch = {
        ...     "image": np.zeros((2, 33, 33, 3), "float32"),
        ...     "foreground": np.ones((2, 33, 33, 1), "float32"),
        ...     "features": np.zeros((2, 3, 3, 8), "float32"),
        ... }
        >>> views = discovery.make_views(batch)
        >>> tuple(views.logits.shape), tuple(views.descriptors.shape)
        ((2, 9, 9, 3), (2, 3, 8))
    """

    logits: Tensor
    foreground: Tensor
    foreground_logits: Tensor
    lab: Tensor
    teacher_features: Callable[[], Sequence[Tensor]]
    target_logits: Tensor
    warped_logits: Tensor
    warped_foreground: Tensor
    second_foreground: Tensor
    warped_foreground_logits: Tensor
    batch: Mapping[str, Tensor]
    centre_features: bool
    prominence_exponent: float
    seed: Any
    step: Tensor

    @cached_property
    def feature_maps(self) -> Sequence[Tensor]:
        """Teacher features of the image without colour jitter, float32.

        A list of one map `(batch, h, w, channels)`, or of a map for each resolution with a part of
        the channels.

        Raises:
            ConfigError: the batch has no features, and there is no teacher.
        """
        return self.teacher_features()

    @cached_property
    def weighted_foreground(self) -> Tensor:
        """The foreground times the weight of each position, `(batch, height, width, 1)`."""
        if not self.prominence_exponent:
            return self.foreground
        (features,) = self.feature_maps
        return self.foreground * prominence(features, self.foreground) ** self.prominence_exponent

    @cached_property
    def mean_feature(self) -> Tensor:
        """Mean feature of the foreground of each image, `(batch, 1, channels)`."""
        return _concatenated(part_means(self.foreground, each) for each in self.feature_maps)

    @cached_property
    def descriptors(self) -> Tensor:
        """Mean feature of each part, `(batch, parts, channels)`.

        With `centre_features` the mean feature of the foreground is subtracted: the species of an
        animal and the light of a photograph influence the features of all parts alike, and do not
        tell parts apart.
        """
        descriptors = _concatenated(
            part_descriptors(self.logits, self.foreground, each) for each in self.feature_maps
        )
        return descriptors - self.mean_feature if self.centre_features else descriptors

    @cached_property
    def compared_features(self) -> Tensor:
        """One map with all channels, `(batch, h, w, channels)`.

        With `centre_features` the mean feature of the foreground is subtracted.
        """
        features = join_maps(self.feature_maps)
        return features - self.mean_feature[:, None] if self.centre_features else features


def join_maps(maps: Sequence[Tensor]) -> Tensor:
    """Upsample maps to the finest one, with aligned corners, and concatenate their channels.

    Args:
        maps: maps `(batch, h, w, channels)`, each with its own `h`, `w` and `channels`.

    Returns:
        `(batch, h, w, channels)`, with `h` and `w` of the finest map and all channels.
    """
    if len(maps) == 1:
        return ops.cast(maps[0], "float32")
    size = finest_size(maps)
    return _concatenated(resize_aligned(features, size) for features in maps)


def _concatenated(tensors: Iterable[Tensor]) -> Tensor:
    return ops.concatenate(list(tensors), axis=-1)
