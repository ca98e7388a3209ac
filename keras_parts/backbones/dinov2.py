"""DINOv2: a vision transformer whose tokens become a map of features.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023.
"""

import numpy as np
from keras import layers, ops

from keras_parts.backbones.backbone import Backbone, check_outputs
from keras_parts.backbones.files import keras_hub_backbone
from keras_parts.backbones.preprocessing import IMAGENET
from keras_parts.errors import ConfigError, DataError

PREPROCESSING = IMAGENET
PRESET = "dinov2_small"


def dinov2(preset=PRESET, outputs=("block_7",), patches=16):
    """A pretrained DINOv2 from KerasHub as a `Backbone`.

    Args:
        preset: name of a KerasHub preset, or a folder in KerasHub's or Hugging Face's format.
        outputs: "block_1", "block_2", ...: the tokens after that many transformer blocks, not
            normalised.
        patches: side of the square map; the input has `patches * patch size` pixels a side.

    Returns:
        `Backbone`: `(batch, side, side, 3)` -> `{name: (batch, patches, patches, channels)}`.

    Raises:
        ConfigError: an argument is outside its range, or KerasHub is not installed.
        DataError: the preset cannot be loaded, or holds another network.
    """
    if not isinstance(patches, int) or patches < 2:
        raise ConfigError(f"dinov2: patches is {patches!r}, expected a number of at least 2")
    # the size of a patch is not known before the network is there
    model = keras_hub_backbone(preset, image_shape=(14 * patches, 14 * patches, 3))
    if type(model).__name__ != "DINOV2Backbone" or model.patch_size != 14:
        raise DataError(
            f"{preset}: {type(model).__name__}, expected a DINOv2 with 14-pixel patches"
        )
    return token_maps(model, outputs)


def token_maps(model, outputs):
    """The `Backbone` of a `keras_hub.models.DINOV2Backbone`.

    Args:
        model: the transformer, built for a square image.
        outputs: "block_1" .. "block_{number of blocks}".
    """
    blocks = [f"block_{index}" for index in range(1, model.num_layers + 1)]
    outputs = check_outputs(outputs, blocks, "dinov2")
    if not outputs:
        raise ConfigError("dinov2: no outputs asked for")
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


def patch_input(images, patches, patch_size=14):
    """Resample square images so that the *centres of the patches* span them corner to corner.

    Token (i, j) of the network then stands for the point (i, j) of a grid whose corners are the
    centres of the image's corner pixels, as in all other maps of this package. The input reaches
    half a patch beyond the image; there it repeats the border pixels. One patch covers
    `(side - 1) / (patches - 1)` pixels of the image.

    Args:
        images: `(batch, side, side, channels)`.
        patches: patches a side.
        patch_size: pixels a patch.

    Returns:
        float32 `(batch, patches * patch_size, patches * patch_size, channels)`.

    Raises:
        ConfigError: the images are not square.
    """
    height, width = images.shape[1:3]
    if height != width:
        raise ConfigError(f"dinov2: images of {height} x {width} pixels, expected square ones")
    centres = np.arange(patches * patch_size) - (patch_size - 1) / 2
    positions = centres * ((width - 1) / (patch_size * (patches - 1)))
    matrix = ops.convert_to_tensor(_linear(positions, width))
    images = ops.einsum("Hh,bhwc->bHwc", matrix, ops.cast(images, "float32"))
    return ops.einsum("Ww,bhwc->bhWc", matrix, images)


def _linear(positions, size):
    """Matrix `(positions, size)` of linear interpolation; outside, the border is repeated."""
    positions = np.clip(positions, 0, size - 1)
    distance = np.abs(positions[:, None] - np.arange(size))
    return np.maximum(1 - distance, 0).astype("float32")
