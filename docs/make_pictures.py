"""Makes the README's picture: drawn animals, each beside its parts.

python docs/make_pictures.py
"""

from pathlib import Path

import keras_parts
from keras_parts import data
from keras_parts.files import atomic_path
from keras_parts.results.pictures import contact_sheet

CHOSEN = (0, 1, 4, 7, 9, 10)


def main():
    segmenter = keras_parts.zoo.load("toy")
    images = [data.load("toy", "test")[index].image for index in CHOSEN]
    parts = segmenter.segment(images)
    pairs = [
        picture for one in parts for picture in (one.image, one.overlay(names=False, legend=False))
    ]
    with atomic_path(Path(__file__).with_name("toy.png")) as path:
        contact_sheet(pairs, columns=6, cell=161).quantize(128).save(path)


if __name__ == "__main__":
    main()
