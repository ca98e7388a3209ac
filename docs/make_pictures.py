"""Makes the pictures of the README and the documentation, from drawn animals.

python docs/make_pictures.py
"""

from pathlib import Path

import keras_parts
from keras_parts import data
from keras_parts.data.sample_sheet import draw_sample
from keras_parts.files import atomic_path
from keras_parts.results.pictures import contact_sheet
from keras_parts.training import compare_part_counts
from keras_parts.training.recipes import recipe_for

CHOSEN = (0, 1, 4, 7, 9, 10)
COUNTS = (3, 5, 8)
COLUMNS, CELL = 6, 161


def main():
    """Write each picture beside this file."""
    _save("toy", _animals_with_parts())
    _save("joined", *_before_and_after_joining())
    _save("samples", _samples())
    _save("counts", *_numbers_of_parts())


def _animals():
    return [data.load("toy", "test")[index] for index in CHOSEN]


def _overlay(parts):
    return parts.overlay(names=False, legend=False)


def _animals_with_parts():
    """Each animal beside its parts."""
    segmented = keras_parts.zoo.load("toy").segment([one.image for one in _animals()])
    return [picture for parts in segmented for picture in (parts.image, _overlay(parts))]


def _before_and_after_joining():
    """(the parts of three animals before and after two were joined, the captions)"""
    segmenter = keras_parts.zoo.load("toy")
    images = [one.image for one in _animals()[:3]]
    joined = segmenter.join_parts(["back", "tail"])
    pictures = [_overlay(parts) for model in (segmenter, joined) for parts in model.segment(images)]
    numbers = [model.num_parts for model in (segmenter, joined) for _ in images]
    return pictures, [f"{number} parts" for number in numbers]


def _samples():
    """The animals with what their data set says of them, as `data show` draws them."""
    info = data.load("toy", "test").info
    return [draw_sample(animal, info) for animal in _animals()]


def _numbers_of_parts():
    """(the clusters of a few animals for each number of parts, the captions)"""
    found = compare_part_counts(recipe_for("toy"), data.load("toy", "train"), COUNTS)
    rows = {number: list(found.parts(number).values())[:COLUMNS] for number in COUNTS}
    pictures = [_overlay(parts) for row in rows.values() for parts in row]
    return pictures, [f"K={number}" for number, row in rows.items() for _ in row]


def _save(name, pictures, captions=()):
    with atomic_path(Path(__file__).with_name(f"{name}.png")) as path:
        sheet = contact_sheet(pictures, columns=COLUMNS, captions=captions, cell=CELL)
        sheet.quantize(128).save(path)


if __name__ == "__main__":
    main()
