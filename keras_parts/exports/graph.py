"""A segmenter as one TensorFlow graph, from uint8 images of any size to parts at their pixels.

The graph resizes images to the network's input by the rules of `keras_parts.images.geometry`, and
upsamples logits to the images' pixels. Both are products with matrices that plain arithmetic
computes from the image's size: every format has these operations, whereas operations for resizing
differ between formats.
"""

from typing import Any

import tensorflow as tf

from keras_parts.exports.formats import INPUT
from keras_parts.images.geometry import MAX_ASPECT, STRIDE
from keras_parts.models.architectures import architecture_of
from keras_parts.ops.resampling import interpolation_matrix

_WHITE = 255.0
_UNITS = 2.0**22
"""Pillow rounds the weights of its filters to multiples of 1 / 2^22."""


class ImageToParts(tf.Module):
    """The graph as a function of images `(batch, height, width, 3)` uint8 RGB.

    It returns "labels" `(batch, height, width)` uint8 and "probabilities"
    `(batch, height, width, 1 + parts)` float32; 0 is the background.

    Args:
        segmenter: a `PartSegmenter`, on the TensorFlow backend.
        resizing: dtype in which images are resized. In float64 the network's input equals Pillow's
            result; in float32 about one value in ten thousand differs by one.
    """

    def __init__(self, segmenter: Any, resizing: Any = tf.float64):
        super().__init__(name="image_to_parts")
        self.resizing = resizing
        self.segmenter, self.config = segmenter, segmenter.config
        self.aligned = architecture_of(segmenter.config.architecture).aligned_corners

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name=INPUT)])
    def __call__(self, images: Any) -> dict[str, Any]:
        sides = tf.shape(images)[1], tf.shape(images)[2]
        axes = [self._axis(side, sides) for side in sides]
        inputs = tf.cast(_resized(images, axes[0], axes[1], self.resizing), tf.float32)
        logits = self.segmenter(inputs, training=False)
        rows, columns = (
            axis.upsampling(_length(logits, i), self.aligned)
            for i, axis in enumerate(axes, start=1)
        )
        probabilities = tf.nn.softmax(_upsampled(logits, rows, columns), axis=-1)
        best = 1 + tf.argmax(probabilities[..., 1:], axis=-1, output_type=tf.int32)
        inside = tf.cast(probabilities[..., 0] < 0.5, tf.int32)
        return {
            "labels": tf.identity(tf.cast(best * inside, tf.uint8), "labels"),
            "probabilities": tf.identity(probabilities, "probabilities"),
        }

    def _axis(self, side, sides):
        """The `_Axis` of one side of an image, by the rules of `resize_geometry`."""
        size, mode = self.config.image_size, self.config.resize_mode
        if mode == "stretch":
            return _Axis(side, tf.constant(size), size)
        longest, shortest = tf.maximum(*sides), tf.minimum(*sides)
        missing = 2 * _rounded_ratio(size * (longest - side), 2 * longest)
        padded = tf.maximum(size - missing, 2 - size % 2)
        if mode == "pad":
            return _Axis(side, padded, size)
        resized = size + 2 * _rounded_ratio(size * (side - shortest), 2 * shortest)
        length = size + (resized - size) // STRIDE * STRIDE
        is_strip = longest > MAX_ASPECT * shortest
        return _Axis(side, tf.where(is_strip, padded, resized), tf.where(is_strip, size, length))


def frozen(graph: ImageToParts) -> Any:
    """The concrete function of a graph with its weights as constants, for converters that cannot
    find the variables of a Keras model."""
    from tensorflow.python.framework import convert_to_constants

    function = graph.__call__.get_concrete_function()
    return convert_to_constants.convert_variables_to_constants_v2(function)


