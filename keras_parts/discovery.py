"""PartDiscovery: a segmenter learns parts from a frozen teacher and from its own two views."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
from keras import ops

from keras_parts import objectives
from keras_parts.errors import ConfigError
from keras_parts.ops import (
    colour_jitter,
    grid_sample,
    part_descriptors,
    random_source_points,
    reduce_aligned,
    resize_aligned,
    rgb_to_lab,
    split_background,
    thin_plate_grid,
)
from keras_parts.steps import TrainStep


@dataclass(frozen=True)
class ViewSettings:
    """The random transforms between the two views (METHOD section 4).

    Attributes:
        jitter_first: whether the first view has its colours jittered too, as in the paper.
        brightness, contrast, saturation, hue, jitter_probability, grey_probability: see
            `keras_parts.ops.colour_jitter`.
        rotation, scale, shift, bend: see `keras_parts.ops.random_source_points`; `bend` is its
            `jitter`.
    """

    jitter_first: bool = True
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.2
    hue: float = 0.2
    jitter_probability: float = 0.8
    grey_probability: float = 0.2
    rotation: float = 60.0
    scale: tuple[float, float] = (1 / 2.0, 1 / 0.7)
    shift: float = 0.1
    bend: float = 0.01

    def jitter(self, images, seed):
        """Images `(batch, height, width, 3)` in [0, 1] with their colours jittered."""
        return colour_jitter(
            images,
            seed,
            self.brightness,
            self.contrast,
            self.saturation,
            self.hue,
            self.jitter_probability,
            self.grey_probability,
        )

    def source_points(self, batch, seed):
        """Random warps `(batch, 25, 2)`."""
        return random_source_points(batch, seed, self.bend, self.rotation, self.scale, self.shift)


@dataclass(frozen=True)
class Views:
    """What the losses see, all at the resolution of the losses, the features at their own.

    Attributes:
        logits: `(batch, height, width, parts)` of the first view.
        foreground: `(batch, height, width, 1)`, 0 or 1.
        foreground_logits: `(batch, height, width, 1)` of the first view.
        lab: `(batch, height, width, 3)`, the image without jitter in CIE Lab.
        features: `(batch, h, w, channels)` of the teacher, of the image without jitter.
        target_logits: the first view's logits, warped. warped_logits: the warped second view's.
        warped_foreground, warped_foreground_logits: likewise.
        temperature, positives, seed: of the contrastive loss.
    """

    logits: Any
    foreground: Any
    foreground_logits: Any
    lab: Any
    features: Any
    target_logits: Any
    warped_logits: Any
    warped_foreground: Any
    warped_foreground_logits: Any
    temperature: float
    positives: str
    seed: Any

    @cached_property
    def descriptors(self):
        return part_descriptors(self.logits, self.foreground, self.features)


def _foreground(views):
    first = objectives.foreground_cross_entropy(views.foreground_logits, views.foreground)
    second = objectives.foreground_cross_entropy(
        views.warped_foreground_logits, views.warped_foreground
    )
    return 0.5 * (first + second)


OBJECTIVES: dict[str, Callable[[Views], Any]] = {
    "feature_consistency": lambda v: objectives.feature_consistency(
        v.logits, v.foreground, v.features, reduction="mean"
    ),
    "visual_consistency": lambda v: objectives.visual_consistency(v.logits, v.foreground, v.lab),
    "contrastive": lambda v: objectives.contrastive(
        v.descriptors, v.temperature, v.positives, v.seed
    ),
    "equivariance": lambda v: objectives.equivariance(
        v.target_logits, v.warped_logits, v.warped_foreground
    ),
    "foreground": _foreground,
    "balance": lambda v: objectives.balance(v.logits, v.foreground),
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
        teacher: images in [0, 1] -> features, for batches without "features".
        standardiser: features -> features of comparable scale, or None.
        loss_size: side in pixels at which losses are taken; None takes the input's.
        views: the random transforms.
        temperature, positives: see `keras_parts.objectives.contrastive`.
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
        self.seed = keras.random.SeedGenerator(seed, name="views")
        self.track_losses(weights)
        self.built = True  # the segmenter is; nothing else here has weights

    def call(self, images, training=False):
        return self.segmenter(images, training=training)

    def compute_losses(self, batch, training=True):
        """Every loss that has a weight: `{name: float32 scalar}`, unweighted."""
        views = self.make_views(batch, training)
        return {name: OBJECTIVES[name](views) for name in self.loss_weights}

    def make_views(self, batch, training=True):
        """Two views of a batch, the segmenter's logits of both: a `Views`."""
        image = ops.cast(batch["image"], "float32")
        size = self.loss_size or image.shape[1]
        points = self.views.source_points(ops.shape(image)[0], self.seed)

        first = self.views.jitter(image, self.seed) if self.views.jitter_first else image
        second = grid_sample(
            self.views.jitter(image, self.seed), thin_plate_grid(points, *image.shape[1:3])
        )
        logits, warped_logits = (
            resize_aligned(maps, (size, size)) for maps in self._segment(first, second, training)
        )
        foreground = _reduce_mask(batch["foreground"], size)
        grid = thin_plate_grid(points, size, size)
        parts, own_foreground = split_background(logits)
        warped_parts, warped_own_foreground = split_background(warped_logits)
        return Views(
            logits=parts,
            foreground=foreground,
            foreground_logits=own_foreground,
            lab=rgb_to_lab(reduce_aligned(image, (size, size))),
            features=self._features(batch),
            target_logits=grid_sample(parts, grid),
            warped_logits=warped_parts,
            warped_foreground=grid_sample(foreground, grid),
            warped_foreground_logits=warped_own_foreground,
            temperature=self.temperature,
            positives=self.positives,
            seed=self.seed,
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

    def _features(self, batch):
        features = batch["features"] if "features" in batch else self.teacher(batch["image"])
        features = ops.stop_gradient(ops.cast(features, "float32"))
        return self.standardiser(features) if self.standardiser else features


def _reduce_mask(mask, size):
    """Mask at the resolution of the losses: 1 where most of a cell is inside."""
    mask = ops.cast(mask, "float32")
    if mask.shape[1] == size:
        return mask
    return ops.cast(reduce_aligned(mask, (size, size)) > 0.5, "float32")
