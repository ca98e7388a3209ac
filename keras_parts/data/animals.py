"""Invented animals: their species, and their poses as chains of circles. No picture is made here.

Lengths are in units of roughly an animal's trunk; x points to where it looks, y down.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

PARTS = ("head", "body", "legs", "tail")
LANDMARKS = (
    "nose", "left eye", "right eye", "neck", "back", "belly",
    "left front foot", "right front foot", "left hind foot", "right hind foot",
    "tail middle", "tail tip",
)  # fmt: skip
MIRROR = (0, 2, 1, 3, 4, 5, 7, 6, 9, 8, 10, 11)

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
PATTERNS = ("plain", "bands", "stripes", "spots", "patches", "speckles")
EARS = ("pointed", "round", "long", "floppy")
TAILS = ("bushy", "tufted", "tapered", "plume")


@dataclass(frozen=True)
class Coat:
    """Colours and texture of one part of a species: RGB in [0, 1]."""

    base: np.ndarray
    accent: np.ndarray
    pattern: str
    scale: float


@dataclass(frozen=True)
class Species:
    """An invented species: a coat a part, and proportions in units of about a trunk."""

    name: str
    coats: dict[str, Coat]
    lengths: dict[str, float]
    ears: str
    tail: str
    horns: bool


_RANGES = {
    "trunk": (0.85, 1.45),
    "girth": (0.36, 0.54),
    "leg": (0.55, 1.05),
    "leg_width": (0.115, 0.165),
    "neck": (0.3, 0.85),
    "neck_width": (0.19, 0.28),
    "neck_angle": (0.5, 1.15),
    "skull": (0.35, 0.47),
    "snout": (0.2, 0.46),
    "snout_width": (0.13, 0.2),
    "ear": (0.8, 1.25),
    "tail": (0.75, 1.15),
    "tail_width": (0.12, 0.19),
    "tail_angle": (-0.3, 1.0),
    "tail_curl": (-1.2, 1.6),
    "eye": (0.085, 0.115),
}


@lru_cache(maxsize=1024)
def species(index):
    """The species of this index, the same for ever.

    Species come in families of four that share four coats, each with a colour of its own, and
    wear them in another order: what covers the head of one covers the body, the legs and the tail
    of its sisters. A colour or a texture says nothing about the part, and which of them an animal
    has says nothing about its species, only where it has them does. Three families share out the
    twelve colours of `PALETTE` among themselves.
    """
    family, member = divmod(index, len(PARTS))
    coats, names = _family(family)
    # rows of a Latin square: who is next to whom changes, too
    worn = [place ^ member for place in range(len(PARTS))]
    rng = np.random.default_rng([20211, index])
    head, body = worn[0], worn[1]
    return Species(
        name=f"{names[head]}-headed {names[body]} {_KINDS[coats[body].pattern]}",
        coats={part: coats[coat] for part, coat in zip(PARTS, worn, strict=True)},
        lengths={name: rng.uniform(*limits) for name, limits in _RANGES.items()},
        ears=EARS[(family + member) % len(EARS)],
        tail=TAILS[(family // 2 + 3 * member) % len(TAILS)],
        horns=bool(rng.random() < 0.25),
    )


_KINDS = {
    "plain": "plainback",
    "bands": "bandback",
    "stripes": "stripeback",
    "spots": "spotback",
    "patches": "patchback",
    "speckles": "speckleback",
}


@lru_cache(maxsize=256)
def _family(family):
    """The four coats of a family and the names of their colours."""
    block, place = divmod(family, len(PALETTE) // len(PARTS))
    rng = np.random.default_rng([20210, block])
    mine = slice(place * len(PARTS), (place + 1) * len(PARTS))
    colours = rng.permutation(len(PALETTE))[mine]
    patterns = rng.permutation(len(PALETTE))[mine] % len(PATTERNS)
    rng = np.random.default_rng([20212, family])
    coats = tuple(
        Coat(
            base=COLOURS[colour],
            accent=shade_or_tint(COLOURS[colour], rng),
            pattern=PATTERNS[pattern],
            scale=rng.uniform(0.85, 1.2),
        )
        for colour, pattern in zip(colours, patterns, strict=True)
    )
    return coats, tuple(list(PALETTE)[colour] for colour in colours)


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
        "neck": 0.45 * neck_start + 0.55 * neck_end,
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
    "bushy": (0.75, 1.0, 1.4, 1.6, 1.35, 0.7),
    "tufted": (0.75, 0.65, 0.62, 0.62, 1.1, 1.0),
    "tapered": (1.35, 1.25, 1.1, 0.95, 0.8, 0.65),
    "plume": (0.7, 0.85, 1.05, 1.3, 1.5, 1.35),
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
    limbs += [("nose", np.array([nose]), np.array([0.52 * muzzle]))]
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
