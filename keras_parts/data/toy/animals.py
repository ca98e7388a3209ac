"""Invented animals: their species, and their poses as chains of circles. No picture is made here.

Lengths are in units of roughly an animal's trunk; x points to where it looks, y down.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

PARTS = ("head", "body", "forelegs", "hind legs", "tail")
LANDMARKS = (
    "nose", "left eye", "right eye", "back", "belly",
    "left front foot", "right front foot", "left hind foot", "right hind foot",
    "tail middle", "tail tip",
)  # fmt: skip
MIRROR = (0, 2, 1, 3, 4, 6, 5, 8, 7, 9, 10)

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
"""The patterns of each part: no two parts share one."""
EARS = ("pointed", "round", "long", "floppy")
TAILS = ("brush", "tuft", "fan", "plume")


@dataclass(frozen=True)
class Coat:
    """Colours and texture of one part of a species: RGB in [0, 1]; `colour` names the base."""

    base: np.ndarray
    accent: np.ndarray
    pattern: str
    scale: float
    colour: str = ""


@dataclass(frozen=True)
class Species:
    """An invented species: a coat a part, and proportions in units of about a trunk."""

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
def species(index):
    """The species of this index, the same for ever.

    A species wears a colour and a pattern on each part. The patterns are the part's own, as are
    its shapes. The colours say nothing: in every dozen of species each colour of `PALETTE` is worn
    once on every part, and no animal wears one twice.
    """
    dozen, member = divmod(index, len(PALETTE))
    names = list(PALETTE)
    worn = {part: names[row[member]] for part, row in zip(PARTS, _colours(dozen), strict=True)}
    rng = np.random.default_rng([20211, index])
    coats = {
        part: Coat(
            base=np.float32(PALETTE[colour]) / 255,
            accent=shade_or_tint(np.float32(PALETTE[colour]) / 255, rng),
            pattern=PATTERNS[part][rng.integers(len(PATTERNS[part]))],
            scale=rng.uniform(0.85, 1.2),
            colour=colour,
        )
        for part, colour in worn.items()
    }
    return Species(
        name=f"{worn['head']}-headed {worn['body']} {_KINDS[coats['body'].pattern]}",
        coats=coats,
        lengths={name: rng.uniform(*limits) for name, limits in _RANGES.items()},
        ears=EARS[rng.integers(len(EARS))],
        tail=TAILS[rng.integers(len(TAILS))],
        horns=bool(rng.random() < 0.25),
        beak=bool(rng.random() < 0.4),
    )


_KINDS = {"spots": "spotback", "rosettes": "roseback", "patches": "patchback"}


@lru_cache(maxsize=256)
def _colours(dozen):
    """Indices into the palette, `(parts, 12)`, one column a species."""
    rng = np.random.default_rng([20210, dozen])
    order = rng.permutation(len(PALETTE))
    shifts = rng.permutation(len(PALETTE))[: len(PARTS)]
    return np.stack([np.roll(order, shift) for shift in shifts])


def shade_or_tint(base, rng):
    """The second colour of a coat: a shade or a tint of the first."""
    dark, light = base * 0.45, 1 - 0.35 * (1 - base)
    towards = dark if base.mean() > (0.62 if rng.random() < 0.5 else 0.4) else light
    return towards.astype(np.float32)


@dataclass(frozen=True)
class Figure:
    """A posed animal: limbs in drawing order, each `(element, points, radii)`, and landmarks.

    In units of the species, x forward and y down, or in pixels once `placed`. `faces_left` says
    which of its sides the viewer sees.
    """

    limbs: tuple[tuple[str, np.ndarray, np.ndarray], ...]
    landmarks: np.ndarray
    faces_left: bool
    unit: float = 1.0

    def placed(self, matrix, shift, scale):
        """The figure with every point p at `matrix @ p + shift` and lengths times `scale`."""
        limbs = tuple((name, p @ matrix.T + shift, r * scale) for name, p, r in self.limbs)
        return Figure(limbs, self.landmarks @ matrix.T + shift, self.faces_left, scale)

    def bounds(self):
        """Corners `(low, high)` of the box around all limbs."""
        low = np.min([(p - r[:, None]).min(0) for _, p, r in self.limbs], axis=0)
        high = np.max([(p + r[:, None]).max(0) for _, p, r in self.limbs], axis=0)
        return low, high


def _towards(angle):
    """Unit vector at this elevation above +x, in radians."""
    return np.array([np.cos(angle), -np.sin(angle)])


def _down(angle):
    """Unit vector straight down at 0, swung forward by the angle."""
    return np.array([np.sin(angle), np.cos(angle)])


def pose(animal, rng):
    """A random pose of a species: gait, neck, head, tail and small differences in build."""
    size = {name: value * rng.uniform(0.94, 1.06) for name, value in animal.lengths.items()}
    trunk, girth = size["trunk"], size["girth"]
    hip = np.array([-trunk / 2, 0.0])
    shoulder = np.array([trunk / 2, -0.04])
    middle = np.array([0.0, 0.05 * girth])

    grazing = rng.random() < 0.15
    angle = rng.uniform(-0.6, -0.2) if grazing else size["neck_angle"] + rng.uniform(-0.3, 0.3)
    neck_start = shoulder + 0.75 * girth * _towards(angle)
    neck_end = neck_start + size["neck"] * _towards(angle)
    neck = size["neck_width"]
    body = (
        np.array([hip, middle, shoulder, neck_start, neck_end]),
        np.array([0.9 * girth, girth, 0.94 * girth, 1.2 * neck, neck]),
    )

    legs = _legs(size, hip, shoulder, rng)
    tail = _tail(animal, size, hip, rng)
    head, eyes, nose = _head(animal, size, neck_end, angle, rng)
    limbs = [("tail", *tail)]
    limbs += [(name, *legs[name]) for name in ("far front leg", "far hind leg")]
    limbs += [limb for limb in head if limb[0] == "far ear"]
    limbs += [("body", *body)]
    limbs += [(name, *legs[name]) for name in ("near hind leg", "near front leg")]
    limbs += [limb for limb in head if limb[0] != "far ear"]

    faces_left = bool(rng.random() < 0.5)
    near, far = ("left", "right") if faces_left else ("right", "left")
    places = {
        "nose": nose,
        f"{near} eye": eyes[0],
        f"{far} eye": eyes[1],
        "back": middle - [0, 0.62 * girth],
        "belly": middle + [0, 0.62 * girth],
        "tail middle": tail[0][3],
        "tail tip": tail[0][-1],
    }
    for end in ("front", "hind"):
        places[f"{near} {end} foot"] = legs[f"near {end} leg"][0][-2:].mean(0)
        places[f"{far} {end} foot"] = legs[f"far {end} leg"][0][-2:].mean(0)
    landmarks = np.array([places[name] for name in LANDMARKS])
    return Figure(tuple(limbs), landmarks, faces_left)


def _legs(size, hip, shoulder, rng):
    swing = rng.choice([0.08, 0.35, 0.55], p=[0.35, 0.4, 0.25])
    phase = rng.uniform(0, 2 * np.pi)
    half, width, girth = 0.5 * size["leg"] + 0.1, size["leg_width"], size["girth"]
    offsets = {"near front": 0.0, "far front": np.pi, "near hind": np.pi + 0.5, "far hind": 0.5}
    if swing > 0.5 and rng.random() < 0.5:  # a gallop: both legs of a pair go together
        offsets = {"near front": 0.0, "far front": 0.6, "near hind": np.pi, "far hind": np.pi + 0.6}
    legs = {}
    for name, offset in offsets.items():
        angle = swing * np.sin(phase + offset)
        bend = 0.12 + 0.9 * swing * max(0.0, np.cos(phase + offset))
        front = name.endswith("front")
        top = (shoulder if front else hip) + [0.02 if front else -0.12 * girth, 0.3 * girth]
        if name.startswith("far"):
            top = top + [0.16, -0.05]
        upper, lower = (angle + 0.6 * bend, angle - bend) if front else (angle + 0.3, angle - 0.3)
        knee = top + (half + 0.1) * _down(upper)
        ankle = knee + half * _down(lower if front else lower - 0.5 * bend)
        toe = ankle + [0.75 * width, 0.12 * width]
        thigh = 1.45 if front else 2.0
        radii = width * np.array([thigh, 1.0, 0.85, 0.85])
        legs[f"{name} leg"] = np.array([top, knee, ankle, toe]), radii
    return legs


_TAIL_PROFILES = {
    "brush": (0.6, 0.9, 1.25, 1.4, 1.1, 0.3),
    "tuft": (0.6, 0.55, 0.55, 0.8, 1.3, 0.6),
    "fan": (0.45, 0.6, 0.9, 1.2, 1.5, 1.7),
    "plume": (0.7, 0.85, 1.05, 1.3, 1.25, 0.5),
}


def _tail(animal, size, hip, rng):
    profile = np.array(_TAIL_PROFILES[animal.tail]) * size["tail_width"]
    turns = len(profile) - 1
    start = size["tail_angle"] + rng.uniform(-0.45, 0.45)
    curl = size["tail_curl"] + rng.uniform(-0.6, 0.6)
    angles = start + curl * np.arange(turns) / (turns - 1)
    steps = np.stack([-np.cos(angles), -np.sin(angles)], axis=1) * (size["tail"] / turns)
    base = hip + size["girth"] * np.array([-0.72, -0.3])
    return np.concatenate([[base], base + np.cumsum(steps, axis=0)]), profile


def _head(animal, size, neck_end, neck_angle, rng):
    """Limbs of the head, places of the near and far eye, and of the nose.

    The skull is a ball that is turned towards the viewer by `yaw`: ears, eyes and nose sit on it.
    """
    radius = size["skull"]
    yaw = np.radians(75) * rng.random() ** 1.4
    pitch = 0.12 + rng.uniform(-0.3, 0.35) - (0.35 if neck_angle < 0 else 0) * rng.random()
    centre = neck_end + 0.55 * radius * _towards(neck_angle) + [0.25 * radius, 0]
    turn = np.array([[np.cos(pitch), -np.sin(pitch)], [np.sin(pitch), np.cos(pitch)]])

    def on_skull(azimuth, elevation, reach=1.0):
        """Place on the ball, and its depth towards the viewer, in skull radii from its centre."""
        flat = np.cos(elevation) * np.array([np.cos(azimuth), np.sin(azimuth)])
        place = centre + reach * radius * turn @ [flat[0], -np.sin(elevation)]
        return place, flat[1] * reach

    near_eye, _ = on_skull(yaw + 0.68, 0.3, 0.82)
    far_eye, depth = on_skull(yaw - 0.68, 0.3, 0.82)
    length = radius + size["snout"]
    tip = centre + turn @ [length * np.cos(yaw), 0.34 * radius]
    root = centre + turn @ [0.4 * radius * np.cos(yaw), 0.28 * radius]
    muzzle = size["snout_width"]
    nose = tip + turn @ [0.45 * muzzle * np.cos(yaw), -0.25 * muzzle]

    def ear(side, sign, shift):
        base, _ = on_skull(yaw + sign * 1.65, 0.95, 0.8)
        base = base + [shift * radius, 0]
        return f"{side} ear", *_ear(animal.ears, size["ear"] * radius, base, centre, turn)

    def horn(azimuth):
        base, _ = on_skull(azimuth, 1.05, 0.85)
        up = turn @ [-0.25 + 0.3 * np.cos(azimuth), -1.0]
        back = turn @ [-0.5, -0.35]
        points = np.array([base, base + 0.5 * radius * up, base + radius * (0.75 * up + back)])
        return "horn", points, radius * np.array([0.16, 0.13, 0.05])

    eye = np.array([size["eye"]])
    skull = np.array([centre, root, tip]), np.array([radius, 0.72 * radius, muzzle])
    limbs = [ear("far", -1, 0.18)]
    limbs += [horn(yaw - 0.8), horn(yaw + 0.8)] if animal.horns else []
    limbs += [("head", *skull), ear("near", 1, 0.0)]
    if animal.beak:
        bill = np.array([0.35 * root + 0.65 * tip, tip + turn @ [0.5 * muzzle * np.cos(yaw), 0.1]])
        limbs += [("beak", bill, muzzle * np.array([1.2, 0.35]))]
    else:
        limbs += [("nose", np.array([nose]), np.array([0.55 * muzzle]))]
    limbs += [("far eye", np.array([far_eye]), eye)] if depth > 0.12 else []
    limbs += [("near eye", np.array([near_eye]), eye)]
    return limbs, (near_eye, far_eye), nose


def _ear(kind, size, base, centre, turn):
    out = base - centre
    out = out / (np.hypot(*out) + 1e-6)
    up = 0.5 * out + 0.5 * turn @ [-0.2, -1.0]
    if kind == "pointed":
        return np.array([base, base + 0.85 * size * up]), size * np.array([0.36, 0.04])
    if kind == "round":
        return np.array([base, base + 0.3 * size * up]), size * np.array([0.3, 0.4])
    if kind == "long":
        points = np.array([base, base + 0.6 * size * up, base + 1.15 * size * up])
        return points, size * np.array([0.2, 0.27, 0.1])
    side = turn @ [np.sign(out[0]) * 0.25 - 0.1, 0.0]
    fold, tip = size * (side + [0, 0.1]), size * (1.3 * side + [0, 0.7])
    return np.array([base, base + fold, base + tip]), size * np.array([0.2, 0.28, 0.24])
