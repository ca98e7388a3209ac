"""The network of a segmenter as an ONNX graph that has its weights in the segmenter's own file.

The graph names the bytes of `segmenter.weights.h5` that contain each array: HDF5 stores an array in
one piece unless it is compressed or chunked. A model of the zoo thus runs with ONNX Runtime,
without Keras and without a second copy of its weights. `scripts/write_networks.py` writes it.

The graph's input is "images" `(batch, size, size, 3)` uint8 RGB of the network's input size, its
output "logits" `(batch, h, w, 1 + parts)` float32.
"""

import hashlib
import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.errors import ConfigError
from keras_parts.exports.formats import INPUT
from keras_parts.exports.onnx import new_session, session_metadata
from keras_parts.files import file_sha256
from keras_parts.models.predictor import Predictor

NETWORK_FILE = "network.onnx"
OUTPUT = "logits"


def load_network(folder: str | PathLike[str], names: Sequence[str], **options: Any) -> Predictor:
    """The `Predictor` of the segmenter in a folder, with ONNX Runtime instead of Keras.

    Args:
        folder: of the segmenter, with a graph of its files.
        names: of the parts.
        options: "batch_size", "tile", "looks" and "max_objects" of `keras_parts.models.Predictor`.

    Raises:
        ConfigError: the graph belongs to other files than those in the folder; or as `Predictor`.

    Example:
        >>> from keras_parts import zoo
        >>> from keras_parts.exports.network import load_network
        >>> folder, names = zoo.path("toy"), zoo.info("toy").part_names
        >>> load_network(folder, names, batch_size=1).image_size  # doctest: +SKIP
        161
    """
    path = Path(folder, NETWORK_FILE)
    session = new_session(path)
    about = json.loads(session_metadata(session))
    for name, expected in about["files"].items():
        if expected != file_sha256(path.with_name(name)):
            raise ConfigError(f"{path}: belongs to another {name} than the one beside it")

    def forward(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip([OUTPUT], session.run([OUTPUT], {INPUT: images}), strict=True))

    settings = {
        "model_sha256": hashlib.sha256(json.dumps(about["files"]).encode()).hexdigest(),
        "precision": "float32",
        "flip": False,
        "runtime": "onnx",
    }
    return Predictor(forward, names, **about["network"], **options, settings=settings)
