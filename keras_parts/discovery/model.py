"""PartDiscovery: a segmenter learns parts from a frozen teacher and from its own two views."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
from keras import ops

from keras_parts.discovery import objectives
from keras_parts.discovery.steps import TrainStep
from keras_parts.discovery.views import ViewSettings
from keras_parts.errors import ConfigError
from keras_parts.ops import (
    colour_jitter,
    grid_sample,
    part_descriptors,
    part_means,
    prominence,
    random_source_points,
    reduce_aligned,
    resize_aligned,
    rgb_to_lab,
    split_background,
    thin_plate_grid,
)


@dataclass(frozen=True)
class Views:
    """What the losses see, all at the resolution of the losses, the features at their own.

    Attributes:
        logits: `(batch, height, width, parts)` of the first view.
        foreground: `(batch, height, width, 1)`, 0 or 1.
        weighted_foreground: the same, weighted by the places' prominence.
        foreground_logits: `(batch, height, width, 1)` of the first view.
        lab: `(batch, height, width, 3)`, the image without jitter in CIE Lab.
        feature_maps: `(batch, h, w, channels)` of the teacher, of the image without jitter: one, or
            one a resolution, whose channels follow each other.
        target_logits: the first view's logits, warped. warped_logits: the warped second view's.
        warped_foreground, warped_foreground_logits: likewise.
        temperature, positives, seed: of the contrastive loss. centre: whether its descriptors, and
            the features that clusters are compared with, are relative to the image's mean.
        clusters: `(parts, channels)`, where the parts start; or None. start: what is left of the
            start, a scalar from 1 to 0.
    """

    logits: Any
    foreground: Any
    weighted_foreground: Any
    foreground_logits: Any
    lab: Any
    feature_maps: Sequence[Any]
    target_logits: Any
    warped_logits: Any
    warped_foreground: Any
    warped_foreground_logits: Any
    temperature: float
    positives: str
    centre: bool
    seed: Any
    clusters: Any
    start: Any

    @cached_property
    def mean(self):
        """Mean feature of every image's foreground, `(batch, 1, channels)`."""
        return _joined(part_means(self.foreground, features) for features in self.feature_maps)

    @cached_property
    def descriptors(self):
        """Part descriptors relative to the mean feature of their image's foreground.

        What an image has all over, its species and its light, is no property of a part.
        """
        descriptors = _joined(
            part_descriptors(self.logits, self.foreground, features)
            for features in self.feature_maps
        )
        if not self.centre:
            return descriptors
        return descriptors - self.mean


def _joined(descriptors):
    return ops.concatenate(list(descriptors), axis=-1)


def _feature_consistency(views):
    """Squared distances add up over the channels: each map is enlarged by itself."""
    return sum(
        objectives.feature_consistency(
            views.logits, views.weighted_foreground, features, reduction="mean"
        )
        for features in views.feature_maps
    )


def _foreground(views):
    first = objectives.foreground_cross_entropy(views.foreground_logits, views.foreground)
    second = objectives.foreground_cross_entropy(
        views.warped_foreground_logits, views.warped_foreground
    )
    return 0.5 * (first + second)


def _clusters(views):
    if views.clusters is None:
        return ops.zeros(())
    (features,) = views.feature_maps
    if views.centre:
        features = features - views.mean[:, None]
    return views.start * objectives.cluster_cross_entropy(
        views.logits, views.foreground, features, views.clusters
    )


OBJECTIVES: dict[str, Callable[[Views], Any]] = {
    "feature_consistency": _feature_consistency,
    "visual_consistency": lambda v: objectives.visual_consistency(v.logits, v.foreground, v.lab),
    "contrastive": lambda v: objectives.contrastive(
        v.descriptors, v.temperature, v.positives, v.seed
    ),
    "equivariance": lambda v: objectives.equivariance(
        v.target_logits, v.warped_logits, v.warped_foreground
    ),
    "foreground": _foreground,
    "balance": lambda v: objectives.balance(v.logits, v.foreground),
    "clusters": _clusters,
}
"""Loss name -> function of the views. A new loss is one line here and a weight in a recipe."""


