"""Cards: what is known about a model, and the size and checksum of each of its files.

A card is JSON, and the classes below are its schema: a card with a missing, wrong or additional
field is refused. A card with a new field is therefore a new format (`FORMAT`); a card of a later
format is refused with the advice to update the package. Reading a card imports neither Keras nor
NumPy, so that listing the models is fast.
"""

import hashlib
import itertools
import statistics
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from keras_parts import __version__
from keras_parts.errors import DataError, IntegrityError
from keras_parts.files import check_regular, file_sha256, read_limited
from keras_parts.models.saved_config import CONFIG_FILE, WEIGHTS_FILE

FORMAT: Final = 3
"""Format of the cards that this version of the package writes. Format 3 added `Evaluation.best`."""
OLDEST_FORMAT: Final = 2
"""The oldest format of cards that it reads, and the format of indices."""
CARD_FILE = "card.json"
GOLDEN_FILE, PICTURE_FILE = "golden.h5", "picture.png"
MAX_CARD_BYTES = 2**20
MAX_FILE_BYTES = 2**33

# \Z instead of $, which accepts a final line feed; Windows reserves some names of folders.
MODEL_NAME = r"\A(?!(con|nul|aux|prn|com[0-9]|lpt[0-9])\Z)[a-z0-9]+(-[a-z0-9]+)*\Z"
Name = Annotated[str, Meta(pattern=MODEL_NAME, max_length=64)]
"""Name of a model: lower-case words joined by "-"."""
Version = Annotated[str, Meta(pattern=r"\A(0|[1-9]\d{0,5})(\.(0|[1-9]\d{0,5})){2}\Z")]
"""Version of a model, such as "1.0.0"."""
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
FileName = Literal["segmenter.json", "segmenter.weights.h5", "golden.h5", "picture.png"]
"""All files that an entry can have beside its card: no other name ever becomes a path."""
_Url = Annotated[str, Meta(pattern=r"\Ahttps?://[!-~]+\Z", max_length=2000)]
# No control characters, which a terminal would execute, and none that turn the direction of writing
# or end a line in other ways: a name would show as another one.
_SHOWN = r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069{}]"
_Line = Annotated[str, Meta(max_length=2000, pattern=rf"\A{_SHOWN.format(chr(10))}*\Z")]
_Text = Annotated[str, Meta(max_length=20_000, pattern=rf"\A{_SHOWN.format('')}*\Z")]
_PerCent = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_MAX_DEPTH, _MAX_VALUES = 16, 10_000
"""Maximum nesting and number of the values of a recipe or a configuration."""
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Byte = Annotated[int, Meta(ge=0, le=255)]
_Part = Annotated[int, Meta(ge=1, le=64)]
Values = dict[_Line, dict[_Line, _PerCent]]
"""Protocol -> metric -> per cent, as `Report.values`."""
_T = TypeVar("_T")


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the schema's classes: immutable, and JSON with an additional field is refused."""


class FileRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Size and checksum of a file.

    Attributes:
        sha256: hexadecimal.
        size: in bytes.
        url: a further address of the file, tried after the locations where the card was found.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.zoo import FileRecord
        >>> _ = Path("notes.txt").write_bytes(b"hello")
        >>> record = FileRecord.of("notes.txt")
        >>> record.size
        5
        >>> record.check("notes.txt")  # raises an IntegrityError if the file has changed
    """

    sha256: Sha256
    size: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]
    url: _Url | None = None

    @classmethod
    def of(cls, path: str | PathLike[str]) -> "FileRecord":
        """The record of an existing file."""
        size = check_regular(path)
        return cls(sha256=file_sha256(path), size=size)

    def check(self, path: str | PathLike[str], *, source: object = None) -> None:
        """Compare a file with the record, its size first; nothing is parsed.

        Args:
            path: of the file.
            source: the file's name in messages, such as its address; the path by default.

        Raises:
            IntegrityError: it cannot be read or differs; names the file, expected and found.
        """
        source = source or path
        try:
            self._check_size(check_regular(path), source)
            found = FileRecord.of(path).sha256
        except DataError as error:
            raise IntegrityError(str(error), path=path) from error
        except OSError as error:
            raise IntegrityError(
                f"{source}: cannot be read: {error.strerror}", path=path
            ) from error
        self._check_sha256(found, source)

    def check_content(self, content: bytes, *, source: object) -> None:
        """Compare the content of a file with the record; as `check`."""
        self._check_size(len(content), source)
        self._check_sha256(hashlib.sha256(content).hexdigest(), source)

    def _check_size(self, found: int, source: object) -> None:
        if found != self.size:
            raise IntegrityError(
                f"{source}: has {found:,} bytes, expected {self.size:,}",
                path=str(source),
                expected=self.size,
                found=found,
            )

    def _check_sha256(self, found: str, source: object) -> None:
        if found != self.sha256:
            raise IntegrityError(
                f"{source}: sha256 is {found}, expected {self.sha256}: the file was changed or "
                "damaged",
                path=str(source),
                expected=self.sha256,
                found=found,
            )


class Training(
    Record,
    frozen=True,
    kw_only=True,
    rename={"num_images": "images", "num_categories": "categories"},
):
    """How a model was trained.

    Attributes:
        dataset, split: the training data.
        num_images, num_categories: of the training data; None if unknown.
        recipe: all settings, by name.
        seed: of the training.
        steps: number of training steps; None if unknown.
        commit: of the source code, "" if unknown.
        versions: library -> version.
    """

    dataset: _Line
    split: _Line
    num_images: _Count | None = None
    num_categories: _Count | None = None
    recipe: dict[str, Any]
    seed: _Count
    steps: _Count | None = None
    commit: _Line = ""
    versions: dict[_Line, _Line | None]


class SeedResult(Record, frozen=True, kw_only=True):
    """Metrics of one of several trainings that differ in the seed alone.

    Attributes:
        seed: of the training.
        values: metrics on the split that the card's evaluation names.
        validation: metrics on the split by which one of the trainings was chosen, or empty.
    """

    seed: _Count
    values: Values
    validation: Values = {}


class Evaluation(Record, frozen=True, kw_only=True, rename={"num_images": "images"}):
    """Metrics of a model, measured with the files of its entry.

    Attributes:
        dataset, split, num_images: the test data.
        values: metrics of this model.
        best: the largest values that parts can have on these labels, of the metrics that have one.
        titles: protocol -> its description in a line.
        shares: fraction of the object's pixels in each part; 0 for an unused part.
        seeds: metrics of all trainings of this recipe, this model's among them.
        chosen_by: why this training became the entry, "" if there was only one.
    """

    dataset: _Line
    split: _Line
    num_images: _Count
    values: Values
    # Not written where it is unset: the digests of cards of format 2 stay as they are.
    best: Values | msgspec.UnsetType = msgspec.UNSET
    titles: dict[_Line, _Line] = {}
    shares: tuple[_Share, ...] = ()
    seeds: tuple[SeedResult, ...] = ()
    chosen_by: _Line = ""

    def spread(self, protocol: str, metric: str) -> tuple[float, float] | None:
        """(mean, standard deviation) over the seeds; None for fewer than two seeds."""
        values = [
            seed.values[protocol][metric]
            for seed in self.seeds
            if metric in seed.values.get(protocol, {})
        ]
        return (statistics.mean(values), statistics.stdev(values)) if len(values) > 1 else None


class Licences(Record, frozen=True, kw_only=True):
    """Licences of the package's code and of the weights, and the terms of the training data.

    Terms of models that the training began from are among them.
    """

    code: _Line
    weights: _Line
    data: _Line

    def __str__(self) -> str:
        return f"weights: {self.weights}; training data: {self.data}"


class Card(
    Record, frozen=True, kw_only=True, rename={"num_parts": "parts", "num_parameters": "parameters"}
):
    """The card of a model.

    The JSON calls `num_parts` "parts" and `num_parameters` "parameters".

    Attributes:
        name, version: of the model.
        about: what it segments, in a sentence or two.
        intended_use, limits, citation: texts for its users.
        num_parts: number of parts K.
        part_names, palette (RGB): one for each part.
        pairs: pairs of parts, numbered from 1, that swap in a mirrored image.
        segmenter: the content of `segmenter.json`, see `SegmenterConfig`.
        num_parameters: number of weights.
        training, evaluation, licences: see these classes.
        golden_tolerance: maximum difference of the logits from those of the golden pair.
        files: file name -> `FileRecord`, all files of the entry but the card.
        format: of the card.

    Raises:
        IntegrityError: fields contradict each other.

    Example:
        >>> import keras_parts
        >>> card = keras_parts.zoo.info("cub")
        >>> card.num_parts, card.training.dataset
        (4, 'cub')
    """

    format: Literal[2, 3]
    name: Name
    version: Version
    about: _Text
    intended_use: _Text
    limits: _Text
    citation: _Text
    num_parts: _Part
    part_names: tuple[_Line, ...]
    palette: tuple[tuple[_Byte, _Byte, _Byte], ...]
    pairs: tuple[tuple[_Part, _Part], ...] = ()
    segmenter: dict[str, Any]
    num_parameters: _Count
    training: Training
    evaluation: Evaluation | None = None
    licences: Licences
    golden_tolerance: Annotated[float, Meta(gt=0, le=1)]
    files: dict[FileName, FileRecord]

    def __post_init__(self) -> None:
        k = self.num_parts
        required = {CONFIG_FILE, WEIGHTS_FILE, GOLDEN_FILE}
        for name, valid, expected in (
            ("part_names", len(self.part_names) == k, f"{k} names"),
            ("palette", len(self.palette) == k, f"{k} colours"),
            ("pairs", self._pairs_are_valid(), f"pairs of different parts, from 1 to {k}"),
            (
                "segmenter",
                self._segmenter_is_valid(),
                f"an architecture, num_parts {k} and the card's part_names",
            ),
            (
                "evaluation",
                self.evaluation is None or self.evaluation.values,
                "metrics of a protocol at least, or null",
            ),
            ("files", required <= set(self.files), f"at least {', '.join(sorted(required))}"),
        ):
            if not valid:
                raise IntegrityError(
                    f"card: {name} is {getattr(self, name)!r:.200}, expected {expected}"
                )
        _check_json("segmenter", self.segmenter)
        _check_json("training.recipe", self.training.recipe)

    def _pairs_are_valid(self) -> bool:
        members = [part for pair in self.pairs for part in pair]
        return len(set(members)) == len(members) and max(members, default=1) <= self.num_parts

    def _segmenter_is_valid(self) -> bool:
        # Format 1 of segmenter.json calls num_parts "parts".
        num_parts = self.segmenter.get("num_parts", self.segmenter.get("parts"))
        found = (num_parts, self.segmenter.get("part_names"))
        return found == (self.num_parts, [*self.part_names]) and isinstance(
            self.segmenter.get("architecture"), str
        )

    @property
    def id(self) -> str:
        """Name and version, such as "cub@1.0.0"."""
        return f"{self.name}@{self.version}"

    @property
    def architecture(self) -> str:
        """Name of the segmenter's architecture."""
        return self.segmenter["architecture"]

    @property
    def size(self) -> int:
        """Size of all files but the card, in bytes."""
        return sum(record.size for record in self.files.values())

    @property
    def digest(self) -> str:
        """sha256 of the card's values, the checksums of all files among them."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return msgspec.to_builtins(self)

    def encode(self) -> bytes:
        """The content of a card's file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def decode(cls, content: bytes, source: str | PathLike[str]) -> "Card":
        """The card in the content of a file, the inverse of `encode`.

        Raises:
            IntegrityError: too large, not JSON, of another format, or a field does not follow the
                schema; names `source`.
        """
        return decode(content, cls, source, max_bytes=MAX_CARD_BYTES)


