"""Cards: what is known of a model, and what its files must be before one of them is opened."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path

from keras_parts.errors import IntegrityError

FORMAT = 1
CARD_FILE = "card.json"
CONFIG_FILE, WEIGHTS_FILE = "segmenter.json", "segmenter.weights.h5"
"""What `PartSegmenter.save_preset` writes, named here so that listing imports no Keras."""
_MAX_CARD = 2**20
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class FileRecord:
    """sha256 (hexadecimal) and size (bytes) of a file."""

    sha256: str
    size: int

    @classmethod
    def of(cls, path: str | PathLike) -> "FileRecord":
        """The record of the file as it is."""
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(digest, file.tell())


@dataclass(frozen=True)
class Card:
    """A model of the zoo.

    Attributes:
        name: lower-case words joined by "-".
        version: of the model, "1.0.0".
        dataset, split: what it was trained on.
        parts: number of parts K. part_names: one a part.
        architecture: of the segmenter. recipe: that it was trained with. seed: of the training.
        metrics: protocol -> metric -> per cent.
        files: file name -> `FileRecord`, all files of the entry but the card.
        licence: of code and weights. data_licence: of the training data.
        about: a sentence for users.
        format: of the card.

    Raises:
        IntegrityError: a field is not of its kind or outside its range.
    """

    name: str
    version: str
    dataset: str
    split: str
    parts: int
    part_names: tuple[str, ...]
    architecture: str
    recipe: str
    seed: int
    metrics: Mapping[str, Mapping[str, float]]
    files: Mapping[str, FileRecord] = field(repr=False)
    licence: str
    data_licence: str = ""
    about: str = ""
    format: int = FORMAT

    def __post_init__(self):
        texts = ("dataset", "split", "architecture", "recipe", "licence", "data_licence", "about")
        for name in texts:
            self._check(name, isinstance(getattr(self, name), str), "a text")
        self._check("name", _fits(_NAME, self.name), 'lower-case words joined by "-"')
        self._check("version", _fits(_VERSION, self.version), 'a version such as "1.0.0"')
        self._check("format", self.format == FORMAT, f"{FORMAT}")
        self._check("parts", type(self.parts) is int and 1 <= self.parts <= 255, "1 to 255")
        self._check("seed", type(self.seed) is int, "a whole number")
        names = self.part_names
        fits = len(names) == self.parts and all(isinstance(name, str) for name in names)
        self._check("part_names", fits, f"{self.parts} names")
        complete = {CONFIG_FILE, WEIGHTS_FILE} <= set(self.files)
        self._check("files", complete, f"at least {CONFIG_FILE} and {WEIGHTS_FILE}")
        for name, record in self.files.items():
            self._check("files", _fits(_FILE, name), "plain file names")
            fits = _fits(_SHA256, record.sha256) and type(record.size) is int and record.size >= 0
            self._check("files", fits, "the sha256 and size of each")

    def _check(self, name, fits, expected):
        if not fits:
            raise IntegrityError(f"card: {name} is {getattr(self, name)!r}, expected {expected}")

    def to_json(self) -> dict:
        """Plain JSON values."""
        return asdict(self) | {"part_names": list(self.part_names)}

    @classmethod
    def from_json(cls, values) -> "Card":
        """The inverse of `to_json`."""
        names = {one.name for one in fields(cls)}
        found = set(values) if isinstance(values, dict) else set()
        if found != names:
            raise IntegrityError(
                f"card: fields {sorted(names - found)} are missing, {sorted(found - names)} unknown"
            )
        try:
            files = {name: FileRecord(**record) for name, record in values["files"].items()}
            metrics = {
                protocol: {metric: float(value) for metric, value in found.items()}
                for protocol, found in values["metrics"].items()
            }
            given = {
                "files": files,
                "metrics": metrics,
                "part_names": tuple(values["part_names"]),
            }
        except (TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(
                f"card: files, metrics or part_names cannot be read: {error}"
            ) from None
        return cls(**values | given)


def read_card(folder: str | PathLike) -> Card:
    """The card of an entry's folder.

    Raises:
        IntegrityError: missing, too large, not JSON, or a field that is wrong.
    """
    path = Path(folder, CARD_FILE)
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_CARD + 1)
        if len(text) > _MAX_CARD:
            raise IntegrityError(f"{path}: larger than {_MAX_CARD:,} bytes")
        return Card.from_json(json.loads(text))
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: not a card: {error}") from error
    except IntegrityError as error:
        raise error if str(path) in str(error) else IntegrityError(f"{path}: {error}") from None


def verify(folder: str | PathLike, card: Card) -> None:
    """Compare every file of an entry with its card, size first, without parsing any.

    Raises:
        IntegrityError: a file is missing or differs; names the file, what was expected and found.
    """
    for name, expected in card.files.items():
        path = Path(folder, name)
        try:
            size = path.stat().st_size
            found = FileRecord.of(path) if size == expected.size else None
        except OSError as error:
            raise IntegrityError(f"{path}: cannot be read: {error.strerror}") from error
        if found is None:
            raise IntegrityError(f"{path}: has {size:,} bytes, expected {expected.size:,}")
        if found != expected:
            raise IntegrityError(
                f"{path}: sha256 is {found.sha256}, expected {expected.sha256}: the file was "
                "changed or damaged; install keras-parts again or fetch the model again"
            )


def _fits(pattern, text):
    return isinstance(text, str) and pattern.fullmatch(text) is not None
