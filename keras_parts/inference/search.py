"""Search by part: the objects in a results folder whose parts look most like given ones."""

import logging
import operator
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_parts.addresses import is_address
from keras_parts.errors import ConfigError, DataError, suggestion
from keras_parts.files import check_name
from keras_parts.inference.descriptors import open_descriptors
from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import LocalOutput, open_output
from keras_parts.inference.results_folder import RUN_FILE, run_records
from keras_parts.models.predictor import Predictor, create_predictor
from keras_parts.results.objects import MAX_OBJECTS
from keras_parts.results.part_labels import part_label
from keras_parts.results.parts import Parts

if TYPE_CHECKING:
    from keras_parts.models.segmenter import PartSegmenter

_LOG = logging.getLogger(__name__)
_FORMAT = "descriptors-npy"
"""The format that is recommended: its rows are read from the disk as they are needed."""
_OPTIONS = ("flip", "tile", "looks", "max_objects")
"""Options of a predictor that the configuration has."""
_MIN_ROWS = 20
"""Number of parts from which on their mean and deviation are known well enough."""


@dataclass(frozen=True)
class Match:
    """An object that `PartIndex.search` has found.

    Attributes:
        rank: from 1, the most similar one.
        image: path of its image in the folder of the images, with forward slashes.
        object: its number in the image, from 1.
        similarity: -1 to 1, see `PartIndex.search`.

    Example:
        >>> from keras_parts.inference import Match
        >>> Match(rank=1, image="birds/1.jpg", object=1, similarity=0.9).image
        'birds/1.jpg'
    """

    rank: int
    image: str
    object: int
    similarity: float