def _check_json(name: str, values: Any) -> None:
    """Raise IntegrityError if free JSON values are nested deeply, or many, or large numbers."""
    pending = [(values, 0)]
    for count in itertools.count(1):
        if not pending:
            return
        value, depth = pending.pop()
        if depth > _MAX_DEPTH or count > _MAX_VALUES:
            raise IntegrityError(
                f"card: {name} has more than {_MAX_DEPTH} levels or {_MAX_VALUES:,} values"
            )
        if isinstance(value, int) and abs(value) > 2**63:
            raise IntegrityError(f"card: {name} has a number beyond 64 bits")
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            pending += [(one, depth + 1) for one in inner]


class _AnyFormat(Struct):
    format: Any = None


def decode(content: bytes, kind: type[_T], source: str | PathLike[str], *, max_bytes: int) -> _T:
    """JSON as an object of one of the schema's classes.

    Raises:
        IntegrityError: larger than `max_bytes`, not JSON, of another format, or not as the schema
            requires.
    """
    source = fspath(source)
    if len(content) > max_bytes:
        raise IntegrityError(
            f"{source}: has more than {max_bytes:,} bytes, the maximum for such a file", path=source
        )
    try:
        if "format" in getattr(kind, "__struct_fields__", ()):
            _check_format(msgspec.json.decode(content, type=_AnyFormat).format)
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise IntegrityError(
            f"{source}: does not follow the schema: {error}", path=source
        ) from None
    except IntegrityError as error:
        raise IntegrityError(f"{source}: {error}", path=source) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{source}: not JSON: {error}", path=source) from None


def _check_format(found: object) -> None:
    """Raise IntegrityError with the way out if a file has another format.

    The schema refuses values that are not whole numbers.
    """
    if type(found) is not int or OLDEST_FORMAT <= found <= FORMAT:
        return
    if found > FORMAT:
        way_out = "update the package: pip install --upgrade keras-parts"
    else:
        way_out = "pack and publish the model again with this version"
    raise IntegrityError(
        f"has format {found}, but keras-parts {__version__} reads formats {OLDEST_FORMAT} to "
        f"{FORMAT}: {way_out}",
        expected=FORMAT,
        found=found,
    )


def read_card(folder: str | PathLike[str]) -> Card:
    """The card in the folder of an entry.

    Raises:
        IntegrityError: missing, or as for `Card.decode`.
    """
    path = Path(folder, CARD_FILE)
    return Card.decode(read_document(path, MAX_CARD_BYTES), path)


def read_document(path: Path, max_bytes: int) -> bytes:
    """A small file of an entry; as `files.read_limited`.

    Raises:
        IntegrityError: the file cannot be read.
    """
    try:
        return read_limited(path, max_bytes)
    except DataError as error:
        raise IntegrityError(str(error), path=path) from error


def check_files(folder: str | PathLike[str], card: Card) -> None:
    """Compare every file of an entry with its card; nothing is parsed.

    Raises:
        IntegrityError: a file is missing or differs; names the file, expected and found.
    """
    for name, record in card.files.items():
        record.check(Path(folder, name))
