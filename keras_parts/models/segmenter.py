"""PartSegmenter: from an image to K parts and background. What is saved, shipped and exported."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from keras_parts.backbones.backbone import Backbone
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import atomic_path, atomic_write
from keras_parts.images.decoding import read_image, to_rgb
from keras_parts.images.geometry import FITS, fit_image
from keras_parts.models.architectures import architecture_of
from keras_parts.ops import join_background
from keras_parts.results.parts import Parts

_FORMAT = 1
_CONFIG_FILE, WEIGHTS_FILE = "segmenter.json", "segmenter.weights.h5"
_BATCH = 16
_STRIDE = 16


@dataclass(frozen=True)
class SegmenterConfig:
    """All that is needed to build a segmenter, apart from its weights.

    Attributes:
        parts: number of parts K, 2 to 64.
        architecture: a name out of `keras_parts.models.architectures.ARCHITECTURES`.
        output_stride: input pixels between neighbouring logits, 8 or 16.
        size: side of the network's input in pixels; None takes the architecture's own.
        fit: how an image is brought to that size, see `keras_parts.images.fit_geometry`; None
            takes the architecture's own.
        preprocessing: the input convention of the backbone's weights; None takes its own.
        part_names: one a part, or none.

    Raises:
        ConfigError: a field is outside its range.
    """

    parts: int
    architecture: str = "efficientnet_lite0"
    output_stride: int = 16
    size: int | None = None
    fit: str | None = None
    preprocessing: Preprocessing | None = None
    part_names: tuple[str, ...] = ()

    def __post_init__(self):
        own = architecture_of(self.architecture)
        object.__setattr__(self, "size", own.size if self.size is None else self.size)
        object.__setattr__(self, "fit", own.fit if self.fit is None else self.fit)
        if isinstance(self.part_names, str) or not all(
            isinstance(name, str) for name in self.part_names
        ):
            raise ConfigError(f"segmenter: part_names are {self.part_names!r}, expected texts")
        object.__setattr__(self, "part_names", tuple(self.part_names))
        self._check_choice("output_stride", sorted(own.layers))
        self._check_choice("fit", FITS)
        self._check_range("parts", 2, 64)
        self._check_range("size", 33, 4097)
        if own.aligned_corners and (self.size - 1) % _STRIDE:
            nearest = round((self.size - 1) / _STRIDE) * _STRIDE + 1
            raise ConfigError(
                f"segmenter: size is {self.size}, but {self.architecture} takes a multiple of "
                f"{_STRIDE} plus 1, so that features line up with the image: try {nearest}"
            )
        if self.part_names and len(self.part_names) != self.parts:
            raise ConfigError(f"segmenter: {len(self.part_names)} names for {self.parts} parts")

    def _check_choice(self, name, choices):
        if getattr(self, name) not in choices:
            raise ConfigError(
                f"segmenter: {name} is {getattr(self, name)!r}, expected one of "
                f"{', '.join(map(str, choices))} for {self.architecture}"
            )

    def _check_range(self, name, low, high):
        value = getattr(self, name)
        if not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"segmenter: {name} is {value!r}, expected {low} to {high}")

    def to_json(self):
        """Plain JSON values."""
        values = asdict(self) | {"format": _FORMAT, "part_names": list(self.part_names)}
        if self.preprocessing:
            values["preprocessing"] = self.preprocessing.to_config()
        return values

    @classmethod
    def from_json(cls, values, source=_CONFIG_FILE):
        """The inverse of `to_json`; unknown, missing or wrong fields raise `ConfigError`."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ConfigError(f"{source}: not a segmenter of format {_FORMAT}")
        if set(values) != names | {"format"}:
            raise ConfigError(
                f"{source}: fields are {sorted(values)}, expected {sorted(names | {'format'})}"
            )
        values = {name: values[name] for name in names}
        if values["preprocessing"] is not None:
            values["preprocessing"] = Preprocessing.from_config(values["preprocessing"])
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None


