"""Data sets whose official archives are downloaded: fetched, verified, unpacked.

    CACHE/datasets/archives/NAME    an archive; NAME.part until it is complete and verified
    CACHE/datasets/FOLDER           the unpacked data set, where `environment.data_folders` finds it

An archive is opened after its checksum was verified, also one that somebody else put there. The
checksums are those of the TFDS builder in `readers/cub_parts`.
"""

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

from keras_parts import transfer
from keras_parts.data.readers.sources import DatasetSource
from keras_parts.environment import OFFLINE_VARIABLE, cache_path, offline
from keras_parts.errors import ConfigError, DataError, DownloadError, IntegrityError
from keras_parts.files import check_regular, file_sha256, folder_bytes, locked

_READERS = Path(__file__).parent / "readers"
_CHECKSUMS = {"cub": _READERS / "cub_parts" / "checksums.tsv"}
"""Data set -> the addresses, sizes and checksums of its archives, in the form of TFDS."""
_INTO = {"segmentations.tgz": "CUB_200_2011"}
"""Archive -> the folder beside the data set's in which it is unpacked; "." for all others."""


@dataclass(frozen=True)
class Archive:
    """An archive and what is known of it.

    Attributes:
        name: of the file.
        url: its official address.
        size: in bytes.
        sha256: hexadecimal.
    """

    name: str
    url: str
    size: int
    sha256: str

    def check(self, path: str | PathLike[str], *, source: object = None) -> None:
        """Compare a file with the official archive; it is not opened as an archive.

        Args:
            path: of the file.
            source: its name in messages; the path by default.

        Raises:
            DataError: there is no such file.
            IntegrityError: its size or checksum is another one.
        """
        source, size = source or path, check_regular(path)
        if size != self.size:
            raise IntegrityError(
                f"{source}: {size:,} bytes, expected {self.size:,}: it is not {self.name}, or not "
                "complete. Remove it, or download it again",
                path=path, expected=self.size, found=size,
            )  # fmt: skip
        found = file_sha256(path)
        if found != self.sha256:
            raise IntegrityError(
                f"{source}: sha256 {found[:12]}..., expected {self.sha256[:12]}...: it is not "
                f"{self.name}, or damaged. Remove it, or download it again",
                path=path, expected=self.sha256, found=found,
            )  # fmt: skip


