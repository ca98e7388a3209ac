"""`Views`: the tensors of a training step from which the losses are computed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keras import ops

from keras_parts.ops import finest_size, part_descriptors, part_means, resize_aligned

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
        weighted_foreground: the foreground times the weight of each position.
        foreground_logits: `(batch, height, width, 1)` of the first view.
        lab: `(batch, height, width, 3)`, the image without colour jitter in CIE Lab.
        feature_maps: teacher features of the image without colour jitter: a list of one map
            `(batch, h, w, channels)`, or of a map for each resolution with a part of the channels.
        target_logits: the logits of the first view, warped like the second view.
        warped_logits: the logits of the second view.
        warped_foreground: the foreground of the second view.
        warped_foreground_logits: the foreground logits of the second view.
        centre_features: whether `descriptors` and `compared_features` are relative to the mean
            feature of the foreground of their image.
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
    weighted_foreground: Tensor
    foreground_logits: Tensor
    lab: Tensor
    feature_maps: Sequence[Tensor]
    target_logits: Tensor
    warped_logits: Tensor
    warped_foreground: Tensor
    warped_foreground_logits: Tensor
    centre_features: bool
    seed: Any
    step: Tensor

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
