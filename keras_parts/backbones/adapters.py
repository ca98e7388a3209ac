"""Networks of other libraries as `Backbone`s: KerasHub, keras-cv; `atrous` takes those of
`keras.applications`.

A network comes as a model that its library built, with or without weights. What its maps are
called is what the library calls them: pyramid levels "P2" to "P5" of strides 4 to 32, transformer
blocks "block_1", "block_2", ..., or one map, "features" or "tokens".
"""

import math
import warnings

import keras
import numpy as np
from keras import layers

from keras_parts.backbones.backbone import Backbone, check_outputs
from keras_parts.backbones.files import keras_hub_backbone
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.errors import ConfigError, DataError

_SIDE = 257  # of a picture on which the strides of free sizes are read off
_FORMS = {3: "tokens", 4: "features"}  # number of axes: what it is called
_BYTES = Preprocessing("RGB", 255.0)
_CV_STATE = (
    "keras-cv is no longer developed (its last version, 0.9.0, is of 2024; its networks went to "
    "KerasHub) and needs TensorFlow: prefer from_keras_hub"
)


def from_keras_hub(model, outputs=None, preprocessing=None, **options):
    """An image backbone of KerasHub.

    Those with `pyramid_outputs` or a dictionary of outputs (HGNetV2) give a map a level, stage or
    block; others their last map or their patch tokens, even if only a pooled vector of them is
    the model's output (SigLIP). Tokens that belong to no patch are left out; merged patches
    (Swin) lie on the coarser grid that their number tells.

    The network stays as it is: its convolutions without padding lose the border of the image,
    as those of `XceptionBackbone` do, which is better given to `atrous`. Not taken are models of
    several inputs, such as `CLIPBackbone` and `SigLIPBackbone` (take their `vision_encoder`), and
    those of videos and of several images (VideoPrism, Gemma's encoders).

    Args:
        model: a `keras_hub.models.Backbone`; or the name or folder of a preset, which is loaded
            with its weights.
        outputs: names of maps; by default the last one.
        preprocessing: `Preprocessing` of the weights; a preset has its own.
        options: for loading a preset, such as `image_shape` of a vision transformer.

    Returns:
        `Backbone`: `(batch, height, width, 3)` -> `{name: (batch, h, w, channels)}`. Where the
        library fixes the size of the input, so it stays: see `inputs[0].shape`.

    Raises:
        ConfigError: KerasHub is not installed; the model gives no maps; an output is unknown; or
            the preprocessing of a model without a preset is not given.
        DataError: the preset cannot be loaded.
    """
    if not isinstance(model, keras.Model):
        preset = model
        model = keras_hub_backbone(preset, **options)
        preprocessing = preprocessing or _converter_of(preset)
    if preprocessing is None:
        raise ConfigError(
            f"{model.name}: pass preprocessing=Preprocessing(...): only presets know their own"
        )
    pyramid = getattr(model, "pyramid_outputs", None) or {}
    tensors = {_block_name(name): tensor for name, tensor in pyramid.items() if name != "stem"}
    return _adapted(model, tensors or _own_maps(model), outputs, preprocessing)


def from_keras_cv(model, outputs=None, preprocessing=None):
    """A backbone of keras-cv, built from an explicit configuration (aliases ask a server).

    Args:
        model: such as `keras_cv.models.ResNetBackbone(stackwise_filters=..., ...)`.
        outputs: names of pyramid levels, "P2" to "P5"; by default the last one.
        preprocessing: `Preprocessing` of the weights; by default pixels of 0 to 255 for models
            that rescale them themselves (`include_rescaling`).

    Returns:
        `Backbone`, as of `from_keras_hub`.

    Raises:
        ConfigError: the model has no pyramid, an output is unknown, or the preprocessing is not
            known.
    """
    # shown by default, unlike a DeprecationWarning: whoever registers a network is to see it
    warnings.warn(_CV_STATE, FutureWarning, stacklevel=2)
    levels = getattr(model, "pyramid_level_inputs", None)
    if not isinstance(model, keras.Model) or not levels:
        raise ConfigError(f"{model!r} is no keras-cv backbone: it has no pyramid_level_inputs")
    if preprocessing is None:
        if not getattr(model, "include_rescaling", False):
            raise ConfigError(
                f"{model.name}: pass preprocessing=Preprocessing(...), or build it with "
                "include_rescaling=True"
            )
        preprocessing = _BYTES
    tensors = {name: _layer_output(model, layer) for name, layer in levels.items()}
    return _adapted(model, tensors, outputs, preprocessing)


def _layer_output(model, layer):
    return model.get_layer(layer).output if isinstance(layer, str) else layer


