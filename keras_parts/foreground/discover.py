"""Finding the objects of a set of photographs without any mask.

1. The features of a frozen network say roughly where objects are (`prominence`).
2. GrabCut makes it a mask by the colours and edges of the photograph (`grabcut`).
3. A linear classifier learns from these masks which features the objects of all photographs have in
   common (`classifier`); GrabCut makes masks of its probabilities; both in turns.
4. The box of the object is cut out, and step 3 is repeated there, where the object is large.
5. A decoder learns from the masks of both looks (`decoder`). It judges a position with its
   surroundings, and corrects masks that differ from those of alike photographs.

All of this is done with a sample of the photographs. Then the decoder finds the box of the object
in each photograph and the object in the box, and GrabCut sharpens its outline.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from keras_parts.backbones.backbone import Backbone
from keras_parts.extras import import_from_extra
from keras_parts.foreground.classifier import fit_classifier
from keras_parts.foreground.decoder import STEPS, ObjectDecoder, fit_decoder
from keras_parts.foreground.features import GRID, LOOK_SIZE, LookFeatures, load_network
from keras_parts.foreground.found import LEARNED_FROM, FoundMask, overlap, surround
from keras_parts.foreground.grabcut import Certainty, grab_object
from keras_parts.foreground.kinds import several_kinds
from keras_parts.foreground.prominence import object_probabilities
from keras_parts.images.regions import connected_regions

_LOG = logging.getLogger(__name__)
_BATCH = 8
_FIRST_TURNS, _SECOND_TURNS = 4, 1
# What the progress bar counts for each photograph: a look or a turn is 1.
_FIT_WORK, _APPLY_WORK = 2 + _FIRST_TURNS + _SECOND_TURNS, 4
_STEP_WORK = 0.5  # of a step of the decoder
_PADDING = 0.25  # of the second look, as a share of the object's box on each side
_MIN_SHARE = 0.25  # smaller regions than this share of the largest are not in the box
_MAX_SIDE = 1024  # of the photographs in memory: of 400 from a phone, less than a gigabyte
_UNUSUAL, _RAISED = 0.1, 0.8  # the largest probability of an object that is unusual, and after it
_COARSE_SIZE = 129
# Chosen on every eighth training image of CUB-200-2011, and every sixth of CelebAMask-HQ and
# Clothing Co-Parsing.
_CERTAINTY = Certainty(0.95, 0.5, 0.05, 3)
_LAST = Certainty(0.97, 0.5, 0.02, 3)


class _Look(NamedTuple):
    """A rectangle of a photograph, scaled to the network's input.

    `image` is `(257, 257, 3)` uint8; the others are those of `LookFeatures`, in float16."""

    image: np.ndarray
    features: np.ndarray
    deepest: np.ndarray
    norms: np.ndarray


class _Box(NamedTuple):
    """A rectangle as shares of the height and the width of a photograph."""

    top: float
    left: float
    bottom: float
    right: float

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and columns in an array of a size; at least one of each."""
        rows, columns = (
            slice(min(round(start * size), size - 1), max(round(end * size), 1 + int(start * size)))
            for start, end, size in (
                (self.top, self.bottom, height),
                (self.left, self.right, width),
            )
        )
        return rows, columns

    def cut(self, array: np.ndarray) -> np.ndarray:
        return array[self.slices(*array.shape[:2])]


_WHOLE = _Box(0.0, 0.0, 1.0, 1.0)


class _Photograph(NamedTuple):
    """A photograph, reduced to at most 1024 pixels a side, and its own (height, width)."""

    image: np.ndarray
    size: tuple[int, int]


