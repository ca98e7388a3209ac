"""The folder of a run: its settings, its log and its result.

config.json       settings, seed, versions
metrics.jsonl     one line per log interval: step, losses, learning rate, images/s, skipped steps
run.log           when the run began and ended, and the messages between
curves.png        the losses over the steps
samples/          sample sheets: pictures of the parts at several steps of the run
index.html        a page for the browser with all of these, and the parts of some images; page/
checkpoints/      the newest checkpoints, from which the run can be resumed
segmenter/        the trained segmenter
tensorboard/      the same log for TensorBoard, if it was chosen as a tracker
tracking/         which runs of which trackers continue this one, and the files of W&B
"""

import json
import logging
import math
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_parts import __version__
from keras_parts.environment import home_folder, package_version
from keras_parts.errors import ConfigError, DataError, escape_controls, hide_secrets
from keras_parts.files import atomic_write, read_limited, try_lock, unlock
from keras_parts.models.saved_config import CONFIG_FILE
from keras_parts.training.recipes import Recipe, translate_settings

if TYPE_CHECKING:
    from filelock import BaseFileLock

RUNS_FOLDER = "runs"
"""The folder, in the working folder, of runs for which no other is named."""
FORMAT = 2
"""Format of config.json. Format 1 has no field "format", and the setting names of version 0.1.0."""

_CONFIG_BYTES = 16 * 2**20
"""Maximum size of config.json."""


_CHECKPOINT = "step-{:08d}"
"""Name of the folder of a checkpoint."""
CHECKPOINT_FILES = ("state.json", "state.npz")
"""Files without which a checkpoint is not complete."""


def checkpoint_folder(step: int) -> str:
    """The name of the folder of a checkpoint."""
    return _CHECKPOINT.format(step)


def checkpoint_steps(folder: str | os.PathLike) -> list[int]:
    """Steps of the complete checkpoints in a folder, ascending."""
    found = []
    for path in Path(folder).glob("step-*"):
        number = re.fullmatch(r"step-(\d{8,})", path.name)
        if number and all((path / name).is_file() for name in CHECKPOINT_FILES):
            found.append(int(number[1]))
    return sorted(found)


