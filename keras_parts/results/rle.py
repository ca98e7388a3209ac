"""Masks as run-length codes, in the formats of COCO, CVAT and Label Studio."""

from itertools import cycle
from typing import Any

import numpy as np

from keras_parts.errors import ConfigError

_LENGTH_BITS = (3, 4, 8, 16)
"""Numbers of bits for a run's length in Label Studio's format; each run has the fewest possible."""


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Lengths of the runs of equal pixels, row by row. The first run is of zeros, maybe empty.

    Args:
        mask: `(height, width)` bool.

    Returns:
        `(runs,)` int64. Their sum is the number of pixels.

    Example:
        >>> import numpy as np
        >>> from keras_parts.results.rle import run_lengths
        >>> run_lengths(np.array([[True, True], [False, True]])).tolist()
        [0, 2, 1, 1]
    """
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]]))


def coco_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed run lengths.

    Args:
        mask: `(height, width)` bool.

    Returns:
        `{"size": [height, width], "counts": str}`.

    Raises:
        ConfigError: pycocotools is not installed.

    Example:
        >>> import numpy as np
        >>> from keras_parts.results import coco_rle
        >>> coco_rle(np.ones((2, 3), bool))
        {'size': [2, 3], 'counts': '06'}
    """
    try:
        from pycocotools import mask as coco
    except ImportError:
        raise ConfigError(
            "run lengths in COCO's format need pycocotools: pip install 'keras-parts[formats]'"
        ) from None
    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def cvat_rle(mask: np.ndarray) -> dict[str, Any] | None:
    """CVAT's run lengths: those inside the mask's bounding box, row by row, as text.

    Args:
        mask: `(height, width)` bool.

    Returns:
        `{"rle": "3, 2, ...", "left": int, "top": int, "width": int, "height": int}`, or None for an
        empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    runs = run_lengths(mask[top:bottom, left:right])
    return {
        "rle": ", ".join(map(str, runs.tolist())),
        "left": int(left),
        "top": int(top),
        "width": int(right - left),
        "height": int(bottom - top),
    }


def label_studio_rle(mask: np.ndarray) -> list[int]:
    """Label Studio's packed run lengths of an RGBA picture, 255 inside the mask and 0 outside.

    The code begins with the number of values (32 bits), the number of bits per value - 1 (5 bits)
    and the four possible numbers of bits for a length, each - 1 (4 bits each). A run is a 1, the
    index of its number of bits (2 bits), its length - 1, and its value (8 bits).

    Args:
        mask: `(height, width)` bool.

    Returns:
        The bytes, 0 to 255.
    """
    runs = run_lengths(mask) * 4
    bits = [_binary(4 * mask.size, 32), _binary(8 - 1, 5)]
    bits += [_binary(length - 1, 4) for length in _LENGTH_BITS]
    longest = 1 << _LENGTH_BITS[-1]
    for run, value in zip(runs.tolist(), cycle((0, 255)), strict=False):
        for start in range(0, run, longest):
            bits.append(_run_bits(min(longest, run - start), value))
    text = "".join(bits)
    digits = np.frombuffer(text.encode("ascii"), np.uint8) - ord("0")
    return np.packbits(digits).tolist()


def _run_bits(length, value):
    kind = next(i for i, width in enumerate(_LENGTH_BITS) if length <= 1 << width)
    return f"1{kind:02b}{_binary(length - 1, _LENGTH_BITS[kind])}{value:08b}"


def _binary(number, width):
    return format(number, f"0{width}b")
