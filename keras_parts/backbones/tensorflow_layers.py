"""Keras' layers with faster implementations for TensorFlow on a CPU.

They are subclasses with the same arguments, weights, and results up to rounding, and with the same
names, since weights files refer to layers by name. On other backends and devices they are Keras'
own layers.
"""

from typing import Any

import keras
from keras import layers

if keras.config.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable("keras_parts")
class Conv2D(layers.Conv2D):
    """A convolution that is faster if it is dilated and has "same" padding and an odd kernel size.

    Keras computes a dilated convolution on copies of the maps that are padded to multiples of the
    dilation: 17 x 17 positions become 20 x 20, which is 38 % more to compute.

    Example:
        >>> import numpy as np
        >>> from keras_parts.backbones.tensorflow_layers import Conv2D
        >>> layer = Conv2D(4, 3, dilation_rate=2, padding="same")
        >>> tuple(layer(np.ones((1, 17, 17, 8))).shape)
        (1, 17, 17, 4)
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        odd = all(size % 2 for size in self.kernel_size)
        plain = odd and self.padding == "same" and self.groups == 1
        if max(self.dilation_rate) == 1 or not (plain and _on_tensorflow_cpu()):
            return super().convolution_op(inputs, kernel)
        inputs, kernel = tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel)
        return _dilated_convolution(inputs, kernel, self.dilation_rate)


@keras.saving.register_keras_serializable("keras_parts")
class BatchNormalization(layers.BatchNormalization):
    """Batch normalisation of feature maps, computed by one fused operation in training.

    Keras' own implementation reads the maps about fifteen times. Outside training it is used
    nevertheless: TensorFlow would merge the fused operation with the preceding convolution, which
    oneDNN then computes thirty times more slowly for a batch of one image.

    Example:
        >>> import numpy as np
        >>> from keras_parts.backbones.tensorflow_layers import BatchNormalization
        >>> tuple(BatchNormalization()(np.ones((2, 17, 17, 8)), training=True).shape)
        (2, 17, 17, 8)
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self._fusible(inputs, mask)):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
        )
        # The operation divides the variance by n - 1, Keras by n.
        n = tf.cast(tf.size(inputs) / inputs.shape[-1], variance.dtype)
        variance *= (n - 1) / n
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + new * (1.0 - self.momentum))
        return outputs

    def _fusible(self, inputs, mask):
        plain = self.scale and self.center and not self.renorm and mask is None
        maps = len(inputs.shape) == 4 and self.axis in (-1, 3) and inputs.dtype != "float64"
        # With `synchronized`, the statistics are over the maps of all replicas.
        return _on_tensorflow_cpu() and plain and maps and self.trainable and not self.synchronized


def _on_tensorflow_cpu():
    return keras.config.backend() == "tensorflow" and not tf.config.get_visible_devices("GPU")


def _dilated_convolution(inputs, kernel, dilation):
    """`tf.nn.conv2d` with gradients for dilation, which TensorFlow lacks on a CPU."""

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradients(upstream):
            # Without this, TensorFlow computes what does not depend on `upstream` early, and the
            # results occupy memory until they are used.
            with tf.control_dependencies([upstream]):
                flipped = tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
                kernel_gradient = _kernel_gradient(inputs, upstream, kernel, dilation)
                return forward(upstream, flipped), kernel_gradient

        return forward(inputs, kernel), gradients

    def forward(maps, kernel):
        return tf.nn.conv2d(maps, kernel, 1, "SAME", dilations=dilation)

    return convolve(inputs, kernel)


def _kernel_gradient(inputs, upstream, kernel, dilation):
    """Gradient of the kernel: one matrix product per tap, over the positions that it reaches."""
    height, width, *channels = kernel.shape
    taps = []
    for row in range(height):
        for column in range(width):
            rows = dilation[0] * (row - height // 2)
            columns = dilation[1] * (column - width // 2)
            x = tf.reshape(inputs[:, shifted(rows), shifted(columns)], (-1, channels[0]))
            y = tf.reshape(upstream[:, shifted(-rows), shifted(-columns)], (-1, channels[1]))
            taps.append(tf.matmul(x, y, transpose_a=True))
    return tf.reshape(tf.stack(taps), (height, width, *channels))


def shifted(offset: int) -> slice:
    """A slice without the first `offset` positions or, if negative, without the last `-offset`."""
    return slice(offset, None) if offset >= 0 else slice(None, offset)
