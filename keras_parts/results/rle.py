"""Masks as run lengths, in the three ways that annotation tools write them."""

from itertools import cycle

import numpy as np

from keras_parts.errors import ConfigError

_LENGTH_BITS = (3, 4, 8, 16)
"""Bits that Label Studio's format has for a run's length; each run takes the fewest that do."""


def run_lengths(mask):
    """Lengths of the runs of equal pixels, row by row, the first one of zeros (it may be empty).

    Args:
        mask: `(height, width)` bool.

    Returns:
        `(runs,)` int64, summing to the number of pixels.
    """
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]]))


def coco_rle(mask):
    """COCO's compressed runs: `{"size": [height, width], "counts": str}`.

    Raises:
        ConfigError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco
    except ImportError:
        raise ConfigError(
            "run lengths in COCO's format need pycocotools: pip install 'keras-parts[formats]'"
        ) from None
    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def cvat_rle(mask):
    """CVAT's runs: those of the mask's bounding box, row by row, as text, with that box.

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


def label_studio_rle(mask):
    """Label Studio's packed runs of an RGBA picture that is 255 inside the mask and 0 outside.

    A header (number of values in 32 bits, bits a value in 5, the four lengths' bits in 4 each),
    then runs: a 1, which of the four lengths (2 bits), the run's length less one, its value.

    Returns:
        list of bytes as int.
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