class PartSegmenter(keras.Model):
    """Segments images into parts and background.

    Calling it takes images `(batch, height, width, 3)`, RGB in [0, 1] at the network's size, and
    gives float32 logits `(batch, h, w, 1 + parts)` at the output stride, channel 0 the background
    (`keras_parts.ops.logits` says how background and parts combine). `segment` and `maps` take
    pictures of any size.

    Args:
        config: a `SegmenterConfig`.

    Attributes:
        config: as given. parts: number of parts. part_names: one a part, or empty.
        preprocessing: how an image becomes the backbone's input.
        updates_statistics: whether batch normalisation computes with batch statistics in training
            and updates the running ones. False, the default, keeps those of the pretrained network.
    """

    def __init__(self, config, **kwargs):
        super().__init__(name=kwargs.pop("name", "part_segmenter"), **kwargs)
        own = architecture_of(config.architecture)
        self.config = config
        self.backbone = _backbone(config, *own.layers[config.output_stride])
        self.preprocessing = config.preprocessing or self.backbone.preprocessing
        self.head = own.head(1 + config.parts, name="head")
        self.updates_statistics = False
        # Functional backbones are built; the head is by its first call.
        self(np.zeros((1, config.size, config.size, 3), "float32"))

    @property
    def parts(self):
        return self.config.parts

    @property
    def part_names(self):
        return self.config.part_names

    def call(self, images, training=False):
        inputs = self.preprocessing.apply(images)
        features = self.backbone(inputs, training=training and self.updates_statistics)
        logits = self.head(features, training=training)
        return join_background(logits[..., 1:], logits[..., :1])

    def maps(self, images, flip=False):
        """Logits at the images' own resolution, enlarged before any decision is taken.

        Args:
            images: list of `(height, width, 3)` uint8 RGB, of any sizes.
            flip: average the probabilities with those of the mirrored image, at twice the cost.

        Returns:
            list of float32 `(height, width, 1 + parts)`, channel 0 the background.
        """
        fitted = [fit_image(image, self.config.size, self.config.fit, _STRIDE) for image in images]
        aligned = architecture_of(self.config.architecture).aligned_corners
        pictures = [picture for picture, _ in fitted]
        logits = self._predict(pictures)
        if flip:
            mirrored = self._predict([picture[:, ::-1] for picture in pictures])
            logits = [_mean(*pair) for pair in zip(logits, mirrored, strict=True)]
        return [fit.restore(maps, aligned) for maps, (_, fit) in zip(logits, fitted, strict=True)]

    def _predict(self, pictures):
        """Logits of uint8 inputs, in batches of one size a shape: nothing is compiled twice."""
        results = [None] * len(pictures)
        shapes = {picture.shape for picture in pictures}
        for shape in shapes:
            same = [i for i, picture in enumerate(pictures) if picture.shape == shape]
            size = min(_BATCH, 1 << (len(same) - 1).bit_length())
            for start in range(0, len(same), size):
                chosen = same[start : start + size]
                filled = chosen + chosen[-1:] * (size - len(chosen))
                batch = np.stack([pictures[i] for i in filled]).astype("float32") / 255
                for i, logits in zip(chosen, self.predict_on_batch(batch), strict=False):
                    results[i] = logits
        return results

    def segment(self, images):
        """Parts of pictures.

        Args:
            images: a path, a `PIL.Image`, a `(height, width, 3)` uint8 RGB array, or a list of
                such.

        Returns:
            A `Parts`, or a list of them for a list.

        Raises:
            DataError: a file is missing, damaged or no picture.
        """
        if not isinstance(images, list | tuple):
            return self.segment([images])[0]
        pixels = [_pixels(image) for image in images]
        logits = self.maps(pixels)
        return [
            Parts(maps, image, self.part_names) for maps, image in zip(logits, pixels, strict=True)
        ]

    def save_preset(self, folder):
        """Write configuration and weights to a folder, each file whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / WEIGHTS_FILE) as path:
            self.save_weights(path)
        with atomic_write(folder / _CONFIG_FILE, "w") as file:
            json.dump(self.config.to_json(), file, indent=2)

    @classmethod
    def from_preset(cls, folder):
        """Read what `save_preset` wrote.

        Only JSON and plain arrays are read; nothing of the files is executed.

        Raises:
            DataError: a file is missing or cannot be read. ConfigError: a field is wrong.
        """
        folder = Path(folder)
        path = folder / _CONFIG_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(
                f"{path}: there is no such file; is this a segmenter's folder?"
            ) from None
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}") from None
        segmenter = cls(SegmenterConfig.from_json(values, source=path))
        try:
            segmenter.load_weights(folder / WEIGHTS_FILE)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder / WEIGHTS_FILE}: cannot be loaded: {error}") from error
        return segmenter


def _backbone(config, output_stride, outputs):
    """The backbone of a configuration; one that is brought may not be what it was said to be."""
    create = architecture_of(config.architecture).backbone
    backbone = create(output_stride=output_stride, outputs=outputs)
    if not isinstance(backbone, Backbone):
        raise ConfigError(
            f"the backbone of {config.architecture} is a {type(backbone).__name__}, expected a "
            "Backbone: atrous, from_keras_hub or from_keras_cv makes one"
        )
    if min(backbone.strides.values()) != config.output_stride:
        raise ConfigError(
            f"the backbone of {config.architecture} gives maps of strides {backbone.strides}, "
            f"expected {config.output_stride} for the finest, as its layers say"
        )
    return backbone


def _mean(logits, mirrored):
    """Logits of the mean probability of an image and its mirror image, `(h, w, channels)`."""
    both = np.stack([logits, mirrored[:, ::-1]])
    both -= np.logaddexp.reduce(both, axis=-1, keepdims=True)
    return np.logaddexp.reduce(both, axis=0) - np.log(2)


def _pixels(image):
    """(height, width, 3) uint8 RGB of whatever `segment` takes."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
            raise DataError(
                f"an array of {image.dtype} {image.shape} is no image, "
                "expected uint8 (height, width, 3), RGB in 0 to 255"
            )
        return image
    return to_rgb(image) if isinstance(image, Image.Image) else read_image(image)
