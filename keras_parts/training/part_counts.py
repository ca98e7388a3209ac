"""Numbers of parts compared, without a training for each.

The teacher features of objects are computed once. For each number of parts K they are clustered, as
they are before a training, once in each third of the images. What the clusters of two thirds say
of the last third shows how far K is a property of the data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from keras_parts.data.crops import object_crop
from keras_parts.data.dataset import Dataset, Subset
from keras_parts.discovery.clusters import object_directions
from keras_parts.errors import ConfigError, DataError
from keras_parts.extras import import_from_extra
from keras_parts.foreground.kinds import several_kinds
from keras_parts.metrics.baselines.centroids import NO_BACKGROUND, with_empty_background
from keras_parts.metrics.baselines.features import at_pixels
from keras_parts.metrics.clustering import ari
from keras_parts.metrics.contingency import ContingencyTable
from keras_parts.ops.kmeans import kmeans
from keras_parts.results.parts import Parts
from keras_parts.training.build import build_teacher, prepare_batches
from keras_parts.training.checks import check_dataset, check_recipe
from keras_parts.training.recipes import Recipe

DEFAULT_COUNTS = tuple(range(3, 11))
"""The numbers of parts that are compared where none are given."""
_MAX_IMAGES = 300
_POSITIONS = 100
"""Maximum number of positions of an image that are clustered and compared."""
_COMPONENTS = 64
"""Principal components in which features are clustered: fast, and they hold most variance."""
_THIRDS, _ROUNDS = 3, 3
_RESTARTS, _MAX_ITERATIONS = 4, 40
_SHOWN = 8
"""Images of which the parts are drawn."""
_STABLE = 0.8
"""Agreement from which on parts count as found again. Of birds, faces and clothes, numbers of parts
have more than 0.82 or less than 0.78."""
_TINY = 0.02
"""A part with a smaller share of the objects is as good as empty."""


@dataclass(frozen=True)
class PartCount:
    """What was measured of one number of parts, on images that were not clustered.

    Attributes:
        num_parts: K.
        stability: agreement of the parts of two thirds of the images on the last third: adjusted
            Rand index over positions of objects, 1 for equal parts, 0 for agreement by chance.
        error: standard error of `stability`.
        explained: share of the variance of features within objects that the parts explain.
        smallest: share of the objects that the smallest part has.
        presence: share of the images that show the part which fewest images show.

    Example:
        >>> from keras_parts.training import PartCount
        >>> count = PartCount(4, 0.9, 0.01, explained=0.4, smallest=0.1, presence=0.95)
        >>> count.num_parts, count.stability
        (4, 0.9)
    """

    num_parts: int
    stability: float
    error: float
    explained: float
    smallest: float
    presence: float


class _Shown(NamedTuple):
    """An image of which the parts are drawn.

    Attributes:
        id: of its sample.
        image, foreground: of its crop.
        maps: `(h, w, components)`, the features.
    """

    id: str
    image: np.ndarray
    foreground: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True, eq=False)
class PartCounts:
    """Numbers of parts, compared by `compare_part_counts`.

    Attributes:
        measured: a `PartCount` for each number of parts, the smallest first.
        recommended: the number of parts to choose.
        reason: why, as a sentence.
        num_images: number of images that were measured.
        total: number of images in the data set.
        notes: what else the features say: whether there may be several kinds of objects.

    Example:
        >>> from keras_parts.training import PartCount, PartCounts
        >>> counts = PartCounts((PartCount(4, 0.9, 0.01, 0.4, 0.1, 0.95),), 4, "only 4", 30, 30)
        >>> counts.recommended, counts.measured[0].explained
        (4, 0.4)
    """

    measured: tuple[PartCount, ...]
    recommended: int
    reason: str
    num_images: int
    total: int
    notes: tuple[str, ...] = ()
    _shown: tuple[_Shown, ...] = field(default=(), repr=False)
    _centres: Mapping[int, np.ndarray] = field(default_factory=dict, repr=False)

    def parts(self, num_parts: int) -> dict[str, Parts]:
        """The parts that the clusters give in a few images, `{sample id: Parts}`.

        Clusters that are alike have the same label whatever the number of parts. They are not those
        of a trained segmenter, but what its training begins with; outlines are those of the masks.

        Raises:
            KeyError: this number of parts was not compared.
        """
        centres = self._centres[num_parts]
        return {shown.id: _parts(shown, centres) for shown in self._shown}


def compare_part_counts(
    recipe: Recipe,
    dataset: Dataset,
    counts: Sequence[int] = DEFAULT_COUNTS,
    *,
    max_images: int | None = _MAX_IMAGES,
    progress: bool = True,
) -> PartCounts:
    """Measure numbers of parts on a data set, in minutes, and recommend one.

    Each K is measured on clusters of the teacher features, not on trained segmenters.

    Args:
        recipe: decides the teacher, the crops and the seed; its number of parts is recommended only
            if the images do not decide.
        dataset: training samples, each with a foreground.
        counts: numbers of parts, each from 2 to 64.
        max_images: of a larger data set, so many images are used, at regular distances; None for
            all, whose cached features a training then finds.
        progress: show progress bars.

    Raises:
        ConfigError: a number of parts is outside its range, or there is none.
        DataError: a sample cannot be read or has no foreground, weights are missing, or there are
            too few images.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.training import compare_part_counts, recipe
        >>> animals = data.load("toy", "train", count=9, size=65)
        >>> small = recipe("toy", image_size=65)
        >>> found = compare_part_counts(small, animals, (2, 3), progress=False)
        >>> [one.num_parts for one in found.measured], found.recommended in (2, 3)
        ([2, 3], True)
    """
    chosen = tuple(sorted({replace(recipe, num_parts=count).num_parts for count in counts}))
    if not chosen:
        raise ConfigError("there are no numbers of parts to compare: give one or more")
    # Without jitter the features of a crop are computed once; scenes are not looked at.
    recipe = recipe.with_settings({"crops.jitter": 0.0, "scenes.share": 0.0})
    check_recipe(recipe)
    check_dataset(dataset)
    used = _spread(len(dataset), max_images)
    if len(used) < _THIRDS:
        raise DataError(
            f"{dataset.info.name}: {len(used)} images are too few to compare numbers of parts, "
            f"expected {_THIRDS} or more"
        )
    everything = max_images is None or len(used) == len(dataset)
    samples = dataset if everything else Subset(dataset, used)
    objects, shown = _objects(recipe, samples, progress)
    notes = tuple(filter(None, [several_kinds(np.stack([one.mean for one in objects]))]))
    compressed, basis = _compressed(objects)
    measured: list[PartCount] = []
    centres: dict[int, np.ndarray] = {}
    for count in tqdm(chosen, desc="comparing", unit="K", disable=not progress):
        measured.append(_measured(compressed, count, recipe.seed))
        centres[count] = _centres(compressed, count, recipe.seed)
    number, reason = recommend(measured, recipe.num_parts)
    return PartCounts(
        tuple(measured),
        number,
        reason,
        len(objects),
        len(dataset),
        notes,
        tuple(one._replace(maps=basis.apply(one.maps)) for one in shown),
        _matched(centres),
    )


class _Object(NamedTuple):
    """Some positions of an object.

    Attributes:
        vectors: `(positions, channels)` float32.
        weights: `(positions,)` float32.
        mean: `(channels,)` float32, the mean feature of the whole object.
    """

    vectors: np.ndarray
    weights: np.ndarray
    mean: np.ndarray


class _Basis(NamedTuple):
    """Principal components: their mean `(channels,)`, and their directions `(channels, kept)`."""

    mean: np.ndarray
    directions: np.ndarray

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        return (vectors - self.mean) @ self.directions


def _spread(total: int, maximum: int | None) -> np.ndarray:
    """Up to `maximum` of `total` indices, at regular distances."""
    count = total if maximum is None else min(total, maximum)
    return np.linspace(0, total - 1, count).round().astype(int)


def _objects(
    recipe: Recipe, dataset: Dataset, progress: bool
) -> tuple[list[_Object], list[_Shown]]:
    """Positions of each object, and a few images to show."""
    teacher = build_teacher(recipe)
    batches, _, standardiser = prepare_batches(recipe, dataset, teacher, progress=progress)
    assert batches.features is not None
    rng = np.random.default_rng(recipe.seed)
    objects: list[_Object] = []
    shown: list[_Shown] = []
    drawn = set(_spread(len(dataset), _SHOWN).tolist())
    for index in _spread(len(dataset), _MAX_IMAGES).tolist():
        crop = object_crop(dataset[index], recipe.crops, recipe.image_size)
        assert crop.foreground is not None
        features = batches.features.lookup([index], [False])
        (found,) = object_directions(
            standardiser.apply(features) if standardiser else features,
            crop.foreground[None, ..., None].astype(np.float32),
            prominence_exponent=recipe.prominence_exponent,
            centre_features=recipe.centre_features,
        )
        mean_feature = features[0][found.inside].mean(0, dtype=np.float32)
        objects.append(_Object(*found.drawn(rng, _POSITIONS), mean_feature))
        if index in drawn:
            shown.append(_Shown(crop.id, crop.image, crop.foreground, found.maps))
    return objects, shown


def _compressed(objects: Sequence[_Object]) -> tuple[list[_Object], _Basis]:
    """Objects in their principal components."""
    vectors, _ = _joined(objects)
    centre = vectors.mean(0)
    _, directions = np.linalg.eigh(np.cov(vectors - centre, rowvar=False))
    basis = _Basis(centre, directions[:, ::-1][:, :_COMPONENTS].astype(np.float32))
    return [one._replace(vectors=basis.apply(one.vectors)) for one in objects], basis


def _joined(objects: Sequence[_Object]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors `(positions, channels)` and weights `(positions,)` of all objects."""
    return (
        np.concatenate([one.vectors for one in objects]),
        np.concatenate([one.weights for one in objects]),
    )