class PartIndex:
    """The descriptors of the parts in a results folder of `segment`.

    Args:
        folder: the results folder, or the file of the descriptors in it.

    Attributes:
        path: of the folder.
        names: of the parts.
        model: name or path of the model, as the run was given it.
        root: folder of the images.
        configuration: all that the descriptors depend on, as in run.json.

    Raises:
        ConfigError: the folder has no descriptors, or is no results folder on this machine.
        DataError: its files are damaged.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from keras_parts import data, inference, models, zoo
        >>> Path("photos").mkdir()
        >>> for index, sample in enumerate(data.load("toy", "test", count=3)):
        ...     Image.fromarray(sample.image).save(f"photos/{index}.png")
        >>> segmenter = zoo.load("toy")
        >>> predictor = models.create_predictor(segmenter, batch_size=1, descriptors=True)
        >>> run = inference.segment_files(predictor, ["photos"], "found", ["descriptors-npy"])
        >>> index = inference.PartIndex("found")
        >>> like = index.predictor(segmenter).segment(data.load("toy", "test", count=1)[0].image)
        >>> index.search(like, like.present[0], top=1)[0].image
        '0.png'
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        output, record = _results(os.fspath(folder))
        self.path, self._record = str(output.path), record
        self.configuration: Mapping[str, Any] = record["configuration"]
        self.names = _names(record)
        arguments = record.get("arguments") or {}
        self.model = str(arguments.get("model") or self.configuration.get("model") or "")
        self.root = record.get("root") or ""
        found = open_descriptors(output)
        if found is None:
            raise ConfigError(
                f"{self.path} has no descriptors, by which parts are compared. {self._way_out()}",
                path=self.path,
            )
        self._descriptors = found
        if record.get("status") != "complete":
            _LOG.warning(
                "%s: the run is not complete, and images may be missing. This completes it: %s",
                *(self.path, self._command(self.path)),
            )
        self._labels, self._owners = self._read_keys()
        self._scales: dict[int, _Scale] = {}

    def __len__(self) -> int:
        """Number of descriptors: of the parts of all objects in all images."""
        return len(self._labels)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {len(self)} parts, {self.model}>"

    def count(self, label: int) -> int:
        """Number of objects that show a part."""
        return int((self._labels == label).sum())

    def label(self, part: int | str) -> int:
        """The label of a part.

        Args:
            part: see `keras_parts.results.part_labels.part_label`.

        Raises:
            ConfigError: no part is called so, or several are.
        """
        return part_label(part, self.names)

    def predictor(self, segmenter: "PartSegmenter", batch_size: int = 1) -> Predictor:
        """The predictor that segments a picture as those in the folder were.

        Args:
            segmenter: the model of the folder.
            batch_size: see `keras_parts.models.create_predictor`.

        Raises:
            ConfigError: it is another model, or has another precision.
        """
        known = self.configuration
        options = {name: known[name] for name in _OPTIONS if name in known}
        predictor = create_predictor(segmenter, batch_size, descriptors=True, **options)
        for name, value in predictor.settings.items():
            if known.get(name) == value:
                continue
            if name == "model_sha256":
                raise ConfigError(
                    f"{self.path} was segmented with another model, {self.model}: load that one, "
                    f"or segment the images with yours into another folder, "
                    f"--format {_FORMAT}",
                    path=self.path,
                )
            raise ConfigError(
                f"{self.path} was segmented with {name} {known.get(name)}, but that of this model "
                f"is {value}",
                setting=name,
                value=value,
            )
        return predictor

    def search(
        self,
        like: Parts | Sequence[Parts],
        parts: int | str | Sequence[int | str],
        *,
        top: int = 10,
    ) -> list[Match]:
        """The objects whose parts look most like those of a picture.

        The similarity of two parts is the cosine of their descriptors. From 20 objects on, each
        channel is taken relative to its mean over the objects in the folder, and divided by its
        deviation. With several pictures or parts it is the mean over these. Objects that do not
        show all the parts are left out, and so are the files of the pictures themselves.

        All descriptors are compared, in blocks; they are not kept in memory.

        Args:
            like: parts of a picture from `predictor`, or of several pictures. Of several objects in
                a picture, the largest one that shows all the parts is meant; `parts.objects` has
                the others.
            parts: labels or names, see `label`.
            top: maximum number of matches.

        Returns:
            The matches, the most similar one first.

        Raises:
            ConfigError: there is no picture, part or match to look for, or no such part.
            DataError: no picture shows all the parts, or the descriptors are damaged.
        """
        pictures = [like] if isinstance(like, Parts) else list(like)
        wanted = [parts] if isinstance(parts, int | str) else list(parts)
        labels = list(dict.fromkeys(map(self.label, wanted)))
        if not pictures or not labels or top < 1:
            raise ConfigError(
                f"{len(pictures)} pictures, {len(labels)} parts and {top} matches, "
                "expected at least 1 each"
            )
        objects = self.objects(pictures, labels)
        self._measure(labels)
        similarity = np.zeros(self._owners.max(initial=-1) + 1, np.float32)
        shown = np.zeros(similarity.size, np.int32)
        queries = {
            label: self._scales[label].mean_direction([one[label].descriptor for one in objects])
            for label in labels
        }
        for label, rows, vectors in self._blocks(labels):
            owners = self._owners[rows]
            similarity[owners] += self._scales[label].directions(vectors) @ queries[label]
            shown[owners] += 1
        similarity = np.where(shown == len(labels), similarity / len(labels), -np.inf)
        own = self._names_of(pictures)
        best = _largest(similarity, top + MAX_OBJECTS * len(own))
        matches = [
            (image, number, float(similarity[owner]))
            for owner, (image, number) in self._images_of(best)
            if image not in own
        ]
        return [Match(rank, *match) for rank, match in enumerate(matches[:top], start=1)]

    def objects(self, pictures: Sequence[Parts], labels: Sequence[int]) -> list[Parts]:
        """The object of each picture that `search` compares: the largest one with all the parts.

        A warning counts the pictures that show no such object.

        Args:
            pictures: the parts of each, from `predictor`.
            labels: of the parts.

        Raises:
            ConfigError: a picture has no descriptors, or those of another model.
            DataError: no picture shows such an object.
        """
        chosen, without = [], []
        for number, parts in enumerate(pictures, start=1):
            name = parts.path or f"picture {number}"
            if (
                parts.descriptors is None
                or parts.descriptors.shape[1] != self._descriptors.channels
            ):
                raise ConfigError(f"{name}: segment it with the predictor of this PartIndex")
            one = next((one for one in parts.objects if {*labels} <= {*one.present}), None)
            if one is not None:
                chosen.append(one)
                continue
            found = ", ".join(parts.names[label - 1] for label in parts.present)
            without.append(f"{name} (it shows {found or 'no object'})")
        wanted = " and ".join(self.names[label - 1] for label in labels)
        if not chosen:
            raise DataError(f"no object with {wanted} is seen in {'; '.join(without)}")
        if without:
            _LOG.warning(
                "left out, without %s: %d of %d pictures, such as %s",
                *(wanted, len(without), len(pictures), without[0]),
            )
        return chosen

    def file(self, image: str, root: str | PathLike[str] | None = None) -> ImageFile:
        """The file of a match's image.

        Args:
            image: of the `Match`.
            root: folder of the images, where they are not in `root` any more.

        Raises:
            DataError: the name leads out of the folder.
        """
        check_name(image)
        return ImageFile(os.fspath(root or self.root), image, os.path.splitext(image)[0])

    def _way_out(self) -> str:
        if self.configuration.get("runtime", "keras") == "keras":
            return f"This adds them: {self._command(self.path)}"
        # A folder has the results of one runtime.
        return (
            "They need Keras, and these results were computed without it. This writes them to "
            f"another folder, to search there: {self._command(f'{self.path}-search')}"
        )

    def _command(self, output: str) -> str:
        """The command that writes descriptors to a folder."""
        given = self._record.get("arguments") or {}
        paths = given.get("paths") or [self.root or "PHOTOS"]
        words = ["keras-parts", "segment", *map(str, paths), "--model", self.model]
        words += ["--output", output, "--format", _FORMAT]
        for name in ("precision", "tile", "max_pixels"):
            words += [f"--{name.replace('_', '-')}", str(given[name])] if given.get(name) else []
        words += ["--looks", str(given["looks"])] if given.get("looks") in (1, 2) else []
        words += ["--flip"] if given.get("flip") else []
        return shlex.join(words)

    def _read_keys(self) -> tuple[np.ndarray, np.ndarray]:
        """`(rows,)` int16 the label of each descriptor, and int64 the number of its object."""
        labels, owners = [np.zeros(0, np.int16)], [np.zeros(0, np.int64)]
        last: tuple[str, int] | None = None
        count = 0
        for images, parts, objects in self._descriptors.keys():
            each = list(zip(images, objects.tolist(), strict=True))
            is_new = np.fromiter(map(operator.ne, each, [last, *each[:-1]]), bool, len(each))
            owners.append(count - 1 + is_new.cumsum())
            labels.append(parts)
            last, count = each[-1], count + int(is_new.sum())
        return np.concatenate(labels), np.concatenate(owners)

    def _blocks(self, labels: Sequence[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(label, row numbers, their descriptors `(rows, channels)`) in blocks."""
        start, damaged = 0, 0
        for vectors in self._descriptors.vectors():
            own = self._labels[start : start + len(vectors)]
            for label in labels:
                rows = np.flatnonzero(own == label)
                chosen = np.asarray(vectors[rows])
                finite = np.isfinite(chosen).all(axis=1)
                damaged += len(rows) - int(finite.sum())
                yield label, start + rows[finite], chosen[finite]
            start += len(vectors)
        if damaged:
            _LOG.warning("%s: %d descriptors are not finite", self._descriptors.path, damaged)
        if start != len(self._labels):
            raise DataError(
                f"{self._descriptors.path}: has {start} descriptors, expected {len(self._labels)}",
                path=self._descriptors.path,
            )

    def _measure(self, labels: Sequence[int]) -> None:
        """Measure the scales of the parts for which this is not done yet."""
        labels = [label for label in labels if label not in self._scales]
        if not labels:
            return
        channels = self._descriptors.channels
        sums = {label: np.zeros((2, channels)) for label in labels}
        counts = dict.fromkeys(labels, 0)
        for label, rows, vectors in self._blocks(labels):
            sums[label] += vectors.sum(0, np.float64), np.square(vectors, dtype=np.float64).sum(0)
            counts[label] += len(rows)
        for label in labels:
            self._scales[label] = _Scale.of(counts[label], *sums[label])

    def _names_of(self, pictures: Sequence[Parts]) -> set[str]:
        """The names that the files of pictures have among the images of the folder."""
        root = os.path.realpath(self.root)
        paths = [parts.path for parts in pictures if parts.path]
        files = [os.path.realpath(path) for path in paths if not is_address(path)]
        inside = [file for file in files if file.startswith(os.path.join(root, ""))]
        return {os.path.relpath(file, root).replace(os.sep, "/") for file in inside}

    def _images_of(self, owners: np.ndarray) -> Iterator[tuple[int, tuple[str, int]]]:
        """(number of an object, (its image, its number in the image)), in the order of `owners`."""
        wanted = np.sort(owners)
        first_rows = np.searchsorted(self._owners, wanted)
        found, start = {}, 0
        for images, _, objects in self._descriptors.keys():
            inside = (first_rows >= start) & (first_rows < start + len(images))
            for owner, row in zip(wanted[inside], first_rows[inside] - start, strict=True):
                found[int(owner)] = (images[row], int(objects[row]))
            start += len(images)
            if len(found) == len(wanted):
                break
        return ((owner, found[owner]) for owner in owners.tolist())