class RunFolder:
    """The files of a run. `create` makes the folder of a new run; the constructor only names one.

    Args:
        path: the folder.

    Example:
        >>> from keras_parts.training import RunFolder
        >>> run = RunFolder.create("runs/first")
        >>> run.log({"step": 10, "loss": 0.5})
        >>> run.metrics()
        [{'step': 10, 'loss': 0.5}]
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.curves_file = self.path / "curves.png"
        self.log_file = self.path / "run.log"
        self.samples = self.path / "samples"
        self.page_file = self.path / "index.html"  # as `results.write_page` calls it
        self.page = self.path / "page"
        self.checkpoints = self.path / "checkpoints"
        self.segmenter = self.path / "segmenter"
        self.tensorboard = self.path / "tensorboard"
        self.tracking = self.path / "tracking"
        self.tracking_file = self.tracking / "trackers.json"
        self._created: list[Path] = []
        self._lock_file = self.path / ".lock"
        self._lock: BaseFileLock | None = None

    @property
    def _files(self) -> tuple[Path, ...]:
        return self.config_file, self.metrics_file, self.log_file, self.curves_file, self.page_file

    @property
    def _folders(self) -> tuple[Path, ...]:
        tracking = self.tensorboard, self.tracking
        return self.samples, self.checkpoints, self.segmenter, self.page, *tracking

    @classmethod
    def create(cls, path: str | os.PathLike, *, overwrite: bool = False) -> "RunFolder":
        """Make the folder of a new run. Files that are not part of a run are kept.

        Args:
            path: the folder; it is made with its parents where they are missing.
            overwrite: remove the run in the folder first.

        Raises:
            ConfigError: the folder holds a run and `overwrite` is not set, the path is a file, or
                the folder cannot be written to.
        """
        run = cls(path)
        run.make(overwrite=overwrite)
        return run

    def make(self, *, overwrite: bool = False) -> None:
        """Make the folder for a new run; see `create`."""
        self.check_available(overwrite=overwrite)
        if overwrite:
            self._remove()
        folders = (self.samples, self.path, *self.path.parents)
        self._created = [folder for folder in folders if not folder.exists()]
        with self._usable():
            self.samples.mkdir(parents=True, exist_ok=True)

    def is_locked(self) -> bool:
        """Whether another process trains the run or writes to it."""
        if not self._lock_file.exists():
            return False
        try:
            lock = try_lock(self._lock_file)
        except OSError:  # a folder that this user cannot write to
            return False
        if lock is not None:
            unlock(lock)
        return lock is None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing the run during the block.

        The folder must exist. The lock of a process that was killed is released.

        Raises:
            ConfigError: another process writes the run.
        """
        if self._lock:  # this process has it
            yield
            return
        with self._usable():
            self._lock = try_lock(self._lock_file)
        if self._lock is None:
            raise ConfigError(
                f"{self.path}: another process is training this run: wait until it has ended, or "
                "choose another --output",
                path=self.path,
            )
        try:
            yield
        finally:
            lock, self._lock = self._lock, None
            unlock(lock)
            self._remove_created()  # its file was in the way until now

    def check_available(self, *, overwrite: bool = False, resume: bool = False) -> None:
        """Check that a new run can be written to the folder, or that its run can be resumed.

        Args:
            overwrite: the new run replaces the run in the folder.
            resume: the run in the folder is resumed.

        Raises:
            ConfigError: the folder holds a run and neither flag is set, both flags are set, there
                is no run to resume, the path is a file, or the folder cannot be written to.
        """
        if overwrite and resume:
            raise ConfigError("--resume continues a run, --overwrite removes it: give one of them")
        with self._usable():
            with suppress(FileNotFoundError):
                self.path.stat()  # unlike `exists`, it raises an error for an impossible name
            if self.path.exists() and not self.path.is_dir():
                raise ConfigError(f"{self.path} is a file: choose another --output")
            exists = self.exists()
        if resume and not exists:
            raise ConfigError(
                f"{self.path} holds no run to resume: check --output, or leave out --resume"
            )
        if exists and not (overwrite or resume):
            raise ConfigError(
                f"{self.path} holds a run: continue it (--resume), replace it (--overwrite) or "
                "choose another --output"
            )
        self._check_parts()
        if resume and self.segmenter.exists() and not self.checkpoints.exists():
            raise ConfigError(
                f"{self.path} has a trained segmenter and no checkpoints to resume from: start "
                f"another run with --init-from {self.path}"
            )
        with self._usable():
            folders = (self.path, *self.path.absolute().parents)
            parent = next(folder for folder in folders if folder.exists())
            # Only an attempt shows whether a folder can be made here; /proc denies nothing.
            os.rmdir(tempfile.mkdtemp(prefix=".keras-parts-", dir=parent))

    def _check_parts(self) -> None:
        """Check that no part of a run is a link or of another kind: what a link points to lies
        outside the folder, and is neither written nor removed."""
        for part in (*self._files, *self._folders):
            if part.is_symlink():
                wrong = "a link"
            elif part.exists() and not (part.is_file() if part in self._files else part.is_dir()):
                wrong = "no regular file" if part in self._files else "no folder"
            else:
                continue
            raise ConfigError(
                f"{part} is {wrong}: remove it, or choose another --output", path=part
            )

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Turn an error of the system into one that says that the folder cannot be used."""
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            if isinstance(error, ConfigError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{self.path} cannot be written to ({reason}): choose another --output",
                path=self.path,
            ) from None

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Append the package's messages during the block to run.log, and when it began and ended.

        Passwords in addresses are hidden.
        """
        logger = logging.getLogger("keras_parts")
        handler = logging.FileHandler(self.log_file, encoding="utf-8")
        handler.setFormatter(_LogFormatter("%(asctime)s %(levelname)s %(message)s"))

        def write(level: int, text: str) -> None:
            handler.handle(logging.LogRecord(logger.name, level, "", 0, text, None, None))

        logger.addHandler(handler)
        write(
            logging.INFO, f"keras-parts {__version__}, Python {platform.python_version()}: begins"
        )
        try:
            yield
            write(logging.INFO, "ends")
        except BaseException as error:
            write(logging.ERROR, f"stopped: {type(error).__name__}: {error}")
            raise
        finally:
            logger.removeHandler(handler)
            handler.close()

    @contextmanager
    def removed_if_empty(self) -> Iterator[None]:
        """Remove the files of the run if the block fails before the first log line.

        If `create` made the folder or its parents, they are removed as well.
        """
        try:
            yield
        except BaseException:
            if not self.metrics():
                for file in (self.config_file, self.metrics_file, self.log_file):
                    file.unlink(missing_ok=True)
                for folder in (self.checkpoints, self.segmenter, self.tensorboard, self.tracking):
                    shutil.rmtree(folder, ignore_errors=True)
                self._remove_created()
            raise

    def _remove_created(self) -> None:
        """Remove the folders that `make` made, as far as they are empty."""
        for folder in self._created:
            with suppress(OSError):  # not empty: it has files that are not part of the run
                folder.rmdir()

    def resumes_at(self) -> int:
        """The step after which a resumed run continues; 0 if there is no checkpoint yet."""
        return max(checkpoint_steps(self.checkpoints), default=0)

    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return any(
            part.exists()
            for part in (self.config_file, self.metrics_file, self.checkpoints, self.segmenter)
        )

    def write_config(
        self,
        settings: Mapping[str, Any],
        seed: int,
        data: Mapping[str, Any] | None = None,
        *,
        made_with: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the settings, the seed and the versions of the libraries to config.json.

        The home folder of the user is written as "~", because run folders may be published.

        Args:
            settings: settings of the recipe, JSON values.
            seed: seed of all random draws.
            data: description of the training data; not compared when the run is resumed.
            made_with: the versions; by default those of `environment()`.
        """
        config = {
            "format": FORMAT,
            "settings": settings,
            "seed": seed,
            "data": data or {},
            **(environment() if made_with is None else made_with),
        }
        with atomic_write(self.config_file, "w") as file:
            json.dump(_to_json(config), file, indent=2, allow_nan=False)
            file.write("\n")

    def read_config(self) -> dict[str, Any]:
        """The content of config.json, with the setting names of this version.

        Raises:
            DataError: the file is missing, is not the settings of a run, or has the format of a
                newer version.
        """
        if not os.path.lexists(self.config_file):
            raise DataError(
                f"{self.path} is not the folder of a run: it has no {self.config_file.name}",
                path=self.config_file,
            )
        try:
            config = json.loads(read_limited(self.config_file, _CONFIG_BYTES))
            is_newer = _format(config) > FORMAT
            if not is_newer:
                _check_config(config)
                if _format(config) < 2:
                    config["settings"] = translate_settings(config["settings"])
        except (DataError, ValueError, RecursionError) as error:
            reason = str(error).removeprefix(f"{self.config_file}: ")
            raise DataError(
                f"{self.config_file} is not the settings of a run: {reason}. Restore it from a "
                "copy, or start the run again (--overwrite)",
                path=self.config_file,
            ) from None
        if is_newer:
            raise DataError(
                f"{self.config_file} is of format {_format(config)}, but this version reads "
                f"formats up to {FORMAT}: update keras-parts",
                path=self.config_file,
            )
        return config

    def check_settings(
        self,
        settings: Mapping[str, Any],
        *,
        complete: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> None:
        """Check that the run in the folder has these settings, so that it can be resumed.

        Args:
            settings: settings with which the run is to be resumed.
            complete: function that adds the settings that did not exist when the run was written.

        Raises:
            ConfigError: settings differ; the message lists them with both values.
            DataError: config.json cannot be read, or has settings that this version does not know.
        """
        try:
            stored = _flat(_to_json(complete(self.read_config()["settings"])))
        except ConfigError as error:
            raise DataError(
                f"{self.config_file}: {error}. The file is damaged, or of another version",
                path=self.config_file,
            ) from None
        current = _flat(_to_json(dict(settings)))
        changed = [
            f"{name} was {stored.get(name)!r}, is {current.get(name)!r}"
            for name in sorted(stored.keys() | current.keys())
            if stored.get(name) != current.get(name)
        ]
        if changed:
            raise ConfigError(
                f"{self.path} cannot be resumed with other settings: {'; '.join(changed)}. Repeat "
                "the command of the run with --resume, or choose another --output"
            )

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl. Numbers that are not finite are written as null."""
        line = json.dumps(_to_json(dict(record)), allow_nan=False)
        with open(self.metrics_file, "a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, without an incomplete last one.

        Raises:
            DataError: a line is not a JSON object with the number of a step.
        """
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_bytes().split(b"\n")
        records = []
        for number, line in enumerate(lines, 1):
            try:
                records += [_log_record(line)] if line else []
            except (ValueError, OverflowError, RecursionError):
                if number < len(lines):  # the last one may be incomplete: the run was killed
                    raise DataError(
                        f"{self.metrics_file}: line {number} is damaged, expected a JSON object "
                        "with the step and losses: remove the line",
                        path=self.metrics_file,
                    ) from None
        return records

    def rewind(self, step: int) -> None:
        """Remove what was written after `step`: lines of the log, and sample sheets.

        A run that resumes from there writes them again.
        """
        kept = [record for record in self.metrics() if record["step"] <= step]
        with atomic_write(self.metrics_file, "w") as file:
            file.writelines(f"{json.dumps(record)}\n" for record in kept)
        for sheet in self.samples.glob("step-*.png"):
            number = re.fullmatch(r"step-(\d{8,})\.png", sheet.name)
            if number and int(number[1]) > step:
                sheet.unlink()

    def sheet_file(self, step: int) -> Path:
        """The file of the sample sheet after `step` steps."""
        return self.samples / f"step-{step:08d}.png"

    def _remove(self) -> None:
        for part in self._files:
            part.unlink(missing_ok=True)
        for part in self._folders:
            shutil.rmtree(part, ignore_errors=True)


class _LogFormatter(logging.Formatter):
    """One line for each message, in which nothing is secret."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(hide_secrets(super().format(record))).replace("\n", "\\n")


def run_of_segmenter(segmenter: str | os.PathLike) -> RunFolder | None:
    """The run whose segmenter is in a folder; None if the folder is not that of a run.

    Args:
        segmenter: the folder of the segmenter.

    Example:
        >>> from keras_parts.training.run_folder import run_of_segmenter
        >>> run_of_segmenter("no such run/segmenter") is None
        True
    """
    folder = Path(segmenter)
    run = RunFolder(folder.parent)
    return run if run.segmenter.name == folder.name and run.config_file.is_file() else None


def not_finished(folder: str | os.PathLike) -> str:
    """What to say of a run without a trained segmenter; "" if the folder is no such run.

    Args:
        folder: any folder, which need not exist.

    Example:
        >>> from keras_parts.training.run_folder import not_finished
        >>> not_finished("no such run")
        ''
    """
    run = RunFolder(folder)
    is_trained = (run.segmenter / CONFIG_FILE).is_file()
    if is_trained or not (run.config_file.is_file() or run.checkpoints.is_dir()):
        return ""
    if run.is_locked():
        return f"the training in {run.path} is not finished: wait for it"
    return (
        f"the training in {run.path} is not finished: repeat its command with --resume, which "
        "continues it"
    )


def finished_runs(folder: str | os.PathLike) -> list[RunFolder]:
    """The runs with a trained segmenter in a folder or one folder below it, the newest first.

    Args:
        folder: of the runs; it need not exist.

    Example:
        >>> from keras_parts.training.run_folder import finished_runs
        >>> finished_runs("no such folder")
        []
    """
    trained = [run for run in all_runs(folder) if (run.segmenter / CONFIG_FILE).is_file()]
    files = {run: run.segmenter / CONFIG_FILE for run in trained}
    return sorted(
        trained, key=lambda run: (files[run].stat().st_mtime, str(run.path)), reverse=True
    )


def all_runs(folder: str | os.PathLike) -> list[RunFolder]:
    """The runs in a folder or one folder below it, also unfinished ones, the newest first.

    Hidden folders are left out.

    Args:
        folder: of the runs; it need not exist.

    Example:
        >>> from keras_parts.training.run_folder import all_runs
        >>> all_runs("no such folder")
        []
    """
    found = [
        file
        for pattern in ("*/config.json", "*/*/config.json")
        for file in Path(folder).glob(pattern)
        # A process that was killed may have left the unfinished folder of a run.
        if not any(name.startswith(".") for name in file.relative_to(folder).parts)
    ]
    found.sort(key=lambda file: (file.stat().st_mtime, str(file)), reverse=True)
    return [RunFolder(file.parent) for file in found]


def check_folder(
    folder: RunFolder, recipe: Recipe, *, overwrite: bool = False, resume: bool = False
) -> None:
    """Check that a run of the recipe can be written to the folder, or resumed there.

    Raises:
        ConfigError: see `RunFolder.check_available` and `RunFolder.check_settings`.
        DataError: config.json cannot be read.
    """
    folder.check_available(overwrite=overwrite, resume=resume)
    if resume:
        check_settings(folder, recipe)


def check_settings(folder: RunFolder, recipe: Recipe) -> None:
    """Check that the run in the folder is one of the recipe; see `RunFolder.check_settings`."""
    folder.check_settings(recipe.to_json(), complete=_with_defaults)


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run of any version; those that did not exist then have their defaults."""
    return Recipe.from_json(settings).to_json()


def _format(config: Any) -> int:
    """The format of the content of config.json; raises `ValueError` if it has none."""
    if not isinstance(config, dict):
        raise ValueError("it is not a table")
    if not isinstance(config.get("format", 1), int):
        raise ValueError(f"format is {config['format']!r}")
    return config.get("format", 1)


def _check_config(config: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless these are the fields of config.json, each of its type."""
    needed, others = {"settings": dict, "seed": int}, {"data": dict, "versions": dict}
    for name, kind in (needed | others).items():
        if name in needed and name not in config:
            raise ValueError(f"{name} is missing")
        if not isinstance(config.get(name, kind()), kind):
            raise ValueError(f"{name} is not of the type {kind.__name__}")
    for name in ("dataset", "split", "licence"):
        if not isinstance(config.get("data", {}).get(name, ""), str):
            raise ValueError(f"data.{name} is not a string")
    models = config.get("data", {}).get("models") or []
    if not isinstance(models, list) or not all(isinstance(one, dict) for one in models):
        raise ValueError("data.models is not a list of tables")


def _log_record(line: bytes) -> dict[str, Any]:
    """A line of metrics.jsonl: numbers, or None where there is none; `ValueError` otherwise."""
    record = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        raise ValueError("no record of a step")
    for value in record.values():
        if value is not None:
            float(value if isinstance(value, int | float) else "no number")
    return record


def environment() -> dict[str, Any]:
    """Versions and kind of machine, for config.json; no names of hosts, users or folders.

    Returns:
        dict of "versions" (`{name: version}`), "platform", and "commit": the Git commit of the
        source tree that the package runs from, with "+changes" if files differ from it, or None.
    """
    import keras
    import numpy as np

    backend = keras.config.backend()
    return {
        "versions": {
            "keras_parts": __version__,
            "python": platform.python_version(),
            "keras": keras.__version__,
            "backend": backend,
            backend: package_version(backend),
            "numpy": np.__version__,
        },
        "commit": _commit(),
        "platform": {"system": platform.system(), "machine": platform.machine()},
    }


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = [
            subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return found[0] + ("+changes" if found[1] else "")


def parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are written to config.json, in one table: {"loss_weights.balance": 1.0}."""
    return _flat(_to_json(dict(settings)))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _to_json(value: Any) -> Any:
    """A value as plain JSON: paths become strings, and numbers that are not finite None.

    The home folder at the beginning of a path becomes "~".
    """
    if isinstance(value, Mapping):
        return {str(name): _to_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    if isinstance(value, str | Path):
        home, text = home_folder(), str(value)
        if home and (text == str(home) or text.startswith(f"{home}{os.sep}")):
            return f"~{text[len(str(home)) :]}"
        return text
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
