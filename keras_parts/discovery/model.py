"""`PartDiscovery` trains a segmenter with a frozen teacher and two views of each image."""

import math
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from types import GeneratorType
from typing import Any

import keras
from keras import ops

from keras_parts.discovery import defaults
from keras_parts.discovery.batch import BatchSource, as_batch, check_batch, check_values
from keras_parts.discovery.losses import complete_losses
from keras_parts.discovery.saving import (
    array_config,
    array_from_config,
    loss_config,
    loss_from_config,
)
from keras_parts.discovery.standardiser import Standardiser
from keras_parts.discovery.steps import TrainStep
from keras_parts.discovery.teachers import as_teacher
from keras_parts.discovery.transforms import ViewTransforms
from keras_parts.discovery.views import Tensor, Views
from keras_parts.errors import ConfigError
from keras_parts.images.geometry import STRIDE
from keras_parts.models.architectures import architecture_of
from keras_parts.models.first_batch import peek
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.ops import (
    binary_mask,
    colour_jitter,
    downsample_aligned,
    grid_sample,
    random_source_points,
    resize_aligned,
    rgb_to_lab,
    split_background,
    thin_plate_grid,
)


@keras.saving.register_keras_serializable("keras_parts")
class PartDiscovery(TrainStep, keras.Model):
    """Trains a segmenter to find parts, without part labels.

    The defaults are those of the recipe "default". `keras_parts.prepare_training` does all that the
    command `train` does: it loads networks, standardises the teacher features, finds clusters from
    which the parts start, and returns a compiled `PartDiscovery` with its batches.

    `fit` and `evaluate` take the package's batches, NumPy arrays (`fit(images, masks)`), a
    `tf.data.Dataset`, a `torch.utils.data.DataLoader`, a `keras.utils.PyDataset`, or a generator. A
    batch is a pair (images, masks) or a dictionary:

    - "image": `(batch, height, width, 3)`, RGB in 0 to 255, uint8 or float;
    - "foreground": `(batch, height, width, 1)` or `(batch, height, width)`, the masks of the
      objects: bool, 0 and 1, or 0 and 255;
    - "features": `(batch, h, w, channels)`, the teacher features, if they are cached;
    - whatever else losses of your own take from `views.batch`.

    Args:
        segmenter: the `PartSegmenter` to train; or any Keras model from images to logits
            `(batch, h, w, 1 + parts)`, without softmax, whose first channel is the background.
        losses: `{name: (function, weight)}`, or `{name: weight}` for those of `LOSSES`, also mixed.
            A function takes `Views` and returns a scalar. A loss of weight 0 is reported, but has
            no effect on the training. By default those of the recipe "default" without "clusters".
            Their weights are for standardised teacher features.
        teacher: a `Teacher`, or any Keras model from images to feature maps, for batches without
            "features"; it is frozen. None if the losses need no features. Its layers stay maps of
            their own resolution, unless a standardiser or the prominence needs all channels of a
            position.
        standardiser: a `Standardiser` for the teacher features, or None.
        has_background: False if all channels of another model's logits are parts; the logit of the
            background is then 0.
        loss_size: side in pixels of the maps from which losses are computed; None takes the side
            of the input.
        view_transforms: the random transforms between the views; None takes the default recipe's.
        centre_features: see `Views`.
        prominence_exponent: exponent of `keras_parts.ops.prominence`, which weights the positions
            in the feature consistency; 0 gives all positions the same weight (the paper).
        seed: seed of all random draws.

    Raises:
        ConfigError: there is no loss of a name, or the segmenter has no weights yet.

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts import PartDiscovery, PartSegmenter
        >>> from keras_parts.models import SegmenterConfig
        >>> segmenter = PartSegmenter(SegmenterConfig(3, "small", image_size=33))
        >>> def certainty(views):
        ...     return -keras.ops.mean(views.logits**2)
        >>> discovery = PartDiscovery(segmenter, {"balance": 1.0, "certainty": (certainty, 0.1)})
        >>> discovery.compile("adam", run_eagerly=True)
        >>> images, masks = np.zeros((2, 33, 33, 3), "uint8"), np.ones((2, 33, 33), bool)
        >>> sorted(discovery.fit(images, masks, verbose=0).history)
        ['balance', 'certainty', 'loss', 'skipped_steps']
    """

    def __init__(
        self,
        segmenter: keras.Model,
        losses: Mapping[str, Any] | None = None,
        *,
        teacher: keras.Model | None = None,
        standardiser: Standardiser | None = None,
        has_background: bool = True,
        loss_size: int | None = defaults.LOSS_SIZE,
        view_transforms: ViewTransforms | None = None,
        centre_features: bool = defaults.CENTRE_FEATURES,
        prominence_exponent: float = defaults.PROMINENCE_EXPONENT,
        seed: int = 0,
    ):
        super().__init__(name="part_discovery")
        weighted = complete_losses(losses)
        self.segmenter = _with_weights(segmenter)
        self.loss_functions = {name: function for name, (function, _) in weighted.items()}
        self.teacher = None if teacher is None else as_teacher(teacher)
        self.standardiser = standardiser
        self.has_background = has_background
        self.loss_size = loss_size
        self.view_transforms = view_transforms or defaults.VIEW_TRANSFORMS
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
        self._initial_seed = seed
        self.track_losses({name: weight for name, (_, weight) in weighted.items()})
        self._sides: tuple[int, ...] | None = None  # of the images of the last `fit`
        self.built = True

    def compile(
        self,
        optimizer: Any = "adam",
        loss: None = None,
        *,
        loss_weights: None = None,
        metrics: None = None,
        weighted_metrics: None = None,
        **options: Any,
    ) -> None:
        """As `keras.Model.compile`. The losses are those of the constructor.

        Raises:
            ConfigError: a loss or a metric is given.
        """
        if loss is not None or loss_weights is not None:
            raise ConfigError(
                "PartDiscovery.compile takes no loss: give PartDiscovery(losses={name: "
                "(function of the views, weight)})"
            )
        if metrics is not None or weighted_metrics is not None:
            raise ConfigError(
                "PartDiscovery.compile takes no metrics, as there are no labels: a loss of weight "
                "0 is reported without effect on the training"
            )
        if not any(self.loss_weights.values()):
            raise ConfigError(
                f"the losses of PartDiscovery have no weight above 0: {self.loss_weights}"
            )
        super().compile(optimizer, **options)

    def get_config(self) -> dict[str, Any]:
        transforms = self.view_transforms
        return {
            "segmenter": keras.saving.serialize_keras_object(self.segmenter),
            "losses": {
                name: [loss_config(function), self.loss_weights[name]]
                for name, function in self.loss_functions.items()
            },
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            "standardiser": self.standardiser
            and {
                "mean": array_config(self.standardiser.mean),
                "matrix": array_config(self.standardiser.matrix),
            },
            "has_background": self.has_background,
            "loss_size": self.loss_size,
            "view_transforms": asdict(transforms) | {"scale": list(transforms.scale)},
            "centre_features": self.centre_features,
            "prominence_exponent": self.prominence_exponent,
            "seed": self._initial_seed,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> "PartDiscovery":
        """The inverse of `get_config`, with random weights."""
        values = dict(config)
        for name in ("segmenter", "teacher"):
            values[name] = keras.saving.deserialize_keras_object(values[name], custom_objects)
        values["losses"] = {
            name: (loss_from_config(loss, custom_objects), weight)
            for name, (loss, weight) in values["losses"].items()
        }
        if values["standardiser"]:
            arrays = values["standardiser"]
            values["standardiser"] = Standardiser(
                array_from_config(arrays["mean"]), array_from_config(arrays["matrix"])
            )
        values["view_transforms"] = ViewTransforms(**values["view_transforms"])
        return cls(values.pop("segmenter"), **values)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        **options: Any,
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`, with the batches that the class describes.

        The first batch is checked before anything is computed. It is read twice, but for a
        generator.

        Args:
            x: batches, or images.
            y: masks, where `x` is an array of images.
            batch_size, epochs, verbose, options: see `keras.Model.fit`. With
                `keras_parts.data.Batches`, which never end, `steps_per_epoch` is by default the
                number of batches that hold all samples.

        Raises:
            ConfigError: a batch has another form.
            DataError: values of the first batch are outside their range.
        """
        if options.get("class_weight") is not None:
            raise ConfigError("PartDiscovery does not use class_weight: there are no classes")
        options |= {"batch_size": batch_size, "epochs": epochs, "verbose": verbose}
        with ExitStack() as stack:
            x, changes = self._checked(x, y, options, "steps_per_epoch", stack)
            if isinstance(x, GeneratorType):
                changes["shuffle"] = False  # Keras warns that it cannot shuffle a generator
            given = options.get("validation_data")
            if given is not None:
                parts = given if isinstance(given, tuple | list) else (given,)
                validation, masks, weights = keras.utils.unpack_x_y_sample_weight(tuple(parts))
                given = {**options, "sample_weight": weights}
                checked, more = self._checked(validation, masks, given, "validation_steps", stack)
                changes |= {
                    "validation_data": checked if masks is None else (checked, masks),
                    **more,
                }
            return super().fit(x, y, **{**options, **changes})

    def evaluate(self, x: Any = None, y: Any = None, **options: Any) -> Any:
        """As `keras.Model.evaluate`, with the batches that the class describes."""
        if options.get("_use_cached_eval_dataset"):  # Keras evaluates validation data within `fit`
            return super().evaluate(x, y, **options)
        with ExitStack() as stack:
            x, changes = self._checked(x, y, options, "steps", stack)
            return super().evaluate(x, y, **{**options, **changes})

    def train_on_batch(self, x: Any, y: Any = None, **options: Any) -> Any:
        """As `keras.Model.train_on_batch`, for a batch that the class describes, or its parts."""
        self._check_first((x, y, options.get("sample_weight")))
        return super().train_on_batch(x, y, **options)

    def test_on_batch(self, x: Any, y: Any = None, **options: Any) -> Any:
        """As `keras.Model.test_on_batch`, for a batch that the class describes, or its parts."""
        self._check_first((x, y, options.get("sample_weight")))
        return super().test_on_batch(x, y, **options)

    def _checked(
        self, x: Any, y: Any, options: Mapping[str, Any], steps: str, stack: ExitStack
    ) -> tuple[Any, dict[str, Any]]:
        """What to give to Keras instead of `x`, and the number of its steps under the name `steps`
        if it is a `BatchSource`. The first batch is checked."""
        more: dict[str, Any] = {}
        if isinstance(x, BatchSource):
            if options.get(steps) is None:
                more[steps] = math.ceil(x.steps_per_epoch)
            stream = stack.enter_context(closing(x.iterate()))
            x = ((batch,) for batch in stream)
        elif hasattr(x, "info") and hasattr(x, "__getitem__"):
            raise ConfigError(
                f"fit is given {x!r}, which has single samples: make batches of it with "
                "keras_parts.data.Batches, or model and batches with keras_parts.prepare_training"
            )
        x, first = peek(x, y, options.get("sample_weight"))
        if isinstance(x, GeneratorType):
            x = ((as_batch(each),) for each in x)  # of a generator, Keras takes tuples only
        if first is not None:
            self._check_first(first)
        return x, more

    def _check_first(self, first: Any) -> None:
        """Check a batch, in the forms that Keras passes to a step, and compile for its sides."""
        batch = as_batch(first)
        check_batch(batch)
        check_values(batch)
        sides = tuple(batch["image"].shape[1:3])
        self._check_sides(sides)
        if self._sides not in (None, sides):
            # TensorFlow would compile the steps for images whose sides are open.
            self.train_function = self.test_function = None
        self._sides = sides

    def unpack_batch(self, data: Any) -> dict[str, Tensor]:
        return as_batch(data)

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
            ConfigError: the batch has another form; or it has no "features", there is no teacher,
                and a loss needs them.
        """
        views = self.make_views(batch, training)
        losses = {name: loss(views) for name, loss in self.loss_functions.items()}
        if training:
            self.steps_made.assign(self.steps_made + 1)
        return losses

    def make_views(self, batch: Mapping[str, Tensor], training: bool = True) -> Views:
        """The two views of a batch, with the logits of both; arguments as in `compute_losses`."""
        check_batch(batch)
        self._check_sides(batch["image"].shape[1:3])
        image = ops.cast(batch["image"], "float32") / 255  # the transforms take 0 to 1
        size = self.loss_size or image.shape[1]
        points = self._source_points(ops.shape(image)[0])

        first = self._jitter(image) if self.view_transforms.jitter_first else image
        scene = ops.cast(batch["scene"], "float32") / 255 if "scene" in batch else image
        second = grid_sample(self._jitter(scene), thin_plate_grid(points, *image.shape[1:3]))
        logits, warped_logits = (
            resize_aligned(maps, (size, size))
            for maps in self.segment_views(255 * first, 255 * second, training)
        )
        foreground = _downsample_mask(batch["foreground"], size)
        grid = thin_plate_grid(points, size, size)
        crop_grid = _to_crop(grid, batch)
        scene_foreground = (
            _downsample_mask(batch["scene_foreground"], size) if "scene" in batch else foreground
        )
        parts, foreground_logits = split_background(logits)
        warped_parts, warped_foreground_logits = split_background(warped_logits)
        return Views(
            logits=parts,
            foreground=foreground,
            foreground_logits=foreground_logits,
            lab=rgb_to_lab(downsample_aligned(image, (size, size))),
            teacher_features=lambda: self._feature_maps(batch),
            target_logits=grid_sample(parts, crop_grid),
            warped_logits=warped_parts,
            warped_foreground=grid_sample(foreground, crop_grid),
            second_foreground=grid_sample(scene_foreground, grid),
            warped_foreground_logits=warped_foreground_logits,
            batch=batch,
            centre_features=self.centre_features,
            prominence_exponent=self.prominence_exponent,
            seed=self.seed,
            step=ops.convert_to_tensor(self.steps_made),
        )

    def segment_views(self, first: Tensor, second: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Logits of both views, `(batch, height, width, 1 + parts)` each.

        The views are `(batch, size, size, 3)`, RGB in 0 to 255.
        The network runs once on both, but twice where batch normalisation uses batch statistics:
        the statistics of one view must not depend on the other.
        """
        if getattr(self.segmenter, "updates_statistics", True):
            return self._logits(first, training), self._logits(second, training)
        both = self._logits(ops.concatenate([first, second]), training)
        count = ops.shape(first)[0]
        return both[:count], both[count:]

    def _logits(self, images: Tensor, training: bool) -> Tensor:
        """Logits with the background as channel 0."""
        logits = self.segmenter(images, training=training)
        shape = tuple(getattr(logits, "shape", ()))
        fewest = 2 + self.has_background
        if len(shape) != 4 or shape[-1] < fewest:
            raise ConfigError(
                f"the segmenter {self.segmenter.name} returns {shape or type(logits).__name__}, "
                f"expected logits (batch, h, w, channels) with at least {fewest} channels"
            )
        if self.has_background:
            return logits
        logits = ops.cast(logits, "float32")
        return ops.concatenate([ops.zeros_like(logits[..., :1]), logits], axis=-1)

    def _check_sides(self, sides: tuple[int | None, ...]) -> None:
        """Check that the sides of images are fixed, and that they fit a segmenter whose logits are
        aligned with the image's corners."""
        if None in sides:
            raise ConfigError(
                f"'image' has sides {tuple(sides)}, expected a fixed height and width: give all "
                "batches of a data set one size, and in tf.data set it with ensure_shape"
            )
        if not isinstance(self.segmenter, PartSegmenter):
            return
        name = self.segmenter.config.architecture
        if not architecture_of(name).aligned_corners:
            return
        for side in sides:
            if side is not None and (side - 1) % STRIDE:
                nearest = max(1, round((side - 1) / STRIDE)) * STRIDE + 1
                raise ConfigError(
                    f"'image' has sides {tuple(sides)}, expected multiples of {STRIDE} plus 1 "
                    f"for {name}: resize images and masks to {nearest} pixels"
                )

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
                "batches, give PartDiscovery a teacher, or leave out the losses that need features "
                "(feature_consistency, contrastive, clusters)"
            )
        if self.standardiser or self.prominence_exponent:
            return [self.teacher(batch["image"])]
        return self.teacher.maps(ops.cast(batch["image"], "float32"))


def _downsample_mask(mask: Tensor, size: int) -> Tensor:
    """A mask at the resolution of the losses: 1 where more than half of a cell is inside."""
    mask = binary_mask(mask)
    mask = mask[..., None] if len(mask.shape) == 3 else mask
    if mask.shape[1] == size:
        return mask
    return ops.cast(downsample_aligned(mask, (size, size)) > 0.5, "float32")


def _to_crop(grid: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """A grid of points in the scenes of a batch, as points in its crops."""
    if "scene" not in batch:
        return grid
    mapping = ops.cast(batch["scene_to_crop"], "float32")[:, None, None]
    return mapping[..., :1] * grid + mapping[..., 1:]


def _with_weights(segmenter: keras.Model) -> keras.Model:
    if not isinstance(segmenter, keras.Layer):
        raise ConfigError(
            f"the segmenter is {type(segmenter).__name__}, expected a PartSegmenter or another "
            "Keras model"
        )
    if not segmenter.built:
        raise ConfigError(
            f"the segmenter {segmenter.name} has no weights yet: call it on a batch of images "
            "first, or begin it with keras.Input"
        )
    return segmenter
