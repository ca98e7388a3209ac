"""Turn a network of KerasHub or keras-cv into a `Backbone`; for `keras.applications` see `atrous`.

The network is a model that its library has built, with or without weights. Its outputs are pyramid
levels, "P2" to "P5" with strides 4 to 32; transformer blocks, "block_1", "block_2", ...; stages
with the library's names; or one feature map, "features" or "tokens".
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_parts.backbones.backbone import Backbone, check_outputs
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.backbones.pretrained import keras_hub_backbone
from keras_parts.errors import ConfigError, DataError

# Side in pixels of the image on which strides are measured if the network accepts any size.
_SIDE = 257
_OUTPUT_NAMES = {3: "tokens", 4: "features"}  # number of axes -> name of the only output
_RANGE_255 = Preprocessing("RGB", 255.0)
_CV_STATUS = (
    "keras-cv is no longer developed (its last version is 0.9.0 of 2024; its networks are now in "
    "KerasHub) and needs TensorFlow: use from_keras_hub if you can"
)


def from_keras_hub(
    model: Any,
    outputs: str | Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    **options: Any,
) -> Backbone:
    """Turn an image backbone of KerasHub into a `Backbone`.

    A model with `pyramid_outputs` or with a dictionary of outputs (HGNetV2) gives one feature map
    per level, stage or block. Other models give their last feature map or their last patch tokens,
    even if their own output is only a pooled vector (SigLIP). Class, distillation and register
    tokens are dropped. The coarser grid of merged patches (Swin) follows from the number of tokens.

    The network is not changed. If its convolutions have no padding, the maps lose the border of the
    image, as in `XceptionBackbone`; use `atrous` for such a network. Models with several inputs are
    refused, such as `CLIPBackbone` and `SigLIPBackbone` (pass their `vision_encoder`). Models that
    take videos or several images are refused too (VideoPrism, Gemma's encoders).

    Args:
        model: a `keras_hub.models.Backbone`; or the name or folder of a preset, which is loaded
            with its weights.
        outputs: names of the feature maps; by default the last one.
        preprocessing: the preprocessing with which the weights were trained; by default a preset's
            own.
        options: further arguments for loading a preset, such as `image_shape` of a vision
            transformer.

    Returns:
        `Backbone`: `(batch, height, width, 3)` -> `{name: (batch, h, w, channels)}`. A network
        with a fixed input size keeps it: see `inputs[0].shape`.

    Raises:
        ConfigError: KerasHub is not installed; the model has no feature maps; an output is unknown;
            or `preprocessing` is missing for a model that is not a preset.
        DataError: the preset cannot be loaded.

    Example:
        >>> import keras
        >>> from keras_parts.backbones import Preprocessing, from_keras_hub
        >>> image = keras.Input((None, None, 3))
        >>> maps = keras.layers.Conv2D(8, 3, strides=4, padding="same")(image)
        >>> network = keras.Model(image, maps, name="mine")  # or a keras_hub.models.Backbone
        >>> from_keras_hub(network, preprocessing=Preprocessing()).strides
        {'features': 4}
    """
    if not isinstance(model, keras.Model):
        preset = model
        model = keras_hub_backbone(preset, **options)
        preprocessing = preprocessing or _converter_of(preset)
    if preprocessing is None:
        raise ConfigError(
            f"{model.name}: preprocessing is missing, and only a preset has its own: pass "
            "preprocessing=Preprocessing(...)"
        )
    pyramid = getattr(model, "pyramid_outputs", None) or {}
    tensors = {_block_name(name): tensor for name, tensor in pyramid.items() if name != "stem"}
    return _adapted(model, tensors or _feature_maps(model), outputs, preprocessing)


def from_keras(
    model: keras.Model,
    outputs: str | Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    *,
    name: str | None = None,
) -> Backbone:
    """Turn any Keras model from images to feature maps into a `Backbone`, as it is.

    Strides are not replaced by dilation (see `atrous`), and only the model's own outputs are
    available: a dictionary with its names, a list as "map_1", "map_2", ..., one map as "features".

    Args:
        model: functional, sequential or subclassed, with one image as its input.
        outputs: names of the feature maps; by default all of them.
        preprocessing: from RGB in 0 to 255 to the model's input; by default none, as for the
            networks of `keras.applications` that contain it.
        name: of the backbone, before "_adapted"; by default that of the model.

    Returns:
        `Backbone`, which shares the weights of the model.

    Raises:
        ConfigError: the model has no feature map, or cannot compute an image of open height and
            width.

    Example:
        >>> import keras
        >>> from keras_parts.backbones import from_keras
        >>> model = keras.Sequential([keras.layers.Conv2D(8, 3, strides=2, padding="same")])
        >>> from_keras(model).strides
        {'features': 2}
    """
    image = keras.Input(_input_shape(model), name="image")
    try:
        found = model(image)
    except Exception as error:  # each backend and layer raises errors of its own
        raise ConfigError(
            f"{model.name}: cannot compute images {tuple(image.shape)}: {_first_line(error)}; "
            "begin it with keras.Input((height, width, 3))"
        ) from error
    if isinstance(found, list | tuple):
        found = {f"map_{number}": tensor for number, tensor in enumerate(found, start=1)}
    maps = found if isinstance(found, dict) else {"features": found}
    for name, tensor in maps.items():
        if len(tensor.shape) != 4 or tensor.shape[-1] is None:
            raise ConfigError(
                f"{model.name}: output {name!r} has shape {tuple(tensor.shape)}, expected a "
                "feature map (batch, h, w, channels): leave out the pooling (include_top=False)"
            )
    chosen = check_outputs(outputs or tuple(maps), maps, model.name)
    chosen_maps = {output: maps[output] for output in chosen}
    return _backbone(image, chosen_maps, preprocessing or _RANGE_255, name or model.name)


def _input_shape(model):
    """(height, width, 3) of a model's image; sides are None where it takes any."""
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 4:
        return shape[1:]
    return None, None, 3


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def from_keras_cv(
    model: Any,
    outputs: str | Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Backbone:
    """Turn a backbone of keras-cv into a `Backbone`.

    Build the model from an explicit configuration: the named configurations need a network
    connection.

    Args:
        model: for example `keras_cv.models.ResNetBackbone(stackwise_filters=..., ...)`.
        outputs: names of pyramid levels, "P2" to "P5"; by default the last one.
        preprocessing: the preprocessing with which the weights were trained; by default pixels
            from 0 to 255 if the model rescales its input (`include_rescaling`).

    Returns:
        A `Backbone` like that of `from_keras_hub`.

    Raises:
        ConfigError: the model has no pyramid, an output is unknown, or `preprocessing` is missing.

    Warns:
        FutureWarning: keras-cv is no longer developed.

    Example:
        >>> import keras
        >>> from keras_parts.backbones import from_keras_cv
        >>> try:
        ...     from_keras_cv(keras.Sequential(name="mine"))
        ... except ValueError as error:
        ...     print(error)
        <Sequential name=mine, built=False> is not a keras-cv backbone: ...
    """
    # unlike a DeprecationWarning, a FutureWarning is shown by default
    warnings.warn(_CV_STATUS, FutureWarning, stacklevel=2)
    levels = getattr(model, "pyramid_level_inputs", None)
    if not isinstance(model, keras.Model) or not levels:
        raise ConfigError(f"{model!r} is not a keras-cv backbone: it has no pyramid_level_inputs")
    if preprocessing is None:
        if not getattr(model, "include_rescaling", False):
            raise ConfigError(
                f"{model.name}: preprocessing is missing: pass preprocessing=Preprocessing(...), "
                "or build the model with include_rescaling=True"
            )
        preprocessing = _RANGE_255
    tensors = {name: _layer_output(model, layer) for name, layer in levels.items()}
    return _adapted(model, tensors, outputs, preprocessing)


def _layer_output(model, layer):
    return model.get_layer(layer).output if isinstance(layer, str) else layer


def _adapted(model, tensors, outputs, preprocessing):
    """A `Backbone` with some of a model's tensors as outputs."""
    names = list(tensors)
    chosen = check_outputs(outputs or names[-1], names, model.name)
    image = model.inputs[0]
    if len(model.inputs) != 1 or len(image.shape) != 4:
        raise ConfigError(
            f"{model.name}: the model has {len(model.inputs)} inputs, expected one image"
        )
    maps = {name: _as_map(model, name, tensors[name], image) for name in chosen}
    return _backbone(image, maps, preprocessing, model.name)


def _backbone(image, maps, preprocessing, name):
    strides = _strides(image, maps)
    return Backbone(
        image,
        maps,
        preprocessing=preprocessing,
        output_stride=max(strides.values()),
        strides=strides,
        name=f"{name}_adapted",
    )


def _feature_maps(model):
    """`{name: tensor}`: a model's outputs, or the last map or tokens before its output."""
    output = getattr(model, "output", None)  # missing if the model is not functional
    if isinstance(output, dict):
        tensors = {name: tensor for name, tensor in output.items() if _has_positions(tensor)}
    else:
        before = [
            getattr(layer, "output", None)
            for layer in reversed(model.layers)
            if not isinstance(layer, layers.InputLayer)
        ]
        last = next((tensor for tensor in [output, *before] if _has_positions(tensor)), None)
        tensors = {} if last is None else {_OUTPUT_NAMES[len(last.shape)]: last}
    if not tensors:
        raise ConfigError(
            f"{model.name}: the model has neither a feature map nor patch tokens: pass a network "
            "without global pooling"
        )
    return tensors


def _has_positions(tensor):
    """Whether a tensor is a feature map, or tokens, with more than one position."""
    shape = tuple(getattr(tensor, "shape", ()))
    return len(shape) in _OUTPUT_NAMES and set(shape[1:-1]) != {1}


def _block_name(name):
    """KerasHub names the tokens after a transformer block "stage1"; here they are "block_1"."""
    return f"block_{name.removeprefix('stage')}" if name.startswith("stage") else name


def _as_map(model, name, tensor, image):
    """A feature map unchanged; tokens `(batch, tokens, channels)` as a map of their patches."""
    if len(tensor.shape) == 4:
        return tensor
    if len(tensor.shape) != 3:
        raise ConfigError(
            f"{model.name}: {name!r} has shape {tuple(tensor.shape)}, expected a feature map "
            "(batch, height, width, channels) or patch tokens (batch, tokens, channels)"
        )
    rows, columns = _grid(model, name, tensor.shape[1], image)
    # Class, distillation and register tokens come first. Counted from the end, because the shape
    # that SigLIP's embedding declares has one token too many.
    tensor = tensor[:, -rows * columns :]
    return layers.Reshape((rows, columns, tensor.shape[-1]), name=f"{name}_map")(tensor)


def _grid(model, name, tokens, image):
    """`(rows, columns)` of the grid of patches, given the number of tokens."""
    height, width = image.shape[1:3]
    if None in (height, width, tokens):
        raise ConfigError(
            f"{model.name}: the grid of {name!r} follows from the size of the image: build the "
            "model with an image_shape"
        )
    patch = getattr(model, "patch_size", None)
    patch = patch[0] if isinstance(patch, tuple | list) else patch
    if patch and (height // patch) * (width // patch) <= tokens:
        return height // patch, width // patch
    merged = math.isqrt(height * width // tokens)  # side of a token's square in pixels
    if height % merged or width % merged or height * width != tokens * merged**2:
        raise ConfigError(
            f"{model.name}: the {tokens} tokens of {name!r} do not form a grid of square patches "
            f"on {height} x {width} pixels"
        )
    return height // merged, width // merged


def _strides(image, maps):
    """`{name: stride}`: pixels of the image between neighbouring positions of the map."""
    height, width = (side or _SIDE for side in image.shape[1:3])
    network = keras.Model(image, maps)
    shapes = network.compute_output_spec(keras.KerasTensor((1, height, width, image.shape[-1])))
    return {name: _stride(height, shapes[name].shape[1]) for name in maps}


def _stride(side, positions):
    """For patches, side divided by positions; for convolutions, the nearest power of two."""
    return side // positions if side % positions == 0 else 2 ** round(np.log2(side / positions))


def _converter_of(preset):
    """The `Preprocessing` of a preset's image converter, which computes pixel * scale + offset."""
    import keras_hub

    try:
        converter = keras_hub.layers.ImageConverter.from_preset(str(preset))
    except Exception as error:  # there is none, or one of several libraries fails
        raise DataError(
            f"KerasHub cannot load an image converter of {str(preset)!r}: pass "
            f"preprocessing=Preprocessing(...): {error}"
        ) from error
    scale = np.broadcast_to(1.0 if converter.scale is None else converter.scale, 3).astype(float)
    offset = np.broadcast_to(0.0 if converter.offset is None else converter.offset, 3).astype(float)
    return Preprocessing("RGB", 255.0, tuple(-offset / scale), tuple(1 / scale))
