"""The preprocessor of a segmenter: images of any size become inputs of the network."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_parts.errors import ConfigError, DataError
from keras_parts.images.geometry import resize_geometry, resize_image
from keras_parts.images.inputs import as_images, describe_range, host_array, is_array, is_image

_WHITE = 255
_BITS = 22
"""Pillow rounds the weights of its filters to multiples of 1 / 2^22."""
_LOW_BITS = 11


@keras.saving.register_keras_serializable("keras_parts")
class ImagePreprocessor(keras.layers.Layer):
    """Resizes images to the input of a segmenter, exactly as `PartSegmenter.segment` does.

    It is `PartSegmenter.preprocessor`, which `PartSegmenter.predict` applies. In a functional model
    it stands before the segmenter; the sides of the images are fixed there.

    Args:
        image_size, resize_mode: see `keras_parts.images.geometry.resize_geometry`.

    Raises:
        ConfigError: a side of the images is open.

    Example:
        >>> import numpy as np
        >>> from keras_parts.models import ImagePreprocessor
        >>> tuple(ImagePreprocessor(33)(np.zeros((1, 60, 90, 3), "uint8")).shape)
        (1, 33, 33, 3)
    """

    def __init__(self, image_size: int, resize_mode: str = "pad", **kwargs: Any):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.image_size, self.resize_mode = image_size, resize_mode
        self.built = True

    def call(self, images: Any) -> Any:
        """Resize a batch of images of one size.

        Args:
            images: `(batch, height, width, 3)`, RGB in 0 to 255; floats are rounded.

        Returns:
            float32 `(batch, h, w, 3)`, whole numbers in 0 to 255.
        """
        height, width = images.shape[1:3]
        if height is None or width is None:
            raise ConfigError(
                f"preprocessor: images have shape {tuple(images.shape)}, expected a fixed height "
                "and width: resize them before, or call predict or segment, which take all sizes"
            )
        geometry = resize_geometry(height, width, self.image_size, self.resize_mode)
        images = ops.clip(ops.round(ops.cast(images, "float32")), 0, _WHITE)
        # As in `ResizeGeometry.apply`: the width first, and rounding after each axis.
        for axis, equation in ((1, "Ww,bhwc->bhWc"), (0, "Hh,bhwc->bHwc")):
            size, resized = geometry.original_size[axis], geometry.resized_size[axis]
            if size != resized:
                images = _filtered(images, equation, *_filter(size, resized))
        rows, columns = (geometry.overlap(axis, -1) for axis in (0, 1))
        return _padded(images[:, rows, columns], geometry)

    def prepare(self, images: Any) -> Any:
        """The inputs for images as `PartSegmenter.predict` takes them, computed by Pillow.

        Args:
            images: a batch `(batch, height, width, 3)`, array or tensor, RGB in 0 to 255; or a list
                of images of any sizes, see `keras_parts.images.inputs.ImageLike`.

        Returns:
            `(batch, h, w, 3)`; a batch of the input's size is returned as it is.

        Raises:
            DataError: an image cannot be read; the values are not in 0 to 255; or images of several
                shapes become inputs of several shapes, with the resize mode "short".
        """
        if is_array(images) and len(images.shape) == 4 and self._fits(*images.shape[1:3]):
            check_range(images)
            return images
        several = [images] if is_array(images) else images
        inputs = [self._input(image) for each in several for image in as_images(each)]
        shapes = {one.shape for one in inputs}
        if len(shapes) > 1:
            raise DataError(
                f"the images become inputs of the shapes {sorted(shapes)}, expected one shape: "
                "call segment, or predict with images of one shape"
            )
        return np.stack(inputs)

    def _fits(self, height, width):
        if None in (height, width):
            return False
        geometry = resize_geometry(height, width, self.image_size, self.resize_mode)
        return geometry.input_size == geometry.resized_size == (height, width)

    def _input(self, image):
        resized, _ = resize_image(image, self.image_size, self.resize_mode)
        return resized

    def get_config(self) -> dict[str, Any]:
        sizes = {"image_size": self.image_size, "resize_mode": self.resize_mode}
        return super().get_config() | sizes


def check_range(images: Any) -> None:
    """Refuse images that are in 0 to 1 or normalised, as other libraries have them.

    Args:
        images: an array of floats or a tensor that has values; others are not checked.

    Raises:
        DataError: all values are in 0 to 1, and not all are 0; or some are negative, and none is
            larger than 3.
    """
    if not is_array(images) or "float" not in keras.backend.standardize_dtype(images.dtype):
        return
    array = host_array(images)
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if 0 < high <= 1 or low < 0 < high <= 3:
        raise DataError(f"the images have {describe_range(low, high)}")


def prepared(data: Any, preprocessor: ImagePreprocessor) -> tuple[Any, int | None]:
    """What `predict` is given, with every batch of it prepared as it is read.

    Args:
        data: images as `ImagePreprocessor.prepare` takes them; or a `keras.utils.PyDataset`,
            `tf.data.Dataset`, `torch.utils.data.DataLoader` or generator of batches.
        preprocessor: the preprocessor.

    Returns:
        The data, and the number of batches where the data no longer show it.
    """
    if is_array(data):
        return preprocessor.prepare(data), None
    if isinstance(data, list | tuple):
        is_batch = len(data) == 1 and is_array(data[0]) and len(data[0].shape) == 4
        return preprocessor.prepare(data[0] if is_batch else data), None
    if is_image(data):
        return preprocessor.prepare([data]), None
    if isinstance(data, keras.utils.PyDataset):
        return _PreparedDataset(data, preprocessor), None
    return _prepared_batches(data, preprocessor), _number_of_batches(data)


class _PreparedDataset(keras.utils.PyDataset):
    """A `PyDataset` whose batches of images are prepared where they are read."""

    def __init__(self, dataset, preprocessor):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self.dataset, self.preprocessor = dataset, preprocessor

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def __getitem__(self, index):
        return (self.preprocessor.prepare(_images_of(self.dataset[index])),)


def _prepared_batches(batches: Any, preprocessor: ImagePreprocessor) -> Iterator[tuple[Any]]:
    for batch in batches:
        yield (preprocessor.prepare(_images_of(batch)),)


def _number_of_batches(data):
    """The length of a `DataLoader` or `tf.data.Dataset`; None if it is unknown or infinite."""
    try:
        return len(data)
    except TypeError:
        return None


def _images_of(batch):
    """The images of a batch that may have targets and weights as well."""
    return keras.utils.unpack_x_y_sample_weight(batch)[0] if isinstance(batch, tuple) else batch


@lru_cache(maxsize=16)
def _filter(size, resized):
    """Pillow's bicubic filter with antialiasing: weights `(resized, size)` in units of 1 / 2^22.

    Each is the sum of two floats, a multiple of 2^11 and a rest: a product of either with a pixel
    is exact in float32, and in TF32, and so are their sums over the pixels.
    """
    scale = size / resized
    stretch = max(scale, 1.0)
    centres = (np.arange(resized) + 0.5) * scale
    first = np.maximum((centres - 2 * stretch + 0.5).astype(int), 0)
    last = np.minimum((centres + 2 * stretch + 0.5).astype(int), size)
    pixels = np.arange(size)
    inside = (pixels >= first[:, None]) & (pixels < last[:, None])
    weights = _bicubic((pixels + 0.5 - centres[:, None]) / stretch) * inside
    weights /= weights.sum(1, keepdims=True)
    whole = np.trunc(weights * 2**_BITS + np.copysign(0.5, weights)).astype(np.int64)
    half = 2 ** (_LOW_BITS - 1)
    low = (whole + half) % (2 * half) - half
    return ((whole - low) >> _LOW_BITS).astype(np.float32), low.astype(np.float32)


def _bicubic(x):
    """Keys' bicubic kernel with a = -0.5, as in Pillow."""
    x = np.abs(x)
    near = ((1.5 * x) - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _filtered(images, equation, high, low):
    """Images with one axis resized, rounded to whole numbers as Pillow does."""
    high, low = (
        ops.cast(ops.einsum(equation, ops.convert_to_tensor(weights), images), "int32")
        for weights in (high, low)
    )
    sums = ops.left_shift(high, _LOW_BITS) + low + 2 ** (_BITS - 1)
    return ops.cast(ops.clip(ops.right_shift(sums, _BITS), 0, _WHITE), "float32")


def _padded(images, geometry):
    """Images with white around them, up to the size of the network's input."""
    padding = [(0, 0)]
    for axis in (0, 1):
        inside = geometry.overlap(axis, 1)
        padding.append((inside.start, geometry.input_size[axis] - inside.stop))
    return ops.pad(images, [*padding, (0, 0)], constant_values=_WHITE)
