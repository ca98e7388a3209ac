"""The picture of an entry: segmented samples and a legend of the parts."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_parts.data import Dataset
from keras_parts.data.crops import CropSettings, object_crop
from keras_parts.files import atomic_path
from keras_parts.results.legend import with_legend
from keras_parts.results.palette import part_palette
from keras_parts.results.parts import Parts
from keras_parts.results.pictures import contact_sheet

_OPEN_LICENCE = "Apache-2.0"
"""Licence of the data sets whose images may be published: those that the package draws."""
_MAX_SAMPLES = 16
_COLUMNS = 8
_CELL = 112
"""Side of a sample's picture in pixels."""
_GREY = (225, 225, 225)


def write_picture(segmenter: Any, names: Sequence[str], dataset: Dataset, path: Path) -> None:
    """Write a PNG of segmented samples, spread evenly over a data set, and a legend.

    Images whose licence is not open are not published: only the parts are drawn, on grey.
    """
    count = min(_MAX_SAMPLES, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).astype(int)
    crops = CropSettings(padding=0.05, jitter=0.0)
    size = segmenter.config.image_size
    images = [object_crop(dataset[int(index)], crops, size).image for index in indices]
    show_image = dataset.info.licence == _OPEN_LICENCE
    draw = partial(Parts.overlay, names=False, legend=False) if show_image else _on_grey
    sheet = contact_sheet(list(map(draw, segmenter.segment(images))), _COLUMNS, cell=_CELL)
    picture = with_legend(sheet, names, part_palette(len(names)))
    with atomic_path(path) as unfinished:
        picture.quantize(96, dither=Image.Dither.NONE).save(unfinished, optimize=True)


def _on_grey(parts: Parts) -> Image.Image:
    picture = Image.new("RGB", parts.size, _GREY)
    picture.paste(parts.indexed().convert("RGB"), mask=Image.fromarray(parts.foreground))
    return picture
