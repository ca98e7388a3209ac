"""Checkpoints that are whole or not there, from which a run goes on bit for bit.

    checkpoints/
      latest                 name of the newest checkpoint
      step-00000300/
        state.json           step, versions, names and what the caller adds
        state.npz            weights, optimiser state and seeds, in the model's order

Everything a step depends on is stored, the seeds included, which Keras keeps out of its own files.
"""

import json
import os
import re
import shutil
import uuid
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from keras_parts.errors import ConfigError, IntegrityError
from keras_parts.files import atomic_write
from keras_parts.keras_private import is_seed, sync_variables

FORMAT = 1
_FOLDER = "step-{:08d}"
_UNFINISHED = ".unfinished-"


class Checkpoints:
    """The checkpoints of one run, of which the newest `keep` stay.

    Args:
        folder: where they lie; made at the first `save`.
        keep: how many to keep, at least 1.
        without: layers whose weights are left out because they never change and are loaded from
            elsewhere, such as a frozen teacher.
    """

    def __init__(
        self, folder: str | os.PathLike, keep: int = 2, without: Iterable[keras.Layer] = ()
    ):
        if keep < 1:
            raise ConfigError(f"keep is {keep} checkpoints, expected at least 1")
        self.folder = Path(folder)
        self.keep = keep
        self.without = tuple(without)

    def save(self, step: int, model: keras.Model, extra: dict | None = None) -> Path:
        """Store the state of a compiled model after `step` steps and remove older checkpoints.

        Until the end of the call `latest` and `restore` know only the checkpoint before it.

        Args:
            step: steps made, 0 or more. Checkpoints of later steps, of a run that was taken up
                again before them, are removed.
            model: built and compiled.
            extra: anything JSON can hold; comes back from `restore`.
        """
        sync_variables(model)
        groups = self._variables(model)
        record = {
            "format": FORMAT,
            "step": step,
            "backend": keras.config.backend(),
            "keras": keras.__version__,
            "variables": {group: [v.path for v in both] for group, both in groups.items()},
            "extra": extra or {},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clean()
        unfinished = self.folder / f"{_UNFINISHED}{uuid.uuid4().hex[:12]}"
        unfinished.mkdir()
        with open(unfinished / "state.npz", "wb") as file:
            np.savez(file, **_arrays(groups))
            _sync(file)
        with open(unfinished / "state.json", "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)
            _sync(file)
        final = self.folder / _FOLDER.format(step)
        self._put_away(final)
        os.replace(unfinished, final)
        _sync_folder(self.folder)
        with atomic_write(self.folder / "latest", "w") as file:
            file.write(f"{final.name}\n")
        for old in self._superseded(step):
            self._put_away(old)
        self._clean()
        return final

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there with both files, ascending."""
        found = []
        for path in self.folder.glob("step-*"):
            number = re.fullmatch(r"step-(\d{8,})", path.name)
            if number and all((path / name).is_file() for name in ("state.json", "state.npz")):
                found.append(int(number[1]))
        return sorted(found)

    def latest(self) -> int | None:
        """Step of the newest checkpoint, None if there is none."""
        steps = self.steps()
        try:
            name = (self.folder / "latest").read_text(encoding="utf-8").strip()
        except OSError:
            name = ""
        pointed = [step for step in steps if _FOLDER.format(step) == name]
        return (pointed or steps or [None])[-1]

    def restore(self, model: keras.Model) -> tuple[int, dict]:
        """Give a compiled model the state of the newest checkpoint that can be read.

        Args:
            model: built and compiled as the one that was saved; its optimizer is built if it is
                not yet.

        Returns:
            (step, extra) as given to `save`.

        Warns:
            UserWarning: a checkpoint is damaged and an older one is taken; or it comes from
                another backend, whose random numbers are not the same.

        Raises:
            ConfigError: there is no checkpoint, or it is of a model with other variables.
            IntegrityError: none of the checkpoints can be read.
        """
        latest = self.latest()
        if latest is None:
            raise ConfigError(f"there is no checkpoint in {self.folder}")
        older = [step for step in reversed(self.steps()) if step < latest]
        for step in (latest, *older):
            try:
                record, arrays = self._read(step)
            except IntegrityError as error:
                warnings.warn(f"{error}; trying an older checkpoint", stacklevel=2)
                continue
            self._assign(model, record, arrays)
            return record["step"], record["extra"]
        raise IntegrityError(
            f"none of the checkpoints in {self.folder} can be read: start anew, or put an intact "
            "copy there"
        )

    def _variables(self, model):
        if getattr(model, "optimizer", None) is None:
            raise ConfigError("a checkpoint holds the optimizer's state: compile the model first")
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        left_out = {id(v) for layer in self.without for v in layer.weights}
        seeds = {id(v): v for v in model.variables if is_seed(v)}
        return {
            "weights": [v for v in model.weights if id(v) not in left_out],
            "optimizer": list(model.optimizer.variables),
            "seeds": list(seeds.values()),
        }

    def _read(self, step):
        folder = self.folder / _FOLDER.format(step)
        try:
            record = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            with np.load(folder / "state.npz", allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            names = [_names(group, paths) for group, paths in record["variables"].items()]
            if set(arrays) != {name for group in names for name in group}:
                raise ValueError("state.npz does not hold the variables named in state.json")
            if (record["format"], record["step"]) != (FORMAT, step):
                raise ValueError(f"state.json is of format {record['format']}, of another step")
            record["extra"].keys()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError) as error:
            raise IntegrityError(f"checkpoint {folder} is damaged: {error}") from error
        except zipfile.BadZipFile as error:
            raise IntegrityError(f"checkpoint {folder} is damaged: {error}") from error
        return record, arrays

    def _assign(self, model, record, arrays):
        if record["backend"] != keras.config.backend():
            warnings.warn(
                f"the checkpoint was written with {record['backend']}: on "
                f"{keras.config.backend()} the run goes on, but with other random numbers",
                stacklevel=3,
            )
        pairs = []
        for group, variables in self._variables(model).items():
            paths = record["variables"].get(group, [])
            stored = [arrays[name] for name in _names(group, paths)]
            if len(stored) != len(variables):
                raise ConfigError(
                    f"the checkpoint holds {len(stored)} variables of the {group}, the model has "
                    f"{len(variables)}: build it with the settings of the run"
                )
            for variable, path, value in zip(variables, paths, stored, strict=True):
                if _plain(path) != _plain(variable.path) or value.shape != tuple(variable.shape):
                    raise ConfigError(
                        f"the checkpoint holds {path} {value.shape} where the model has "
                        f"{variable.path} {tuple(variable.shape)}: build it with the settings of "
                        "the run"
                    )
                pairs.append((variable, value))
        for variable, value in pairs:
            variable.assign(value)

    def _superseded(self, step):
        steps = self.steps()
        kept = [s for s in steps if s <= step][-self.keep :]
        return [self.folder / _FOLDER.format(s) for s in steps if s not in kept]

    def _put_away(self, folder):
        """Take a checkpoint out of sight in one move; deleting it takes several."""
        if folder.exists():
            os.replace(folder, self.folder / f"{_UNFINISHED}{uuid.uuid4().hex[:12]}")

    def _clean(self):
        for folder in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _names(group, variables):
    return [f"{group}/{i:05d}" for i in range(len(variables))]


def _arrays(groups):
    arrays = {}
    for group, variables in groups.items():
        for name, variable in zip(_names(group, variables), variables, strict=True):
            value = array_of(variable)
            # numpy cannot store bfloat16, float32 holds it exactly
            arrays[name] = value if value.dtype.kind in "fiub" else value.astype(np.float32)
    return arrays


def array_of(variable):
    """A variable's value as a numpy array, where several devices have a copy each too."""
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))


def _plain(path):
    """A variable's path without the counters that Keras gives to names of its own making."""
    return re.sub(r"_\d+(?=[_/]|$)", "", path)


def _sync(file):
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder):
    if os.name != "nt":  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
