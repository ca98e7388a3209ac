"""The methods by which masks of photographs are made."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from keras_parts.environment import package_version
from keras_parts.extras import import_from_extra
from keras_parts.foreground.discovered import discovered_masks, discovery_origin
from keras_parts.foreground.found import FoundMask, found_in
from keras_parts.results.parts import Parts

REMBG = "rembg"
"""The package that removes backgrounds, and the extra that installs it."""


class Find(Protocol):
    """Finds the objects of photographs."""

    def __call__(
        self, read: Callable[[int], np.ndarray], count: int, photographs: str
    ) -> Iterable[FoundMask]:
        """A mask for each photograph, in order.

        Args:
            read: gives photograph i, `(height, width, 3)` uint8 RGB, upright.
            count: number of photographs.
            photographs: a text that identifies them and their order.
        """


class Segmenting(Protocol):
    """What segments an image, as `keras_parts.models.Predictor` does."""

    def segment(self, image: np.ndarray) -> Parts: ...


@dataclass(frozen=True)
class MaskMethod:
    """A method by which masks of photographs are made.

    Attributes:
        origin: its name and version, for records and tables.
        find: finds the objects.
        is_joint: whether a mask depends on all photographs, which are then given together.
    """

    origin: str
    find: Find
    is_joint: bool = False


def discovery(*, seed: int = 0, progress: bool = True) -> MaskMethod:
    """Objects are found by what all photographs have in common; no label is needed.

    Args:
        seed: of the search.
        progress: show progress bars.
    """

    def find(
        read: Callable[[int], np.ndarray], count: int, photographs: str
    ) -> Iterable[FoundMask]:
        return discovered_masks(read, count, photographs, seed=seed, progress=progress)

    return MaskMethod(discovery_origin(seed), find, is_joint=True)


def by_segmenter(predictor: Segmenting, name: str) -> MaskMethod:
    """The foreground of a segmenter; the confidence is the mean probability of its parts.

    Args:
        predictor: from `keras_parts.models.create_predictor`.
        name: of the model and its version.

    Example:
        >>> import numpy as np
        >>> from keras_parts import data, models, zoo
        >>> from keras_parts.foreground.methods import by_segmenter
        >>> animal = data.load("toy", "test", count=1)[0]
        >>> method = by_segmenter(models.create_predictor(zoo.load("toy"), batch_size=1), "toy")
        >>> (found,) = method.find(lambda index: animal.image, 1, "animal")
        >>> bool(found.mask.any()), found.mask.shape
        (True, (161, 161))
    """

    def found(image: np.ndarray) -> FoundMask:
        parts = predictor.segment(image)
        score = parts.score
        return FoundMask(parts.foreground, 0.0 if math.isnan(score) else score)

    return MaskMethod(name, _each(found))


def by_rembg() -> MaskMethod:
    """The foreground that rembg finds with its default network, which it downloads.

    Raises:
        ConfigError: rembg is not installed; the message says how to install it.
    """
    rembg: Any = import_from_extra(REMBG, REMBG)
    session = rembg.new_session()

    def found(image: np.ndarray) -> FoundMask:
        mask = np.asarray(rembg.remove(image, session=session, only_mask=True))
        return found_in(mask.reshape(image.shape[:2]) / 255)

    return MaskMethod(f"rembg {package_version(REMBG) or ''}".strip(), _each(found))


def _each(found: Callable[[np.ndarray], FoundMask]) -> Find:
    """Find the object of each photograph by itself."""

    def find(
        read: Callable[[int], np.ndarray], count: int, photographs: str
    ) -> Iterable[FoundMask]:
        return (found(read(index)) for index in range(count))

    return find
