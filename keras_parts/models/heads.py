"""Heads: from a backbone's feature maps to logits at the finest of their strides."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from keras_parts.backbones.resnet50 import deeplab_head
from keras_parts.ops import finest_size, resize_aligned


@keras.saving.register_keras_serializable("keras_parts")
class FusionHead(layers.Layer):
    """Sums the feature maps of several layers and refines the sum with a wide field of view.

    A 1x1 convolution projects each map to `width` channels. All are upsampled to the finest map
    with aligned corners and summed. Residual units of a depthwise 5x5 and a 1x1 convolution follow;
    a last 1x1 convolution computes the logits.

    Input: `{name: (batch, h, w, channels)}`. Output: `(batch, h, w, outputs)` at the finest stride.

    Args:
        outputs: number of logits.
        width: number of channels between the projections and the logits.
        units: number of residual units.

    Example:
        >>> import numpy as np
        >>> from keras_parts.models import FusionHead
        >>> features = {"fine": np.ones((1, 9, 9, 16)), "coarse": np.ones((1, 5, 5, 32))}
        >>> tuple(FusionHead(4)(features).shape)
        (1, 9, 9, 4)
    """

    def __init__(self, outputs: int, width: int = 128, units: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.outputs, self.width, self.units = outputs, width, units
        self.projections: dict[str, Any] = {}
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

    def build(self, input_shape: Mapping[str, Any]) -> None:
        for name, shape in sorted(input_shape.items()):
            self.projections[name] = self._pointwise(self.width, f"{name}_projection")
            self.projections[name].build(shape)
        for layer in (*self.spatial, *self.pointwise, self.logits):
            layer.build((*shape[:-1], self.width))

    def call(self, features: Mapping[str, Any]) -> Any:
        size = finest_size(features.values())
        projected = (
            resize_aligned(self.projections[name](maps), size)
            for name, maps in sorted(features.items())
        )
        x = ops.relu(ops.cast(sum(projected), self.compute_dtype))
        for spatial, pointwise in zip(self.spatial, self.pointwise, strict=True):
            x = ops.relu(x + pointwise(ops.relu(spatial(x))))
        return self.logits(x)

    def get_config(self) -> dict[str, Any]:
        sizes = {"outputs": self.outputs, "width": self.width, "units": self.units}
        return super().get_config() | sizes


@keras.saving.register_keras_serializable("keras_parts")
class DilatedHead(layers.Layer):
    """The paper's head, `deeplab_head`, on a single feature map.

    Input: `{name: (batch, h, w, channels)}` with one entry. Output: `(batch, h, w, outputs)`.

    Args:
        outputs: number of logits.

    Example:
        >>> import numpy as np
        >>> from keras_parts.models import DilatedHead
        >>> tuple(DilatedHead(4)({"stage_4": np.ones((1, 9, 9, 2048))}).shape)
        (1, 9, 9, 4)
    """

    def __init__(self, outputs: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.outputs = outputs
        self.dilated = deeplab_head(outputs, name="dilated")

    def build(self, input_shape: Mapping[str, Any]) -> None:
        (shape,) = input_shape.values()
        self.dilated.build(shape)

    def call(self, features: Mapping[str, Any]) -> Any:
        (maps,) = features.values()
        return self.dilated(maps)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"outputs": self.outputs}
