"""DINOv2: a vision transformer whose patch tokens are rearranged into feature maps.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers, ops

from keras_parts.backbones.backbone import Backbone, check_outputs
from keras_parts.backbones.preprocessing import IMAGENET
from keras_parts.backbones.pretrained import keras_hub_backbone
from keras_parts.errors import ConfigError, DataError
from keras_parts.ops.interpolation import linear_weights

PREPROCESSING = IMAGENET
PRESET = "dinov2_small"


def dinov2(
    preset: str | os.PathLike = PRESET,
    *,
    outputs: str | Sequence[str] = ("block_7",),
    patches: int = 16,
) -> Backbone:
    """A pretrained DINOv2 from KerasHub as a `Backbone`.

    Args:
        preset: name of a KerasHub preset, or a folder in KerasHub's or Hugging Face's format.
        outputs: "block_1", "block_2", ...: the tokens after that many transformer blocks, without
            the final layer normalisation.
        patches: patches along each side of the input, at least 2. The input has 14 times as many
            pixels per side, the feature map one position per patch.

    Returns:
        `Backbone`: `(batch, side, side, 3)` -> `{name: (batch, patches, patches, channels)}`.

    Raises:
        ConfigError: an argument is outside its range, or KerasHub is not installed.
        DataError: the preset cannot be loaded, or holds another network.
    """
    if not isinstance(patches, int) or patches < 2:
        raise ConfigError(f"dinov2: patches is {patches!r}, expected a number of at least 2")
    # The preset's patch size is known only after loading, which already needs the input's size.
    model = keras_hub_backbone(preset, image_shape=(14 * patches, 14 * patches, 3))
    if type(model).__name__ != "DINOV2Backbone" or model.patch_size != 14:
        raise DataError(
            f"{preset}: the preset is a {type(model).__name__}, expected a DINOv2 with patches of "
            "14 pixels"
        )
    return token_maps(model, outputs)


def token_maps(model: Any, outputs: str | Sequence[str]) -> Backbone:
    """A `Backbone` made of a `keras_hub.models.DINOV2Backbone`.

    Args:
        model: the transformer, built for a square image.
        outputs: "block_1" .. "block_{number of blocks}".

    Returns:
        `Backbone`: `(batch, side, side, 3)` -> `{name: (batch, patches, patches, channels)}`.

    Raises:
        ConfigError: an output is unknown or repeated, or there is none.
    """
    blocks = [f"block_{index}" for index in range(1, model.num_layers + 1)]
    outputs = check_outputs(outputs, blocks, "dinov2")
    if not outputs:
        raise ConfigError(f"dinov2: outputs is empty, expected one or more of {blocks}")
    patches = model.image_shape[0] // model.patch_size
    prefix_tokens = 1 + model.num_register_tokens
    tokens = {name: model.pyramid_outputs[name.replace("block_", "stage")] for name in outputs}
    maps = {
        name: layers.Reshape((patches, patches, model.hidden_dim), name=f"{name}_map")(
            layers.Cropping1D((prefix_tokens, 0), name=f"{name}_patches")(x)
        )
        for name, x in tokens.items()
    }
    return Backbone(
        model.inputs[0],
        maps,
        preprocessing=PREPROCESSING,
        output_stride=model.patch_size,
        strides=dict.fromkeys(outputs, model.patch_size),
        name="dinov2",
    )


def patch_input(images: Any, patches: int, patch_size: int = 14) -> Any:
    """Resample square images so that the corner patches are centred on the corner pixels.

    The map of tokens then has aligned corners, like all other feature maps of this package. The
    input extends half a patch beyond the image, where the border pixels are repeated. The centres
    of neighbouring patches are `(side - 1) / (patches - 1)` pixels of the image apart.

    Args:
        images: `(batch, side, side, channels)`.
        patches: patches per side, at least 2.
        patch_size: side of a patch in pixels of the network's input.

    Returns:
        float32 `(batch, patches * patch_size, patches * patch_size, channels)`.

    Raises:
        ConfigError: the images are not square.

    Example:
        >>> import numpy as np
        >>> from keras_parts.backbones.dinov2 import patch_input
        >>> tuple(patch_input(np.ones((1, 65, 65, 3)), patches=5).shape)
        (1, 70, 70, 3)
    """
    height, width = images.shape[1:3]
    if height != width:
        raise ConfigError(f"dinov2: images have {height} x {width} pixels, expected square images")
    centres = np.arange(patches * patch_size) - (patch_size - 1) / 2
    positions = centres * ((width - 1) / (patch_size * (patches - 1)))
    matrix = ops.convert_to_tensor(linear_weights(positions, width))
    images = ops.einsum("Hh,bhwc->bHwc", matrix, ops.cast(images, "float32"))
    return ops.einsum("Ww,bhwc->bhWc", matrix, images)
