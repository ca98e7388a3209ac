"""PartSegmenter: the network that segments images into K parts and background."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import IO, Any, Literal, overload

import keras
import numpy as np
from keras import ops
from PIL import Image

import keras_parts
from keras_parts.backbones.backbone import Backbone, check_data_format
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.backbones.weights_file import load_weights
from keras_parts.environment import MODEL_VARIABLE, max_model_bytes
from keras_parts.errors import ConfigError, is_plain_line
from keras_parts.files import atomic_path
from keras_parts.images.geometry import RESIZE_MODES, STRIDE
from keras_parts.images.inputs import ImageLike
from keras_parts.models.architectures import architecture_of
from keras_parts.models.first_batch import peek
from keras_parts.models.forward import compile_forward
from keras_parts.models.looks import Looks
from keras_parts.models.part_names import Groups, check_joined, check_part_names, join
from keras_parts.models.precision import precision_policy
from keras_parts.models.predictor import create_predictor, segment_inputs
from keras_parts.models.preprocessor import ImagePreprocessor, check_range, prepared
from keras_parts.models.saved_config import (
    CONFIG_FILE,
    FORMAT,
    WEIGHTS_FILE,
    current_fields,
    read_saved_config,
    write_saved_config,
)
from keras_parts.ops import join_background, join_parts
from keras_parts.results.parts import Parts

_BATCH_SIZE = 16
_ON_JAX = keras.config.backend() == "jax"
_MAX_NAME = 2000
"""Maximum length of a part's name, as on cards."""


