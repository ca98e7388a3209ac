"""Write the masks of photographs into a folder, with a table and a page to look at them.

NAME.png     a mask for each photograph, 255 on the object and 0 elsewhere
masks.csv    where each mask comes from, and how certain it is
index.html   the photographs with the outlines of their masks, the least certain ones first; page/
"""

import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
from PIL import Image
from tqdm import tqdm

from keras_parts.data.readers.mask_sources import photographs_key
from keras_parts.data.readers.mask_table import (
    YOURS,
    MaskRow,
    append_row,
    read_table,
    write_table,
)
from keras_parts.data.readers.matching_files import (
    MatchingFiles,
    existing_folder,
    find_images,
    plain_name,
)
from keras_parts.errors import ConfigError, DataError, KerasPartsError
from keras_parts.files import atomic_write, read_file, try_lock, unlock
from keras_parts.foreground.found import FoundMask
from keras_parts.foreground.methods import MaskMethod
from keras_parts.images.decoding import read_image
from keras_parts.images.folders import LeftOut
from keras_parts.images.masks import read_mask
from keras_parts.results.mask_page import PageMask, write_mask_page
from keras_parts.results.pictures import picture_bytes

_LOG = logging.getLogger(__name__)
_MAX_SHOWN = 300
"""Maximum number of photographs on the page."""


class MaskFailure(NamedTuple):
    """A photograph without a mask.

    Attributes:
        photograph: its path, relative to the folder of photographs.
        message: of the error.
    """

    photograph: str
    message: str

    def __str__(self) -> str:
        shown = self.photograph in self.message
        return self.message if shown else f"{self.photograph}: {self.message}"


@dataclass(frozen=True)
class MaskSummary:
    """The counts of `write_masks`.

    Attributes:
        found: number of photographs.
        written: number of masks that were written.
        origins: {where the masks in the folder come from: their number}; "yours" for those that the
            user made or corrected.
        kept: number of masks that were there before.
        empty: number of masks without an object.
        failures: photographs without a mask.
        page: the page to look at the masks; None if there are none.
    """

    found: int
    written: int
    origins: dict[str, int]
    kept: int
    empty: int
    failures: tuple[MaskFailure, ...]
    page: str | None


def write_masks(
    photos: str | PathLike,
    output: str | PathLike,
    method: MaskMethod,
    *,
    overwrite: bool = False,
    progress: bool = True,
    on_failure: Callable[[MaskFailure], None] | None = None,
) -> MaskSummary:
    """Write a mask for each photograph of a folder that has none.

    Masks that the user made or corrected are kept. An interrupted call is continued by the next
    one. A photograph that cannot be read is reported, and the others are done.

    Args:
        photos: folder of the photographs, read with all folders below it.
        output: folder of the masks, which may have some. Their names are those of the photographs
            with the suffix .png.
        method: finds the objects, see `keras_parts.foreground.methods`. A joint method sees all
            photographs, also if only some masks are missing.
        overwrite: make all masks anew that the user has not changed.
        progress: show progress bars.
        on_failure: called with each failure.

    Raises:
        DataError: there is no such folder, or it has no photographs.
        ConfigError: the folders are the same, or another process writes the masks.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from keras_parts.data.mask_folder import write_masks
        >>> from keras_parts.foreground import FoundMask
        >>> from keras_parts.foreground.methods import MaskMethod
        >>> Path("photos").mkdir()
        >>> Image.new("RGB", (40, 30)).save("photos/a.jpg")
        >>> everything = FoundMask(np.ones((30, 40), bool), 0.5)
        >>> method = MaskMethod("all", lambda read, count, photographs: [everything] * count)
        >>> write_masks("photos", "masks", method, progress=False).origins
        {'all': 1}
    """
    root, folder = existing_folder(photos, "the photographs"), Path(output).expanduser()
    if folder.exists() and folder.samefile(root):
        raise ConfigError(
            f"{folder} is the folder of the photographs: masks need a folder of their own",
            setting="output",
            value=str(output),
        )
    left_out = LeftOut()
    paths = find_images(root, exclude=[folder] if folder.is_dir() else [], left_out=left_out)
    if not paths:
        raise DataError(f"{root} has no images" + (f" ({left_out})" if str(left_out) else ""))
    if str(left_out):
        _LOG.warning("%s: %s", root, left_out)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        masks = _MaskFolder(root, folder, paths, on_failure)
        missing = masks.missing(overwrite=overwrite)
        if missing:
            _LOG.info("%d of %d photographs need a mask", len(missing), len(paths))
            masks.make(missing, method, progress=progress)
        return masks.finish(progress=progress)


