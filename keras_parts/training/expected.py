"""What a training will take: time, memory and disk. Imports no Keras.

Memory was measured on TensorFlow on a CPU, for small batches and images; that of others is computed
from these numbers.
"""

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import mean
from typing import NamedTuple

from keras_parts.data.dataset import Dataset
from keras_parts.errors import ConfigError, DataError
from keras_parts.models.saved_config import read_saved_config
from keras_parts.training.recipes import DEFAULT, Recipe
from keras_parts.training.run_folder import all_runs

_PROCESS = 1200 * 2**20
"""Memory of Python, its libraries and the compiled step."""
_TEACHER_BATCH = 16
"""Crops for which the teacher features are computed at a time."""
_PART_LOGITS = "part_logits"
"""Layer of the teacher "segmenter", see `keras_parts.discovery.teachers`."""
_VIEWS_FACTOR = 3.3
"""Memory of a teacher that averages several views of an image, relative to one of a single view."""
_DECODED_BYTES = 2 * 2**30
"""Maximum memory for decoded images, see `keras_parts.data.Batches`."""
_MEASURED_IMAGES = 8
"""Number of images by which the size of the others is estimated."""
_PIXEL = 4
"""Bytes of a pixel in memory: its colours, and whether it is foreground."""
_STATE = {"adam": 2, "adamw": 2, "sgd": 1}
"""Numbers that an optimiser keeps for each weight."""
_CHECKPOINTS = 2
_SHEETS_BYTES = 7 * 2**20
"""Pictures of the parts and curves in a run folder."""


class _Network(NamedTuple):
    """An architecture of segmenters.

    Attributes:
        parameters: of the segmenter.
        step: output stride -> memory that the network takes in a training step for a pixel of an
            image of the batch, in both views, if it is trained whole.
    """

    parameters: int
    step: Mapping[int, int]


_NETWORKS = {
    "efficientnet_lite0": _Network(2_500_000, {4: 3740, 8: 3600, 16: 3500}),
    # Computed: times the ratio of the numbers of activations.
    "efficientnet_lite1": _Network(3_270_000, {4: 4910, 8: 4720, 16: 4590}),
    "efficientnet_lite2": _Network(3_790_000, {4: 5180, 8: 4980, 16: 4840}),
    "resnet50": _Network(23_900_000, {4: 5000, 8: 8900, 16: 4700}),
    "small": _Network(460_000, {4: 750, 8: 500, 16: 450}),
}
_FROZEN_SHARE = {"block_3": 0.67, "block_11": 0.34}
"""`train_from` -> memory of a step for the network, relative to one that trains it whole."""
_TIMED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
"""Networks whose time is guessed; the first one was measured, the others are larger."""
_SECONDS, _FROZEN_SAVES = 0.18, 0.47
"""Measured on two cores: seconds for each image of 257 pixels if the whole network is trained, and
the share of them that a frozen network would save."""
_LOSS_PIXEL, _FEATURE = 300, 80
"""Memory of a step for a pixel of the maps from which the losses are computed, and for each number
of an image's cached features."""


class _Features(NamedTuple):
    """The layers of a teacher.

    Attributes:
        pixel: memory of the teacher for a pixel of an image.
        layers: name -> (stride, channels).
        default: the layers of a recipe that names none.
    """

    pixel: int
    layers: Mapping[str, tuple[int, int]]
    default: tuple[str, ...]


_TEACHERS = {
    "efficientnet_lite0": _Features(
        350,
        {"block_2": (4, 24), "block_4": (8, 40), "block_10": (16, 112), "block_14": (16, 192)},
        ("block_14",),
    ),
    "efficientnet_lite1": _Features(
        460,
        {"block_3": (4, 24), "block_6": (8, 40), "block_14": (16, 112), "block_19": (16, 192)},
        ("block_19",),
    ),
    "efficientnet_lite2": _Features(
        485,
        {"block_3": (4, 24), "block_6": (8, 48), "block_14": (16, 120), "block_19": (16, 208)},
        ("block_19",),
    ),
    "small": _Features(
        130,
        {"stage1": (2, 24), "stage2": (4, 48), "stage3": (8, 80), "stage4": (16, 128)},
        ("stage4",),
    ),
    "vgg19": _Features(1370, {"relu3_2": (4, 256), "relu5_4": (16, 512)}, ("relu3_2", "relu5_4")),
}


