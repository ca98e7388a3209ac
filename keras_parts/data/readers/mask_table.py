"""The table in a folder of masks that the command `data masks` wrote: where each mask comes from.

A mask whose file differs from the checksum in the table, or that the table does not list, is the
user's own.
"""

import csv
import hashlib
import io
import logging
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from keras_parts.errors import DataError
from keras_parts.files import atomic_write, decode_text, read_file

_LOG = logging.getLogger(__name__)
TABLE_FILE = "masks.csv"
"""The table, in the folder of the masks."""
YOURS = "yours"
"""The origin of masks that the user made or corrected."""
_MAX_BYTES = 2**28


@dataclass(frozen=True)
class MaskRow:
    """A row of the table.

    Attributes:
        photograph: its path, relative to the folder of photographs, with forward slashes.
        mask: path of the mask's file, relative to the table.
        confidence: 0 to 1, as text; "" for masks of the user.
        share: of the photograph that the object covers, 0 to 1, as text.
        origin: the method and its version, or `YOURS`.
        sha256: of the mask's file, hexadecimal.
    """

    photograph: str
    mask: str
    confidence: str
    share: str
    origin: str
    sha256: str

    @classmethod
    def of(
        cls,
        photograph: str,
        mask: str,
        content: bytes,
        *,
        origin: str,
        confidence: float | None = None,
        share: float = 0.0,
    ) -> "MaskRow":
        """The row of a mask.

        Args:
            photograph, mask, origin: see the attributes.
            content: of the mask's file.
            confidence: None for a mask of the user.
            share: of the photograph that the object covers.
        """
        certain = "" if confidence is None else f"{confidence:.3f}"
        checksum = hashlib.sha256(content).hexdigest()
        return cls(photograph, mask, certain, f"{share:.4f}", origin, checksum)

    def is_of(self, content: bytes) -> bool:
        """Whether a mask's file has this content."""
        return self.sha256 == hashlib.sha256(content).hexdigest()


COLUMNS = tuple(each.name for each in fields(MaskRow))
"""The columns of the table."""


class MaskTable(Mapping[str, MaskRow]):
    """The rows of the table in a folder, by photograph.

    Args:
        folder: of the masks and the table.

    Raises:
        DataError: the table cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        content = read_file(folder / TABLE_FILE, max_bytes=_MAX_BYTES)
        text = decode_text(content, errors="surrogateescape")
        lines = csv.reader(io.StringIO(text, newline=""))
        try:
            if tuple(next(lines, ())) != COLUMNS:
                raise DataError(f"its first line is not {','.join(COLUMNS)}")
            # A killed process may leave half a line at the end.
            rows = [MaskRow(*line) for line in lines if len(line) == len(COLUMNS)]
            for row in rows:
                float(row.confidence or 0), float(row.share)
        except (csv.Error, DataError, ValueError) as error:
            raise DataError(
                f"{folder / TABLE_FILE}: cannot be read as a table: {error}. All masks in the "
                "folder count as given",
                path=folder / TABLE_FILE,
            ) from None
        self._rows = {row.photograph: row for row in rows}

    def __getitem__(self, photograph: str) -> MaskRow:
        return self._rows[photograph]

    def __iter__(self):
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def origin(self, photograph: str, file: Path) -> str:
        """Where a mask comes from: `YOURS` if its file is not the one in the table.

        Raises:
            DataError: the file cannot be read.
        """
        row = self._rows.get(photograph)
        return row.origin if row and row.is_of(read_file(file)) else YOURS


def read_table(folder: Path) -> MaskTable | None:
    """The table in a folder; None if there is none, or, with a warning, if it is damaged."""
    if not (folder / TABLE_FILE).is_file():
        return None
    try:
        return MaskTable(folder)
    except (DataError, UnicodeDecodeError) as error:
        _LOG.warning("%s", error)
        return None


def write_table(folder: Path, rows: Iterable[MaskRow]) -> None:
    """Write the table of a folder, atomically."""
    with atomic_write(folder / TABLE_FILE) as file:
        file.write(b"".join(map(_line, [COLUMNS, *map(astuple, rows)])))


def append_row(folder: Path, row: MaskRow) -> None:
    """Append a row to the table of a folder, before its mask is written: an interrupted run leaves
    no mask that seems to be the user's."""
    with open(folder / TABLE_FILE, "ab") as file:
        file.write(_line(astuple(row)))


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")