def _adapted(model, tensors, outputs, preprocessing):
    """The `Backbone` of some of a model's tensors."""
    names = list(tensors)
    chosen = check_outputs(outputs or names[-1], names, model.name)
    image = model.inputs[0]
    if len(model.inputs) != 1 or len(image.shape) != 4:
        raise ConfigError(f"{model.name}: it takes {len(model.inputs)} inputs, expected one image")
    maps = {name: _as_map(model, name, tensors[name], image) for name in chosen}
    strides = _strides(image, maps)
    return Backbone(
        image,
        maps,
        preprocessing=preprocessing,
        output_stride=max(strides.values()),
        strides=strides,
        name=f"{model.name}_adapted",
    )


def _own_maps(model):
    """{name: tensor}: a model's outputs, or the last map or tokens that its output is made of."""
    output = getattr(model, "output", None)  # models that are no graph have none
    if isinstance(output, dict):
        tensors = {name: tensor for name, tensor in output.items() if _has_places(tensor)}
    else:
        behind = [
            getattr(layer, "output", None)
            for layer in reversed(model.layers)
            if not isinstance(layer, layers.InputLayer)
        ]
        last = next((tensor for tensor in [output, *behind] if _has_places(tensor)), None)
        tensors = {} if last is None else {_FORMS[len(last.shape)]: last}
    if not tensors:
        raise ConfigError(f"{model.name} gives no map of features and no patch tokens")
    return tensors


def _has_places(tensor):
    """Whether it is a map or tokens, more than one."""
    shape = tuple(getattr(tensor, "shape", ()))
    return len(shape) in _FORMS and set(shape[1:-1]) != {1}


def _block_name(name):
    """KerasHub calls what follows a transformer's block "stage1"; here it is "block_1"."""
    return f"block_{name.removeprefix('stage')}" if name.startswith("stage") else name


def _as_map(model, name, tensor, image):
    """Tokens `(batch, tokens, channels)` laid out as their patches lie."""
    if len(tensor.shape) == 4:
        return tensor
    if len(tensor.shape) != 3:
        raise ConfigError(f"{model.name}: {name} is neither a map nor patch tokens")
    rows, columns = _grid(model, name, tensor.shape[1], image)
    # class, distillation and register tokens come first; counted from the end, because SigLIP's
    # embedding declares one token more than it gives
    tensor = tensor[:, -rows * columns :]
    return layers.Reshape((rows, columns, tensor.shape[-1]), name=f"{name}_map")(tensor)


def _grid(model, name, tokens, image):
    """`(rows, columns)` of the patches among a number of tokens."""
    height, width = image.shape[1:3]
    if None in (height, width, tokens):
        raise ConfigError(f"{model.name}: build it with its image_shape to lay out {name!r}")
    patch = getattr(model, "patch_size", None)
    patch = patch[0] if isinstance(patch, tuple | list) else patch
    if patch and (height // patch) * (width // patch) <= tokens:
        return height // patch, width // patch
    merged = math.isqrt(height * width // tokens)  # pixels a side of what one token stands for
    if height % merged or width % merged or height * width != tokens * merged**2:
        raise ConfigError(
            f"{model.name}: {tokens} tokens of {name!r} are no grid of square patches on "
            f"{height} x {width} pixels"
        )
    return height // merged, width // merged


def _strides(image, maps):
    """{name: pixels of the image between neighbours of the map}."""
    height, width = (side or _SIDE for side in image.shape[1:3])
    trunk = keras.Model(image, maps)
    shapes = trunk.compute_output_spec(keras.KerasTensor((1, height, width, image.shape[-1])))
    return {name: _stride(height, shapes[name].shape[1]) for name in maps}


def _stride(side, positions):
    """Patches divide the side; convolutions halve it again and again, rounding either way."""
    return side // positions if side % positions == 0 else 2 ** round(np.log2(side / positions))


def _converter_of(preset):
    """`Preprocessing` of a preset's image converter, which computes pixel * scale + offset."""
    import keras_hub

    try:
        converter = keras_hub.layers.ImageConverter.from_preset(str(preset))
    except Exception as error:  # presets without one, and errors of several libraries
        raise DataError(
            f"KerasHub's preset {str(preset)!r} has no image converter: pass "
            f"preprocessing=Preprocessing(...): {error}"
        ) from error
    scale = np.broadcast_to(1.0 if converter.scale is None else converter.scale, 3).astype(float)
    offset = np.broadcast_to(0.0 if converter.offset is None else converter.offset, 3).astype(float)
    return Preprocessing("RGB", 255.0, tuple(-offset / scale), tuple(1 / scale))