class _Axis:
    """One axis of an image: `side` pixels are resized to `resized` pixels, which are centred in an
    input of `length` pixels."""

    def __init__(self, side, resized, length):
        self.side, self.resized, self.length = side, resized, length
        self.offset = (length - resized) // 2
        self.scale = tf.cast(side, tf.float32) / tf.cast(resized, tf.float32)

    def resizing(self, kind):
        """Pillow's bicubic filter with antialiasing, and which pixels of the input it fills.

        Returns:
            `(length, side)`: weights of the image's pixels at each pixel of the input, in units of
            1 / 2^22; `(length,)`: 1 for the input's pixels inside the image, 0 for padding.
        """
        target = tf.range(self.length) - self.offset
        inside = (target >= 0) & (target < self.resized)
        # In integers: the difference of two large floats would be too inexact.
        distance = (2 * tf.range(self.side) + 1) * self.resized
        distance -= (2 * target[:, None] + 1) * self.side
        scale = tf.cast(2 * tf.maximum(self.side, self.resized), kind)
        weights = _bicubic(tf.cast(distance, kind) / scale)
        total = tf.reduce_sum(weights, axis=1, keepdims=True)
        one = tf.ones_like(total)
        weights = tf.round(_UNITS * weights / tf.where(inside[:, None], total, one))
        inside = tf.cast(inside, kind)
        return weights * inside[:, None], inside

    def upsampling(self, size, aligned):
        """`(side, size)`: weights of the `size` positions of a map at each pixel of the image."""
        pixels = tf.cast(tf.range(self.side), tf.float32)
        positions = (pixels + 0.5) / self.scale - 0.5 + tf.cast(self.offset, tf.float32)
        length, count = tf.cast(self.length, tf.float32), tf.cast(size, tf.float32)
        if aligned:
            positions = positions * (count - 1.0) / tf.maximum(length - 1.0, 1.0)
        else:
            positions = (positions + 0.5) * count / length - 0.5
        return interpolation_matrix(tf.clip_by_value(positions, 0.0, count - 1.0), size)


def _resized(images, vertical, horizontal, kind):
    """The network's input `(batch, height, width, 3)`: whole numbers in 0 to 255, as floats."""
    (rows, tall), (columns, wide) = vertical.resizing(kind), horizontal.resizing(kind)
    # As in `ResizeGeometry.apply`: the width first, and rounding after each axis.
    resized = _along_rows(tf.cast(images, kind), columns, tf.shape(images)[1])
    resized = tf.transpose(_rounded(resized), [0, 2, 1, 3])
    resized = _along_rows(resized, rows, horizontal.length)
    resized = tf.transpose(_rounded(resized), [0, 2, 1, 3])
    inside = (tall[:, None] * wide)[None, :, :, None]
    inputs = resized * inside + _WHITE * (1 - inside)
    lengths = vertical.length, horizontal.length
    static = [length if isinstance(length, int) else None for length in lengths]
    inputs.set_shape([None, *static, 3])
    return inputs


def _upsampled(maps, rows, columns):
    """Maps `(batch, h, w, channels)` at the pixels of an image."""
    maps = tf.transpose(_along_rows(maps, columns, _length(maps, 1)), [0, 2, 1, 3])
    maps = _along_rows(maps, rows, tf.shape(columns)[0])
    return tf.transpose(maps, [0, 2, 1, 3])


def _along_rows(images, weights, height):
    """Multiply each row of `(batch, height, width, channels)` by weights `(new width, width)`."""
    channels = images.shape[-1]
    flat = tf.reshape(tf.transpose(images, [0, 1, 3, 2]), [-1, tf.shape(weights)[1]])
    product = tf.matmul(flat, weights, transpose_b=True)
    product = tf.reshape(product, [-1, height, channels, tf.shape(weights)[0]])
    return tf.transpose(product, [0, 1, 3, 2])


def _length(maps, axis):
    """A side of maps: an integer, or a tensor if the graph leaves it open."""
    return maps.shape[axis] if maps.shape[axis] is not None else tf.shape(maps)[axis]


def _bicubic(x):
    """Keys' bicubic kernel with a = -0.5, as in Pillow."""
    x = tf.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return tf.where(x < 1, near, tf.where(x < 2, far, tf.zeros_like(x)))


def _rounded(sums):
    return tf.clip_by_value(tf.floor(sums / _UNITS + 0.5), 0, _WHITE)


def _rounded_ratio(numerator, denominator):
    """A ratio of integers, rounded half to even as Python's `round`, but exactly."""
    quotient = numerator // denominator
    twice = 2 * (numerator - quotient * denominator)
    up = (twice > denominator) | ((twice == denominator) & (quotient % 2 == 1))
    return quotient + tf.cast(up, tf.int32)
