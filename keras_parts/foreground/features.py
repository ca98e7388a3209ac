"""The features of a frozen network in which objects are found."""

from typing import Any

import keras
from keras import ops

from keras_parts.backbones.backbone import Backbone
from keras_parts.backbones.efficientnet_lite import efficientnet_lite0, load_efficientnet_lite0
from keras_parts.errors import ConfigError
from keras_parts.ops.resampling import resize_aligned

LOOK_SIZE = 257
"""Side in pixels of the square to which a photograph is scaled."""
GRID = 33
"""Positions along a side of the features, every eighth pixel, corners aligned."""


class LookFeatures(keras.Model):
    """Features of a frozen network, averaged over an image and its mirror image.

    `features(images)` takes `(batch, 257, 257, 3)` uint8 RGB and returns a dictionary of float32
    tensors: "features" `(batch, 33, 33, channels)`, all outputs of the network but the last one;
    "deepest" `(batch, h, w, channels)`, the last of these; and "norms" `(batch, h, w, 2)`, the
    lengths of the vectors of the last two outputs, which are large where there is an object.

    Args:
        network: a `Backbone` with two or more outputs, from the first to the deepest. Images are
            scaled to the size of its input if it has one.

    Raises:
        ConfigError: the network has one output.
    """

    def __init__(self, network: Backbone):
        super().__init__(name="look_features")
        names = list(network.strides)
        if len(names) < 2:
            raise ConfigError(f"{network.name}: objects are found with two or more outputs")
        self.network, self.names = network, names
        self.trainable = False

    def call(self, images: Any) -> dict[str, Any]:
        size = self.network.input_shape[1:3]
        if None not in size and size != (LOOK_SIZE, LOOK_SIZE):
            images = resize_aligned(ops.cast(images, "float32"), size)
        images = self.network.preprocessing.apply(images)
        upright = self.network(images, training=False)
        mirrored = self.network(ops.flip(images, axis=2), training=False)
        maps = [(upright[name] + ops.flip(mirrored[name], axis=2)) / 2 for name in self.names]
        *features, last = maps
        deepest = features[-1]
        size = ops.shape(deepest)[1:3]
        norms = [ops.norm(each, axis=-1, keepdims=True) for each in (deepest, last)]
        return {
            "features": ops.concatenate(
                [resize_aligned(each, (GRID, GRID)) for each in features], axis=-1
            ),
            "deepest": deepest,
            "norms": ops.concatenate([resize_aligned(each, size) for each in norms], axis=-1),
        }


def load_network() -> Backbone:
    """EfficientNet-Lite0 with the weights of ImageNet that come with the package."""
    network = efficientnet_lite0(16, ("block_4", "block_10", "block_14", "head"))
    load_efficientnet_lite0(network)
    return network
