"""Batches of `PartDiscovery`: in the forms that Keras takes them, and what is wrong with one."""

import warnings
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np

from keras_parts.discovery.views import Tensor
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.inputs import describe_range, host_array

Batch = Mapping[str, Tensor]
"""The images of a batch and what belongs to them, see `PartDiscovery`."""
_FORMS = (
    "a dictionary with 'image' and 'foreground', or images and masks: fit(images, masks), or a "
    "data set of (images, masks)"
)


@runtime_checkable
class BatchSource(Protocol):
    """What `fit` needs of `keras_parts.data.Batches`."""

    @property
    def steps_per_epoch(self) -> float: ...

    def batch(self, step: int) -> dict[str, np.ndarray]: ...

    def iterate(self, first_step: int = 0) -> Any: ...


def as_batch(data: Any) -> dict[str, Tensor]:
    """A batch as Keras passes it to a step: a dictionary, or images and masks.

    Raises:
        ConfigError: it has another form, or sample weights.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is not None:
        raise ConfigError(
            "PartDiscovery does not use sample_weight: put the weights in the dictionary of the "
            "batch, and use them in a loss of your own (views.batch)"
        )
    if isinstance(x, Mapping):
        if y is not None:
            raise ConfigError(
                "PartDiscovery was given a dictionary and y: put the masks in the dictionary, as "
                "'foreground'"
            )
        return dict(x)
    if not hasattr(x, "shape"):
        raise ConfigError(f"a batch is {type(x).__name__}, expected {_FORMS}")
    return {"image": x} if y is None else {"image": x, "foreground": y}


def check_batch(batch: Batch) -> None:
    """Check names and shapes; sides that are open are not checked.

    Raises:
        ConfigError: "image" or "foreground" is missing, or a shape is wrong.
    """
    missing = [name for name in ("image", "foreground") if name not in batch]
    if missing:
        way_out = (
            "; where the object fills its image, give masks of ones"
            if missing == ["foreground"]
            else ""
        )
        raise ConfigError(
            f"the batch has {', '.join(map(repr, batch)) or 'nothing'}, and no {missing[0]!r}: "
            f"expected {_FORMS}{way_out}"
        )
    image, mask = (tuple(batch[name].shape) for name in ("image", "foreground"))
    _check_image(image)
    if len(mask) not in (3, 4) or (len(mask) == 4 and mask[-1] not in (1, None)):
        raise ConfigError(
            f"'foreground' has shape {mask}, expected (batch, height, width, 1): one mask for the "
            "whole object of each image"
        )
    _check_same("foreground", mask[:3], image[:3])
    if "features" in batch:
        features = tuple(batch["features"].shape)
        if len(features) != 4:
            raise ConfigError(f"'features' has shape {features}, expected (batch, h, w, channels)")
        _check_same("features", features[:1], image[:1])


def _check_image(shape: tuple[int | None, ...]) -> None:
    expected = "expected (batch, height, width, 3), RGB in 0 to 255"
    if len(shape) == 4 and shape[-1] in (3, None):
        return
    if len(shape) == 4 and shape[1] == 3:
        expected += ": channels are last, transpose the images with (0, 2, 3, 1)"
    elif shape and shape[-1] == 1:
        expected += ": repeat the grey channel three times"
    elif len(shape) == 3 and shape[-1] == 3:
        expected += ": the batch axis is missing (in tf.data, call .batch)"
    raise ConfigError(f"'image' has shape {shape}, {expected}")


def _check_same(name: str, found: tuple, expected: tuple) -> None:
    pairs = zip(found, expected, strict=True)
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        raise ConfigError(f"{name!r} has sides {found}, expected those of 'image', {expected}")


def check_values(batch: Batch) -> None:
    """Check the range of the images and masks of a batch that is there already.

    Raises:
        DataError: images are not in 0 to 255, or masks are neither 0 and 1 nor 0 and 255.

    Warns:
        UserWarning: all masks are empty.
    """
    image, mask = (host_array(batch[name]) for name in ("image", "foreground"))
    low, high = float(image.min()), float(image.max())
    if not (0 <= low and high <= 255) or 0 < high <= 1:
        raise DataError(f"the images of the first batch have {describe_range(low, high)}")
    low, high = float(mask.min()), float(mask.max())
    if not (0 <= low and (high <= 1 or 128 <= high <= 255)):
        raise DataError(
            f"the masks of the first batch have values from {low:g} to {high:g}, expected 0 and 1, "
            "or 0 and 255: for a map of labels, give labels > 0"
        )
    if not high:
        warnings.warn(
            "all masks of the first batch are empty: no part can be found where no mask has an "
            "object",
            stacklevel=2,
        )
