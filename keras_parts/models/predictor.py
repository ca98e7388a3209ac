"""A segmenter as a function of batches of fixed shapes, and the way of an image there and back."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from keras_parts.errors import ConfigError
from keras_parts.images.geometry import Fit, fit_geometry
from keras_parts.images.upsampling import EnlargedLogits, Patch
from keras_parts.results.parts import Parts, numbered_names

_STRIDE = 16
_BATCHES = {"cpu": (4, 8, 16), "gpu": (8, 16, 32, 64, 128, 256)}
_GAIN = 1.1
"""What a batch of the next size must bring to be worth its memory."""
_LONGEST = 4
"""Longest side of a network's input, in short sides: beyond that the image is padded, not cut."""
_OVERLAP = 4
"""Neighbouring tiles share one in so many of their pixels."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image on its way through the network.

    Attributes:
        size: (height, width) of the image.
        inputs: what the network is given, one or more `(h, w, 3)` uint8.
        places: (top, left, `Fit`, fade) of the rectangle of the image that each input shows.
    """

    size: tuple[int, int]
    inputs: list[np.ndarray]
    places: list[tuple]


class Predictor:
    """Prepares images, runs batches of one size a shape, and puts the answers together.

    Args:
        forward: `(batch_size, h, w, 3)` uint8 -> `{"logits": (batch_size, h', w', 1 + parts)}`
            float32, and "descriptors" `(batch_size, parts, channels)` if it gives them.
        names: of the parts.
        size, fit: of its input, see `keras_parts.images.geometry.fit_geometry`.
        aligned_corners: how its logits cover the input, see `keras_parts.images.geometry`.
        batch_size: inputs a call, always; fewer are filled up.
        tile: side in pixels of the overlapping squares that a larger image is cut into; None
            shows every image as a whole.
        settings: what else results depend on, for the run's record; JSON values.
    """

    def __init__(
        self,
        forward: Callable[[np.ndarray], Mapping[str, np.ndarray]],
        names: tuple[str, ...],
        size: int,
        fit: str = "pad",
        aligned_corners: bool = True,
        batch_size: int = 8,
        tile: int | None = None,
        settings: Mapping | None = None,
    ):
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
        if tile is not None and tile < 16:
            raise ConfigError(f"tile is {tile} pixels, expected at least 16")
        self.forward, self.names = forward, tuple(names)
        self.size, self.fit, self.aligned_corners = size, fit, aligned_corners
        self.batch_size, self.tile = batch_size, tile
        self.settings = {**(settings or {}), "tile": tile}

    def prepare(self, image: np.ndarray) -> Prepared:
        """The network's inputs for an image `(height, width, 3)` uint8 RGB."""
        inputs, places = [], []
        for top, bottom, fade_rows in _tiles(image.shape[0], self.tile):
            for left, right, fade_columns in _tiles(image.shape[1], self.tile):
                fit = self._geometry(bottom - top, right - left)
                inputs.append(fit.apply(image[top:bottom, left:right]))
                places.append((top, left, fit, (fade_rows, fade_columns)))
        return Prepared(image.shape[:2], inputs, places)

    def predict(self, inputs: list[np.ndarray]) -> list[Mapping[str, np.ndarray]]:
        """The network's answers to at most `batch_size` inputs of one shape."""
        batch = np.stack(inputs + inputs[-1:] * (self.batch_size - len(inputs)))
        answers = self.forward(batch)
        return [{name: values[i] for name, values in answers.items()} for i in range(len(inputs))]

    def parts(self, prepared: Prepared, answers: list[Mapping], image=None) -> Parts:
        """The parts of an image, from the answers to its inputs."""
        patches = [
            Patch.of(
                answer["logits"], fit, self.aligned_corners, top, left,
                fade if len(answers) > 1 else None,
            )
            for answer, (top, left, fit, fade) in zip(answers, prepared.places, strict=True)
        ]  # fmt: skip
        descriptors = _mean_descriptors(answers) if "descriptors" in answers[0] else None
        logits = EnlargedLogits(prepared.size, patches)
        return Parts(logits, image, self.names, descriptors=descriptors)

    def segment(self, image: np.ndarray) -> Parts:
        """The parts of one image `(height, width, 3)` uint8 RGB."""
        prepared = self.prepare(image)
        answers = [self.predict([given])[0] for given in prepared.inputs]
        return self.parts(prepared, answers, image)

    def _geometry(self, height, width) -> Fit:
        fit = self.fit
        if fit == "short" and max(height, width) > _LONGEST * min(height, width):
            fit = "pad"  # a strip of film must not become an input of any length
        return fit_geometry(height, width, self.size, fit, _STRIDE)


