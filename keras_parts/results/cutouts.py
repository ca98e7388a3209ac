"""Parts cut out of their image."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from keras_parts.results.parts import Parts


def cutouts(parts: "Parts", image: np.ndarray) -> dict[int, Image.Image]:
    """See `Parts.cutouts`."""
    pictures = {}
    for label in parts.present:
        window = parts[label].window
        opacity = (parts.labels[window] == label).astype(np.uint8) * 255
        pictures[label] = Image.fromarray(np.dstack([image[window], opacity]))
    return pictures


def object_cutout(parts: "Parts", image: np.ndarray) -> Image.Image:
    """All objects cut out of the image: mode RGBA, of the image's size, transparent outside."""
    return Image.fromarray(np.dstack([image, parts.foreground.astype(np.uint8) * 255]))


def named_cutouts(parts: "Parts") -> Iterator[tuple[str, Image.Image]]:
    """(name without suffix, picture) of the parts of each object: "LABEL", or "OBJECT-LABEL" where
    there are several objects."""
    objects = parts.objects
    for number, one in enumerate(objects, start=1):
        for label, picture in one.cutouts().items():
            yield (f"{number}-{label}" if len(objects) > 1 else str(label)), picture