class _Transformer(NamedTuple):
    """A DINOv2 of KerasHub, whose patches have 14 pixels a side."""

    channels: int
    heads: int
    parameters: int

    def bytes_for(self, patches: int) -> int:
        """Memory for an image: computed, three attention maps and two hidden layers at a time."""
        tokens = patches**2 + 5  # a class token and four registers
        return 4 * tokens * (3 * self.heads * tokens + 2 * 4 * self.channels)


_DINOV2 = {
    "small": _Transformer(384, 6, 22_100_000),
    "base": _Transformer(768, 12, 86_600_000),
    "large": _Transformer(1024, 16, 304_400_000),
}
"""End of a preset's name, without "_with_registers" -> the network."""
_DINOV2_PATCHES = 16


def _transformer(chosen: Recipe) -> _Transformer | None:
    """The teacher, if it is a known DINOv2."""
    if chosen.teacher != "dinov2":
        return None
    return _DINOV2.get((chosen.teacher_weights or "dinov2_small").rpartition("_")[2])


@dataclass(frozen=True)
class Needs:
    """What a training takes, as far as it is known.

    Attributes:
        memory_bytes: peak memory of the process on a processor; None for an architecture of the
            user's.
        feature_bytes: size of the cached teacher features; 0 if none are cached, None if it is not
            known before the teacher is loaded.
        folder_bytes: size of the run folder; None for an architecture of the user's.
    """

    memory_bytes: int | None
    feature_bytes: int | None
    folder_bytes: int | None


def expected_needs(chosen: Recipe, dataset: Dataset) -> Needs:
    """The memory and disk that a training takes, about.

    Args:
        chosen: the recipe.
        dataset: training samples, of which a few are read.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.training import recipe
        >>> from keras_parts.training.expected import expected_needs
        >>> needs = expected_needs(recipe("toy"), data.load("toy", "train", count=100))
        >>> needs.feature_bytes  # 100 crops, mirrored too: 11 x 11 positions, 128 channels, float16
        6195200
    """
    network = _NETWORKS.get(chosen.architecture)
    memory = folder = None
    if network is not None:
        memory = _memory(chosen, network, dataset)
        numbers = 1 + _CHECKPOINTS * _numbers_per_weight(chosen)
        folder = 4 * network.parameters * numbers + _SHEETS_BYTES
    return Needs(memory, _feature_bytes(chosen, len(dataset)), folder)


def _memory(chosen: Recipe, network: _Network, dataset: Dataset) -> int:
    stride = chosen.output_stride or min(network.step)
    pixel: float = network.step.get(stride, max(network.step.values()))
    pixel *= _FROZEN_SHARE.get(chosen.train_from or "", 1.0)
    teacher_pixels = _TEACHER_BATCH * (chosen.teacher_size or chosen.image_size) ** 2
    features = math.prod(_feature_shape(chosen) or (0,)) * _FEATURE
    if chosen.crops.jitter:  # the teacher runs in every step
        pixel, teacher_pixels, features = pixel + _teacher_bytes(chosen), 0, 0
    image = chosen.image_size**2 * pixel + features
    image += (chosen.loss_size or chosen.image_size) ** 2 * _LOSS_PIXEL
    weights = 4 * network.parameters * _numbers_per_weight(chosen)
    if transformer := _transformer(chosen):
        weights += 4 * transformer.parameters
    largest = max(chosen.batch_size * image, teacher_pixels * _teacher_bytes(chosen))
    return round(_PROCESS + weights + largest + _decoded_bytes(chosen, dataset))


def _numbers_per_weight(chosen: Recipe) -> int:
    """A weight, its average, and what the optimiser keeps of it."""
    return 1 + _STATE[chosen.optimizer] + bool(chosen.ema_momentum)


def _teacher_bytes(chosen: Recipe) -> float:
    """Memory of the teacher for a pixel of an image; 0 if it is not known."""
    if chosen.needs_features and (transformer := _transformer(chosen)):
        side = chosen.teacher_size or chosen.image_size
        return transformer.bytes_for(chosen.teacher_patches or _DINOV2_PATCHES) / side**2
    if not chosen.needs_features or chosen.teacher not in _TEACHERS:
        return 0
    return _TEACHERS[chosen.teacher].pixel * (_VIEWS_FACTOR if chosen.teacher_views else 1)