def create_predictor(
    segmenter,
    batch_size: int | str = 8,
    flip: bool = False,
    tile: int | None = None,
    descriptors: bool = False,
) -> Predictor:
    """The `Predictor` of a `PartSegmenter`, compiled.

    Args:
        segmenter: the segmenter.
        batch_size: inputs a call; "auto" tries sizes until a larger one is no faster.
        flip: average the probabilities with those of the mirrored image, at twice the cost.
        tile: see `Predictor`.
        descriptors: give the mean of the backbone's deepest features over each part, too.

    Raises:
        ConfigError: a number is out of range.
    """
    from keras_parts.models.architectures import architecture_of
    from keras_parts.models.forward import compiled, digest

    config = segmenter.config
    forward = compiled(segmenter, flip, descriptors)
    if batch_size == "auto":
        batch_size = fastest_batch(forward, config.size)
    return Predictor(
        forward,
        tuple(segmenter.part_names) or numbered_names(segmenter.parts),
        config.size,
        config.fit,
        architecture_of(config.architecture).aligned_corners,
        batch_size,
        tile,
        {
            "model_sha256": digest(segmenter),
            "precision": segmenter.dtype_policy.name,
            "flip": flip,
        },
    )


def fastest_batch(forward, size: int) -> int:
    """The smallest batch size that a twice as large one does not beat by a tenth, or that the
    device's memory still holds."""
    from keras_parts.models.forward import on_gpu

    best, best_rate = 1, 0.0
    for count in _BATCHES["gpu" if on_gpu() else "cpu"]:
        batch = np.zeros((count, size, size, 3), np.uint8)
        try:
            forward(batch)
            start = time.perf_counter()
            for _ in range(2):
                forward(batch)
        except Exception:  # each backend has errors of its own for full memory
            break
        rate = count / (time.perf_counter() - start)
        if rate < _GAIN * best_rate:
            break
        best, best_rate = count, rate
    return best


def _tiles(length, tile):
    """(start, stop, weights) of overlapping stretches of at most `tile` pixels of an axis; the
    weights of a pixel sum to 1."""
    if tile is None or length <= tile:
        return [(0, length, np.ones(length, np.float32))]
    shared = tile // _OVERLAP
    count = -(-(length - shared) // (tile - shared))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    ramps = []
    for start in starts:
        inside = np.arange(tile) + 0.5
        rising = inside / shared if start else np.full(tile, np.inf)
        falling = (tile - inside) / shared if start + tile < length else np.full(tile, np.inf)
        ramps.append(np.minimum(1, np.minimum(rising, falling)))
    total = np.zeros(length)
    for start, ramp in zip(starts, ramps, strict=True):
        total[start : start + tile] += ramp
    return [
        (start, start + tile, (ramp / total[start : start + tile]).astype(np.float32))
        for start, ramp in zip(starts, ramps, strict=True)
    ]


def _mean_descriptors(answers):
    """`(parts, channels)`: the tiles' descriptors, weighed by how much of a part each shows."""
    weights = np.stack([answer["masses"] for answer in answers])[..., None]
    descriptors = np.stack([answer["descriptors"] for answer in answers])
    return ((weights * descriptors).sum(0) / weights.sum(0)).astype(np.float32)
