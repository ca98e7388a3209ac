"""Masks as run-length codes, in the formats of COCO, CVAT and Label Studio."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np

from keras_parts.errors import ConfigError, DataError
from keras_parts.results.regions import window_of

_MAX_COUNT_BITS = 60
_LENGTH_BITS = (3, 4, 8, 16)
"""Label Studio's format stores the length of each run in the smallest of these numbers of bits."""


def run_lengths(
    mask: np.ndarray, origin: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
) -> np.ndarray:
    """Lengths of the runs of equal pixels, row by row. The first run is of zeros and may be empty.

    Args:
        mask: `(height, width)` bool, of an image or of a window in it.
        origin: first row and column of the window in the image.
        size: (height, width) of the image, outside of whose window there are zeros; by default
            that of the mask.

    Returns:
        `(runs,)` int64. Their sum is the number of pixels of the image.

    Example:
        >>> import numpy as np
        >>> from keras_parts.results.rle import run_lengths
        >>> mask = np.array([[True, True], [False, True]])
        >>> run_lengths(mask).tolist(), run_lengths(mask, (0, 1), (2, 3)).tolist()
        ([0, 2, 1, 1], [1, 2, 2, 1])
    """
    top, left = origin
    height, width = size or mask.shape
    # A column of zeros ends the runs of each row.
    columns = mask.shape[1] + 1
    flat = np.zeros(1 + mask.shape[0] * columns, bool)
    flat[1:].reshape(-1, columns)[:, :-1] = mask
    row, column = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), columns)
    changes = (top + row) * width + left + column
    # A run that ends at the end of a row continues if the next row begins with one.
    continues = np.flatnonzero(changes[1:-1:2] == changes[2::2]) * 2 + 1
    changes = np.delete(changes, np.concatenate([continues, continues + 1]))
    runs = np.diff(np.concatenate([[0], changes, [height * width]]))
    return runs if len(runs) == 1 or runs[-1] else runs[:-1]


