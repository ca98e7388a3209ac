"""What is written for each segmented picture, one entry a format."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keras_parts.images import atomic_write
from keras_parts.palette import part_palette
from keras_parts.parts import Parts


@dataclass(frozen=True)
class Format:
    """One file a picture.

    Attributes:
        suffix: of the file, such as ".png".
        save: `save(parts, path)` writes a `Parts` whole or not at all.
        about: one line for users.
    """

    suffix: str
    save: Callable[[Parts, Path], None]
    about: str


FORMATS = {
    "indexed": Format(".png", Parts.save_indexed, "label images: PNG, 0 = background, k = part k"),
    "overlay": Format(".jpg", Parts.save_overlay, "pictures under the parts' colours: JPEG"),
}


def write_result(parts, output, result, formats):
    """Write one picture's `Parts` as `output/FORMAT/RESULT.suffix`, for each format."""
    for name in formats:
        # Appended, not `with_suffix`: a result's own name may hold dots.
        path = Path(output, name, result + FORMATS[name].suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[name].save(parts, path)


def write_labels(path, names):
    """Write what the indices of label images mean: `{"background": 0, "parts": [{"label": 1,
    "name": ..., "colour": "#rrggbb"}, ...]}`."""
    parts = [
        {"label": label, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
        for label, (name, colour) in enumerate(
            zip(names, part_palette(len(names)), strict=True), start=1
        )
    ]
    with atomic_write(path, "w") as file:
        json.dump({"background": 0, "parts": parts}, file, indent=2, ensure_ascii=False)
        file.write("\n")