@dataclass(frozen=True)
class SegmenterConfig:
    """All settings of a segmenter, without its weights.

    Attributes:
        num_parts: number of parts K, 2 to 64.
        architecture: a key of `keras_parts.models.architectures.ARCHITECTURES`.
        output_stride: input pixels between neighbouring logits, 4, 8 or 16.
        image_size: side of the network's input in pixels, 33 to 4097; the architecture's if None.
        resize_mode: how an image is resized to the input, see
            `keras_parts.images.geometry.resize_geometry`; the architecture's if None.
        preprocessing: the input convention of the backbone's weights; the backbone's if None.
        part_names: one per part, or empty; each a line of at most 2000 characters, without control
            characters.
        joined: for each part, the outputs of the head, from 1, of which it consists: the part's
            probability is the sum of theirs. Empty if each part is one output.

    Raises:
        ConfigError: a field is outside its range.

    Example:
        >>> from keras_parts.models import SegmenterConfig
        >>> config = SegmenterConfig(4)
        >>> config.architecture, config.image_size, config.resize_mode
        ('efficientnet_lite0', 257, 'pad')
    """

    num_parts: int
    architecture: str = "efficientnet_lite0"
    output_stride: int = 16
    _: KW_ONLY
    image_size: int = None  # type: ignore[assignment]
    resize_mode: str = None  # type: ignore[assignment]
    preprocessing: Preprocessing | None = None
    part_names: tuple[str, ...] = ()
    joined: Groups = ()

    def __post_init__(self):
        own = architecture_of(self.architecture)
        for name in ("image_size", "resize_mode"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(own, name))
        if not isinstance(self.part_names, list | tuple) or not all(
            isinstance(name, str) for name in self.part_names
        ):
            raise ConfigError(
                f"segmenter: part_names is {self.part_names!r:.200}, expected a tuple of strings"
            )
        for name in self.part_names:
            if len(name) > _MAX_NAME or not is_plain_line(name):
                raise ConfigError(
                    f"segmenter: part_names has {name!a:.200}, expected lines of at most "
                    f"{_MAX_NAME} characters, without control characters"
                )
        object.__setattr__(self, "part_names", tuple(self.part_names))
        self._check_choice("output_stride", sorted(own.layers))
        self._check_choice("resize_mode", RESIZE_MODES)
        self._check_range("num_parts", 2, 64)
        self._check_range("image_size", 33, 4097)
        object.__setattr__(self, "joined", check_joined(self.joined, self.num_parts))
        if own.aligned_corners and (self.image_size - 1) % STRIDE:
            nearest = round((self.image_size - 1) / STRIDE) * STRIDE + 1
            raise ConfigError(
                f"segmenter: image_size is {self.image_size}, expected a multiple of {STRIDE} plus "
                f"1 for {self.architecture}, whose logits are aligned with the image's corners: "
                f"try {nearest}"
            )
        if self.part_names and len(self.part_names) != self.num_parts:
            raise ConfigError(
                f"segmenter: part_names has {len(self.part_names)} names, expected "
                f"{self.num_parts}, one per part, or none"
            )

    def _check_choice(self, name, choices):
        if getattr(self, name) not in choices:
            raise ConfigError(
                f"segmenter: {name} is {getattr(self, name)!r:.200}, expected one of "
                f"{', '.join(map(str, choices))} for {self.architecture}"
            )

    def _check_range(self, name, low, high):
        value = getattr(self, name)
        if not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"segmenter: {name} is {value!r:.200}, expected {low} to {high}")

    @property
    def num_outputs(self) -> int:
        """Number of the head's outputs for parts: K, or more if parts are joined."""
        return sum(map(len, self.joined)) or self.num_parts

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values; "joined" is left out if it is empty."""
        values = asdict(self) | {"format": FORMAT, "part_names": list(self.part_names)}
        joined = values.pop("joined")
        if joined:
            values["joined"] = [list(group) for group in joined]
        if self.preprocessing:
            values["preprocessing"] = self.preprocessing.to_config()
        return values

    @classmethod
    def from_json(cls, values: Any, source: object = CONFIG_FILE) -> "SegmenterConfig":
        """The inverse of `to_json`; also reads format 1, of earlier versions.

        Args:
            values: JSON values.
            source: name of the file in error messages.

        Raises:
            ConfigError: a field is unknown, missing or wrong.
        """
        values = {"joined": ()} | current_fields(values, source)
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise ConfigError(
                f"{source}: fields are {str(sorted(values)):.500}, expected {sorted(names)}"
            )
        try:
            if values["preprocessing"] is not None:
                values["preprocessing"] = Preprocessing.from_config(values["preprocessing"])
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None


@keras.saving.register_keras_serializable("keras_parts")
class PartSegmenter(keras.Model):
    """Segments images into parts and background.

    As a layer, it maps images `(batch, height, width, 3)`, RGB in 0 to 255 (uint8 or float) of the
    network's input size, to float32 logits `(batch, h, w, 1 + parts)` at the output stride.
    Channel 0 is the background; `keras_parts.ops.logits` explains how background and parts combine.
    `predict` resizes images of any size to the input with `preprocessor`. `segment` and `maps` give
    results at the pixels of images of any size.

    Args:
        config: a `SegmenterConfig`.
        name: of the model; the names of its weights do not depend on it.
        dtype: dtype policy of the whole network, such as "mixed_bfloat16"; Keras' global one if
            None.
        preprocessor: the `ImagePreprocessor` of `predict`; "auto" takes that of the configuration,
            None takes images as they are.
        kwargs: further arguments of `keras.Model`.

    Attributes:
        config: the `SegmenterConfig`.
        num_parts: number of parts K.
        part_names: one per part, or empty; may be set.
        preprocessing: `Preprocessing` from RGB in 0 to 255 to the backbone's input.
        preprocessor: as given; it may be set to None.
        updates_statistics: whether batch normalisation uses batch statistics in training and
            updates its running statistics. By default, False: those of the pretrained network stay.

    Example:
        >>> from keras_parts import PartSegmenter
        >>> from keras_parts.models import SegmenterConfig
        >>> PartSegmenter(SegmenterConfig(3, "small", image_size=65))
        <PartSegmenter small, 3 parts, input of 65 pixels>
    """

    def __init__(
        self,
        config: SegmenterConfig,
        *,
        name: str | None = None,
        dtype: Any = None,
        preprocessor: ImagePreprocessor | Literal["auto"] | None = "auto",
        **kwargs: Any,
    ):
        check_data_format()
        if not isinstance(config, SegmenterConfig):
            raise ConfigError(
                f"PartSegmenter is given {config!r}, expected its settings: "
                "PartSegmenter(SegmenterConfig(num_parts=4))"
            )
        # Without autocast, as half precision would round images before they are preprocessed.
        super().__init__(name=name, dtype=dtype, autocast=False, **kwargs)
        own = architecture_of(config.architecture)
        self.config = config
        with precision_policy(self.dtype_policy):
            self.backbone = _create_backbone(config, *own.layers[config.output_stride])
            self.head = own.create_head(self.backbone, 1 + config.num_outputs, config.output_stride)
            self._build_head()
        self.preprocessing = config.preprocessing or self.backbone.preprocessing
        if preprocessor == "auto":
            preprocessor = ImagePreprocessor(
                config.image_size, config.resize_mode, name="preprocessor"
            )
        self.preprocessor = preprocessor
        self.updates_statistics = False
        # Not a dictionary of models: Keras would track them as layers.
        self._compiled_forward = functools.cache(functools.partial(compile_forward, self))
        self.build((None, config.image_size, config.image_size, 3))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """All layers are built already; Keras keeps the shape for its exports."""
        self.built = True

    def _build_head(self) -> None:
        """Build the head on features of zeros; the backbone is functional, so it is built already.

        Calling the model instead would compute the whole backbone once, operation by operation.
        """
        size = self.config.image_size
        features = self.backbone.compute_output_spec(keras.KerasTensor((1, size, size, 3)))
        # A scope of this name whatever the model's is: checkpoints refer to weights by their paths.
        with keras.name_scope("part_segmenter"):
            self.head({name: ops.zeros(maps.shape, maps.dtype) for name, maps in features.items()})

    def __repr__(self) -> str:
        config = self.config
        named = f": {', '.join(self.part_names)}" if self.part_names else ""
        return (
            f"<PartSegmenter {config.architecture}, {config.num_parts} parts{named}, "
            f"input of {config.image_size} pixels>"
        )

    @property
    def num_parts(self) -> int:
        """Number of parts K."""
        return self.config.num_parts

    @property
    def part_names(self) -> tuple[str, ...]:
        """One per part, or empty. May be set, see `check_part_names` for the rules."""
        return self.config.part_names

    @part_names.setter
    def part_names(self, names: Sequence[str]) -> None:
        self.config = replace(self.config, part_names=check_part_names(names, self.num_parts))

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(images, np.ndarray):  # a tensor may be on a device, or have no values yet
            check_range(images)
        if _ON_JAX and isinstance(images, keras.KerasTensor) and None in images.shape[1:3]:
            raise ConfigError(
                f"{self.name}: images have shape {tuple(images.shape)}, and JAX needs a fixed "
                "height and width: give them in keras.Input, such as "
                f"keras.Input(({self.config.image_size}, {self.config.image_size}, 3))"
            )
        return super().__call__(images, *args, **kwargs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the logits, `(batch, h, w, 1 + parts)`, of images of a shape."""
        return self.compute_output_spec(keras.KerasTensor(input_shape)).shape

    def compute_output_spec(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """As Keras infers it from `call`, whose dtype is not the layer's."""
        return keras.Operation.compute_output_spec(self, images, *args, **kwargs)

    def fit(self, x: Any = None, y: Any = None, **options: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`, for labels at the output stride; `preprocessor` is not applied.

        Args:
            x: images `(batch, height, width, 3)`, RGB in 0 to 255, or batches of images and labels.
            y: labels, if `x` is an array of images.
            options: see `keras.Model.fit`.

        Raises:
            DataError: the images of the first batch are in 0 to 1, or normalised.
        """
        return super().fit(_checked(x, y), y, **options)

    def evaluate(self, x: Any = None, y: Any = None, **options: Any) -> Any:
        """As `keras.Model.evaluate`, with the data that `fit` takes."""
        if not options.get("_use_cached_eval_dataset"):  # Keras passes it within `fit`
            x = _checked(x, y)
        return super().evaluate(x, y, **options)

    def train_on_batch(self, x: Any, y: Any = None, **options: Any) -> Any:
        """As `keras.Model.train_on_batch`, with the data that `fit` takes."""
        check_range(x)
        return super().train_on_batch(x, y, **options)

    def test_on_batch(self, x: Any, y: Any = None, **options: Any) -> Any:
        """As `keras.Model.test_on_batch`, with the data that `fit` takes."""
        check_range(x)
        return super().test_on_batch(x, y, **options)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> np.ndarray:
        """Keras' `predict` for images of any size, resized to the network's input.

        Args:
            x: a batch `(batch, height, width, 3)`, RGB in 0 to 255; a list of images of any sizes,
                in the forms that `segment` takes; or a `tf.data.Dataset`, `PyDataset`, `DataLoader`
                or generator of batches.
            batch_size, verbose, steps, callbacks: as in Keras.

        Returns:
            float32 logits `(batch, h, w, 1 + parts)` at the output stride, of the resized images.

        Raises:
            DataError: see `ImagePreprocessor.prepare`.
        """
        if self.preprocessor is not None:
            x, number = prepared(x, self.preprocessor)
            steps = steps or number
        return super().predict(x, batch_size, verbose, steps, callbacks)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """As `predict`, for a batch or a list of images."""
        if self.preprocessor is not None:
            x = self.preprocessor.prepare(x)
        return super().predict_on_batch(x)

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refused: Keras quantises no convolutions.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "a PartSegmenter cannot be quantised in Keras, which leaves convolutions as they are: "
            "load it with dtype='mixed_bfloat16', or export it with quantize=True"
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "config": self.config.to_json(),
            "preprocessor": self.preprocessor
            and keras.saving.serialize_keras_object(self.preprocessor),
            "updates_statistics": self.updates_statistics,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> "PartSegmenter":
        """The inverse of `get_config`, with random weights."""
        values = dict(config)
        settings = SegmenterConfig.from_json(values.pop("config"), source="the configuration")
        preprocessor = values.pop("preprocessor")
        if preprocessor is not None:
            preprocessor = keras.saving.deserialize_keras_object(preprocessor, custom_objects)
        updates_statistics = values.pop("updates_statistics")
        trainable = values.pop("trainable")
        dtype = keras.dtype_policies.deserialize(values.pop("dtype"))
        segmenter = cls(settings, dtype=dtype, preprocessor=preprocessor, **values)
        segmenter.updates_statistics = updates_statistics
        segmenter.trainable = trainable
        return segmenter

    def call(self, images: Any, training: bool = False) -> Any:
        logits, _ = self.logits_and_features(images, training=training)
        return logits

    def logits_and_features(self, images: Any, *, training: bool = False) -> tuple[Any, Any]:
        """The segmenter's logits and the backbone's feature maps.

        Args:
            images: `(batch, height, width, 3)`, RGB in 0 to 255 of the network's input
                size.
            training: whether dropout and, with `updates_statistics`, batch statistics are used.

        Returns:
            float32 logits `(batch, h, w, 1 + parts)`; feature maps
            `{name: (batch, h, w, channels)}`.
        """
        inputs = self.preprocessing.apply(images)
        features = self.backbone(inputs, training=training and self.updates_statistics)
        parts, foreground = self.head_logits(features, training=training)
        return join_background(parts, foreground), features

    def head_logits(
        self, features: Mapping[str, Any], *, training: bool = False
    ) -> tuple[Any, Any]:
        """The head's logits of the parts, joined parts among them, and of the foreground.

        Args:
            features: of the backbone, `{name: (batch, h, w, channels)}`.
            training: whether dropout is used.

        Returns:
            `(batch, h, w, parts)`, float32 if parts are joined; `(batch, h, w, 1)`.
        """
        logits = self.head(features, training=training)
        parts = logits[..., 1:]
        if self.config.joined:
            parts = join_parts(parts, self.config.joined)
        return parts, logits[..., :1]

    def join_parts(self, *groups: Sequence[int | str]) -> "PartSegmenter":
        """A segmenter in which parts are joined: a joined part's probability is the sum of theirs.

        Weights are copied. The joined part takes the position of the first one; the parts after it
        move up. It has the others' features and foreground, is trained, saved and exported like any
        other, and its parts can be joined again.

        Args:
            groups: parts to join, by their number from 1 or their name.

        Raises:
            ConfigError: there is no such part, a group has fewer than two parts, a part is in two
                groups, or fewer than two parts would be left.

        Example:
            >>> from keras_parts import zoo
            >>> segmenter = zoo.load("toy")
            >>> joined = segmenter.join_parts(["back", "tail"], [4, 5])
            >>> joined.part_names
            ('head', 'back and tail', 'belly and upper legs and feet')
            >>> joined.part_names = ["head", "back", "belly"]
            >>> joined
            <PartSegmenter small, 3 parts: head, back, belly, input of 161 pixels>
        """
        changes = join(self.num_parts, self.part_names, self.config.joined, groups)
        config = replace(self.config, **changes)
        joined = type(self).from_config(self.get_config() | {"config": config.to_json()})
        joined.set_weights(self.get_weights())
        return joined

    def maps(
        self, images: Sequence[np.ndarray], *, flip: bool = False, looks: Looks = "auto"
    ) -> list[np.ndarray]:
        """Logits at the pixels of images.

        Args:
            images: list of `(height, width, 3)` uint8 RGB, of any sizes.
            flip: average the probabilities with those of the mirrored image, at twice the cost.
            looks: see `segment`.

        Returns:
            list of float32 `(height, width, 1 + parts)`, channel 0 the background.
        """
        predictor = create_predictor(self, _BATCH_SIZE, flip=flip, looks=looks)
        return [np.asarray(parts.logits) for parts in predictor.segment_all(images)]

    @overload
    def segment(
        self,
        images: list[Any] | tuple[Any, ...],
        *,
        flip: bool = ...,
        tile: int | None = ...,
        descriptors: bool = ...,
        looks: Looks = ...,
        batch_size: int = ...,
    ) -> list[Parts]: ...

    @overload
    def segment(
        self,
        images: bytes | IO[bytes] | Image.Image,
        *,
        flip: bool = ...,
        tile: int | None = ...,
        descriptors: bool = ...,
        looks: Looks = ...,
        batch_size: int = ...,
    ) -> Parts: ...

    @overload
    def segment(
        self,
        images: Any,
        *,
        flip: bool = ...,
        tile: int | None = ...,
        descriptors: bool = ...,
        looks: Looks = ...,
        batch_size: int = ...,
    ) -> Any: ...

    def segment(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        flip: bool = False,
        tile: int | None = None,
        descriptors: bool = False,
        looks: Looks = "auto",
        batch_size: int = _BATCH_SIZE,
    ) -> Any:
        """The parts of images.

        Args:
            images: an image: a path or an address, the bytes of an image file, an open file, a
                `PIL.Image`, or an array or tensor `(height, width, 3)`, RGB in 0 to 255. Or
                several: a list or tuple of images, a batch `(batch, height, width, 3)`, a folder or
                a pattern such as "photos/**/*.jpg", or any other iterable of images and batches,
                such as a generator or a `tf.data.Dataset`.
            flip: average the probabilities with those of the mirrored image, at twice the cost.
            tile: side in pixels of the overlapping tiles that larger images are cut into, for
                objects that are small in them; None leaves every image whole.
            descriptors: also compute the mean of the network's features over each part.
            looks: 1 segments the whole image only; 2 finds the objects in it, and segments a
                rectangle around each of them again, from the image's own pixels; "auto" does so
                for objects that become larger by it. Tiles are seen once.
            batch_size: maximum number of images that the network takes at once.

        Returns:
            A `Parts` for an image; a list of them for a list, tuple, batch, folder or pattern,
            where `path` names the file of each; an iterator of them for another iterable. It is
            read as the iterator is: at most `batch_size` images are in memory.

        Raises:
            DataError: a file is missing, damaged or not an image; an array has another shape or
                range.
            ConfigError: `batch_size` is below 1, or `tile` below 16; or `looks` has another value,
                or is 2 with tiles.

        Example:
            >>> from keras_parts import data, zoo
            >>> images = [sample.image for sample in data.load("toy", "test", count=3)]
            >>> segmenter = zoo.load("toy")
            >>> segmenter.segment(images[0]).names
            ('head', 'back', 'tail', 'belly and upper legs', 'feet')
            >>> len(segmenter.segment(images))
            3
            >>> next(segmenter.segment(image for image in images)).size
            (161, 161)
        """
        predictor = create_predictor(
            self, batch_size, flip=flip, tile=tile, descriptors=descriptors, looks=looks
        )
        return segment_inputs(predictor, images)

    def compiled_forward(
        self, *, flip: bool = False, descriptors: bool = False, compiled: bool = True
    ) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
        """The forward pass as a function of uint8 images, see
        `keras_parts.models.forward.compile_forward`. All callers share one compiled function."""
        return self._compiled_forward(flip=flip, descriptors=descriptors, compiled=compiled)

    def save_preset(self, folder: str | PathLike) -> None:
        """Write configuration and weights to a folder, each file atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / WEIGHTS_FILE) as path:
            self.save_weights(path)
        write_saved_config(folder, self.config.to_json())

    @classmethod
    def from_preset(
        cls, folder: str | PathLike, *, dtype: Any = None, name: str | None = None
    ) -> "PartSegmenter":
        """Load a segmenter from a folder that this or an earlier version of `save_preset` wrote.

        Only JSON and plain arrays are read; nothing in the files is executed. The configuration is
        checked before the network is built, and the weights file before Keras reads it.

        Args:
            folder: the folder; or a model as `keras_parts.zoo.load` takes it: a name of the zoo,
                the folder of a training run, or an address.
            dtype, name: see `PartSegmenter`.

        Raises:
            DataError: the configuration is missing or cannot be read.
            ConfigError: a field of the configuration is wrong, or its format is of a later version,
                or an image would need more memory than `environment.max_model_bytes()`.
            IntegrityError: the weights are missing or damaged, or those of another segmenter.
        """
        if isinstance(folder, str) and not Path(folder, CONFIG_FILE).is_file():
            # By attribute, as the zoo lies above this room: it finds names and checks downloads.
            return keras_parts.zoo.load(folder, dtype=dtype, name=name)
        folder = Path(folder)
        values = read_saved_config(folder) | {"format": FORMAT}
        config = SegmenterConfig.from_json(values, source=folder / CONFIG_FILE)
        _check_memory(config, folder / CONFIG_FILE)
        segmenter = cls(config, dtype=dtype, name=name)
        load_weights(segmenter, folder / WEIGHTS_FILE)
        return segmenter


def _check_memory(config: SegmenterConfig, source: Path) -> None:
    """Raise ConfigError if an image needs too much memory, before the network is built."""
    by_stride = architecture_of(config.architecture).bytes_per_pixel or {}
    needed = config.image_size**2 * by_stride.get(config.output_stride, 0)
    if needed > max_model_bytes():
        raise ConfigError(
            f"{source}: {config.architecture} with images of {config.image_size} pixels and the "
            f"output stride {config.output_stride} needs about {needed / 2**30:.0f} GiB an image, "
            f"more than the {max_model_bytes() / 2**30:g} GiB that are allowed: if you trust the "
            f"model and have the memory, set {MODEL_VARIABLE}"
        )


def _create_backbone(config, output_stride, outputs):
    """The backbone of a configuration, checked: users register backbones too."""
    create = architecture_of(config.architecture).backbone
    backbone = create(output_stride=output_stride, outputs=outputs)
    if not isinstance(backbone, Backbone):
        raise ConfigError(
            f"the backbone of {config.architecture} is a {type(backbone).__name__}, expected a "
            "Backbone: create it with from_keras, atrous, from_keras_hub or from_keras_cv"
        )
    if min(backbone.strides.values()) != config.output_stride:
        raise ConfigError(
            f"the backbone of {config.architecture} gives maps of strides {backbone.strides}, "
            f"expected {config.output_stride} for the finest: correct the `layers` of the "
            "architecture"
        )
    return backbone


def _checked(x, y):
    """What to give to Keras instead of `x`; the images of the first batch are checked."""
    x, first = peek(x, y)
    if isinstance(first, tuple | list) and first:
        check_range(first[0])
    return x
