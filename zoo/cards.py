"""Cards: what is known of a model, and what its files must be before one of them is opened.

A card is JSON, and the classes here are its schema: a file that does not fit them, field by field,
is refused. Reading one imports neither Keras nor numpy, so that listing is instant.
"""

import hashlib
import statistics
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from keras_parts.errors import IntegrityError

FORMAT = 2
CARD_FILE = "card.json"
CONFIG_FILE, WEIGHTS_FILE = "segmenter.json", "segmenter.weights.h5"
"""What `PartSegmenter.save_preset` writes, named here so that listing imports no Keras."""
GOLDEN_FILE, PICTURE_FILE = "golden.h5", "picture.png"
MAX_CARD = 2**20
"""Bytes of the largest card that is read."""
MAX_FILE = 2**33

# \Z and not $, which lets a line feed pass; device names of Windows are no names of folders.
_NAME = r"\A(?!(con|nul|aux|prn|com[0-9]|lpt[0-9])\Z)[a-z0-9]+(-[a-z0-9]+)*\Z"
Name = Annotated[str, Meta(pattern=_NAME, max_length=64)]
"""Of a model: lower-case words joined by "-"."""
Version = Annotated[str, Meta(pattern=r"\A(0|[1-9]\d{0,5})(\.(0|[1-9]\d{0,5})){2}\Z")]
"""Of a model: "1.0.0"."""
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
FileName = Literal["segmenter.json", "segmenter.weights.h5", "golden.h5", "picture.png"]
"""All files that an entry can have beside its card: no other name ever becomes a path."""
_Url = Annotated[str, Meta(pattern=r"\Ahttps?://[!-~]+\Z", max_length=2000)]
# Without control characters: terminals obey them.
_Line = Annotated[str, Meta(max_length=2000, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]
_Text = Annotated[str, Meta(max_length=20_000, pattern=r"\A[^\x00-\x09\x0b-\x1f\x7f-\x9f]*\Z")]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Byte = Annotated[int, Meta(ge=0, le=255)]
_Part = Annotated[int, Meta(ge=1, le=64)]
Values = dict[_Line, dict[_Line, float]]
"""Protocol -> metric -> per cent, as `Report.values`."""


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Values that never change, read from JSON without any field too many."""


class FileRecord(Record, kw_only=True, omit_defaults=True):
    """What a file must be.

    Attributes:
        sha256: hexadecimal. size: in bytes.
        url: where it can be had, apart from the places that the card itself was found in.
    """

    sha256: Sha256
    size: Annotated[int, Meta(ge=0, le=MAX_FILE)]
    url: _Url | None = None

    @classmethod
    def of(cls, path: str | PathLike) -> "FileRecord":
        """The record of the file as it is."""
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(sha256=digest, size=file.tell())

    def check(self, path: str | PathLike, where: object = None) -> None:
        """Raise unless the file is what it must be: size first, then sha256; nothing is parsed.

        Args:
            path: of the file.
            where: what it is called in messages; the path by default.

        Raises:
            IntegrityError: it cannot be read or differs; names the file, expected and found.
        """
        where = where or path
        try:
            self._check_size(Path(path).stat().st_size, where)
            found = FileRecord.of(path).sha256
        except OSError as error:
            raise IntegrityError(f"{where}: cannot be read: {error.strerror}") from error
        self._check_sha256(found, where)

    def check_content(self, content: bytes, where: object) -> None:
        """`check` for a file that has been read."""
        self._check_size(len(content), where)
        self._check_sha256(hashlib.sha256(content).hexdigest(), where)

    def _check_size(self, found, where):
        if found != self.size:
            raise IntegrityError(f"{where}: has {found:,} bytes, expected {self.size:,}")

    def _check_sha256(self, found, where):
        if found != self.sha256:
            raise IntegrityError(
                f"{where}: sha256 is {found}, expected {self.sha256}: it was changed or damaged"
            )


class Training(Record, kw_only=True):
    """How a model came about.

    Attributes:
        dataset, split: what it was trained on. images: how many. categories: in how many.
        recipe: all settings, by name. seed: of the training. steps: made.
        commit: of the source, "" where it is not known. versions: library -> version.
    """

    dataset: _Line
    split: _Line
    images: _Count | None = None
    categories: _Count | None = None
    recipe: dict[str, Any]
    seed: _Count
    steps: _Count | None = None
    commit: _Line = ""
    versions: dict[_Line, _Line | None]


class SeedResult(Record, kw_only=True):
    """One of several trainings that differ in nothing but the seed.

    Attributes:
        seed: of the training.
        values: on the split that the card's evaluation names.
        validation: on the split that the model was chosen by; empty if there was no choice.
    """

    seed: _Count
    values: Values
    validation: Values = {}


class Evaluation(Record, kw_only=True):
    """What was measured, with the very files of the entry.

    Attributes:
        dataset, split, images: what on.
        values: of this model. titles: protocol -> what it is, in a line.
        shares: of each part in the object's pixels; a dead part has 0.
        seeds: the same for all trainings of this recipe, this one among them.
        chosen_by: why this seed is the one, "" for a single one.
    """

    dataset: _Line
    split: _Line
    images: _Count
    values: Values
    titles: dict[_Line, _Line] = {}
    shares: tuple[float, ...] = ()
    seeds: tuple[SeedResult, ...] = ()
    chosen_by: _Line = ""

    def spread(self, protocol: str, metric: str) -> tuple[float, float] | None:
        """(mean, standard deviation) over the seeds; None for fewer than two."""
        values = [
            seed.values[protocol][metric]
            for seed in self.seeds
            if metric in seed.values.get(protocol, {})
        ]
        return (statistics.mean(values), statistics.stdev(values)) if len(values) > 1 else None


class Licences(Record, kw_only=True):
    """Of the code, of the weights, and the terms of the data that they were trained on."""

    code: _Line
    weights: _Line
    data: _Line


class Card(Record, kw_only=True):
    """A model of the zoo.

    Attributes:
        name, version: of the model.
        about: what it is, in a sentence or two.
        intended_use, limits, citation: for its users.
        parts: number of parts K. part_names, palette (RGB): one a part.
        pairs: parts, counted from 1, that change places in a mirrored image.
        segmenter: the content of its configuration file, see `SegmenterConfig`.
        parameters: how many numbers it has.
        training, evaluation, licences: see there.
        golden_tolerance: how far logits may be from those of the golden pair.
        files: file name -> `FileRecord`, all files of the entry but the card.
        format: of the card.

    Raises:
        IntegrityError: fields contradict each other.
    """

    format: Literal[2]
    name: Name
    version: Version
    about: _Text
    intended_use: _Text
    limits: _Text
    citation: _Text
    parts: _Part
    part_names: tuple[_Line, ...]
    palette: tuple[tuple[_Byte, _Byte, _Byte], ...]
    pairs: tuple[tuple[_Part, _Part], ...] = ()
    segmenter: dict[str, Any]
    parameters: _Count
    training: Training
    evaluation: Evaluation | None = None
    licences: Licences
    golden_tolerance: Annotated[float, Meta(gt=0, le=1)]
    files: dict[FileName, FileRecord]

    def __post_init__(self):
        for name, fits, expected in (
            ("part_names", len(self.part_names) == self.parts, f"{self.parts} names"),
            ("palette", len(self.palette) == self.parts, f"{self.parts} colours"),
            ("pairs", self._pairs_fit(), f"pairs of different parts, up to {self.parts}"),
            ("segmenter", self._segmenter_fits(), "the parts and names of the card"),
            (
                "files",
                {CONFIG_FILE, WEIGHTS_FILE, GOLDEN_FILE} <= set(self.files),
                f"at least {CONFIG_FILE}, {WEIGHTS_FILE} and {GOLDEN_FILE}",
            ),
        ):
            if not fits:
                raise IntegrityError(
                    f"card: {name} is {getattr(self, name)!r:.200}, expected {expected}"
                )

    def _pairs_fit(self):
        members = [part for pair in self.pairs for part in pair]
        return len(set(members)) == len(members) and max(members, default=1) <= self.parts

    def _segmenter_fits(self):
        found = (self.segmenter.get("parts"), self.segmenter.get("part_names"))
        return found == (self.parts, [*self.part_names]) and isinstance(
            self.segmenter.get("architecture"), str
        )

    @property
    def id(self) -> str:
        """ "cub@1.0.0" """
        return f"{self.name}@{self.version}"

    @property
    def architecture(self) -> str:
        """Name of the segmenter's architecture."""
        return self.segmenter["architecture"]

    @property
    def digest(self) -> str:
        """sha256 of all that the card says, and so of its files too."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def to_json(self) -> dict:
        """Plain JSON values."""
        return msgspec.to_builtins(self)

    def encode(self) -> bytes:
        """The content of a card's file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def decode(cls, content: bytes, where: str | PathLike) -> "Card":
        """The inverse of `encode`.

        Raises:
            IntegrityError: too large, not JSON, or a field that is not what the schema says;
                `where` is named.
        """
        return decode(content, cls, where, MAX_CARD)


def decode(content: bytes, kind: type, where: str | PathLike, limit: int):
    """JSON as the classes of a schema.

    Raises:
        IntegrityError: larger than `limit` bytes, not JSON, or not as the schema says.
    """
    if len(content) > limit:
        raise IntegrityError(f"{where}: larger than {limit:,} bytes")
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"{where}: not what the schema says: {error}") from None
    except IntegrityError as error:
        raise IntegrityError(f"{where}: {error}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{where}: not JSON: {error}") from None


def read_card(folder: str | PathLike) -> Card:
    """The card of an entry's folder.

    Raises:
        IntegrityError: missing, too large, not JSON, or a field that is wrong.
    """
    path = Path(folder, CARD_FILE)
    return Card.decode(read_limited(path, MAX_CARD), path)


def read_limited(path: Path, limit: int) -> bytes:
    """A file's content, but not more than a byte over the limit.

    Raises:
        IntegrityError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror}") from error


def check_files(folder: str | PathLike, card: Card) -> None:
    """Compare every file of an entry with its card, without parsing any.

    Raises:
        IntegrityError: a file is missing or differs; names the file, what was expected and found.
    """
    for name, record in card.files.items():
        record.check(Path(folder, name))
