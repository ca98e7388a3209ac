"""Distinct colours for parts, chosen so that colour-blind viewers can tell them apart too."""

from functools import lru_cache

import numpy as np

from keras_parts.errors import ConfigError

LARGEST = 255
"""Most parts that an indexed image can tell apart, index 0 being the background."""

# Machado, Oliveira and Fernandes (2009), full severity, on linear RGB.
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
    """After the first ones, each colour is the furthest from all before it, to whichever viewer
    it is nearest for."""
    rgb = np.concatenate([_FIRST, _vivid_colours()])
    seen = np.stack([_oklab(_linear(rgb) @ vision.T) for vision in _VISION], axis=1)
    nearest = np.full(len(rgb), np.inf)
    chosen = []
    while len(chosen) < LARGEST:
        # Rounded, so that ties fall alike on every machine.
        furthest = int(nearest.round(6).argmax())
        chosen.append(len(chosen) if len(chosen) < len(_FIRST) else furthest)
        distance = np.linalg.norm(seen - seen[chosen[-1]], axis=-1)
        # Colour-blind distances are smaller by nature: scaled, so that they do not alone decide.
        distance = np.minimum(distance[:, 0], 1.6 * distance[:, 1:].min(axis=1))
        nearest = np.minimum(nearest, distance)
    return rgb[chosen].astype(np.uint8)


def part_palette(parts):
    """Distinct vivid colours, one a part, always the same ones.

    The first colours do not depend on `parts`: part 1 keeps its colour when parts are added.

    Args:
        parts: number of parts, 0 to 255.

    Returns:
        `(parts, 3)` uint8, RGB.

    Raises:
        ConfigError: `parts` is outside 0 to 255.
    """
    if not 0 <= parts <= LARGEST:
        raise ConfigError(f"parts is {parts}, expected 0 to {LARGEST}")
    return _ordered_colours()[:parts].copy()


def part_legend(names):
    """What labels mean, as plain JSON values: `[{"label": 1, "name": ..., "colour": "#rrggbb"}]`,
    one entry a part, with the colours of `part_palette`."""
    return [
        {"label": label, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
        for label, (name, colour) in enumerate(
            zip(names, part_palette(len(names)), strict=True), start=1
        )
    ]