@dataclass(frozen=True)
class Download:
    """The download of a data set.

    Attributes:
        source: of the data set.
        archives: all that are needed.
    """

    source: DatasetSource
    archives: Sequence[Archive]

    @property
    def folder(self) -> Path:
        """The folder in which the data set's folder is made."""
        return cache_path("datasets", writable=True)

    @property
    def archive_folder(self) -> Path:
        """The folder of the archives."""
        return self.folder / "archives"

    def missing(self) -> list[Archive]:
        """The archives that are not in `archive_folder`."""
        return [one for one in self.archives if not (self.archive_folder / one.name).exists()]

    def describe(self) -> str:
        """What is downloaded from where to where, and under which terms."""
        names = " and ".join(one.name for one in self.archives)
        size = sum(one.size for one in self.archives) / 1e9
        hosts = ", ".join(dict.fromkeys(urlsplit(one.url).netloc for one in self.archives))
        return (
            f"{self.source.name}: {names} ({size:.1f} GB, and as much unpacked) from {hosts} to "
            f"{self.folder}. Terms: {self.source.licence}"
        )

    def by_hand(self) -> str:
        """What to put where without a download."""
        files = " and ".join(f"{one.name} ({one.url})" for one in self.archives)
        return (
            f"By hand: put {files} into {self.archive_folder} and give the command again, or name "
            f"the unpacked folder {self.source.folder} (--data-dir)"
        )

    def fetch(self, *, progress: bool = True) -> Path:
        """Download the archives that are missing, and verify all.

        Returns:
            `archive_folder`.

        Raises:
            DataError: an archive cannot be downloaded; what was received is kept, and the next
                call continues from there.
            IntegrityError: an archive differs from the official one.
        """
        with self._locked():
            self._fetch(progress)
        return self.archive_folder

    def unpack(self, *, progress: bool = True) -> Path:
        """Download the archives that are missing, verify all and unpack them.

        Returns:
            The folder of the data set. It appears when it is complete. Where
            `environment.data_folders` have one already, it is that one.

        Raises:
            DataError, IntegrityError: see `fetch`.
        """
        target = self.folder / self.source.folder
        with self._locked():
            if self.source.is_found():
                return self.source.find(None)
            lacking = sum(one.size for one in (*self.missing(), *self.archives))
            with self._failing("the data set"):
                transfer.check_disk_space(target, lacking)
            self._fetch(progress)
            for left in unfinished_folders():  # of processes that were killed
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=self.folder) as folder:
                for archive in self.archives:
                    self._extract(archive, Path(folder), progress)
                os.replace(Path(folder, target.name), target)
        return target

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.archive_folder.mkdir(parents=True, exist_ok=True)
        waiting = f"Another process is downloading {self.source.name}: waiting for it."
        with locked(self.archive_folder / f".{self.source.name}.lock", waiting):
            yield

    def _fetch(self, progress: bool) -> None:
        missing = self.missing()
        if missing and offline():
            raise DataError(
                f"{self.source.name}: nothing is downloaded, because {OFFLINE_VARIABLE} is set. "
                f"{self.by_hand()}"
            )
        for archive in missing:
            path = self.archive_folder / archive.name
            part = path.with_name(path.name + transfer.PART)
            bar = transfer.progress_bar(archive.name, archive.size, progress=progress)
            with self._failing(archive.name), bar as report:
                transfer.check_disk_space(part, archive.size)
                transfer.download(archive.url, archive, part, report)
            transfer.complete(part, path)
        for archive in self.archives:
            if archive not in missing:
                archive.check(self.archive_folder / archive.name)

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except DownloadError as error:
            raise DataError(
                f"{self.source.name}: {what} cannot be downloaded: {error}. What was received is "
                f"kept: give the command again to continue. {self.by_hand()}"
            ) from error

    def _extract(self, archive: Archive, folder: Path, progress: bool) -> None:
        into = folder / _INTO.get(archive.name, ".")
        into.mkdir(exist_ok=True)
        # Members that lead out of the folder are refused, where Python can do so.
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        path = self.archive_folder / archive.name
        bar = transfer.progress_bar(f"unpack {archive.name}", archive.size, progress=progress)
        try:
            with open(path, "rb") as file, tarfile.open(fileobj=file) as members, bar as report:
                for member in members:
                    members.extract(member, into, **safe)  # type: ignore[arg-type]
                    report(file.tell())
        except (OSError, tarfile.TarError) as error:
            raise DataError(f"{path}: cannot be unpacked to {folder}: {error}") from error


def download_of(name: str) -> Download | None:
    """The download of a data set; None if there is none.

    Example:
        >>> from keras_parts.data.archives import download_of
        >>> [archive.name for archive in download_of("cub").archives], download_of("toy")
        (['CUB_200_2011.tgz', 'segmentations.tgz'], None)
    """
    if name not in _CHECKSUMS:
        return None
    lines = _CHECKSUMS[name].read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line]
    archives = [Archive(file, url, int(size), sha256) for url, size, sha256, file in rows]
    return Download(import_module(f"keras_parts.data.readers.{name}").SOURCE, archives)


def download(name: str, *, progress: bool = True) -> Path:
    """Download a data set from its official address, verify it and unpack it.

    `keras_parts.data.load` then finds it. An interrupted download continues where it was. Nothing
    is downloaded if the data set is there. Its terms are `about(name).licence`.

    Args:
        name: name of the data set; only "cub" has a download.
        progress: show progress bars if stderr is a terminal.

    Returns:
        The folder of the data set.

    Raises:
        ConfigError: there is no download of the data set.
        DataError: a file cannot be downloaded or unpacked; the message says what to put where.
        IntegrityError: an archive differs from the official one.

    Example:
        >>> from keras_parts import data
        >>> data.download("toy")
        Traceback (most recent call last):
        keras_parts.errors.ConfigError: toy has no download. How to obtain it: ...
    """
    found = download_of(name)
    if found is None:
        from keras_parts.data.catalogue import about

        raise ConfigError(f"{name} has no download. How to obtain it: {about(name).how_to_obtain}")
    return found.unpack(progress=progress)


def kept_archives() -> list[Path]:
    """The archives in the cache, incomplete ones (NAME.part) too."""
    folder = cache_path("datasets/archives")
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def unfinished_folders() -> list[Path]:
    """The folders in which killed processes unpacked archives."""
    return sorted(cache_path("datasets").glob(".*.*"))


def remove_archives(paths: Sequence[Path]) -> int:
    """Remove paths of `kept_archives` and `unfinished_folders`; returns the bytes freed."""
    freed = 0
    for path in paths:
        freed += folder_bytes(path) if path.is_dir() else path.lstat().st_size
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return freed
