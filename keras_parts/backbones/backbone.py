"""The one form that every network takes: image in, named feature maps out."""

import keras
from keras import layers

from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.errors import ConfigError

OUTPUT_STRIDES = (8, 16, 32)


class Backbone(keras.Model):
    """A functional network from a preprocessed image to a dictionary of feature maps.

    The input is `(batch, height, width, 3)` with height and width free. Outputs are
    `{name: (batch, ceil(height / stride), ceil(width / stride), channels)}`.
    With sides of 16 n + 1 pixels (32 n + 1 at output stride 32) the corners of all feature
    maps are aligned with the corners of the image.

    Attributes:
        preprocessing: `Preprocessing` that turns an RGB image in [0, 1] into the input.
        output_stride: pixels of the input between neighbours of the coarsest map.
        strides: `{output name: stride}` of the maps among the outputs.
        channels: `{output name: channels}` of the maps among the outputs.
    """

    def __init__(self, inputs, outputs, preprocessing, output_stride, strides, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        if not isinstance(preprocessing, Preprocessing):
            raise ConfigError(f"{self.name}: preprocessing is {preprocessing!r}")
        self.preprocessing = preprocessing
        self.output_stride = output_stride
        self.strides = dict(strides)
        self.channels = {name: outputs[name].shape[-1] for name in strides}

    def freeze_before(self, output):
        """Freeze the layers before the one that begins with an output's name.

        Args:
            output: such as "block_5": the first layer whose name starts with "block_5_" is the
                first that is trained.

        Raises:
            ConfigError: no layer's name starts so.
        """
        names = [layer.name for layer in self.layers]
        first = next((i for i, name in enumerate(names) if name.startswith(f"{output}_")), None)
        if first is None:
            raise ConfigError(f"{self.name}: no layer belongs to {output!r}")
        for layer in self.layers[:first]:
            layer.trainable = False


def build_backbone(name, stages, available, outputs, preprocessing, output_stride, classes=None):
    """Build a network as far as its outputs need it.

    Args:
        name: of the network.
        stages: function `(image, strides)` that yields `(name, features)` of every possible
            output, from the image on; it asks the `Strides` for its strides and dilations.
        available: names of all outputs, in that order.
        outputs: the names that are asked for. Nothing behind the last of them is built.
        preprocessing: `Preprocessing`.
        output_stride: 8, 16 or 32.
        classes: number of classes, or None. Adds the output "classes": logits
            `(batch, classes)` of the pooled last map.

    Returns:
        `Backbone`.

    Raises:
        ConfigError: an argument is outside its range.
    """
    check_output_stride(output_stride, name)
    outputs = check_outputs(outputs, available, name)
    if classes is not None and (not isinstance(classes, int) or classes < 1):
        raise ConfigError(f"{name}: classes is {classes!r}, expected a positive number or None")
    if not outputs and classes is None:
        raise ConfigError(f"{name}: no outputs asked for")
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


def check_output_stride(output_stride, name):
    """Raise `ConfigError` unless `output_stride` is 8, 16 or 32."""
    if output_stride not in OUTPUT_STRIDES:
        raise ConfigError(f"{name}: output_stride is {output_stride!r}, expected 8, 16 or 32")


def check_outputs(outputs, available, name):
    """The names as a tuple; raise `ConfigError` for unknown, repeated or no names."""
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    unknown = [output for output in names if output not in available]
    if unknown:
        raise ConfigError(f"{name}: no output named {unknown[0]!r}; there are {list(available)}")
    if len(set(names)) != len(names):
        raise ConfigError(f"{name}: an output is named twice in {names}")
    return names


class Strides:
    """Turns the strides of a network into dilation from an output stride on.

    Every layer that would stride is given to `enter`, in order. While the target is not reached
    the layer strides; afterwards it keeps stride 1 and its *successors* see twice the dilation,
    so that every second position equals what the plain network computes there.
    """

    def __init__(self, output_stride):
        self.output_stride = output_stride
        self.stride = 1
        self.dilation = 1

    def enter(self, stride):
        """The `(stride, dilation)` with which a layer of nominal `stride` runs."""
        here = self.dilation
        if self.stride * stride <= self.output_stride:
            self.stride *= stride
            # a layer cannot both stride and dilate; strides never follow a dilation
            return stride, here
        self.dilation *= stride
        return 1, here
