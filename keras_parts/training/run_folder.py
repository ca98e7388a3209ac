"""The folder of a run: what was asked for, with what, what came of it.

config.json       settings, seed, versions
metrics.jsonl     one line an interval: step, losses, learning rate, images/s, skipped steps
curves.png        the losses over the steps
samples/          pictures of segmented samples, one an interval
checkpoints/      to resume from
segmenter/        the trained segmenter
"""

import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from keras_parts import __version__
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import atomic_write

_DISTRIBUTIONS = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "jax": ("jax",)}


class RunFolder:
    """Paths and files of one run. `create` makes one, the constructor opens what is there."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.curves_file = self.path / "curves.png"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.segmenter = self.path / "segmenter"

    @classmethod
    def create(
        cls, path: str | os.PathLike, overwrite: bool = False, resume: bool = False
    ) -> "RunFolder":
        """Make the folder of a new run, or open that of a run to be resumed.

        Files that are no part of a run are left alone.

        Args:
            path: the folder, made with its parents if need be.
            overwrite: remove the run that is there.
            resume: go on with the run that is there.

        Raises:
            ConfigError: it holds a run and neither is asked for, both are, there is no run to
                resume, or the path is a file.
        """
        run = cls(path)
        if overwrite and resume:
            raise ConfigError("--resume goes on with a run, --overwrite removes it: give one")
        if run.path.exists() and not run.path.is_dir():
            raise ConfigError(f"{run.path} is a file: choose another --output")
        if resume and not run.exists():
            raise ConfigError(
                f"{run.path} holds no run to resume: check --output, or drop --resume"
            )
        if run.exists() and not (overwrite or resume):
            raise ConfigError(
                f"{run.path} holds a run: go on with it (--resume), replace it (--overwrite) or "
                "choose another --output"
            )
        if overwrite:
            run._remove()
        run.path.mkdir(parents=True, exist_ok=True)
        run.samples.mkdir(exist_ok=True)
        return run

    def exists(self) -> bool:
        """Whether a run has been here."""
        return any(
            part.exists()
            for part in (self.config_file, self.metrics_file, self.checkpoints, self.segmenter)
        )

    def write_config(self, settings: Mapping, seed: int, data: Mapping | None = None) -> None:
        """Store the resolved settings (anything JSON can hold), the seed and `environment()`.

        The user's home folder is written as "~": the folder may be passed on.

        Args:
            settings: of the recipe. seed: of all random draws.
            data: what it is trained on; not compared when the run is resumed.
        """
        config = {"settings": settings, "seed": seed, "data": data or {}, **environment()}
        with atomic_write(self.config_file, "w") as file:
            json.dump(_storable(config), file, indent=2, allow_nan=False)
            file.write("\n")

    def read_config(self) -> dict:
        """What `write_config` stored.

        Raises:
            DataError: the file is missing or is no JSON.
        """
        try:
            return json.loads(self.config_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.config_file} cannot be read: {error}") from None

    def check_settings(self, settings: Mapping, defaults: Mapping | None = None) -> None:
        """Refuse to resume a run with other settings than it began with.

        Args:
            settings: of the run now.
            defaults: values of settings that there were not yet when the run began.

        Raises:
            ConfigError: naming every setting that differs, with both values.
        """
        began = _storable(dict(defaults or {})) | self.read_config()["settings"]
        now = _storable(dict(settings))
        changed = [
            f"{name} was {began.get(name)!r}, is {now.get(name)!r}"
            for name in sorted(began.keys() | now.keys())
            if began.get(name) != now.get(name)
        ]
        if changed:
            raise ConfigError(
                f"{self.path} cannot be resumed with other settings: {'; '.join(changed)}"
            )

    def log(self, record: Mapping) -> None:
        """Append one line to metrics.jsonl; a number that is not finite becomes null."""
        line = json.dumps(_storable(dict(record)), allow_nan=False)
        with open(self.metrics_file, "a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")

    def metrics(self) -> list[dict]:
        """The lines of metrics.jsonl; a last one that was cut short is passed over.

        Raises:
            DataError: another line is no JSON.
        """
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8").split("\n")
        records = []
        for number, line in enumerate(lines, 1):
            try:
                records += [json.loads(line)] if line else []
            except ValueError:
                if number < len(lines):  # a whole line ends with a line feed
                    raise DataError(
                        f"{self.metrics_file}: line {number} is no JSON: remove it"
                    ) from None
        return records

    def rewind(self, step: int) -> None:
        """Forget the lines after `step`: resuming from its checkpoint writes them again."""
        kept = [record for record in self.metrics() if record["step"] <= step]
        with atomic_write(self.metrics_file, "w") as file:
            file.writelines(f"{json.dumps(record)}\n" for record in kept)

    def _remove(self):
        for part in (self.config_file, self.metrics_file, self.curves_file):
            part.unlink(missing_ok=True)
        for part in (self.samples, self.checkpoints, self.segmenter):
            shutil.rmtree(part, ignore_errors=True)


def environment() -> dict:
    """Versions and kind of machine that a run depends on; no names of hosts, users or folders.

    "commit" is that of the source tree where the package runs from one, with "+changes" for
    files that differ from it, else None.
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


def _commit():
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


def _version(names):
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _storable(value):
    """The same for JSON: paths as text, numpy numbers plain, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(name): _storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    if isinstance(value, str | Path):
        home = str(Path.home())
        text = str(value)
        return f"~{text[len(home) :]}" if text == home or text.startswith(home + os.sep) else text
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
