"""A segmenter in the formats of other runtimes: image in, parts out.

An export takes images `(batch, height, width, 3)` uint8 RGB, all of one size, and gives "labels"
`(batch, height, width)` uint8 and "probabilities" `(batch, height, width, 1 + parts)` float32, 0
being the background. Resizing images to the network's input and upsampling logits to the image's
pixels is inside, and so is metadata: names and colours of the parts, licence, versions. Every
export is run by its own runtime and compared with the Keras model before it is kept.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts import __version__
from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.exports.formats import Format, atomic_output, folder_size
from keras_parts.exports.litert import LiteRt
from keras_parts.exports.onnx import Onnx
from keras_parts.exports.openvino import OpenVino
from keras_parts.exports.saved_model import SavedModel

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Images `(batch, height, width, 3)` uint8 RGB -> {"labels", "probabilities"}."""

FORMATS: dict[str, Format] = {
    "saved_model": SavedModel(),
    "onnx": Onnx(),
    "litert": LiteRt(),
    "openvino": OpenVino(),
}
TOLERANCE = {True: 1e-3, False: 3e-2}
"""Largest allowed difference of a probability from the Keras model's, by `Format.exact`, unless the
export is quantised. Formats that only compute in float32 resize a few pixels of a photograph to a
value that is one higher."""
_MAX_QUANTIZED_SHARE = 0.75


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        path: file or folder.
        format: a name out of `FORMATS`.
        size: in bytes.
        quantized: how weights are stored, or None for float32.
        share: size as a share of the float32 weights'.
        difference: largest difference of a probability from the Keras model's.
        disagreement: share of the pixels with another label than the Keras model's.

    Example:
        >>> from keras_parts.exports import Export
        >>> Export("birds.onnx", "onnx", 1000, None, 0.5, 1e-5, 0.0).to_json()["share"]
        0.5
    """

    path: str
    format: str
    size: int
    quantized: str | None
    share: float
    difference: float
    disagreement: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def export(
    segmenter: Any,
    format: str,
    path: str | PathLike[str],
    *,
    quantize: bool = False,
    name: str = "",
    licence: str = "",
    images: Sequence[np.ndarray] | None = None,
) -> Export:
    """Write a segmenter for another runtime, and compare it with the Keras model.

    Args:
        segmenter: a `PartSegmenter`, on any backend; on others than TensorFlow, a process on
            TensorFlow does the work.
        format: a name out of `FORMATS`.
        path: file or folder to write; an existing one is replaced.
        quantize: store the weights in fewer bits.
        name, licence: of the model, for the metadata.
        images: `(height, width, 3)` uint8 RGB to compare on; drawn animals when None.

    Raises:
        ConfigError: the format is unknown, needs a package, or cannot be quantised.
        KerasPartsError: the export fails, differs from the Keras model, or is quantised and no
            smaller. Nothing is written then.

    Example:
        >>> from keras_parts import zoo
        >>> from keras_parts.exports import export
        >>> written = export(zoo.load("toy"), "saved_model", "toy")  # doctest: +SKIP
        >>> written.disagreement < 0.01  # doctest: +SKIP
        True
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

    images = _drawn_animals() if images is None else images
    with atomic_output(path) as unfinished:
        try:
            _write(segmenter, kind, unfinished, quantize, _metadata(segmenter, name, licence))
            difference, disagreement = _compare(segmenter, kind.load(unfinished), images)
        except Exception as error:  # converters and runtimes raise errors of their own
            raise KerasPartsError(f"export as {format} failed: {error}") from error
        size = folder_size(unfinished.parent)
        share = size / (4 * segmenter.count_params())
        if quantize:
            _check_share(format, share)
        else:
            _check_difference(format, difference)
    quantized = kind.quantized if quantize else None
    return Export(str(path), format, size, quantized, share, difference, disagreement)


def load(format: str, path: str | PathLike[str]) -> Run:
    """An export as a function, computed by the runtime of its format.

    Args:
        format: a name out of `FORMATS`.
        path: file or folder of the export.

    Returns:
        A function from images `(batch, height, width, 3)` uint8 RGB to
        `{"labels", "probabilities"}`, see `keras_parts.exports.conversion`.

    Example:
        >>> from keras_parts.exports import load
        >>> run = load("onnx", "toy.onnx")  # doctest: +SKIP
        >>> run(images)["labels"].shape  # doctest: +SKIP
        (1, 480, 640)
    """
    return FORMATS[format].load(Path(path))


def read_metadata(format: str, path: str | PathLike[str]) -> dict[str, Any]:
    """The metadata inside an export.

    Args:
        format: a name out of `FORMATS`.
        path: file or folder of the export.

    Example:
        >>> from keras_parts.exports import read_metadata
        >>> read_metadata("onnx", "toy.onnx")["parts"][0]["name"]  # doctest: +SKIP
        'head'
    """
    return json.loads(FORMATS[format].metadata(Path(path)))


def _write(segmenter, kind, path, quantize, metadata):
    from keras_parts.exports.graph import ImageToParts

    graph = ImageToParts(segmenter, "float64" if kind.exact else "float32")
    kind.write(graph, path, json.dumps(metadata), quantize)


def _check_difference(format, difference):
    allowed = TOLERANCE[FORMATS[format].exact]
    if difference > allowed:
        raise KerasPartsError(
            f"the {format} export differs from the Keras model by up to {difference:.2g} in "
            f"probability, {allowed:g} are allowed: nothing was written"
        )


def _check_share(format, share):
    if share > _MAX_QUANTIZED_SHARE:
        raise KerasPartsError(
            f"quantised as {format}, this model still takes {share:.0%} of its float32 "
            "weights: nothing was written; leave out --quantize"
        )


def _metadata(segmenter, name, licence):
    from keras_parts.models.forward import digest
    from keras_parts.results.palette import part_legend
    from keras_parts.results.parts import numbered_names

    return {
        "name": name,
        "model_sha256": digest(segmenter),
        "parts": part_legend(segmenter.part_names or numbered_names(segmenter.num_parts)),
        "input": "images: uint8 (batch, height, width, 3), RGB, upright",
        "outputs": {
            "labels": "uint8 (batch, height, width), 0 = background",
            "probabilities": "float32 (batch, height, width, 1 + parts), channel 0 = background",
        },
        "licence": licence,
        "keras_parts": __version__,
    }


def _compare(segmenter, run, images):
    """(largest difference of a probability, share of the pixels with another label)."""
    largest, differing, pixels = 0.0, 0, 0
    for image in images:
        parts, found = segmenter.segment(image), run(image[None])
        gap = np.abs(found["probabilities"][0] - parts.probabilities).max()
        if not np.isfinite(gap):
            raise KerasPartsError("its probabilities are not finite")
        largest = max(largest, float(gap))
        differing += int((found["labels"][0] != parts.labels).sum())
        pixels += parts.labels.size
    return largest, differing / pixels


def _drawn_animals():
    """Images of several shapes, landscape and portrait, larger and smaller than the input."""
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
