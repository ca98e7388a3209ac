"""Runs `export` on TensorFlow in a separate process, for callers on other backends.

Arguments: a folder with the segmenter and the images to compare on; options of `export`, JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np

from keras_parts.exports import export
from keras_parts.models.segmenter import PartSegmenter


def main(folder: str, options: str) -> None:
    segmenter = PartSegmenter.from_preset(Path(folder, "segmenter"))
    images = None
    if (path := Path(folder, "images.npz")).is_file():
        with np.load(path) as arrays:
            images = [arrays[name] for name in arrays.files]
    print(json.dumps(export(segmenter, **json.loads(options), images=images).to_json()))


if __name__ == "__main__":
    main(*sys.argv[1:])