def discover_masks(
    read: Callable[[int], np.ndarray],
    count: int,
    *,
    seed: int = 0,
    progress: bool = True,
    network: Backbone | None = None,
) -> Iterator[FoundMask]:
    """Find the object in each photograph of a set, without any mask.

    What is supervised are the labels of ImageNet, with which the network was trained, unless
    `network` is another one.

    Args:
        read: `read(i)` is photograph i, `(height, width, 3)` uint8 RGB, upright. All photographs
            should show one kind of object.
        count: number of photographs.
        seed: of the decoder's first weights, and of the sample that it learns from if there are
            more than 400 photographs.
        progress: show a progress bar.
        network: a frozen network for `LookFeatures`; None takes EfficientNet-Lite0.

    Yields:
        The masks, in order. In a photograph with several objects of similar size the mask has all
        of them.

    Raises:
        ConfigError: OpenCV or scikit-learn is not installed, or the network has one output.
        DataError: raised by `read`.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.foreground import discover_masks
        >>> toy = data.load("toy", "train", count=3)
        >>> masks = discover_masks(lambda i: toy[i].image, len(toy), progress=False)
        >>> [found.mask.shape for found in masks]
        [(161, 161), (161, 161), (161, 161)]
    """
    if not count:
        return
    numbers = np.arange(count)
    if count > LEARNED_FROM:
        numbers = np.sort(np.random.default_rng(seed).choice(count, LEARNED_FROM, replace=False))
    looks = _Looks(network or load_network(), min(count, _BATCH))
    with (
        tqdm(
            total=_FIT_WORK * len(numbers) + _STEP_WORK * STEPS + _APPLY_WORK * count,
            desc="objects",
            bar_format="{l_bar}{bar}| {elapsed}<{remaining}",
            disable=not progress,
        ) as bar,
        ThreadPoolExecutor(2) as threads,
    ):
        grab = _grab_in(threads)
        sample = [_reduced(read(number)) for number in numbers.tolist()]
        decoder = _fit(sample, looks, grab, seed, bar)
        for start in range(0, count, _BATCH):
            batch = [_reduced(read(i)) for i in range(start, min(start + _BATCH, count))]
            yield from _apply(batch, looks, grab, decoder)
            bar.update(_APPLY_WORK * len(batch))


class _Looks:
    """Cuts out rectangles and computes their features, in batches of one size."""

    def __init__(self, network: Backbone, batch_size: int):
        self._features = LookFeatures(network)
        self._batch_size = batch_size

    def __call__(self, photographs: Sequence[_Photograph], boxes: Sequence[_Box]) -> list[_Look]:
        images = [
            _scaled(box.cut(photograph.image), LOOK_SIZE)
            for photograph, box in zip(photographs, boxes, strict=True)
        ]
        looks: list[_Look] = []
        for start in range(0, len(images), self._batch_size):
            batch = images[start : start + self._batch_size]
            padded = np.stack(batch + batch[-1:] * (self._batch_size - len(batch)))
            outputs = self._features.predict_on_batch(padded)
            maps = [outputs[name].astype(np.float16) for name in ("features", "deepest", "norms")]
            looks.extend(map(_Look, batch, *maps))
        return looks


_Grab = Callable[[Sequence[_Look], Sequence[np.ndarray], Certainty, int], list[np.ndarray]]


def _grab_in(threads: ThreadPoolExecutor) -> _Grab:
    """`grab_object` of many looks at once: OpenCV releases the interpreter."""

    def grab(looks, probabilities, certainty, size):
        def one(look, probability):
            return grab_object(_scaled(look.image, size), probability, certainty)

        return list(threads.map(one, looks, probabilities))

    return grab


def _fit(
    sample: Sequence[_Photograph], looks: _Looks, grab: _Grab, seed: int, bar: Any
) -> ObjectDecoder:
    """The decoder of both looks."""
    seen = looks(sample, [_WHOLE] * len(sample))
    bar.update(len(sample))
    probabilities = object_probabilities(
        np.stack([look.deepest for look in seen]), np.stack([look.norms for look in seen])
    )
    masks = grab(seen, list(probabilities), _CERTAINTY, _COARSE_SIZE)
    masks = _in_turns(seen, masks, grab, _COARSE_SIZE, _FIRST_TURNS, bar)
    boxes = [_padded_box(mask) for mask in masks]
    cuts = [_cut_mask(mask, box) for mask, box in zip(masks, boxes, strict=True)]
    closer = looks(sample, boxes)
    bar.update(len(sample))
    cuts = _in_turns(closer, cuts, grab, LOOK_SIZE, _SECOND_TURNS, bar)
    kinds = several_kinds(_mean_features(closer, cuts))
    if kinds:
        _LOG.warning("%s", kinds)
    masks = [_pasted(*pair, (LOOK_SIZE, LOOK_SIZE)) for pair in zip(cuts, boxes, strict=True)]
    return fit_decoder(
        [look.features for look in (*seen, *closer)],
        [_scaled(mask, GRID) for mask in (*masks, *cuts)],
        seed=seed,
        after_step=lambda: bar.update(_STEP_WORK),
    )