class PartDiscovery(TrainStep, keras.Model):
    """Trains a segmenter to find parts, without part labels.

    Batches are dicts: "image" `(batch, size, size, 3)` RGB in [0, 1], "foreground"
    `(batch, size, size, 1)`, and "features" `(batch, h, w, channels)` where those of the teacher
    are known already.

    Args:
        segmenter: the `PartSegmenter` to train.
        weights: `{loss name: weight}`, names out of `OBJECTIVES`; losses that are not named are
            not computed.
        teacher: a `keras_parts.discovery.Teacher`, for batches without "features". Its layers keep
            their own resolutions, unless a standardiser, the prominence or the clusters need all
            channels at a position.
        standardiser: a `keras_parts.discovery.standardiser.Standardiser`, or None.
        loss_size: side in pixels at which losses are taken; None takes the input's.
        views: the random transforms.
        temperature, positives: see `keras_parts.discovery.objectives.contrastive`.
        centre: compare part descriptors, and features with the clusters, relative to the mean
            feature of their image's foreground.
        prominence: exponent of `keras_parts.ops.prominence`, with which every place is weighted in
            the feature consistency; 0 weights all alike (the paper).
        clusters: `(parts, channels)` of `keras_parts.discovery.find_clusters`, for the loss of that
            name, which is 0 without. start_steps: training steps over which it fades out.
        seed: of all random draws.
    """

    def __init__(
        self,
        segmenter,
        weights,
        teacher=None,
        standardiser=None,
        loss_size=None,
        views=None,
        temperature=0.19,
        positives="all",
        centre=False,
        prominence=0.0,
        clusters=None,
        start_steps=1,
        seed=0,
    ):
        super().__init__(name="part_discovery")
        unknown = sorted(set(weights) - set(OBJECTIVES))
        if unknown:
            raise ConfigError(f"no loss is named {unknown[0]!r}; there are {', '.join(OBJECTIVES)}")
        self.segmenter = segmenter
        self.teacher = teacher
        self.standardiser = standardiser
        self.loss_size = loss_size
        self.views = views or ViewSettings()
        self.temperature = temperature
        self.positives = positives
        self.centre = centre
        self.prominence = prominence
        self.clusters = clusters
        self.start_steps = start_steps
        # Of the model and not the optimizer's own: JAX has no optimizer where losses are computed.
        self.steps_made = self.add_weight(
            (), "zeros", trainable=False, aggregation="only_first_replica", name="steps_made"
        )
        self.seed = keras.random.SeedGenerator(seed, name="views")
        self.track_losses(weights)
        self.built = True

    def call(self, images, training=False):
        return self.segmenter(images, training=training)

    def compute_losses(self, batch, training=True):
        """Every loss that has a weight: `{name: float32 scalar}`, unweighted."""
        views = self.make_views(batch, training)
        if training:
            self.steps_made.assign(self.steps_made + 1)
        return {name: OBJECTIVES[name](views) for name in self.loss_weights}

    def make_views(self, batch, training=True):
        """Two views of a batch, the segmenter's logits of both: a `Views`."""
        image = ops.cast(batch["image"], "float32")
        size = self.loss_size or image.shape[1]
        points = self._source_points(ops.shape(image)[0])

        first = self._jitter(image) if self.views.jitter_first else image
        second = grid_sample(self._jitter(image), thin_plate_grid(points, *image.shape[1:3]))
        logits, warped_logits = (
            resize_aligned(maps, (size, size)) for maps in self._segment(first, second, training)
        )
        foreground = _reduce_mask(batch["foreground"], size)
        grid = thin_plate_grid(points, size, size)
        features = self._feature_maps(batch)
        parts, own_foreground = split_background(logits)
        warped_parts, warped_own_foreground = split_background(warped_logits)
        return Views(
            logits=parts,
            foreground=foreground,
            weighted_foreground=self._weighted(foreground, features),
            foreground_logits=own_foreground,
            lab=rgb_to_lab(reduce_aligned(image, (size, size))),
            feature_maps=features,
            target_logits=grid_sample(parts, grid),
            warped_logits=warped_parts,
            warped_foreground=grid_sample(foreground, grid),
            warped_foreground_logits=warped_own_foreground,
            temperature=self.temperature,
            positives=self.positives,
            centre=self.centre,
            seed=self.seed,
            clusters=self.clusters,
            start=ops.maximum(0.0, 1.0 - self.steps_made / self.start_steps),
        )

    def _jitter(self, images):
        v = self.views
        return colour_jitter(
            images,
            self.seed,
            v.brightness,
            v.contrast,
            v.saturation,
            v.hue,
            v.jitter_probability,
            v.grey_probability,
        )

    def _source_points(self, batch):
        v = self.views
        return random_source_points(
            batch, self.seed, v.bend, v.rotation, v.scale, v.shift, v.mirror
        )

    def _segment(self, first, second, training):
        """Logits of both views: in one pass, unless batch statistics would mix them."""
        if self.segmenter.updates_statistics:
            return self.segmenter(first, training=training), self.segmenter(
                second, training=training
            )
        both = self.segmenter(ops.concatenate([first, second]), training=training)
        count = ops.shape(first)[0]
        return both[:count], both[count:]

    def _weighted(self, foreground, feature_maps):
        if not self.prominence:
            return foreground
        (features,) = feature_maps
        return foreground * prominence(features, foreground) ** self.prominence

    def _feature_maps(self, batch):
        maps = [ops.stop_gradient(ops.cast(each, "float32")) for each in self._answers(batch)]
        return list(map(self.standardiser.apply, maps)) if self.standardiser else maps

    def _answers(self, batch):
        """What the teacher says of the images: one map, or several where nothing needs one."""
        if "features" in batch:
            return [batch["features"]]
        if self.standardiser or self.prominence or self.clusters is not None:
            return [self.teacher(batch["image"])]
        return self.teacher.maps(ops.cast(batch["image"], "float32"))


def _reduce_mask(mask, size):
    """Mask at the resolution of the losses: 1 where most of a cell is inside."""
    mask = ops.cast(mask, "float32")
    if mask.shape[1] == size:
        return mask
    return ops.cast(reduce_aligned(mask, (size, size)) > 0.5, "float32")
