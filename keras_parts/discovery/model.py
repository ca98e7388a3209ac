"""`PartDiscovery` trains a segmenter with a frozen teacher and two views of each image."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_parts.discovery.losses import WeightedLosses
from keras_parts.discovery.standardiser import Standardiser
from keras_parts.discovery.steps import TrainStep
from keras_parts.discovery.teachers import Teacher
from keras_parts.discovery.transforms import ViewTransforms
from keras_parts.discovery.views import Tensor, Views
from keras_parts.errors import ConfigError
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.ops import (
    binary_mask,
    colour_jitter,
    downsample_aligned,
    grid_sample,
    prominence,
    random_source_points,
    resize_aligned,
    rgb_to_lab,
    split_background,
    thin_plate_grid,
)


class PartDiscovery(TrainStep, keras.Model):
    """Trains a segmenter to find parts, without part labels.

    Batches are dicts with "image" `(batch, size, size, 3)`, RGB in 0 to 255, uint8 or float;
    "foreground" `(batch, size, size, 1)`, bool, 0 and 1, or 0 and 255; and "features"
    `(batch, h, w, channels)`, the teacher features, if they are cached.

    Args:
        segmenter: the `PartSegmenter` to train.
        losses: `{name: (function, weight)}`; a function takes `Views` and returns a scalar.
            `create_losses` makes those of `LOSSES`. A loss of weight 0 is reported, but has no
            effect on the training.
        teacher: a `Teacher`, for batches without "features". Its layers stay maps of their own
            resolution, unless a standardiser or the prominence needs all channels of a position.
        standardiser: a `Standardiser` for the teacher features, or None.
        loss_size: side in pixels of the maps from which losses are computed; None takes the side
            of the input.
        view_transforms: the random transforms between the views; None takes the paper's.
        centre_features: see `Views`.
        prominence_exponent: exponent of `keras_parts.ops.prominence`, which weights the positions
            in the feature consistency; 0 gives all positions the same weight (the paper).
        seed: seed of all random draws.

    Example:
        >>> import numpy as np
        >>> from keras_parts import PartDiscovery, PartSegmenter
        >>> from keras_parts.discovery import create_losses
        >>> from keras_parts.models import SegmenterConfig
        >>> segmenter = PartSegmenter(SegmenterConfig(3, "small", image_size=33))
        >>> losses = create_losses({"feature_consistency": 5.0, "balance": 1.0})
        >>> discovery = PartDiscovery(segmenter, losses, loss_size=9)
        >>> batch = {
        ...     "image": np.zeros((2, 33, 33, 3), "float32"),
        ...     "foreground": np.ones((2, 33, 33, 1), "float32"),
        ...     "features": np.zeros((2, 3, 3, 8), "float32"),
        ... }
        >>> sorted(discovery.compute_losses(batch))
        ['balance', 'feature_consistency']
    """

    def __init__(
        self,
        segmenter: PartSegmenter,
        losses: WeightedLosses,
        *,
        teacher: Teacher | None = None,
        standardiser: Standardiser | None = None,
        loss_size: int | None = None,
        view_transforms: ViewTransforms | None = None,
        centre_features: bool = False,
        prominence_exponent: float = 0.0,
        seed: int = 0,
    ):
        super().__init__(name="part_discovery")
        self.segmenter = segmenter
        self.loss_functions = {name: function for name, (function, _) in losses.items()}
        self.teacher = teacher
        self.standardiser = standardiser
        self.loss_size = loss_size
        self.view_transforms = view_transforms or ViewTransforms()
        # Settings of the model and not of one loss, because they are shared: `centre_features` by
        # the contrastive loss, the cluster loss and `find_clusters`; `prominence_exponent` by the
        # feature consistency and `find_clusters`.
        self.centre_features = centre_features
        self.prominence_exponent = prominence_exponent
        # A weight of the model: on JAX the losses are computed without access to the optimizer.
        self.steps_made = self.add_weight(
            (), "zeros", trainable=False, aggregation="only_first_replica", name="steps_made"
        )
        self.seed = keras.random.SeedGenerator(seed, name="views")
        self.track_losses({name: weight for name, (_, weight) in losses.items()})
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        return self.segmenter(images, training=training)

    def compute_losses(
        self, batch: Mapping[str, Tensor], training: bool = True
    ) -> dict[str, Tensor]:
        """Every loss of a batch, before it is weighted.

        Args:
            batch: see the class.
            training: as in Keras; training steps are counted in `steps_made`.

        Returns:
            `{name: float32 scalar}`.

        Raises:
            ConfigError: the batch has no "features" and there is no teacher.
        """
        views = self.make_views(batch, training)
        losses = {name: loss(views) for name, loss in self.loss_functions.items()}
        if training:
            self.steps_made.assign(self.steps_made + 1)
        return losses

    def make_views(self, batch: Mapping[str, Tensor], training: bool = True) -> Views:
        """The two views of a batch, with the logits of both; arguments as in `compute_losses`."""
        image = ops.cast(batch["image"], "float32") / 255  # the transforms take 0 to 1
        size = self.loss_size or image.shape[1]
        points = self._source_points(ops.shape(image)[0])

        first = self._jitter(image) if self.view_transforms.jitter_first else image
        second = grid_sample(self._jitter(image), thin_plate_grid(points, *image.shape[1:3]))
        logits, warped_logits = (
            resize_aligned(maps, (size, size))
            for maps in self.segment_views(255 * first, 255 * second, training)
        )
        foreground = _downsample_mask(batch["foreground"], size)
        grid = thin_plate_grid(points, size, size)
        features = self._feature_maps(batch)
        parts, foreground_logits = split_background(logits)
        warped_parts, warped_foreground_logits = split_background(warped_logits)
        return Views(
            logits=parts,
            foreground=foreground,
            weighted_foreground=self._weighted_by_prominence(foreground, features),
            foreground_logits=foreground_logits,
            lab=rgb_to_lab(downsample_aligned(image, (size, size))),
            feature_maps=features,
            target_logits=grid_sample(parts, grid),
            warped_logits=warped_parts,
            warped_foreground=grid_sample(foreground, grid),
            warped_foreground_logits=warped_foreground_logits,
            centre_features=self.centre_features,
            seed=self.seed,
            step=ops.convert_to_tensor(self.steps_made),
        )

    def segment_views(self, first: Tensor, second: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Logits of both views, `(batch, height, width, 1 + parts)` each.

        The views are `(batch, size, size, 3)`, RGB in 0 to 255.
        The network runs once on both, but twice where batch normalisation uses batch statistics:
        the statistics of one view must not depend on the other.
        """
        if self.segmenter.updates_statistics:
            return self.segmenter(first, training=training), self.segmenter(
                second, training=training
            )
        both = self.segmenter(ops.concatenate([first, second]), training=training)
        count = ops.shape(first)[0]
        return both[:count], both[count:]

    def _jitter(self, images: Tensor) -> Tensor:
        transforms = self.view_transforms
        return colour_jitter(
            images,
            self.seed,
            brightness=transforms.brightness,
            contrast=transforms.contrast,
            saturation=transforms.saturation,
            hue=transforms.hue,
            probability=transforms.jitter_probability,
            grey_probability=transforms.grey_probability,
        )

    def _source_points(self, batch_size: Any) -> Tensor:
        transforms = self.view_transforms
        return random_source_points(
            batch_size,
            self.seed,
            jitter=transforms.bend,
            rotation=transforms.rotation,
            scale=transforms.scale,
            shift=transforms.shift,
            mirror=transforms.mirror,
        )

    def _weighted_by_prominence(self, foreground: Tensor, feature_maps: list[Tensor]) -> Tensor:
        if not self.prominence_exponent:
            return foreground
        (features,) = feature_maps
        return foreground * prominence(features, foreground) ** self.prominence_exponent

    def _feature_maps(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        maps = [
            ops.stop_gradient(ops.cast(features, "float32"))
            for features in self._teacher_features(batch)
        ]
        return list(map(self.standardiser.apply, maps)) if self.standardiser else maps

    def _teacher_features(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        """One map with all channels, or a map for each resolution if nothing needs them joined."""
        if "features" in batch:
            return [batch["features"]]
        if self.teacher is None:
            raise ConfigError(
                f"the batch has {sorted(batch)} and no 'features': add teacher features to the "
                "batches, or give PartDiscovery a teacher"
            )
        if self.standardiser or self.prominence_exponent:
            return [self.teacher(batch["image"])]
        return self.teacher.maps(ops.cast(batch["image"], "float32"))


def _downsample_mask(mask: Tensor, size: int) -> Tensor:
    """A mask at the resolution of the losses: 1 where more than half of a cell is inside."""
    mask = binary_mask(mask)
    if mask.shape[1] == size:
        return mask
    return ops.cast(downsample_aligned(mask, (size, size)) > 0.5, "float32")
