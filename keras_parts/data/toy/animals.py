"""Imaginary animals: their parts, landmarks, colours, patterns and species."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

PARTS = ("head", "body", "forelegs", "hind legs", "tail")
LANDMARKS = (
    "nose", "left eye", "right eye", "back", "belly",
    "left front foot", "right front foot", "left hind foot", "right hind foot",
    "tail middle", "tail tip",
)  # fmt: skip
MIRROR_ORDER = (0, 2, 1, 3, 4, 6, 5, 8, 7, 9, 10)

PALETTE = {
    "amber": (232, 170, 62),
    "coral": (222, 102, 84),
    "cream": (240, 226, 196),
    "moss": (134, 156, 76),
    "teal": (58, 142, 138),
    "sky": (128, 184, 216),
    "navy": (62, 84, 136),
    "plum": (128, 78, 130),
    "rose": (230, 154, 168),
    "umber": (130, 86, 60),
    "slate": (92, 98, 110),
    "mint": (160, 210, 178),
}
COLOURS = np.array(list(PALETTE.values()), np.float32) / 255
"""`PALETTE` as an array `(colours, 3)` in [0, 1]."""
PATTERNS = {
    "head": ("mask", "blaze", "cap"),
    "body": ("spots", "rosettes", "patches"),
    "forelegs": ("bands", "rings", "stockings"),
    "hind legs": ("checks", "diamonds", "net"),
    "tail": ("barbs", "chevrons", "streaks"),
}
"""The patterns of each part; no two parts share a pattern."""
EARS = ("pointed", "round", "long", "floppy")
TAILS = ("brush", "tuft", "fan", "plume")


@dataclass(frozen=True)
class Coat:
    """The colours and the pattern of one part of a species.

    Attributes:
        base, accent: RGB in [0, 1], `(3,)` float32.
        pattern: name of the pattern.
        scale: relative size of the pattern.
        colour: name of the base colour.
    """

    base: np.ndarray
    accent: np.ndarray
    pattern: str
    scale: float
    colour: str = ""


@dataclass(frozen=True)
class Species:
    """An imaginary species: a coat for each part, and proportions.

    The unit of length is about the length of an animal's trunk.
    """

    name: str
    coats: dict[str, Coat]
    lengths: dict[str, float]
    ears: str
    tail: str
    horns: bool
    beak: bool


_RANGES = {
    "trunk": (0.75, 1.1),
    "girth": (0.35, 0.46),
    "leg": (0.6, 0.95),
    "leg_width": (0.15, 0.19),
    "neck": (0.2, 0.5),
    "neck_width": (0.19, 0.26),
    "neck_angle": (0.5, 1.15),
    "skull": (0.4, 0.5),
    "snout": (0.2, 0.42),
    "snout_width": (0.14, 0.2),
    "ear": (0.7, 1.1),
    "tail": (0.85, 1.2),
    "tail_width": (0.17, 0.23),
    "tail_angle": (-0.3, 1.0),
    "tail_curl": (-1.2, 1.6),
    "eye": (0.11, 0.14),
}


@lru_cache(maxsize=4096)
def species(index: int) -> Species:
    """The species with this index, always the same.

    Each part of a species has a colour and a pattern. Patterns and shapes are specific to a part.
    Colours are not: within every twelve species each colour of `PALETTE` occurs once on every
    part, and no animal has a colour twice.
    """
    dozen, member = divmod(index, len(PALETTE))
    names = list(PALETTE)
    colours = {part: names[row[member]] for part, row in zip(PARTS, _colours(dozen), strict=True)}
    rng = np.random.default_rng([20211, index])
    coats = {
        part: Coat(
            base=_rgb(colour),
            accent=shade_or_tint(_rgb(colour), rng),
            pattern=PATTERNS[part][rng.integers(len(PATTERNS[part]))],
            scale=rng.uniform(0.85, 1.2),
            colour=colour,
        )
        for part, colour in colours.items()
    }
    return Species(
        name=f"{colours['head']}-headed {colours['body']} {_KINDS[coats['body'].pattern]}",
        coats=coats,
        lengths={name: rng.uniform(*limits) for name, limits in _RANGES.items()},
        ears=EARS[rng.integers(len(EARS))],
        tail=TAILS[rng.integers(len(TAILS))],
        horns=bool(rng.random() < 0.25),
        beak=bool(rng.random() < 0.4),
    )


def _rgb(colour):
    return np.array(PALETTE[colour], np.float32) / 255


_KINDS = {"spots": "spotback", "rosettes": "roseback", "patches": "patchback"}


@lru_cache(maxsize=256)
def _colours(dozen):
    """Indices into the palette, `(parts, 12)`, one column for each species."""
    rng = np.random.default_rng([20210, dozen])
    order = rng.permutation(len(PALETTE))
    shifts = rng.permutation(len(PALETTE))[: len(PARTS)]
    return np.stack([np.roll(order, shift) for shift in shifts])


def shade_or_tint(base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The accent colour of a coat: a shade (darker) or a tint (lighter) of the base colour."""
    dark, light = base * 0.45, 1 - 0.35 * (1 - base)
    accent = dark if base.mean() > (0.62 if rng.random() < 0.5 else 0.4) else light
    return accent.astype(np.float32)
