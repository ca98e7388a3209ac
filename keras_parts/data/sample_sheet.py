"""Draw samples with their annotations: masks, part labels, boxes and keypoints."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_parts.data.dataset import Dataset, DatasetInfo
from keras_parts.data.sample import Sample
from keras_parts.results.palette import part_palette
from keras_parts.results.pictures import contact_sheet

_BOX_COLOUR = (255, 220, 0)
_OPACITY = 0.45
_MAX_COLOURS = 64
_SIDE = 320  # longer side in pixels, equal for all so that lines and letters look alike


def draw_sample(sample: Sample, info: DatasetInfo, *, side: int = _SIDE) -> Image.Image:
    """Draw a sample's image with its annotations.

    Part labels (or else the mask) are translucent colours, the box is a yellow frame, visible
    keypoints are dots with their number in `info.landmarks`, from 1.

    Args:
        sample: any sample.
        info: the description of its data set.
        side: longer side of the result in pixels.

    Returns:
        An image of mode RGB.
    """
    picture = Image.fromarray(_coloured(sample))
    scale = side / max(picture.size)
    size = [max(1, round(length * scale)) for length in picture.size]
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    if sample.box is not None:
        x0, y0, x1, y1 = ((sample.box + 0.5) * scale).tolist()
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=_BOX_COLOUR, width=2)
    if sample.keypoints is not None:
        _draw_keypoints(draw, sample, len(info.landmarks), scale)
    return picture


def sample_sheet(dataset: Dataset, count: int = 16, *, columns: int = 4) -> Image.Image:
    """A contact sheet of samples, evenly spread over a data set, with their ids.

    Args:
        dataset: any data set.
        count: maximum number of samples.
        columns: samples per row.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.data.sample_sheet import sample_sheet
        >>> sample_sheet(data.load("toy", "train", count=4), 2).mode
        'RGB'
    """
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int))
    samples = [dataset[int(index)] for index in indices]
    pictures = [draw_sample(sample, dataset.info) for sample in samples]
    captions = [sample.id.rpartition("/")[2] for sample in samples]
    return contact_sheet(pictures, min(columns, len(pictures)), captions=captions)


def _coloured(sample):
    """(height, width, 3) uint8: the image with the colours of its labels on top."""
    labels = sample.part_labels
    if labels is None:
        if sample.foreground is None:
            return sample.image
        labels = sample.foreground.astype(np.uint8)
    count = min(max(int(labels.max()), 1), _MAX_COLOURS)
    colours = part_palette(count)[(labels.astype(int) - 1) % count]
    mixed = (1 - _OPACITY) * sample.image + _OPACITY * colours
    return np.where(labels[..., None] > 0, mixed, sample.image).astype(np.uint8)


def _draw_keypoints(draw, sample, landmarks, scale):
    palette = part_palette(min(max(landmarks, 1), _MAX_COLOURS))
    font = ImageFont.load_default(11)
    for number, (point, visible) in enumerate(zip(sample.keypoints, sample.visible, strict=True)):
        if not visible:
            continue
        x, y = ((point + 0.5) * scale).tolist()
        colour = tuple(palette[number % len(palette)].tolist())
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour, outline="white")
        draw.text((x + 5, y - 6), str(number + 1), "white", font, stroke_width=1, stroke_fill=0)
