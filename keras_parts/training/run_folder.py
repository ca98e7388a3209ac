"""The folder of a run: its settings, its log and its result.

config.json       settings, seed, versions
metrics.jsonl     one line per log interval: step, losses, learning rate, images/s, skipped steps
curves.png        the losses over the steps
samples/          sample sheets: pictures of the parts at several steps of the run
checkpoints/      the newest checkpoints, from which the run can be resumed
segmenter/        the trained segmenter
"""

import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from keras_parts import __version__
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import atomic_write
from keras_parts.training.recipes import translate_settings

FORMAT = 2
"""Format of config.json. Format 1 has no field "format", and the setting names of version 0.1.0."""

_DISTRIBUTIONS = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "jax": ("jax",)}


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
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.segmenter = self.path / "segmenter"
        self._created: list[Path] = []

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
        run.check_available(overwrite=overwrite)
        if overwrite:
            run._remove()
        run._make_folder()
        return run

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
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file: choose another --output")
        if resume and not self.exists():
            raise ConfigError(
                f"{self.path} holds no run to resume: check --output, or leave out --resume"
            )
        if self.exists() and not (overwrite or resume):
            raise ConfigError(
                f"{self.path} holds a run: continue it (--resume), replace it (--overwrite) or "
                "choose another --output"
            )
        parent = next(each for each in (self.path, *self.path.absolute().parents) if each.exists())
        if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
            raise ConfigError(f"{parent} cannot be written to: choose another --output")

    @contextmanager
    def removed_if_empty(self) -> Iterator[None]:
        """Remove the files of the run if the block fails before the first log line.

        If `create` made the folder or its parents, they are removed as well.
        """
        try:
            yield
        except BaseException:
            if not self.metrics():
                for file in (self.config_file, self.metrics_file):
                    file.unlink(missing_ok=True)
                for folder in (self.checkpoints, self.segmenter):
                    shutil.rmtree(folder, ignore_errors=True)
                for folder in self._created:
                    with suppress(OSError):  # not empty: it has files that are not part of the run
                        folder.rmdir()
            raise

    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return any(
            part.exists()
            for part in (self.config_file, self.metrics_file, self.checkpoints, self.segmenter)
        )

    def write_config(
        self, settings: Mapping[str, Any], seed: int, data: Mapping[str, Any] | None = None
    ) -> None:
        """Write the settings, the seed and `environment()` to config.json.

        The home folder of the user is written as "~", because run folders may be published.

        Args:
            settings: settings of the recipe, JSON values.
            seed: seed of all random draws.
            data: description of the training data; not compared when the run is resumed.
        """
        config = {
            "format": FORMAT,
            "settings": settings,
            "seed": seed,
            "data": data or {},
            **environment(),
        }
        with atomic_write(self.config_file, "w") as file:
            json.dump(_to_json(config), file, indent=2, allow_nan=False)
            file.write("\n")

    def read_config(self) -> dict[str, Any]:
        """The content of config.json, with the setting names of this version.

        Raises:
            DataError: the file is missing, is not JSON, or has the format of a newer version.
        """
        try:
            config = json.loads(self.config_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.config_file} cannot be read: {error}") from None
        file_format = config.get("format", 1)
        if file_format > FORMAT:
            raise DataError(
                f"{self.config_file} is of format {file_format}, but this version reads formats up "
                f"to {FORMAT}: update keras-parts"
            )
        if file_format < 2 and "settings" in config:
            config["settings"] = translate_settings(config["settings"])
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
            DataError: config.json cannot be read.
        """
        stored = _flat(_to_json(complete(self.read_config()["settings"])))
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
            DataError: a line is not JSON.
        """
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8").split("\n")
        records = []
        for number, line in enumerate(lines, 1):
            try:
                records += [json.loads(line)] if line else []
            except ValueError:
                if number < len(lines):  # the last one may be incomplete: the run was killed
                    raise DataError(
                        f"{self.metrics_file}: line {number} is not JSON: remove it"
                    ) from None
        return records

    def rewind(self, step: int) -> None:
        """Remove the lines after `step`. A run that resumes from there writes them again."""
        kept = [record for record in self.metrics() if record["step"] <= step]
        with atomic_write(self.metrics_file, "w") as file:
            file.writelines(f"{json.dumps(record)}\n" for record in kept)

    def _make_folder(self) -> None:
        folders = (self.samples, self.path, *self.path.parents)
        self._created = [folder for folder in folders if not folder.exists()]
        self.samples.mkdir(parents=True, exist_ok=True)

    def _remove(self) -> None:
        for part in (self.config_file, self.metrics_file, self.curves_file):
            part.unlink(missing_ok=True)
        for part in (self.samples, self.checkpoints, self.segmenter):
            shutil.rmtree(part, ignore_errors=True)


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
            backend: _version(_DISTRIBUTIONS.get(backend, (backend,))),
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


def _version(names: Iterable[str]) -> str | None:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


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
        home = str(Path.home())
        text = str(value)
        return f"~{text[len(home) :]}" if text == home or text.startswith(home + os.sep) else text
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