def mask_of_runs(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask of lengths of runs; the inverse of `run_lengths`.

    Args:
        runs: `(runs,)` int, whose sum is the number of pixels.
        size: (height, width).

    Returns:
        `(height, width)` bool.

    Example:
        >>> import numpy as np
        >>> from keras_parts.results.rle import mask_of_runs
        >>> mask_of_runs(np.array([0, 2, 1, 1]), (2, 2)).tolist()
        [[True, True], [False, True]]
    """
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size)


def coco_rle(
    mask: np.ndarray, *, origin: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """COCO's compressed run lengths.

    Args:
        mask: `(height, width)` bool, of an image or of a window in it.
        origin, size: see `run_lengths`.

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
    height, width = size or mask.shape
    runs = run_lengths(mask.T, origin[::-1], (width, height))  # COCO goes down the columns
    code = coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    return {"size": [height, width], "counts": code["counts"].decode("ascii")}


def decode_coco_rle(code: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The mask of COCO's run lengths, compressed (text) or not (a list).

    Everything is checked before memory is taken for the mask: the code may be somebody else's.

    Args:
        code: `{"size": [height, width], "counts": str or list}`.
        size: (height, width) of the image.

    Returns:
        `(height, width)` bool.

    Raises:
        DataError: the code is damaged, or has another size.

    Example:
        >>> from keras_parts.results.rle import decode_coco_rle
        >>> decode_coco_rle({"size": [2, 3], "counts": [0, 6]}, (2, 3)).all()
        np.True_
    """
    height, width = size
    found = code.get("size")
    if list(map(str, found if isinstance(found, list | tuple) else ())) != list(map(str, size)):
        text = " x ".join(map(_short, reversed(found))) if isinstance(found, list) else None
        raise DataError(f"it has {text or 'no number of'} pixels, its image {width} x {height}")
    counts = code.get("counts")
    if isinstance(counts, str | bytes):
        counts = _decompressed(counts, height * width)
    runs = _checked_runs(counts, height * width)
    return mask_of_runs(runs, (width, height)).T


def _checked_runs(counts: Any, pixels: int) -> np.ndarray:
    try:
        numbers = np.array(counts)
    except (ValueError, OverflowError):
        numbers = np.array(None)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or (numbers < 0).any():
        raise DataError("its counts are not a list of whole numbers from 0")
    if numbers.size > 0 and numbers.max() > pixels or numbers.sum() != pixels:
        raise DataError(f"its counts do not add up to the {pixels} pixels of the image")
    return numbers


def _decompressed(text: str | bytes, pixels: int) -> list[int]:
    """The counts in COCO's text: groups of five bits, the least significant first, and each count
    from the third on as the difference to that before the last."""
    content = text.encode("ascii", "replace") if isinstance(text, str) else text
    counts: list[int] = []
    number = bits = 0
    for byte in content:
        group = byte - ord("0")
        if not 0 <= group < 64 or bits > _MAX_COUNT_BITS:
            raise DataError("its counts are damaged")
        number |= (group & 31) << bits
        bits += 5
        if group & 32:
            continue
        if group & 16:  # negative
            number -= 1 << bits
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        if not 0 <= counts[-1] <= pixels:
            raise DataError(f"its counts do not add up to the {pixels} pixels of the image")
        number = bits = 0
    if bits:
        raise DataError("its counts are cut off")
    return counts


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 20 else f"{text[:20]}..."


def cvat_rle(
    mask: np.ndarray, *, origin: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
) -> dict[str, Any] | None:
    """CVAT's run lengths of the pixels inside the mask's bounding box, row by row, as text.

    Args:
        mask: `(height, width)` bool, of an image or of a window in it.
        origin, size: see `run_lengths`.

    Returns:
        `{"rle": "3, 2, ...", "left": int, "top": int, "width": int, "height": int}`, or None for an
        empty mask.

    Example:
        >>> import numpy as np
        >>> from keras_parts.results.rle import cvat_rle
        >>> cvat_rle(np.array([[False, True], [False, True]]))
        {'rle': '0, 2', 'left': 1, 'top': 0, 'width': 1, 'height': 2}
    """
    rows, columns = window_of(mask)
    if rows.start == rows.stop:
        return None
    return {
        "rle": ", ".join(map(str, run_lengths(mask[rows, columns]).tolist())),
        "left": origin[1] + columns.start,
        "top": origin[0] + rows.start,
        "width": columns.stop - columns.start,
        "height": rows.stop - rows.start,
    }


def label_studio_rle(
    mask: np.ndarray, *, origin: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
) -> list[int]:
    """Label Studio's packed run lengths of an RGBA image, 255 inside the mask and 0 outside.

    The code begins with the number of values (32 bits), the bits per value minus 1 (5 bits), and
    the four possible numbers of bits of a length, each minus 1 (4 bits each). Each run follows as
    a one (1 bit), the index of its number of bits (2 bits), its length minus 1, and its value
    (8 bits).

    Args:
        mask: `(height, width)` bool, of an image or of a window in it.
        origin, size: see `run_lengths`.

    Returns:
        List of bytes, 0 to 255.

    Example:
        >>> import numpy as np
        >>> from keras_parts.results.rle import label_studio_rle
        >>> label_studio_rle(np.ones((1, 1), bool))
        [0, 0, 0, 4, 57, 27, 252, 127, 224]
    """
    height, width = size or mask.shape
    runs = run_lengths(mask, origin, size) * 4
    bits = [_binary(4 * height * width, 32), _binary(8 - 1, 5)]
    bits += [_binary(length - 1, 4) for length in _LENGTH_BITS]
    longest = 1 << _LENGTH_BITS[-1]
    for run, value in zip(runs.tolist(), cycle((0, 255)), strict=False):
        for start in range(0, run, longest):
            bits.append(_run_bits(min(longest, run - start), value))
    text = "".join(bits)
    digits = np.frombuffer(text.encode("ascii"), np.uint8) - ord("0")
    return np.packbits(digits).tolist()


def _run_bits(length, value):
    index = next(i for i, width in enumerate(_LENGTH_BITS) if length <= 1 << width)
    return f"1{index:02b}{_binary(length - 1, _LENGTH_BITS[index])}{value:08b}"


def _binary(number, width):
    return format(number, f"0{width}b")
