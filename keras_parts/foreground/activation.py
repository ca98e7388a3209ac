"""What a frozen classifier sees in photographs: its features, and where it sees its classes.

The activation of a class is Zhou et al., "Learning Deep Features for Discriminative Localization",
CVPR 2016. The mean over the likeliest classes says where there is an object of any class.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_parts.backbones.backbone import Backbone
from keras_parts.backbones.efficientnet_lite import efficientnet_lite0, load_efficientnet_lite0
from keras_parts.ops.resampling import resize_aligned

LOOK_SIZE = 257
"""Side in pixels of the square to which a photograph is scaled."""
GRID = 33
"""Positions along a side of the features, every eighth pixel, corners aligned."""
_LAYERS = ("block_4", "block_10", "block_14")
_TOP_CLASSES = 10
_FLOOR = 0.2  # quantile of an activation that becomes 0


class ObjectActivation(keras.Model):
    """Features and class activation of a classifier, averaged over an image and its mirror image.

    `activation(images)` takes `(batch, 257, 257, 3)` uint8 RGB and returns a dictionary of float32
    tensors: "features" `(batch, 33, 33, channels)`, and "activation" `(batch, 17, 17)`, the mean
    activation of the ten likeliest classes.

    Args:
        network: a `Backbone` at output stride 16 with the outputs "block_4", "block_10",
            "block_14", "head" and "classes".

    Attributes:
        channels: number of channels of the features.
    """

    def __init__(self, network: Backbone):
        super().__init__(name="object_activation")
        self.network = network
        self.channels = sum(network.channels[name] for name in _LAYERS)
        self.trainable = False

    def call(self, images: Any) -> dict[str, Any]:
        images = self.network.preprocessing.apply(images)
        upright = self.network(images, training=False)
        mirrored = self.network(ops.flip(images, axis=2), training=False)
        maps = {
            name: (upright[name] + ops.flip(mirrored[name], axis=2)) / 2
            for name in (*_LAYERS, "head")
        }
        features = [resize_aligned(maps[name], (GRID, GRID)) for name in _LAYERS]
        scores = upright["classes"] + mirrored["classes"]
        return {
            "features": ops.concatenate(features, axis=-1),
            "activation": self._activation(maps["head"], scores),
        }

    def _activation(self, head, scores):
        _, likeliest = ops.top_k(scores, _TOP_CLASSES)
        of_classes = ops.transpose(self.network.get_layer("classes").kernel)
        weights = ops.mean(ops.take(of_classes, likeliest, axis=0), axis=1)
        return ops.einsum("bhwc,bc->bhw", head, weights)


def load_object_activation() -> ObjectActivation:
    """`ObjectActivation` of EfficientNet-Lite0 with ImageNet's weights and labels."""
    network = efficientnet_lite0(16, (*_LAYERS, "head"), classes=1000)
    load_efficientnet_lite0(network)
    return ObjectActivation(network)


def scaled_activation(activation: np.ndarray) -> np.ndarray:
    """An activation as numbers from 0 to 1: its lowest fifth becomes 0, its maximum 1.

    Args:
        activation: `(h, w)` float32 of any range.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground.activation import scaled_activation
        >>> scaled_activation(np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])).round(2).tolist()
        [[0.0, 0.0, 0.25, 0.5, 0.75, 1.0]]
    """
    above = np.maximum(activation - np.quantile(activation, _FLOOR), 0)
    return (above / max(float(above.max()), 1e-6)).astype(np.float32)
