"""`small`: a compact residual network that ships with weights for the `toy` data set."""

from collections.abc import Sequence
from pathlib import Path

from keras import layers

from keras_parts.backbones.backbone import Backbone, build_backbone
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.backbones.tensorflow_layers import BatchNormalization, Conv2D
from keras_parts.errors import ConfigError, IntegrityError
from keras_parts.files import file_sha256

PREPROCESSING = Preprocessing("RGB", 1.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SHA256 = {"toy": "e74404cca0b83f0fa71f47229041a6e20c1dfbbb76d2bc8da91f4234b98b0a81"}
"""SHA-256 of the weights files that ship with the package, by name."""
_FOLDER = Path(__file__).parent / "weights"

_CHANNELS = (24, 48, 80, 128)
OUTPUTS = ("stage1", "stage2", "stage3", "stage4")


def small(
    output_stride: int = 16,
    outputs: str | Sequence[str] = ("stage3", "stage4"),
    classes: int | None = None,
) -> Backbone:
    """A residual network of 0.4 million parameters, with random weights.

    `load_small_weights` loads trained ones. The network has four stages of two 3x3 convolutions
    (the very first one is 5x5), the second with a shortcut. Each stage begins with a stride of 2;
    beyond `output_stride`, strides are replaced by dilation.

    Args:
        output_stride: 8, 16 or 32; 16 is the network without dilation.
        outputs: names in `OUTPUTS`, "stage1" (stride 2, 24 channels) to "stage4" (stride 16, 128
            channels). Layers after the last of them are not built.
        classes: number of classes of an additional output "classes", logits `(batch, classes)` of
            the pooled last stage; None for no such output.

    Returns:
        `Backbone`: `(batch, height, width, 3)` -> `{name: (batch, h, w, channels)}`.

    Raises:
        ConfigError: an argument is outside its range.

    Example:
        >>> import numpy as np
        >>> from keras_parts.backbones.small import load_small_weights, small
        >>> network = small(outputs=("stage4",))
        >>> load_small_weights(network)
        >>> tuple(network(network.preprocessing.apply(np.zeros((1, 65, 65, 3))))["stage4"].shape)
        (1, 5, 5, 128)
    """
    return build_backbone("small", _stages, OUTPUTS, outputs, PREPROCESSING, output_stride, classes)


def _stages(x, strides):
    """Yield `(name, features)` for every stage, beginning at the image."""
    for stage, channels in zip(OUTPUTS, _CHANNELS, strict=True):
        stride, dilation = strides.enter(2)
        kernel = 5 if stage == OUTPUTS[0] else 3
        x = _convolve(x, channels, kernel, f"{stage}_1", strides=stride, dilation_rate=dilation)
        y = _convolve(x, channels, 3, f"{stage}_2", dilation_rate=strides.dilation)
        x = layers.Add(name=stage)([x, y])
        yield stage, x


def _convolve(x, channels, kernel, name, **options):
    x = Conv2D(
        channels, kernel, padding="same", use_bias=False, name=f"{name}_conv", **options
    )(x)  # fmt: skip
    x = BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def weights_path(name: str = "toy") -> Path:
    """Path of a weights file that ships with the package; `name` is a key of `SHA256`."""
    return _FOLDER / f"small_{name}.weights.h5"


def load_small_weights(model: Backbone, name: str = "toy") -> None:
    """Load weights that ship with the package. The output "classes" keeps its weights.

    The weights "toy" come from a classifier that `benchmarks/train_toy_teacher.py` trained on the
    species of drawn animals.

    Args:
        model: a network made by `small`, with any output stride and outputs.
        name: name of the weights, a key of `SHA256`.

    Raises:
        ConfigError: there are no weights of this name, or the model is another network.
        IntegrityError: the file is missing or has been changed.
    """
    if name not in SHA256:
        raise ConfigError(f"small: no weights named {name!r}; there are {', '.join(SHA256)}")
    path = weights_path(name)
    if not path.is_file():
        raise IntegrityError(f"{path}: the file is missing; install keras-parts again")
    if file_sha256(path) != SHA256[name]:
        raise IntegrityError(f"{path}: the file has been changed; install keras-parts again")
    trained = small(outputs=OUTPUTS)
    trained.load_weights(path)
    sources = {layer.name: layer for layer in trained.layers}
    for layer in model.layers:
        if layer.weights and layer.name != "classes":
            if layer.name not in sources:
                raise ConfigError(
                    f"small: {model.name} has a layer {layer.name!r}, which small does not have: "
                    "pass a network made by small()"
                )
            layer.set_weights(sources[layer.name].get_weights())
