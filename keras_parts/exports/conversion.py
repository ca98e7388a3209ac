"""Writes a segmenter in the format of another runtime, and compares the two.

The input of an export is a batch of images of one size, `(batch, height, width, 3)` uint8 RGB. Its
outputs are "labels" `(batch, height, width)` uint8 and "probabilities"
`(batch, height, width, 1 + parts)` float32; 0 is the background. The export resizes images to the
network's input and upsamples logits to the images' pixels. It sees each image once, as
`PartSegmenter.segment(images, looks=1)` does. It contains metadata: names and colours of the parts,
number of looks, licence, versions. It is kept only if its own runtime computes what the Keras model
computes.
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
from keras_parts.models.predictor import Predictor

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Images `(batch, height, width, 3)` uint8 RGB -> {"labels", "probabilities"}."""

FORMATS: dict[str, Format] = {
    "saved_model": SavedModel(),
    "onnx": Onnx(),
    "litert": LiteRt(),
    "openvino": OpenVino(),
}
TOLERANCE = {True: 1e-3, False: 3e-2}
"""Maximum difference of a probability from the Keras model's, by `Format.exact`; quantised exports
may differ more. Formats that resize in float32 round a few pixels of a photograph differently."""
_MAX_QUANTIZED_SHARE = 0.75
"""Maximum size of a quantised export, as a share of the float32 weights' size."""


@dataclass(frozen=True)
class Export:
    """An export that was written, and how it compares with the Keras model.

    Attributes:
        path: file or folder.
        format: a key of `FORMATS`.
        size: in bytes.
        quantized: how weights are stored, or None for float32.
        share: `size` as a share of the size of the float32 weights.
        difference: maximum difference of a probability from the Keras model's.
        disagreement: share of the pixels whose label differs from the Keras model's, 0 to 1.

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
        """The attributes as JSON values."""
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
        segmenter: a `PartSegmenter`, on any backend; unless it is TensorFlow, a separate process
            on TensorFlow writes the export.
        format: a key of `FORMATS`.
        path: file or folder to write; an existing one is replaced.
        quantize: store the weights in fewer bits.
        name, licence: of the model, for the metadata.
        images: at least one `(height, width, 3)` uint8 RGB to compare on; drawn animals if None.

    Raises:
        ConfigError: the format is unknown, needs a package that is not installed, or cannot be
            quantised; `images` is empty.
        KerasPartsError: the conversion fails, or the result differs from the Keras model, or is
            quantised and still larger than 75 % of the float32 weights. Nothing is written then.

    Example:
        >>> from keras_parts import zoo
        >>> from keras_parts.exports import export
        >>> written = export(zoo.load("toy"), "saved_model", "toy")  # doctest: +SKIP
        >>> written.disagreement < 0.01  # doctest: +SKIP
        True
    """
    import keras

    kind, path = _format_of(format), Path(path)
    kind.require(format)
    if quantize and not kind.quantized:
        raise ConfigError(f"format {format} cannot be quantised: leave out --quantize")
    if images is not None and not len(images):
        raise ConfigError("images is empty, expected at least one image to compare on, or None")
    if keras.backend.backend() != "tensorflow":
        options = {"format": format, "path": os.path.abspath(path), "quantize": quantize}
        return _in_tensorflow(segmenter, options | {"name": name, "licence": licence}, images)

    images = _drawn_animals() if images is None else images
    with atomic_output(path) as unfinished:
        try:
            _write(segmenter, kind, unfinished, quantize, _metadata(segmenter, name, licence))
            difference, disagreement = _compare(segmenter, kind.open(unfinished).run, images)
        except Exception as error:  # converters and runtimes share no exception class
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
    """Load an export with the runtime of its format.

    Args:
        format: a key of `FORMATS`.
        path: file or folder of the export.

    Returns:
        A function from images `(batch, height, width, 3)` uint8 RGB to a dictionary of "labels"
        `(batch, height, width)` uint8, 0 for background, and "probabilities"
        `(batch, height, width, 1 + parts)` float32.

    Raises:
        ConfigError: the format is unknown.

    Example:
        >>> from keras_parts.exports import load
        >>> run = load("onnx", "toy.onnx")  # doctest: +SKIP
        >>> run(images)["labels"].shape  # doctest: +SKIP
        (1, 480, 640)
    """
    return _format_of(format).open(Path(path)).run


