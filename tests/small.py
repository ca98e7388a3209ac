"""A small segmenter, a tiny architecture, and random images for them."""

import functools
from dataclasses import replace

import keras
import numpy as np
from keras import layers

import tests.quick_graphs  # noqa: F401
import tests.quick_jax  # noqa: F401
from keras_parts.backbones.backbone import build_backbone
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.keras_private import set_random_seed
from keras_parts.models.architectures import ARCHITECTURES, register
from keras_parts.models.heads import FusionHead
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig


def small_segmenter():
    """A segmenter of three parts with random weights."""
    set_random_seed(0)
    return PartSegmenter(SegmenterConfig(3, "small", image_size=65))


def as_one_program(model, images):
    """The outputs of a model, as arrays on JAX, which would compile each operation of a call."""
    return (model.predict_on_batch if keras.config.backend() == "jax" else model)(images)


def random_images(*sizes):
    """Random uint8 RGB images of these sizes (height, width)."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def _tiny_stages(x, strides):
    """Four strided convolutions with batch normalisation; yields a named map after each.

    Then a map of many channels, for heads that need them.
    """
    for name, channels in (("half", 4), ("quarter", 6), ("eighth", 8), ("sixteenth", 8)):
        stride, dilation = strides.enter(2)
        x = layers.Conv2D(
            channels, 3, stride, "same", dilation_rate=dilation, name=f"{name}_conv"
        )(x)  # fmt: skip
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        x = layers.ReLU(name=name)(x)
        yield name, x
    yield "wide", layers.Conv2D(1024, 1, name="wide")(x)


def tiny(output_stride=16, outputs=("eighth", "sixteenth")):
    """A `Backbone` that compiles in a fraction of the time of "small"."""
    available = ("half", "quarter", "eighth", "sixteenth", "wide")
    preprocessing = Preprocessing("RGB", 1.0, (0.5,) * 3, (0.25,) * 3)
    return build_backbone("tiny", _tiny_stages, available, outputs, preprocessing, output_stride)


def register_tiny():
    """Register `tiny` as the architecture "tiny" in this process; returns this name."""
    head = functools.partial(FusionHead, width=8, units=1)
    layers_by_stride = {8: (16, ("eighth", "sixteenth")), 16: (16, ("sixteenth",))}
    register("tiny", tiny, layers_by_stride, 65, head=head)
    return "tiny"


def tiny_resnet50():
    """The architecture "resnet50", its head and how images are resized for it, with `tiny`."""
    strides = {8: (8, ("wide",)), 16: (16, ("wide",))}
    return replace(ARCHITECTURES["resnet50"], backbone=tiny, layers=strides)
