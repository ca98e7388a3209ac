"""Poses of imaginary animals, as chains of circles; `painting` draws them.

The unit of length is about the length of an animal's trunk. x points forward, y down.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from keras_parts.data.toy.animals import LANDMARKS, Species


@dataclass(frozen=True)
class Figure:
    """A posed animal: limbs in drawing order, each `(element, points, radii)`, and landmarks.

    Coordinates are in units of the species, x forward and y down, or in pixels after `transformed`.
    The viewer sees the left side of the animal if `faces_left`, otherwise the right one.
    """

    limbs: tuple[tuple[str, np.ndarray, np.ndarray], ...]
    landmarks: np.ndarray
    faces_left: bool
    unit: float = 1.0

    def transformed(self, matrix: np.ndarray, shift: ArrayLike, scale: float) -> "Figure":
        """The figure with points p at `matrix @ p + shift` and radii multiplied by `scale`."""
        shift = np.asarray(shift)
        limbs = tuple((name, p @ matrix.T + shift, r * scale) for name, p, r in self.limbs)
        return Figure(limbs, self.landmarks @ matrix.T + shift, self.faces_left, scale)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners `(low, high)` of the box around all limbs."""
        low = np.min([(p - r[:, None]).min(0) for _, p, r in self.limbs], axis=0)
        high = np.max([(p + r[:, None]).max(0) for _, p, r in self.limbs], axis=0)
        return low, high


def _direction(angle: float) -> np.ndarray:
    """Unit vector at an angle above the x axis, in radians."""
    return np.array([np.cos(angle), -np.sin(angle)])


def _down(angle):
    """Unit vector that points down, rotated forward by the angle."""
    return np.array([np.sin(angle), np.cos(angle)])


