"""Colours for parts, as distinct as possible for all viewers, colour-blind ones too."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from keras_parts.errors import ConfigError

MAX_PARTS = 255
"""Maximum number of parts: an indexed image has 256 indices, of which 0 is the background."""

# Linear RGB as seen with normal vision and with three kinds of full colour blindness: Machado,
# Oliveira and Fernandes (2009).
_VISION = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)
# Ottosson's Oklab: linear RGB -> cone responses -> (lightness, green-red, blue-yellow).
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_OPPONENTS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
# Okabe and Ito's colours, in an order that keeps neighbours apart.
_FIRST = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (86, 180, 233),
)


def _oklab(linear):
    return np.cbrt(np.clip(linear, 0, 1) @ _CONES.T) @ _OPPONENTS.T


def _linear(rgb):
    value = rgb / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _vivid_colours():
    steps = np.arange(0, 256, 17)
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, *opponents = _oklab(_linear(rgb)).T
    chroma = np.hypot(*opponents)
    return rgb[(lightness > 0.4) & (lightness < 0.93) & (chroma > 0.1) & (chroma < 0.24)]


@lru_cache(maxsize=1)
def _ordered_colours():
    """The colours of parts. After the first ones, each is the colour furthest from all previous
    colours, as judged by the viewer who sees the least difference."""
    rgb = np.concatenate([_FIRST, _vivid_colours()])
    seen = np.stack([_oklab(_linear(rgb) @ vision.T) for vision in _VISION], axis=1)
    nearest = np.full(len(rgb), np.inf)
    chosen: list[int] = []
    while len(chosen) < MAX_PARTS:
        # Rounded, so that every machine breaks ties in the same way.
        furthest = int(nearest.round(6).argmax())
        chosen.append(len(chosen) if len(chosen) < len(_FIRST) else furthest)
        distance = np.linalg.norm(seen - seen[chosen[-1]], axis=-1)
        # Colour-blind viewers always see smaller distances. Scaled up, or normal vision would never
        # decide.
        distance = np.minimum(distance[:, 0], 1.6 * distance[:, 1:].min(axis=1))
        nearest = np.minimum(nearest, distance)
    return rgb[chosen].astype(np.uint8)


def part_palette(num_parts: int) -> np.ndarray:
    """Distinct vivid colours, one per part.

    Part k has the same colour whatever the number of parts.

    Args:
        num_parts: 0 to 255.

    Returns:
        `(parts, 3)` uint8, RGB.

    Raises:
        ConfigError: `num_parts` is outside 0 to 255.

    Example:
        >>> from keras_parts.results import part_palette
        >>> part_palette(2).tolist()
        [[0, 114, 178], [230, 159, 0]]
    """
    if not 0 <= num_parts <= MAX_PARTS:
        raise ConfigError(f"num_parts is {num_parts}, expected 0 to {MAX_PARTS}")
    return _ordered_colours()[:num_parts].copy()


def part_legend(names: Sequence[str]) -> list[dict[str, Any]]:
    """Label, name and colour (of `part_palette`) of each part, as JSON values.

    Returns:
        `[{"label": 1, "name": str, "colour": "#rrggbb"}, ...]`, one entry per part.
    """
    return [
        {"label": label, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
        for label, (name, colour) in enumerate(
            zip(names, part_palette(len(names)), strict=True), start=1
        )
    ]
