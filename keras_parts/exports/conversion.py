"""A segmenter in the formats of other runtimes: image in, parts out, nothing else to know.

What is written takes images `(batch, height, width, 3)` uint8 RGB of any one size, and gives
"labels" `(batch, height, width)` uint8 and "probabilities" `(batch, height, width, 1 + parts)`
float32, 0 being the background: bringing images to the network and logits to the image's pixels is
inside. So is metadata: names and colours of the parts, licence, versions. After writing, the
export is run by its own runtime and compared with the Keras model.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from keras_parts import __version__
from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.exports.formats import Format, size_of, whole_or_not
from keras_parts.exports.litert import LiteRt
from keras_parts.exports.onnx import Onnx
from keras_parts.exports.openvino import OpenVino
from keras_parts.exports.saved_model import SavedModel

FORMATS: dict[str, Format] = {
    "saved_model": SavedModel(),
    "onnx": Onnx(),
    "litert": LiteRt(),
    "openvino": OpenVino(),
}
TOLERANCE = {True: 1e-3, False: 3e-2}
"""Largest difference of a probability from the Keras model's that is let pass, unquantised. Formats
that compute in float32 only see a few pixels of a photograph, resized, one shade brighter."""
_SHRUNK = 0.75


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        path: file or folder. format: its format. size: in bytes.
        quantized: how weights are stored, or None for float32.
        share: size as a share of the float32 weights'.
        difference: largest difference of a probability from the Keras model's.
        disagreement: share of the pixels with another label.
    """

    path: str
    format: str
    size: int
    quantized: str | None
    share: float
    difference: float
    disagreement: float

    def to_json(self):
        """Plain JSON values."""
        return asdict(self)


def export(
    segmenter,
    format: str,
    path: str | PathLike,
    quantize: bool = False,
    name: str = "",
    licence: str = "",
    images: Sequence[np.ndarray] | None = None,
) -> Export:
    """Write a segmenter for another runtime, and compare it with the Keras model.

    Args:
        segmenter: a `PartSegmenter`, on any backend: on others than TensorFlow, the work is done
            in a process on TensorFlow.
        format: a name out of `FORMATS`.
        path: file or folder to write, replaced if it is there.
        quantize: store the weights in fewer bits.
        name, licence: of the model, for the metadata.
        images: `(height, width, 3)` uint8 RGB to compare on; drawn animals when None.

    Raises:
        ConfigError: the format is not known, needs a package, or has nothing to quantise.
        KerasPartsError: the export fails, does not give what the Keras model gives, or was to be
            quantised and is no smaller. Nothing is left of it.
    """
    import keras

    if format not in FORMATS:
        raise ConfigError(f"format is {format!r}, expected one of {', '.join(FORMATS)}")
    kind, path = FORMATS[format], Path(path)
    kind.require(format)
    if quantize and not kind.quantized:
        raise ConfigError(f"{format} keeps its weights as they are: leave out --quantize")
    if keras.backend.backend() != "tensorflow":
        options = {"format": format, "path": os.path.abspath(path), "quantize": quantize}
        return _in_tensorflow(segmenter, options | {"name": name, "licence": licence}, images)

    from keras_parts.exports.graph import ImageToParts

    images = _drawn_animals() if images is None else images
    with whole_or_not(path) as unfinished:
        text = json.dumps(_metadata(segmenter, name, licence))
        try:
            graph = ImageToParts(segmenter, "float64" if kind.exact else "float32")
            kind.write(graph, unfinished, text, quantize)
            run = kind.load(unfinished)
            difference, disagreement = _compare(segmenter, run, images)
        except Exception as error:  # of converters and runtimes, each with errors of its own
            raise KerasPartsError(f"export as {format} failed: {error}") from error
        size = size_of(unfinished.parent)
        allowed = TOLERANCE[kind.exact]
        if not quantize and difference > allowed:
            raise KerasPartsError(
                f"the {format} export differs from the Keras model by up to {difference:.2g} in "
                f"probability, {allowed:g} are allowed: nothing was written"
            )
        share = size / (4 * segmenter.count_params())
        if quantize and share > _SHRUNK:
            raise KerasPartsError(
                f"quantised as {format}, this model still takes {share:.0%} of its float32 "
                "weights: nothing was written; leave out --quantize"
            )
    quantized = kind.quantized if quantize else None
    return Export(str(path), format, size, quantized, share, difference, disagreement)


def load(format: str, path: str | PathLike):
    """An export as a function from images `(batch, height, width, 3)` uint8 RGB to `{"labels",
    "probabilities"}`, run by the format's own runtime; see the module."""
    return FORMATS[format].load(Path(path))


def read_metadata(format: str, path: str | PathLike) -> dict:
    """The metadata inside an export."""
    return json.loads(FORMATS[format].metadata(Path(path)))


def _metadata(segmenter, name, licence):
    from keras_parts.models.forward import digest
    from keras_parts.results.palette import part_legend
    from keras_parts.results.parts import numbered_names

    return {
        "name": name,
        "model_sha256": digest(segmenter),
        "parts": part_legend(segmenter.part_names or numbered_names(segmenter.parts)),
        "input": "images: uint8 (batch, height, width, 3), RGB, upright",
        "outputs": {
            "labels": "uint8 (batch, height, width), 0 = background",
            "probabilities": "float32 (batch, height, width, 1 + parts), channel 0 = background",
        },
        "licence": licence,
        "keras_parts": __version__,
    }


def _compare(segmenter, run, images):
    """(largest difference in probability, share of pixels with other labels)."""
    from keras_parts.models import create_predictor

    network, largest, differing, pixels = create_predictor(segmenter, batch_size=1), 0.0, 0, 0
    for image in images:
        parts, found = network.segment(image), run(image[None])
        gap = np.abs(found["probabilities"][0] - parts.probabilities).max()
        if not np.isfinite(gap):
            raise KerasPartsError("its probabilities are not finite")
        largest = max(largest, float(gap))
        differing += int((found["labels"][0] != parts.labels).sum())
        pixels += parts.labels.size
    return largest, differing / pixels


def _drawn_animals():
    """Pictures of several shapes, landscape and portrait, larger and smaller than the input."""
    from keras_parts.data import load as load_data

    animals = [sample.image for sample in load_data("toy", "test", count=3, size=321)]
    return [animals[0], animals[1][40:240], animals[2][:300:2, :160:2]]


def _in_tensorflow(segmenter, options, images):
    """`export` in a process whose backend is TensorFlow."""
    with tempfile.TemporaryDirectory() as folder:
        segmenter.save_preset(Path(folder, "segmenter"))
        if images is not None:
            np.savez(Path(folder, "images.npz"), *images)
        result = subprocess.run(
            [sys.executable, "-m", "keras_parts.exports", folder, json.dumps(options)],
            env=os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
    if result.returncode:
        raise KerasPartsError(f"export in TensorFlow failed: {result.stderr.strip()[-1000:]}")
    return Export(**json.loads(result.stdout.splitlines()[-1]))