def _decoded_bytes(chosen: Recipe, dataset: Dataset) -> float:
    """Memory of the images that `keras_parts.data.Batches` keeps: crops, and photographs where
    scenes are drawn or crops jittered."""
    crop = 0 if chosen.crops.jitter else chosen.image_size**2 * _PIXEL
    photograph = 0.0
    if chosen.crops.jitter or chosen.scenes.share:
        step = max(1, len(dataset) // _MEASURED_IMAGES)
        sizes = [dataset[index].size for index in range(0, len(dataset), step)]
        photograph = mean(height * width for height, width in sizes) * _PIXEL
    return min(_DECODED_BYTES, len(dataset) * (crop + photograph))


def _feature_bytes(chosen: Recipe, samples: int) -> int | None:
    """Size of the cached teacher features, float16."""
    if chosen.crops.jitter or not chosen.needs_features:
        return 0
    shape = _feature_shape(chosen)
    variants = 2 if chosen.crops.mirror and not chosen.teacher_mirror else 1
    return None if shape is None else 2 * samples * variants * math.prod(shape)


def _feature_shape(chosen: Recipe) -> tuple[int, int, int] | None:
    """(height, width, channels) of the teacher features of a crop; None if it is not known."""
    known, names = _TEACHERS.get(chosen.teacher), chosen.teacher_layers
    side = chosen.teacher_size or chosen.image_size
    folder = chosen.teacher_weights or chosen.init_from
    if chosen.teacher == "segmenter" and folder:
        config = read_saved_config(folder)
        if names == (_PART_LOGITS,):
            height = math.ceil(config["image_size"] / config["output_stride"])
            return height, height, config["num_parts"]
        known = _TEACHERS.get(config["architecture"])
    if transformer := _transformer(chosen):
        height = chosen.teacher_patches or _DINOV2_PATCHES
        return height, height, transformer.channels * max(1, len(names))
    if known is None or not set(names) <= set(known.layers):
        return None
    layers = [known.layers[name] for name in names or known.default]
    height = math.ceil(side / min(stride for stride, _ in layers))
    return height, height, sum(channels for _, channels in layers)


class ExpectedTime(NamedTuple):
    """How long a training takes, about, without the teacher features.

    Attributes:
        seconds: None if it is not known.
        run: the run with whose speed it was computed; "" if it is a guess from the speed of another
            machine with two cores.
    """

    seconds: float | None
    run: str = ""


def expected_seconds(chosen: Recipe, folder: str | os.PathLike) -> ExpectedTime:
    """The time of a training, from the speed of the newest run with the same network and size.

    Unfinished runs count too. Without such a run it is guessed.

    Args:
        chosen: the recipe.
        folder: of the runs.

    Example:
        >>> from keras_parts.training import recipe
        >>> from keras_parts.training.expected import expected_seconds
        >>> expected_seconds(recipe("default"), "no such folder")
        ExpectedTime(seconds=..., run='')
    """
    same = ("architecture", "output_stride", "image_size", "teacher", "train_from", "precision")
    images = chosen.steps * chosen.batch_size
    for run in all_runs(folder):
        with suppress(DataError, ConfigError, OSError):
            settings = run.read_config()["settings"]
            speeds = [one.get("images_per_second") for one in run.metrics()]
            # The first interval has the compilation.
            speed = next((value for value in reversed(speeds) if value), None)
            if speed and all(settings.get(name) == getattr(chosen, name) for name in same):
                return ExpectedTime(images / speed, str(run.path))
    seconds = _guessed_seconds(chosen)
    return ExpectedTime(seconds and images * seconds)


def _guessed_seconds(chosen: Recipe) -> float | None:
    """The time for an image on two cores; None for a network that was not measured, and where the
    teacher runs in every step."""
    network = _NETWORKS.get(chosen.architecture)
    if network is None or chosen.architecture not in _TIMED or chosen.crops.jitter:
        return None
    stride = chosen.output_stride or min(network.step)
    measured = _NETWORKS[_TIMED[0]].step
    size = network.step.get(stride, max(network.step.values())) / measured[min(measured)]
    frozen = 1 - _FROZEN_SHARE.get(chosen.train_from or "", 1.0)
    area = (chosen.image_size / DEFAULT.image_size) ** 2
    return _SECONDS * (1 - _FROZEN_SAVES * frozen) * size * area