def _centres(objects: Sequence[_Object], num_parts: int, seed: int) -> np.ndarray:
    """`(parts, components)`, the centres of clusters.

    Raises:
        DataError: there are fewer positions than parts.
    """
    vectors, weights = _joined(objects)
    if len(vectors) < num_parts:
        raise DataError(
            f"only {len(vectors)} positions lie inside the objects, too few for "
            f"{num_parts} parts: are the masks empty? Check them with `keras-parts data check`"
        )
    return kmeans(
        vectors,
        num_parts,
        restarts=_RESTARTS,
        seed=seed,
        weights=weights,
        max_iterations=_MAX_ITERATIONS,
        max_threads=1,
    ).centres


def _scores(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """`(..., parts)`, largest for the nearest centre: minus half the squared distance, without the
    square of the vector, which is the same for all centres."""
    return vectors @ centres.T - 0.5 * (centres**2).sum(-1)


def _measured(objects: Sequence[_Object], num_parts: int, seed: int) -> PartCount:
    """Clusters of two thirds of the objects, compared on the last third, in several rounds."""
    found = [
        one
        for number in range(_ROUNDS)
        for one in _round(objects, num_parts, np.random.default_rng((seed, number)))
    ]
    stability, explained, smallest, presence = zip(*found, strict=True)
    # The thirds of a round share clusters: only rounds are independent.
    rounds = [mean(stability[start : start + _THIRDS]) for start in range(0, len(found), _THIRDS)]
    return PartCount(
        num_parts,
        mean(stability),
        stdev(rounds) / len(rounds) ** 0.5,
        mean(explained),
        mean(smallest),
        mean(presence),
    )


def _round(
    objects: Sequence[_Object], num_parts: int, rng: np.random.Generator
) -> Iterator[tuple[float, float, float, float]]:
    """Stability, explained variance, smallest part and presence, for each third held out."""
    thirds = np.array_split(rng.permutation(len(objects)), _THIRDS)
    members = [[objects[index] for index in third] for third in thirds]
    seeds = rng.integers(2**31, size=_THIRDS).tolist()
    centres = [
        _centres(each, num_parts, number) for each, number in zip(members, seeds, strict=True)
    ]
    for held_out in range(_THIRDS):
        one, other = (centres[i] for i in range(_THIRDS) if i != held_out)
        vectors, _ = _joined(members[held_out])
        first, second = (_scores(vectors, each).argmax(-1) for each in (one, other))
        agreement = ContingencyTable(num_parts, num_parts).update(first, second).counts
        sizes = np.bincount(first, minlength=num_parts) / len(first)
        ends = np.cumsum([len(each.vectors) for each in members[held_out]])[:-1]
        present = [np.bincount(labels, minlength=num_parts) > 0 for labels in np.split(first, ends)]
        unexplained = ((vectors - one[first]) ** 2).sum()
        variance = ((vectors - vectors.mean(0)) ** 2).sum()
        yield (
            ari(agreement),
            float(1 - unexplained / max(variance, 1e-12)),
            float(sizes.min()),
            float(np.mean(present, axis=0).min()),
        )


def _matched(centres: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Centres in an order in which those alike have the same label for every number of parts."""
    assign = import_from_extra("scipy.optimize", "train").linear_sum_assignment
    matched: dict[int, np.ndarray] = {}
    previous: np.ndarray | None = None
    for count, found in sorted(centres.items()):
        if previous is not None:
            distances = ((previous[:, None] - found[None]) ** 2).sum(-1)
            _, taken = assign(distances)
            others = [index for index in range(count) if index not in taken]
            found = found[[*taken, *others]]
        matched[count] = previous = found
    return matched


def _parts(shown: _Shown, centres: np.ndarray) -> Parts:
    size = shown.foreground.shape
    logits = with_empty_background(at_pixels(_scores(shown.maps, centres), size))
    logits[..., 0] = np.where(shown.foreground, NO_BACKGROUND, -NO_BACKGROUND)
    return Parts(logits, shown.image)


def recommend(measured: Sequence[PartCount], default: int) -> tuple[int, str]:
    """The number of parts to choose, and why.

    It is the largest one whose parts are found again in other images, and of which none is tiny. If
    there is none, the images do not decide, and it is the default.

    Args:
        measured: the numbers that were compared, the smallest first; at least one.
        default: the number without a measurement; the nearest one that was compared is taken.

    Example:
        >>> from keras_parts.training.part_counts import PartCount, recommend
        >>> three = PartCount(3, 0.9, 0.01, 0.2, 0.25, 1.0)
        >>> recommend([three, PartCount(4, 0.5, 0.01, 0.25, 0.2, 1.0)], default=4)
        (3, '3 parts are the most that are found again in other images: the agreement is 0.90, ...')
    """
    stable = [one for one in measured if one.stability >= _STABLE and one.smallest >= _TINY]
    if not stable:
        chosen = min(measured, key=lambda one: abs(one.num_parts - default))
        best = max(measured, key=lambda one: one.stability)
        return chosen.num_parts, (
            "The images do not decide: no number of parts is found again in other images (the "
            f"agreement is at most {best.stability:.2f}, for {best.num_parts}, and should be "
            f"{_STABLE}). Look at the pictures, and count the parts that you want to tell apart; "
            f"{chosen.num_parts} is the default"
        )
    chosen = stable[-1]
    agreement = f"the agreement is {chosen.stability:.2f}"
    larger = [one for one in measured if one.num_parts > chosen.num_parts]
    if larger:
        agreement += f", and {larger[0].stability:.2f} for {larger[0].num_parts}"
        if larger[0].stability >= _STABLE:
            agreement += f", of which one has only {larger[0].smallest:.1%} of the objects"
    else:
        agreement += "; larger numbers were not tried"
    return chosen.num_parts, (
        f"{chosen.num_parts} parts are the most that are found again in other images: {agreement}"
    )
