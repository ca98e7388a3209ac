"""`Backbone`, the interface of every network: image in, named feature maps out."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import layers

from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.errors import ConfigError

OUTPUT_STRIDES = (8, 16, 32)


@keras.saving.register_keras_serializable("keras_parts")
class Backbone(keras.Model):
    """A functional Keras model from a preprocessed image to named feature maps.

    The input is `(batch, height, width, 3)` of any height and width. The outputs are
    `{name: (batch, ceil(height / stride), ceil(width / stride), channels)}`. With sides of
    16 n + 1 pixels (32 n + 1 at output stride 32) the corners of all feature maps are aligned with
    the corners of the image.

    Args:
        inputs: the input of the functional model.
        outputs: `{name: output tensor}`.
        preprocessing: turns an RGB image in 0 to 255 into the input.
        output_stride: stride of the coarsest map.
        strides: `{output name: stride}` of the outputs that are feature maps. A stride is the
            distance, in pixels of the input, between neighbouring positions.
        kwargs: further arguments of `keras.Model`.

    Attributes:
        preprocessing, output_stride, strides: see the arguments.
        channels: `{output name: number of channels}` of the outputs that are feature maps.

    Raises:
        ConfigError: `preprocessing` is not a `Preprocessing`.

    Example:
        >>> from keras_parts.backbones.small import small
        >>> backbone = small(output_stride=8, outputs=("stage4",))
        >>> backbone.strides, backbone.channels
        ({'stage4': 8}, {'stage4': 128})
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Mapping[str, Any],
        preprocessing: Preprocessing,
        output_stride: int,
        strides: Mapping[str, int],
        **kwargs: Any,
    ):
        check_data_format()
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        if not isinstance(preprocessing, Preprocessing):
            raise ConfigError(
                f"{self.name}: preprocessing is {preprocessing!r}, expected a Preprocessing"
            )
        self.preprocessing = preprocessing
        self.output_stride = output_stride
        self.strides = dict(strides)
        self.channels = {name: outputs[name].shape[-1] for name in strides}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "network": keras.Model(self.inputs, self.output, name=self.name).get_config(),
            "preprocessing": self.preprocessing.to_config(),
            "output_stride": self.output_stride,
            "strides": self.strides,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> "Backbone":
        """The inverse of `get_config`, with random weights."""
        values = dict(config)
        network = keras.Model.from_config(values.pop("network"), custom_objects)
        preprocessing = Preprocessing.from_config(values.pop("preprocessing"))
        trainable = values.pop("trainable")
        (image,) = network.inputs
        backbone = cls(image, network.output, preprocessing, **values)
        if not trainable:
            backbone.trainable = False
        return backbone

    def freeze_before(self, output: str) -> None:
        """Freeze all layers in front of the layers that compute an output.

        Args:
            output: name of the output, such as "block_5". The first layer whose name starts with
                "block_5_" and all later ones stay trainable.

        Raises:
            ConfigError: no layer has such a name.
        """
        names = [layer.name for layer in self.layers]
        first = next((i for i, name in enumerate(names) if name.startswith(f"{output}_")), None)
        if first is None:
            raise ConfigError(
                f"{self.name}: no layer's name starts with '{output}_'; summary() lists the layers"
            )
        for layer in self.layers[:first]:
            layer.trainable = False


def build_backbone(
    name: str,
    stages: Callable[[Any, "Strides"], Iterable[tuple[str, Any]]],
    available: Sequence[str],
    outputs: str | Sequence[str],
    preprocessing: Preprocessing,
    output_stride: int,
    classes: int | None = None,
) -> Backbone:
    """Build a network up to the last of the requested outputs.

    Args:
        name: name of the network.
        stages: function `(image, strides)` that yields `(name, features)` for every possible
            output, from the first to the last. It calls `strides.enter`, of a `Strides`, for the
            stride and dilation of each layer.
        available: names of all possible outputs, in that order.
        outputs: names of the requested outputs. Later layers are not built.
        preprocessing: preprocessing of the network.
        output_stride: 8, 16 or 32.
        classes: number of classes of an additional output "classes", logits `(batch, classes)` of
            the pooled last map; None for no such output.

    Raises:
        ConfigError: an argument is outside its range.
    """
    check_data_format()
    check_output_stride(output_stride, name)
    outputs = check_outputs(outputs, available, name)
    if classes is not None and (not isinstance(classes, int) or classes < 1):
        raise ConfigError(f"{name}: classes is {classes!r}, expected a positive number or None")
    if not outputs and classes is None:
        raise ConfigError(f"{name}: outputs is empty, expected one or more of {list(available)}")
    last = available[-1] if classes else max(outputs, key=available.index)

    image = keras.Input((None, None, 3), name="image")
    features, reached = {}, {}
    strides = Strides(output_stride)
    for output, x in stages(image, strides):
        features[output], reached[output] = x, strides.stride
        if output == last:
            break
    tensors = {output: features[output] for output in outputs}
    if classes:
        pooled = layers.GlobalAveragePooling2D(name="pool")(features[last])
        tensors["classes"] = layers.Dense(classes, name="classes")(pooled)
    return Backbone(
        image,
        tensors,
        preprocessing=preprocessing,
        output_stride=strides.stride,
        strides={output: reached[output] for output in outputs},
        name=name,
    )


def check_data_format() -> None:
    """Raise `ConfigError` if Keras' image data format is "channels_first"."""
    if keras.config.image_data_format() != "channels_last":
        raise ConfigError(
            "the image data format of Keras is 'channels_first'; the networks of keras-parts have "
            "their channels last: call keras.config.set_image_data_format('channels_last') first, "
            "and transpose images with (0, 2, 3, 1)"
        )


def check_output_stride(output_stride: int, name: str) -> None:
    """Raise `ConfigError` unless `output_stride` is 8, 16 or 32; `name` is the network's."""
    if output_stride not in OUTPUT_STRIDES:
        raise ConfigError(f"{name}: output_stride is {output_stride!r}, expected 8, 16 or 32")


def check_outputs(
    outputs: str | Iterable[str], available: Collection[str], name: str
) -> tuple[str, ...]:
    """The names of outputs as a tuple.

    Args:
        outputs: one name or several.
        available: the names that exist.
        name: name of the network, for error messages.

    Raises:
        ConfigError: a name is unknown or repeated.
    """
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    unknown = [output for output in names if output not in available]
    if unknown:
        raise ConfigError(f"{name}: no output named {unknown[0]!r}; there are {list(available)}")
    if len(set(names)) != len(names):
        raise ConfigError(f"{name}: outputs is {names}: a name is repeated")
    return names


class Strides:
    """Replaces the strides of a network by dilation once an output stride is reached.

    Call `enter` for each layer with a stride, in order. Until the output stride is reached the
    layer keeps its stride. After that it gets stride 1, and the dilation of the *following* layers
    is multiplied by its stride: for a stride of 2, their values at every second position equal
    those of the network without dilation.

    Attributes:
        stride: pixels of the image between neighbouring positions after the last layer.
        dilation: dilation of the next layer.
    """

    def __init__(self, output_stride: int):
        self.output_stride = output_stride
        self.stride = 1
        self.dilation = 1

    def enter(self, stride: int) -> tuple[int, int]:
        """`(stride, dilation)` of the layer that has `stride` in the network without dilation."""
        dilation = self.dilation
        if self.stride * stride <= self.output_stride:
            self.stride *= stride
            # Keras rejects a stride together with a dilation. No layer has both: after the first
            # dilation every stride above 1 is replaced.
            return stride, dilation
        self.dilation *= stride
        return 1, dilation
