"""Heads: from a backbone's feature maps to logits at the finest of their strides."""

from keras import layers, ops

from keras_parts.backbones.resnet50 import deeplab_head
from keras_parts.ops import resize_aligned


class FusionHead(layers.Layer):
    """Feature maps of several layers, brought together and refined with a wide field of view.

    Each map goes through a 1x1 convolution to `width` channels and is enlarged, with aligned
    corners, to the finest map; their sum goes through residual units of a depthwise 5x5 and a 1x1
    convolution, and a last 1x1 convolution gives the logits.

    Input `{name: (batch, h, w, channels)}`, output `(batch, h, w, outputs)` at the finest stride.

    Args:
        outputs: number of logits.
        width: channels inside.
        units: number of residual units.
    """

    def __init__(self, outputs, width=128, units=2, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.projections = {}
        self.spatial = [
            layers.DepthwiseConv2D(
                5, padding="same", dtype=self.dtype_policy, name=f"unit_{unit}_spatial"
            )
            for unit in range(units)
        ]
        self.pointwise = [self._pointwise(width, f"unit_{unit}_pointwise") for unit in range(units)]
        self.logits = self._pointwise(outputs, "logits")

    def _pointwise(self, channels, name):
        return layers.Conv2D(channels, 1, dtype=self.dtype_policy, name=name)

    def build(self, input_shape):
        for name, shape in sorted(input_shape.items()):
            self.projections[name] = self._pointwise(self.width, f"{name}_projection")
            self.projections[name].build(shape)
        for layer in (*self.spatial, *self.pointwise, self.logits):
            layer.build((*shape[:-1], self.width))

    def call(self, features):
        finest = max(tuple(maps.shape[1:3]) for maps in features.values())
        projected = (
            resize_aligned(self.projections[name](maps), finest)
            for name, maps in sorted(features.items())
        )
        x = ops.relu(ops.cast(sum(projected), self.compute_dtype))
        for spatial, pointwise in zip(self.spatial, self.pointwise, strict=True):
            x = ops.relu(x + pointwise(ops.relu(spatial(x))))
        return self.logits(x)


class DilatedHead(layers.Layer):
    """The paper's head, `deeplab_head`, on the one feature map that it is given."""

    def __init__(self, outputs, **kwargs):
        super().__init__(**kwargs)
        self.dilated = deeplab_head(outputs, name="dilated")

    def build(self, input_shape):
        (shape,) = input_shape.values()
        self.dilated.build(shape)

    def call(self, features):
        (maps,) = features.values()
        return self.dilated(maps)