def _mean_features(looks: Sequence[_Look], masks: Sequence[np.ndarray]) -> np.ndarray:
    """The mean deepest feature of each object, `(objects, channels)` float32."""
    means = []
    for look, mask in zip(looks, masks, strict=True):
        inside = _resized(mask, *look.deepest.shape[:2]) > 0.5
        if inside.any():
            means.append(look.deepest[inside].mean(axis=0, dtype=np.float32))
    return np.array(means)


def _in_turns(
    looks: Sequence[_Look],
    masks: list[np.ndarray],
    grab: _Grab,
    size: int,
    turns: int,
    bar: Any,
) -> list[np.ndarray]:
    """Fit a linear classifier to masks and make masks of its probabilities, several times."""
    features = [look.features for look in looks]
    for _ in range(turns):
        classifier = fit_classifier(features, [_scaled(mask, GRID) for mask in masks])
        probabilities = [classifier(each) for each in features]
        masks = grab(looks, probabilities, _CERTAINTY, size)
        bar.update(len(looks))
    return masks


def _apply(
    batch: Sequence[_Photograph], looks: _Looks, grab: _Grab, decoder: ObjectDecoder
) -> Iterator[FoundMask]:
    probabilities = _decoded(decoder, looks(batch, [_WHOLE] * len(batch)))
    boxes = [_padded_box(_scaled(each, _COARSE_SIZE) > 0.5) for each in probabilities]
    closer = looks(batch, boxes)
    probabilities = _decoded(decoder, closer)
    masks = grab(closer, probabilities, _LAST, LOOK_SIZE)
    for photograph, box, mask, probability in zip(batch, boxes, masks, probabilities, strict=True):
        whole = _pasted(mask, box, photograph.size)
        agreement = overlap(mask, _scaled(probability, LOOK_SIZE))
        # What covers most of three sides is rather background; portraits may cover half of them.
        yield FoundMask(whole, agreement * min(1.0, 2 * (1 - surround(whole))))


def _decoded(decoder: ObjectDecoder, looks: Sequence[_Look]) -> list[np.ndarray]:
    return [_raised(each) for each in decoder.probabilities([look.features for look in looks])]


def _raised(probability: np.ndarray) -> np.ndarray:
    """The probabilities of a photograph; if none is large, but some are not small, the object is
    an unusual one, and they are scaled."""
    peak = float(probability.max())
    return probability * (_RAISED / peak) if _UNUSUAL < peak < _RAISED else probability


def _padded_box(mask: np.ndarray) -> _Box:
    """The box of the largest regions of a mask, with a margin; the whole image if it is empty."""
    regions, areas = connected_regions(mask)
    if not areas.size:
        return _WHOLE
    large = np.isin(regions, 1 + np.flatnonzero(areas >= _MIN_SHARE * areas.max()))
    sides = []
    for along in (large.any(axis=1), large.any(axis=0)):
        inside, size = np.flatnonzero(along), along.size
        start, end = inside[0] / size, (inside[-1] + 1) / size
        margin = _PADDING * (end - start)
        sides.append((max(start - margin, 0.0), min(end + margin, 1.0)))
    (top, bottom), (left, right) = sides
    return _Box(top, left, bottom, right)


def _cut_mask(mask: np.ndarray, box: _Box) -> np.ndarray:
    """The rectangle of a mask, on the grid of the features: float32 shares."""
    return _scaled(box.cut(_scaled(mask, LOOK_SIZE)), GRID)


def _pasted(mask: np.ndarray, box: _Box, size: tuple[int, int]) -> np.ndarray:
    """The mask of the whole photograph, from that of a rectangle."""
    whole = np.zeros(size, bool)
    rows, columns = box.slices(*size)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    whole[rows, columns] = _resized(mask.astype(np.float32), height, width) > 0.5
    return whole


def _reduced(image: np.ndarray) -> _Photograph:
    height, width = image.shape[:2]
    scale = min(1.0, _MAX_SIDE / max(height, width))
    if scale < 1:
        image = _resized(image, max(1, round(height * scale)), max(1, round(width * scale)))
    return _Photograph(image, (height, width))


def _scaled(array: np.ndarray, side: int) -> np.ndarray:
    """An image, or a mask or map as float32, as a square of `side` positions."""
    return _resized(array, side, side)


def _resized(array: np.ndarray, height: int, width: int) -> np.ndarray:
    cv2 = import_from_extra("cv2", "train")
    if array.dtype == bool:
        array = array.astype(np.float32)
    shrinks = array.shape[0] > height or array.shape[1] > width
    return cv2.resize(
        array, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