class _Scale(NamedTuple):
    """By which the descriptors of a part are made comparable.

    Attributes:
        mean, deviation: `(channels,)` of the descriptors; the deviation is infinite where all are
            the same.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, count: int, total: np.ndarray, squares: np.ndarray) -> "_Scale":
        if count < _MIN_ROWS:
            return cls(np.zeros(total.shape, np.float32), np.ones(total.shape, np.float32))
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        is_constant = deviation <= 1e-6 * np.abs(mean)
        deviation[is_constant] = np.inf
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def directions(self, vectors: np.ndarray) -> np.ndarray:
        """Descriptors `(rows, channels)` as vectors of length 1, or 0."""
        scaled = (vectors - self.mean) / self.deviation
        return scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)

    def mean_direction(self, vectors: Sequence[np.ndarray | None]) -> np.ndarray:
        """`(channels,)`, whose product with a direction is the mean cosine."""
        return self.directions(np.array(vectors)).mean(axis=0)


def part_names(folder: str | PathLike[str]) -> tuple[str, ...]:
    """The names of the parts in a results folder, which need not have descriptors.

    Raises:
        ConfigError: it is no results folder on this machine.
    """
    return _names(_results(os.fspath(folder))[1])


def _results(path: str) -> tuple[LocalOutput, Mapping[str, Any]]:
    """The results folder at its path or at that of a file in it, and its run.json."""
    if is_address(path):
        raise ConfigError(f"{path}: copy the results to this machine first, to search them")
    path = os.path.dirname(path) or "." if os.path.isfile(path) else path
    output = open_output(path, "")
    assert isinstance(output, LocalOutput)
    records = dict(run_records(output))
    if not records:
        raise ConfigError(_no_results(path), path=path)
    return output, records.get(RUN_FILE) or next(iter(records.values()))


def _names(record: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(map(str, record["configuration"].get("names", ())))


def _no_results(path: str) -> str:
    beside = f"{os.path.normpath(path)}-parts"
    if os.path.isdir(beside):
        return f"{path} has no results of `segment`; {beside} may have them"
    if not os.path.isdir(path):
        return f"there is no folder {path}{_similar_folder(Path(path))}"
    return (
        f"{path} has no results of `segment`. Segment images first: keras-parts segment "
        f"{shlex.quote(path)} --output {shlex.quote(beside)} --format {_FORMAT}"
    )


def _similar_folder(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    return suggestion(path.name, (each.name for each in path.parent.iterdir() if each.is_dir()))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest finite values, descending; of equal ones the first."""
    indices = np.flatnonzero(np.isfinite(values))
    if indices.size > count:
        limit = np.partition(values[indices], -count)[-count]
        indices = indices[values[indices] >= limit]
    return indices[np.argsort(-values[indices], kind="stable")][:count]
