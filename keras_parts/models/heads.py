"""Heads: from a backbone's feature maps to logits at the finest of their strides."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from keras_parts.backbones.resnet50 import deeplab_head
from keras_parts.ops import finest_size, resize_aligned

_COARSER = "coarser"
"""Name of the coarser level's result among the maps of a level."""


class Fusion(layers.Layer):
    """Sums the feature maps of several layers and refines the sum with a wide field of view.

    A 1x1 convolution projects each map to `width` channels. All are upsampled to the finest map
    with aligned corners and summed. Residual units of a depthwise 5x5 and a 1x1 convolution follow.

    Input: `{name: (batch, h, w, channels)}`. Output: `(batch, h, w, width)` at the finest stride.

    Args:
        width: number of channels of the sum.
        units: number of residual units.
        normalise: standardise the channels of each position first, as the scales of the maps of a
            pretrained network differ.
    """

    def __init__(self, width: int, units: int, *, normalise: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.width, self.units, self.normalise = width, units, normalise
        self.projections: dict[str, Any] = {}
        self.spatial = [
            layers.DepthwiseConv2D(
                5, padding="same", dtype=self.dtype_policy, name=f"unit_{unit}_spatial"
            )
            for unit in range(units)
        ]
        self.pointwise = [self._pointwise(width, f"unit_{unit}_pointwise") for unit in range(units)]

    def _pointwise(self, channels, name, **options):
        return layers.Conv2D(channels, 1, dtype=self.dtype_policy, name=name, **options)

    def build(self, input_shape: Mapping[str, Any]) -> None:
        for name, shape in sorted(input_shape.items()):
            self.projections[name] = self._pointwise(self.width, f"{name}_projection")
            self.projections[name].build(shape)
        for layer in (*self.spatial, *self.pointwise):
            layer.build((*shape[:-1], self.width))

    def call(self, features: Mapping[str, Any]) -> Any:
        size = finest_size(features.values())
        projected = (
            resize_aligned(self._project(name, maps), size)
            for name, maps in sorted(features.items())
        )
        x = ops.relu(ops.cast(sum(projected), self.compute_dtype))
        for spatial, pointwise in zip(self.spatial, self.pointwise, strict=True):
            x = ops.relu(x + pointwise(ops.relu(spatial(x))))
        return x

    def _project(self, name, maps):
        return self.projections[name](_standardised(maps) if self.normalise else maps)

    def get_config(self) -> dict[str, Any]:
        settings = {"width": self.width, "units": self.units, "normalise": self.normalise}
        return super().get_config() | settings


def _standardised(maps):
    """Maps with mean 0 and variance 1 over the channels of each position."""
    values = ops.cast(maps, "float32")
    mean, variance = ops.moments(values, axes=[-1], keepdims=True)
    return ops.cast((values - mean) * ops.rsqrt(variance + 1e-3), maps.dtype)


@keras.saving.register_keras_serializable("keras_parts")
class FusionHead(Fusion):
    """`Fusion` of the feature maps of several layers, and a 1x1 convolution to the logits.

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
        super().__init__(width, units, **kwargs)
        self.outputs = outputs
        self.logits = self._pointwise(outputs, "logits")

    def build(self, input_shape: Mapping[str, Any]) -> None:
        super().build(input_shape)
        self.logits.build((None, None, None, self.width))

    @property
    def logit_variables(self) -> list[Any]:
        """The variables whose last axis are the logits."""
        return list(self.logits.variables)

    def call(self, features: Mapping[str, Any]) -> Any:
        return self.logits(super().call(features))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"outputs": self.outputs}


@keras.saving.register_keras_serializable("keras_parts")
class DecoderHead(FusionHead):
    """A `FusionHead` on the coarsest maps, and a decoder that corrects its logits at finer strides.

    The coarse maps know what is where, the finer ones where it ends. At each finer stride a
    `Fusion` joins the maps of that stride with the upsampled result of the coarser one. A last 1x1
    convolution computes corrections from the finest result. They are added to the upsampled logits
    of the coarsest maps, and are 0 before training. By default they correct logit 0 alone, which is
    the foreground in a segmenter: parts that are as fine tend to follow the outline of the object.

    Input: `{name: (batch, h, w, channels)}`. Output: `(batch, h, w, outputs)` at the finest stride.

    Args:
        outputs: number of logits.
        levels: names of the maps of each stride, from the coarsest stride to the finest.
        width: number of channels at the coarsest stride.
        units: number of residual units at each stride.
        level_widths: number of channels at each finer stride.
        corrected: number of logits that are corrected, from the first; None for all.

    Example:
        >>> import numpy as np
        >>> from keras_parts.models import DecoderHead
        >>> features = {"fine": np.ones((1, 9, 9, 16)), "coarse": np.ones((1, 3, 3, 32))}
        >>> tuple(DecoderHead(4, [["coarse"], ["fine"]], level_widths=[24])(features).shape)
        (1, 9, 9, 4)
    """

    def __init__(
        self,
        outputs: int,
        levels: Sequence[Sequence[str]],
        width: int = 128,
        units: int = 2,
        *,
        level_widths: Sequence[int] = (64, 32),
        corrected: int | None = 1,
        **kwargs: Any,
    ):
        super().__init__(outputs, width, units, **kwargs)
        self.corrected = corrected
        self.levels = tuple(map(tuple, levels))
        self.level_widths = tuple(level_widths)[: len(self.levels) - 1]
        self.finer = [
            Fusion(
                channels,
                units,
                normalise=True,
                dtype=self.dtype_policy,
                name=f"level_{index}",
            )
            for index, channels in enumerate(self.level_widths)
        ]
        self.corrections = self._pointwise(
            corrected or outputs, "corrections", kernel_initializer="zeros"
        )

    def build(self, input_shape: Mapping[str, Any]) -> None:
        coarsest, *finer = self.levels
        super().build({name: input_shape[name] for name in coarsest})
        coarser = (*input_shape[coarsest[0]][:-1], self.width)
        for fusion, names in zip(self.finer, finer, strict=True):
            fusion.build({name: input_shape[name] for name in names} | {_COARSER: coarser})
            coarser = (*input_shape[names[0]][:-1], fusion.width)
        self.corrections.build(coarser)

    @property
    def logit_variables(self) -> list[Any]:
        return [*super().logit_variables, *self.corrections.variables]

    def call(self, features: Mapping[str, Any]) -> Any:
        coarsest, *finer = self.levels
        x = Fusion.call(self, {name: features[name] for name in coarsest})
        logits = self.logits(x)
        for fusion, names in zip(self.finer, finer, strict=True):
            x = fusion({name: features[name] for name in names} | {_COARSER: x})
        logits = resize_aligned(logits, finest_size(features.values()))
        corrections = ops.cast(self.corrections(x), logits.dtype)
        others = self.outputs - corrections.shape[-1]
        return logits + ops.pad(corrections, ((0, 0), (0, 0), (0, 0), (0, others)))

    def get_config(self) -> dict[str, Any]:
        settings = {
            "levels": self.levels,
            "level_widths": self.level_widths,
            "corrected": self.corrected,
        }
        return super().get_config() | settings


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

    @property
    def logit_variables(self) -> list[Any]:
        """The variables whose last axis are the logits."""
        return list(self.dilated.variables)

    def call(self, features: Mapping[str, Any]) -> Any:
        (maps,) = features.values()
        return self.dilated(maps)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"outputs": self.outputs}
