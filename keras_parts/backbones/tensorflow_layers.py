"""Keras' layers by faster ways that TensorFlow has on a CPU; everywhere else they are Keras' own.

They are subclasses with the same arguments, weights and results, up to rounding, and with the
same names, after which weight files are organised.
"""

import keras
from keras import layers

if keras.config.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable("keras_parts")
class Conv2D(layers.Conv2D):
    """Convolution, channels last, where it is dilated, with "same" padding and an odd kernel.

    Keras' dilated one goes through copies of all maps, rounded up to multiples of the
    dilation: 17 x 17 places become 20 x 20, which is 38 % more to compute.
    """

    def convolution_op(self, inputs, kernel):
        odd = all(size % 2 for size in self.kernel_size)
        plain = odd and self.padding == "same" and self.groups == 1
        if max(self.dilation_rate) == 1 or not (plain and _on_tensorflow_cpu()):
            return super().convolution_op(inputs, kernel)
        inputs, kernel = tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel)
        return _dilated_convolution(inputs, kernel, self.dilation_rate)


@keras.saving.register_keras_serializable("keras_parts")
class BatchNormalization(layers.BatchNormalization):
    """Batch normalisation of maps, channels last, in training with one operation for all of it.

    Keras' passes over the maps about fifteen times. By running statistics Keras' own stays: the
    operation would become part of the convolution before it, which oneDNN then computes thirty
    times more slowly for a batch of one image.
    """

    def call(self, inputs, training=None, mask=None):
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
        # The operation gives the variance with n - 1, Keras keeps the one with n.
        n = tf.cast(tf.size(inputs) / inputs.shape[-1], variance.dtype)
        variance *= (n - 1) / n
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + new * (1.0 - self.momentum))
        return outputs

    def _fusible(self, inputs, mask):
        plain = self.scale and self.center and not self.renorm and mask is None
        maps = len(inputs.shape) == 4 and self.axis in (-1, 3) and inputs.dtype != "float64"
        # `synchronized` has statistics of all replicas' maps together.
        return _on_tensorflow_cpu() and plain and maps and self.trainable and not self.synchronized


def _on_tensorflow_cpu():
    return keras.config.backend() == "tensorflow" and not tf.config.get_visible_devices("GPU")


def _dilated_convolution(inputs, kernel, dilation):
    """As `tf.nn.conv2d`, which on a CPU knows dilation but not its gradients."""

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradients(upstream):
            # What depends on the maps or the kernel alone would be made, and held, long before.
            with tf.control_dependencies([upstream]):
                turned = tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
                by_kernel = _kernel_gradient(inputs, upstream, kernel, dilation)
                return forward(upstream, turned), by_kernel

        return forward(inputs, kernel), gradients

    def forward(maps, kernel):
        return tf.nn.conv2d(maps, kernel, 1, "SAME", dilations=dilation)

    return convolve(inputs, kernel)


def _kernel_gradient(inputs, upstream, kernel, dilation):
    """One product of matrices a tap, over the places where the tap falls on the map."""
    height, width, *channels = kernel.shape
    taps = []
    for row in range(height):
        for column in range(width):
            down = dilation[0] * (row - height // 2)
            right = dilation[1] * (column - width // 2)
            seen = tf.reshape(inputs[:, shifted(down), shifted(right)], (-1, channels[0]))
            at = tf.reshape(upstream[:, shifted(-down), shifted(-right)], (-1, channels[1]))
            taps.append(tf.matmul(seen, at, transpose_a=True))
    return tf.reshape(tf.stack(taps), (height, width, *channels))


def shifted(offset):
    """The slice of an axis that leaves out `offset` places in front, or, below 0, at the end."""
    return slice(offset, None) if offset >= 0 else slice(None, offset)