def format_at(path: str | PathLike[str]) -> str | None:
    """The format of the export at a path, a key of `FORMATS`; None if there is no export.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.exports import format_at
        >>> Path("birds.onnx").touch()
        >>> format_at("birds.onnx"), format_at("cub")
        ('onnx', None)
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    if not path.suffix or not path.is_file():
        return None
    return next((name for name, kind in FORMATS.items() if kind.suffix == path.suffix), None)


def load_predictor(format: str, path: str | PathLike[str], **options: Any) -> Predictor:
    """Load an export as a `Predictor`, which sees the objects in an image again and cuts it into
    tiles as that of the segmenter does; `keras_parts.inference.segment_files` takes it too.

    Keras is not needed, only the runtime of the format.

    Args:
        format: a key of `FORMATS`.
        path: file or folder of the export.
        options: "batch_size", "tile", "looks" and "max_objects" of `keras_parts.models.Predictor`.

    Raises:
        ConfigError: the format is unknown or its runtime is not installed; the file is no export
            of this package, or was written before 0.2.0; or as `Predictor`.

    Example:
        >>> from keras_parts.exports import load_predictor
        >>> predictor = load_predictor("onnx", "toy.onnx")  # doctest: +SKIP
        >>> predictor.segment(image).areas  # doctest: +SKIP
        array([1520, 3311, 0, 930, 218])
    """
    return open_export(format, path).predictor(**options)


@dataclass(frozen=True)
class OpenExport:
    """An export that its runtime has loaded.

    Attributes:
        format: a key of `FORMATS`.
        metadata: see `read_metadata`.
        run: see `load`.

    Example:
        >>> from keras_parts.exports import OpenExport
        >>> OpenExport("onnx", {"licence": "CC0-1.0"}, lambda images: {}).metadata["licence"]
        'CC0-1.0'
    """

    format: str
    metadata: Mapping[str, Any]
    run: Run

    def predictor(self, **options: Any) -> Predictor:
        """Its `Predictor`, see `load_predictor`."""
        network = dict(self.metadata["network"])
        step = network.pop("pixels_per_position")

        def forward(images: np.ndarray) -> Mapping[str, np.ndarray]:
            probabilities = self.run(images)["probabilities"][:, ::step, ::step]
            return {"logits": np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))}

        names = [part["name"] for part in self.metadata["parts"]]
        settings = {"model_sha256": self.metadata["model_sha256"], "export": self.format}
        return Predictor(forward, names, **network, **options, settings=settings)


def open_export(format: str, path: str | PathLike[str]) -> OpenExport:
    """Load an export whose metadata is needed besides its predictor; the file is read once.

    Args:
        format, path: as for `load_predictor`.

    Raises:
        ConfigError: as `load_predictor`.

    Example:
        >>> from keras_parts.exports import open_export
        >>> open_export("onnx", "toy.onnx").metadata["licence"]  # doctest: +SKIP
        'CC0-1.0'
    """
    _format_of(format).require_runtime(format)
    try:
        opened = _format_of(format).open(Path(path))
        metadata = json.loads(opened.metadata)
    except Exception as error:  # runtimes share no exception class
        raise ConfigError(
            f"{path}: is not an export of keras-parts as {format}: {error!r:.300}; expected a file "
            "that keras-parts export wrote"
        ) from error
    if "network" not in metadata:
        raise ConfigError(
            f"{path}: does not say what input its network takes, as exports do since 0.2.0: export "
            "the model again"
        )
    return OpenExport(format, metadata, opened.run)


def read_metadata(format: str, path: str | PathLike[str]) -> dict[str, Any]:
    """Read the metadata inside an export: parts, licence, sha256 of the model, versions.

    Args:
        format: a key of `FORMATS`.
        path: file or folder of the export.

    Raises:
        ConfigError: the format is unknown.

    Example:
        >>> from keras_parts.exports import read_metadata
        >>> read_metadata("onnx", "toy.onnx")["parts"][0]["name"]  # doctest: +SKIP
        'head'
    """
    return json.loads(_format_of(format).metadata(Path(path)))


def _format_of(name):
    if name not in FORMATS:
        raise ConfigError(f"format is {name!r}, expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _write(segmenter, kind, path, quantize, metadata):
    from keras_parts.exports.graph import ImageToParts

    graph = ImageToParts(segmenter, "float64" if kind.exact else "float32")
    kind.write(graph, path, json.dumps(metadata), quantize)


def _check_difference(format, difference):
    allowed = TOLERANCE[FORMATS[format].exact]
    if difference > allowed:
        raise KerasPartsError(
            f"probabilities of the {format} export differ from the Keras model's by up to "
            f"{difference:.2g}, the maximum is {allowed:g}: nothing was written"
        )


def _check_share(format, share):
    if share > _MAX_QUANTIZED_SHARE:
        raise KerasPartsError(
            f"the quantised {format} export has {share:.0%} of the size of the float32 weights, "
            f"the maximum is {_MAX_QUANTIZED_SHARE:.0%}: nothing was written; leave out --quantize"
        )


def _metadata(segmenter, name, licence):
    from keras_parts.models.forward import digest
    from keras_parts.results.palette import part_legend
    from keras_parts.results.parts import numbered_names

    return {
        "name": name,
        "model_sha256": digest(segmenter),
        "parts": part_legend(segmenter.part_names or numbered_names(segmenter.num_parts)),
        "looks": 1,
        "network": _network(segmenter),
        "input": "images: uint8 (batch, height, width, 3), RGB, upright",
        "outputs": {
            "labels": "uint8 (batch, height, width), 0 = background",
            "probabilities": "float32 (batch, height, width, 1 + parts), channel 0 = background",
        },
        "licence": licence,
        "keras_parts": __version__,
    }


def _network(segmenter):
    """What a `Predictor` must know of the network, as JSON values."""
    from keras_parts.models.architectures import architecture_of

    config = segmenter.config
    aligned = architecture_of(config.architecture).aligned_corners
    size = config.image_size
    positions = segmenter.compute_output_shape((1, size, size, 3))[1]
    # With aligned corners, the positions of the map are at every so many pixels of the input.
    step = (size - 1) // (positions - 1) if aligned else 1
    return {
        "image_size": size,
        "resize_mode": config.resize_mode,
        "aligned_corners": aligned,
        "pixels_per_position": step,
    }


def _compare(segmenter, run, images):
    """(maximum difference of a probability, share of the pixels whose label differs)."""
    largest, differing, pixels = 0.0, 0, 0
    for image in images:
        parts, found = segmenter.segment(image, looks=1), run(image[None])
        gap = np.abs(found["probabilities"][0] - parts.probabilities).max()
        if not np.isfinite(gap):
            raise KerasPartsError("probabilities of the export are not finite")
        largest = max(largest, float(gap))
        differing += int((found["labels"][0] != parts.labels).sum())
        pixels += parts.labels.size
    return largest, differing / pixels


def _drawn_animals():
    """Images of several shapes, larger and smaller than the input."""
    from keras_parts.data import load as load_data

    animals = [sample.image for sample in load_data("toy", "test", count=3, size=321)]
    return [animals[0], animals[1][40:240], animals[2][:300:2, :160:2]]


def _in_tensorflow(segmenter, options, images):
    """Run `export` in a separate process whose backend is TensorFlow."""
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
        raise KerasPartsError(f"export on TensorFlow failed: {result.stderr.strip()[-1000:]}")
    return Export(**json.loads(result.stdout.splitlines()[-1]))