class _MaskFolder:
    """The folder of masks while it is written.

    Args:
        root: folder of the photographs.
        folder: of the masks.
        paths: of the photographs, relative to their folder.
        on_failure: called with each failure.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        paths: Sequence[Path],
        on_failure: Callable[[MaskFailure], None] | None,
    ):
        self._root, self._folder, self._paths = root, folder, paths
        self._on_failure, self._failures = on_failure, list[MaskFailure]()
        self._rows: dict[Path, MaskRow] = {}
        self._written = 0
        same = Counter(map(_stem, paths))
        self._shared = {path for path in paths if same[_stem(path)] > 1}

    def missing(self, *, overwrite: bool) -> list[Path]:
        """The photographs that need a mask; `_rows` gets those of the masks that are kept."""
        files = MatchingFiles(self._folder, "mask")
        table: Mapping[str, MaskRow] = read_table(self._folder) or {}
        missing = []
        for path in self._paths:
            name = path.as_posix()
            with self._failing(path):
                file = files.find(path)
                if file is None:
                    missing.append(path)
                    continue
                content, row = read_file(file), table.get(name)
                if row and row.is_of(content) and row.origin != YOURS:
                    self._rows[path] = row
                    missing += [path] if overwrite else []
                else:
                    share = float(read_mask(file).mean())
                    relative = file.relative_to(self._folder).as_posix()
                    self._rows[path] = MaskRow.of(
                        name, relative, content, origin=YOURS, share=share
                    )
        return missing

    def make(self, missing: Sequence[Path], method: MaskMethod, *, progress: bool) -> None:
        """Make the masks of photographs, and write each as soon as it is known."""
        write_table(self._folder, self._ordered_rows())  # rows are appended to a whole table
        found = self._together if method.is_joint else self._one_by_one
        made = found(missing, method)
        if method.is_joint:  # it has a bar of its own before the first mask
            first = list(itertools.islice(made, 1))
            made = itertools.chain(first, made)
        for path, mask in tqdm(made, "masks", len(missing), unit="image", disable=not progress):
            self._write(path, mask, method.origin)

    def finish(self, *, progress: bool) -> MaskSummary:
        """Write the table and the page."""
        rows = self._ordered_rows()
        write_table(self._folder, rows)
        paths = [path for path in self._paths if path in self._rows]
        paths.sort(key=lambda path: float(self._rows[path].confidence or 1))
        shown = tqdm(paths[:_MAX_SHOWN], "page", unit="image", delay=2, disable=not progress)
        page = write_mask_page(
            self._folder,
            filter(None, map(self._shown, shown)),
            title=f"Masks of {self._root.name}",
            total=len(rows),
            failures=self._failures,
        )
        return MaskSummary(
            found=len(self._paths),
            written=self._written,
            origins=dict(Counter(row.origin for row in rows)),
            kept=len(rows) - self._written,
            empty=sum(float(row.share) == 0 for row in rows),
            failures=tuple(self._failures),
            page=str(page) if rows else None,
        )

    def _together(
        self, missing: Sequence[Path], method: MaskMethod
    ) -> Iterator[tuple[Path, FoundMask]]:
        """The masks of a method that sees all photographs that can be read."""
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            problems = list(pool.map(self._problem, self._paths))
        for path, problem in zip(self._paths, problems, strict=True):
            if problem:
                self._fail(path, problem)
        seen = [path for path, problem in zip(self._paths, problems, strict=True) if not problem]
        if not seen:
            return
        key, needed = photographs_key(self._root, seen), set(missing)
        found = method.find(lambda index: read_image(self._root / seen[index]), len(seen), key)
        for path, mask in zip(seen, found, strict=True):
            if path in needed:
                yield path, mask

    def _one_by_one(
        self, missing: Sequence[Path], method: MaskMethod
    ) -> Iterator[tuple[Path, FoundMask]]:
        """The masks of a method that sees one photograph at a time."""
        for path in missing:
            with self._failing(path):
                read = [read_image(self._root / path)].__getitem__
                (mask,) = method.find(read, 1, path.as_posix())
                yield path, mask

    def _write(self, path: Path, found: FoundMask, origin: str) -> None:
        name = f"{path.name}.png" if path in self._shared else f"{path.stem}.png"
        relative = path.with_name(name)
        content = picture_bytes(Image.fromarray(found.mask.astype(np.uint8) * 255), ".png")
        row = MaskRow.of(
            path.as_posix(),
            relative.as_posix(),
            content,
            origin=origin,
            confidence=float(found.confidence),
            share=float(found.mask.mean()),
        )
        append_row(self._folder, row)
        file = self._folder / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as opened:
            opened.write(content)
        self._rows[path] = row
        self._written += 1

    def _shown(self, path: Path) -> PageMask | None:
        """The photograph on the page; None if it cannot be read any more."""
        row = self._rows[path]
        with self._failing(path):
            return PageMask(
                name=path.as_posix(),
                image=read_image(self._root / path),
                mask=read_mask(self._folder / row.mask),
                confidence=float(row.confidence) if row.confidence else None,
                link=quote(os.path.relpath(self._root / path, self._folder).replace(os.sep, "/")),
            )
        return None

    def _ordered_rows(self) -> list[MaskRow]:
        return [self._rows[path] for path in self._paths if path in self._rows]

    def _problem(self, path: Path) -> str:
        """Why a photograph cannot be read; "" if it can be."""
        try:
            read_image(self._root / path)
        except (KerasPartsError, OSError, MemoryError) as error:
            return str(error) or type(error).__name__
        return ""

    @contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        """Report an error about a photograph, and go on with the next one."""
        try:
            yield
        except (KerasPartsError, OSError, MemoryError) as error:
            self._fail(path, str(error) or type(error).__name__)

    def _fail(self, path: Path, message: str) -> None:
        if any(failure.photograph == path.as_posix() for failure in self._failures):
            return
        failure = MaskFailure(path.as_posix(), message)
        self._failures.append(failure)
        if self._on_failure:
            self._on_failure(failure)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = try_lock(folder / ".lock")
    if lock is None:
        raise ConfigError(
            f"{folder}: another process is writing these masks: wait until it has ended",
            path=folder,
        )
    try:
        yield
    finally:
        unlock(lock)


def _stem(path: Path) -> str:
    """The name of a photograph by which its mask is found."""
    return plain_name(path.with_suffix("").as_posix())
