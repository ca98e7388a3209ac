"""The masks that are found in a set of photographs, once: later calls read them from the cache."""

from collections.abc import Callable

import numpy as np

from keras_parts.environment import cache_path
from keras_parts.foreground.cache import FoundMasks, find_masks, kept_masks, masks_file
from keras_parts.foreground.found import DISCOVERY_VERSION, LEARNED_FROM

_FOLDER = "masks"
"""In the cache."""
_START, _LEARNED, _FOUND = 20.0, 0.4, 0.25
"""Seconds on two cores: to load the network and fit the decoder, for each photograph from which is
learned, and for each photograph in which the object is found."""


def discovery_origin(seed: int = 0) -> str:
    """The method and its version, as records and tables name the origin of a mask.

    Example:
        >>> from keras_parts.foreground.discovered import discovery_origin
        >>> discovery_origin().split()[0], discovery_origin(3)[-6:]
        ('discover', 'seed 3')
    """
    return f"discover {DISCOVERY_VERSION}" + (f", seed {seed}" if seed else "")


def expected_seconds(count: int) -> float:
    """The time in which the objects of so many photographs are found on two cores, about.

    Example:
        >>> from keras_parts.foreground.discovered import expected_seconds
        >>> expected_seconds(200) > expected_seconds(20)
        True
    """
    return _START + _LEARNED * min(count, LEARNED_FROM) + _FOUND * count


def discovered_before(photographs: str, *, seed: int = 0) -> FoundMasks | None:
    """The masks in the cache; None if the objects were not found yet.

    Args:
        photographs: a text that identifies the photographs and their order.
        seed: of the search.
    """
    return kept_masks(masks_file(cache_path(_FOLDER), photographs, discovery_origin(seed)))


def discovered_masks(
    read: Callable[[int], np.ndarray],
    count: int,
    photographs: str,
    *,
    seed: int = 0,
    progress: bool = True,
) -> FoundMasks:
    """The objects of a set of photographs, from the cache if they were found before.

    Args:
        read: gives photograph i, `(height, width, 3)` uint8 RGB, upright.
        count: number of photographs.
        photographs: a text that identifies the photographs and their order.
        seed: of the search.
        progress: show progress bars.

    Raises:
        DataError: a photograph cannot be read.
    """
    masks = discovered_before(photographs, seed=seed)
    if masks is not None and len(masks) == count:
        return masks
    from keras_parts.foreground.discover import discover_masks

    path = masks_file(cache_path(_FOLDER, writable=True), photographs, discovery_origin(seed))
    return find_masks(
        lambda read, count: discover_masks(read, count, seed=seed, progress=progress),
        read,
        count,
        path,
    )
