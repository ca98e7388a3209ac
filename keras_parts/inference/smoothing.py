"""Logits of a video's frames, averaged over time where the picture stays the same.

The network sees each frame alone, and its labels flicker where it is uncertain. The average follows
the camera: the previous logits are moved as the picture was, by an affine map between the frames.
Where the moved previous picture differs from the present one, as on what moves by itself and after
a cut, the present logits count alone.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.images.upsampling import Patch, UpsampledLogits
from keras_parts.ops.interpolation import linear_neighbours

_SIDE = 320
"""Longer side of the grid on which logits are averaged, in positions."""
_TOLERANCE = 12.0
"""Difference between two pictures, in grey levels, at which the previous logits count by 1/e."""
_BLOCKS = (3, 4)
"""Blocks of the picture, by rows and columns, whose shifts give the map between two frames."""
_MAX_RESIDUAL = 1.5
"""Positions by which a block's shift may differ from the map; others move by themselves."""


@dataclass(frozen=True, eq=False)
class _State:
    logits: np.ndarray
    picture: np.ndarray


class Smoother:
    """Averages the logits of successive frames exponentially.

    Args:
        momentum: share of the previous logits in the average where the picture is the same, from
            0 (no average) to below 1.

    Raises:
        ConfigError: `momentum` is outside its range.

    Example:
        >>> import numpy as np
        >>> from keras_parts.inference.smoothing import Smoother
        >>> smoother = Smoother(0.5)
        >>> picture, logits = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 2), np.float32)
        >>> _ = smoother.smooth(picture, logits)
        >>> float(np.asarray(smoother.smooth(picture, logits + 1))[4, 4, 0])
        0.5
    """

    def __init__(self, momentum: float = 0.8):
        if not 0 <= momentum < 1:
            raise ConfigError(f"momentum is {momentum:g}, expected from 0 to below 1")
        self.momentum = momentum
        self._state: _State | None = None

    def smooth(
        self, pixels: np.ndarray, logits: np.ndarray | UpsampledLogits
    ) -> np.ndarray | UpsampledLogits:
        """The averaged logits of the next frame.

        Args:
            pixels: `(height, width, 3)` uint8 RGB, the frame.
            logits: `(height, width, 1 + parts)`, of the frame alone.

        Returns:
            The same shape.
        """
        if not self.momentum:
            return logits
        size = pixels.shape[:2]
        grid = tuple(max(1, round(side * min(1, _SIDE / max(size)))) for side in size)
        picture = np.asarray(
            Image.fromarray(pixels).convert("L").resize(grid[::-1], Image.Resampling.BOX),
            np.float32,
        )
        now = _sampled(logits, grid)
        before = self._state
        if before is not None and before.logits.shape == now.shape:
            moved, weights = self._moved(before, picture)
            now += weights[..., None] * (moved - now)
        self._state = _State(now, picture)
        return UpsampledLogits(size, [_patch(now, size)])

    def _moved(self, before: _State, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The previous logits where they are now, and how much they count, 0 to `momentum`."""
        motion = _motion(before.picture, picture)
        previous, there = (
            _warped(one, motion) for one in (before.picture, np.ones_like(before.picture))
        )
        difference = _blurred(np.abs(previous - picture))
        weights = self.momentum * np.exp(-((difference / _TOLERANCE) ** 2)) * (there > 0.99)
        channels = [_warped(channel, motion) for channel in np.moveaxis(before.logits, -1, 0)]
        return np.stack(channels, axis=-1), weights


def _sampled(logits: np.ndarray | UpsampledLogits, grid: tuple[int, int]) -> np.ndarray:
    """`(*grid, 1 + parts)` float32: logits at the pixels next to the grid's positions."""
    height, width, _ = logits.shape
    rows, columns = (
        ((np.arange(count) + 0.5) * side / count).astype(int)
        for count, side in zip(grid, (height, width), strict=True)
    )
    if isinstance(logits, UpsampledLogits):
        found = [logits.rows(row, row + 1)[:, 0, columns].T for row in map(int, rows)]
        return np.stack(found).astype(np.float32)
    return logits[np.ix_(rows, columns)].astype(np.float32)


def _patch(logits: np.ndarray, size: tuple[int, int]) -> Patch:
    """Logits on the grid, to be upsampled to the pixels of a frame."""
    rows, columns = (
        linear_neighbours((np.arange(side) + 0.5) * count / side - 0.5, count)
        for side, count in zip(size, logits.shape[:2], strict=True)
    )
    return Patch(np.ascontiguousarray(np.moveaxis(logits, -1, 0)), 0, 0, rows, columns)


def _motion(previous: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """`(2, 3)`: an affine map from positions (x, y, 1) in a picture to those in the last one."""
    centres, shifts = [], []
    for rows in np.array_split(np.arange(picture.shape[0]), _BLOCKS[0]):
        for columns in np.array_split(np.arange(picture.shape[1]), _BLOCKS[1]):
            block = np.ix_(rows, columns)
            if len(rows) < 8 or len(columns) < 8 or picture[block].std() < 2:
                continue  # too small, or without a pattern
            centres.append((columns.mean(), rows.mean(), 1.0))
            shifts.append(_shift(previous[block], picture[block]))
    identity = np.eye(2, 3)
    if len(centres) < 3:
        return identity
    points, targets = np.array(centres), np.array(shifts)
    # From the median shift on: what moves by itself, or was not found, does not count.
    motion = np.zeros((2, 3))
    motion[:, 2] = np.median(targets, axis=0)
    for _ in range(3):
        residuals = np.abs(targets - points @ motion.T).max(axis=1)
        tolerance = _MAX_RESIDUAL * (1 if motion[:, :2].any() else 2)
        agreeing = residuals <= tolerance
        if agreeing.sum() < 5:
            break
        motion = np.linalg.lstsq(points[agreeing], targets[agreeing], rcond=None)[0].T
    return identity + motion


def _shift(previous: np.ndarray, block: np.ndarray) -> tuple[float, float]:
    """(x, y) to add to positions in a block to find its content in the previous one.

    Phase correlation; the peak is refined to fractions by a parabola.
    """
    window = np.outer(np.hanning(block.shape[0] + 2)[1:-1], np.hanning(block.shape[1] + 2)[1:-1])
    first, second = (np.fft.rfft2((one - one.mean()) * window) for one in (previous, block))
    product = first * second.conj()
    correlation = np.fft.irfft2(product / (np.abs(product) + 1e-3), s=block.shape)
    peak = np.unravel_index(correlation.argmax(), correlation.shape)
    found: list[float] = []
    for axis, (place, side) in enumerate(zip(peak, block.shape, strict=True)):
        line = correlation[tuple(np.arange(side) if a == axis else p for a, p in enumerate(peak))]
        left, top, right = (line[(int(place) + offset) % side] for offset in (-1, 0, 1))
        curve = left - 2 * top + right
        shift = float(place) + (0.5 * float((left - right) / curve) if curve < 0 else 0.0)
        found.append(shift - side if shift > side / 2 else shift)
    return found[1], found[0]


def _warped(values: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A map `(h, w)` float32, moved; 0 where it comes from outside."""
    # Pillow counts from the corner of the first pixel, `motion` from its centre.
    offset = motion[:, 2] + motion[:, :2] @ (-0.5, -0.5) + 0.5
    coefficients = (*motion[0, :2], offset[0], *motion[1, :2], offset[1])
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(
        image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    )


def _blurred(values: np.ndarray) -> np.ndarray:
    """Means over 5 x 5 positions."""
    padded = np.pad(values, 2, mode="edge")
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(padded, 5, axis=axis)
        padded = windows.mean(axis=-1)
    return padded