def pose(animal: Species, rng: np.random.Generator) -> Figure:
    """A random pose of a species: gait, neck, head, tail and small differences in build."""
    size = {name: value * rng.uniform(0.94, 1.06) for name, value in animal.lengths.items()}
    trunk, girth = size["trunk"], size["girth"]
    hip = np.array([-trunk / 2, 0.0])
    shoulder = np.array([trunk / 2, -0.04])
    middle = np.array([0.0, 0.05 * girth])

    grazing = rng.random() < 0.15
    angle = rng.uniform(-0.6, -0.2) if grazing else size["neck_angle"] + rng.uniform(-0.3, 0.3)
    neck_base = shoulder + 0.75 * girth * _direction(angle)
    neck_end = neck_base + size["neck"] * _direction(angle)
    neck = size["neck_width"]
    body = (
        np.array([hip, middle, shoulder, neck_base, neck_end]),
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
    points = {
        "nose": nose,
        f"{near} eye": eyes[0],
        f"{far} eye": eyes[1],
        "back": middle - [0, 0.62 * girth],
        "belly": middle + [0, 0.62 * girth],
        "tail middle": tail[0][3],
        "tail tip": tail[0][-1],
    }
    for end in ("front", "hind"):
        points[f"{near} {end} foot"] = legs[f"near {end} leg"][0][-2:].mean(0)
        points[f"{far} {end} foot"] = legs[f"far {end} leg"][0][-2:].mean(0)
    landmarks = np.array([points[name] for name in LANDMARKS])
    return Figure(tuple(limbs), landmarks, faces_left)


def _legs(size, hip, shoulder, rng):
    swing = rng.choice([0.08, 0.35, 0.55], p=[0.35, 0.4, 0.25])
    phase = rng.uniform(0, 2 * np.pi)
    half, width, girth = 0.5 * size["leg"] + 0.1, size["leg_width"], size["girth"]
    offsets = {"near front": 0.0, "far front": np.pi, "near hind": np.pi + 0.5, "far hind": 0.5}
    if swing > 0.5 and rng.random() < 0.5:  # a gallop: the legs of a pair move together
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


@dataclass(frozen=True)
class _Skull:
    """A ball rotated towards the viewer by `yaw`; `tilt` is the matrix of its pitch."""

    centre: np.ndarray
    radius: float
    yaw: float
    tilt: np.ndarray

    def point(self, azimuth: float, elevation: float, distance: float) -> np.ndarray:
        """The point in this direction, at a distance from the centre in radii.

        `azimuth` is measured from the animal's front.
        """
        forward = np.cos(elevation) * np.cos(self.yaw + azimuth)
        offset = distance * self.radius * self.tilt @ [forward, -np.sin(elevation)]
        return self.centre + offset

    def depth(self, azimuth: float, elevation: float, distance: float) -> float:
        """How far `point` with these arguments lies towards the viewer, in radii."""
        return np.cos(elevation) * np.sin(self.yaw + azimuth) * distance


def _head(animal, size, neck_end, neck_angle, rng):
    """Limbs of the head, points of the near and far eye, and of the nose."""
    radius = size["skull"]
    yaw = np.radians(75) * rng.random() ** 1.4
    pitch = 0.12 + rng.uniform(-0.3, 0.35) - (0.35 if neck_angle < 0 else 0) * rng.random()
    centre = neck_end + 0.55 * radius * _direction(neck_angle) + [0.25 * radius, 0]
    tilt = np.array([[np.cos(pitch), -np.sin(pitch)], [np.sin(pitch), np.cos(pitch)]])
    skull = _Skull(centre, radius, yaw, tilt)

    length = radius + size["snout"]
    tip = centre + tilt @ [length * np.cos(yaw), 0.34 * radius]
    root = centre + tilt @ [0.4 * radius * np.cos(yaw), 0.28 * radius]
    muzzle = size["snout_width"]
    nose = tip + tilt @ [0.45 * muzzle * np.cos(yaw), -0.25 * muzzle]
    near_eye, far_eye = skull.point(0.68, 0.3, 0.82), skull.point(-0.68, 0.3, 0.82)
    eye = np.array([size["eye"]])

    face = np.array([centre, root, tip]), np.array([radius, 0.72 * radius, muzzle])
    limbs = [("far ear", *_ear(animal.ears, size["ear"] * radius, skull, -1.65, 0.18))]
    limbs += [_horn(skull, -0.8), _horn(skull, 0.8)] if animal.horns else []
    limbs += [("head", *face)]
    limbs += [("near ear", *_ear(animal.ears, size["ear"] * radius, skull, 1.65, 0.0))]
    if animal.beak:
        bill = np.array([0.35 * root + 0.65 * tip, tip + tilt @ [0.5 * muzzle * np.cos(yaw), 0.1]])
        limbs += [("beak", bill, muzzle * np.array([1.2, 0.35]))]
    else:
        limbs += [("nose", np.array([nose]), np.array([0.55 * muzzle]))]
    far_eye_visible = skull.depth(-0.68, 0.3, 0.82) > 0.12
    limbs += [("far eye", np.array([far_eye]), eye)] if far_eye_visible else []
    limbs += [("near eye", np.array([near_eye]), eye)]
    return limbs, (near_eye, far_eye), nose


def _horn(skull, azimuth):
    base = skull.point(azimuth, 1.05, 0.85)
    up = skull.tilt @ [-0.25 + 0.3 * np.cos(skull.yaw + azimuth), -1.0]
    back = skull.tilt @ [-0.5, -0.35]
    middle, tip = base + 0.5 * skull.radius * up, base + skull.radius * (0.75 * up + back)
    return "horn", np.array([base, middle, tip]), skull.radius * np.array([0.16, 0.13, 0.05])


def _ear(kind, size, skull, azimuth, shift):
    """Points and radii of an ear whose base is shifted forward by `shift` skull radii."""
    base = skull.point(azimuth, 0.95, 0.8) + [shift * skull.radius, 0]
    out = base - skull.centre
    out = out / (np.hypot(*out) + 1e-6)
    up = 0.5 * out + 0.5 * skull.tilt @ [-0.2, -1.0]
    if kind == "pointed":
        return np.array([base, base + 0.85 * size * up]), size * np.array([0.36, 0.04])
    if kind == "round":
        return np.array([base, base + 0.3 * size * up]), size * np.array([0.3, 0.4])
    if kind == "long":
        points = np.array([base, base + 0.6 * size * up, base + 1.15 * size * up])
        return points, size * np.array([0.2, 0.27, 0.1])
    side = skull.tilt @ [np.sign(out[0]) * 0.25 - 0.1, 0.0]
    fold, tip = size * (side + [0, 0.1]), size * (1.3 * side + [0, 0.7])
    return np.array([base, base + fold, base + tip]), size * np.array([0.2, 0.28, 0.24])
