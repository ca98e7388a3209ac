"""How an RGB image in [0, 1] becomes the input of a network."""

import math
from dataclasses import asdict, dataclass, fields

import numpy as np
from keras import ops

from keras_parts.errors import ConfigError


@dataclass(frozen=True)
class Preprocessing:
    """The input convention of a pretrained network: `(image * multiplier - mean) / std`.

    Attributes:
        channel_order: "RGB" or "BGR", the order of channels that the network was trained with.
        multiplier: 1 for networks that take [0, 1], 255 for networks that take [0, 255].
        mean: three numbers in the units of the multiplied image, in `channel_order`.
        std: three positive numbers, likewise.

    Raises:
        ConfigError: a field is outside its range.
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
        if min(self.std) <= 0:
            raise ConfigError(f"preprocessing: std is {self.std}, expected positive numbers")

    def apply(self, images):
        """The network's input for images.

        Args:
            images: `(..., height, width, 3)`, RGB in [0, 1].

        Returns:
            Tensor of the same shape, float32 under any precision policy.
        """
        images = ops.cast(images, "float32")
        if self.channel_order == "BGR":
            images = ops.flip(images, axis=-1)
        # one multiplication and one addition: (image * multiplier - mean) / std
        std = np.asarray(self.std)
        scale = np.asarray(self.multiplier / std, "float32")
        offset = np.asarray(np.asarray(self.mean) / std, "float32")
        return images * scale - offset

    def to_config(self):
        """Plain JSON values that `from_config` turns back into an equal object."""
        config = asdict(self)
        return {**config, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_config(cls, config):
        """The inverse of `to_config`; missing or unknown fields raise `ConfigError`."""
        names = {field.name for field in fields(cls)}
        if not isinstance(config, dict) or set(config) != names:
            found = sorted(config) if isinstance(config, dict) else config
            raise ConfigError(f"preprocessing: fields are {found}, expected {sorted(names)}")
        return cls(**config)


def _three_numbers(name, value):
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ConfigError(f"preprocessing: {name} is {value!r}, expected three finite numbers")
    return numbers


IMAGENET = Preprocessing("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The convention of torchvision and of DINOv2: RGB in [0, 1] with ImageNet's mean and std."""

CAFFE = Preprocessing("BGR", 255.0, (103.939, 116.779, 123.68))
"""The convention of networks converted from Caffe, `keras.applications.ResNet50` among them."""
