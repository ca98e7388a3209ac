"""Turn RGB images in 0 to 255 into the input of a network."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from keras import ops

from keras_parts.errors import ConfigError

_MAX = 1e6


@dataclass(frozen=True)
class Preprocessing:
    """The input normalisation of a pretrained network.

    It computes `(image / 255 * multiplier - mean) / std` for images in 0 to 255.

    Attributes:
        channel_order: "RGB" or "BGR", the order of channels with which the network was trained.
        multiplier: 1 for networks trained on [0, 1], 255 for networks trained on [0, 255].
        mean: three numbers from -1e6 to 1e6 in the units of the multiplied image, in
            `channel_order`.
        std: three numbers from 1e-6 to 1e6, in the same units and order.

    Raises:
        ConfigError: a field is outside its range.

    Example:
        >>> import numpy as np
        >>> from keras_parts.backbones import Preprocessing
        >>> preprocessing = Preprocessing("RGB", 255, std=(2.0, 2.0, 2.0))
        >>> float(preprocessing.apply(np.full((1, 32, 32, 3), 255))[0, 0, 0, 0])
        127.5
    """

    channel_order: str = "RGB"
    multiplier: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        if self.channel_order not in ("RGB", "BGR"):
            raise ConfigError(
                f'preprocessing: channel_order is {self.channel_order!r}, expected "RGB" or "BGR"'
            )
        if self.multiplier not in (1, 255):
            raise ConfigError(
                f"preprocessing: multiplier is {self.multiplier!r}, expected 1 or 255"
            )
        object.__setattr__(self, "multiplier", float(self.multiplier))
        for name in ("mean", "std"):
            object.__setattr__(self, name, _three_numbers(name, getattr(self, name)))
        # Beyond these, float32 overflows, and a segmenter finds nothing in any image.
        if max(map(abs, self.mean)) > _MAX:
            raise ConfigError(
                f"preprocessing: mean is {self.mean}, expected numbers from {-_MAX:g} to {_MAX:g}"
            )
        if not 1 / _MAX <= min(self.std) <= max(self.std) <= _MAX:
            raise ConfigError(
                f"preprocessing: std is {self.std}, expected positive numbers from {1 / _MAX:g} to "
                f"{_MAX:g}"
            )

    def apply(self, images: Any) -> Any:
        """Turn images into the network's input.

        Args:
            images: `(..., height, width, 3)`, RGB in 0 to 255, uint8 or float.

        Returns:
            float32 tensor of the same shape, under any precision policy.
        """
        images = ops.cast(images, "float32")
        if self.channel_order == "BGR":
            images = ops.flip(images, axis=-1)
        # (image / 255 * multiplier - mean) / std, as one multiplication and one subtraction.
        # The constants become tensors: PyTorch multiplies no tensor of a GPU by a NumPy array.
        std = np.asarray(self.std)
        scale, offset = (
            ops.convert_to_tensor(np.asarray(values / std, "float32"))
            for values in (self.multiplier / 255, np.asarray(self.mean))
        )
        return images * scale - offset

    def to_config(self) -> dict[str, Any]:
        """The fields as JSON values, for `from_config`."""
        config = asdict(self)
        return {**config, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `to_config`.

        Raises:
            ConfigError: a field is missing, unknown or outside its range.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(config, dict) or set(config) != names:
            found = sorted(config) if isinstance(config, dict) else config
            raise ConfigError(
                f"preprocessing: fields are {str(found):.200}, expected {sorted(names)}"
            )
        return cls(**config)


def _three_numbers(name, value):
    try:
        numbers = () if isinstance(value, str) else tuple(float(number) for number in value)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ConfigError(f"preprocessing: {name} is {value!r:.200}, expected three finite numbers")
    return numbers


IMAGENET = Preprocessing("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""For torchvision's networks and DINOv2: images in 0 to 1, ImageNet's mean and standard
deviation."""

CAFFE = Preprocessing("BGR", 255.0, (103.939, 116.779, 123.68))
"""For networks converted from Caffe, such as `keras.applications.ResNet50`: BGR minus its mean."""
