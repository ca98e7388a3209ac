"""Checkpoints of a run, written atomically. A resumed run continues bit for bit.

    checkpoints/
      latest                 name of the newest checkpoint
      step-00000300/
        state.json           step, versions, names of the variables, the caller's extra values
        state.npz            weights, optimiser state and seeds, in the model's order
        SHA256SUMS           checksums of both files, as `sha256sum --check` reads them

The checksums are compared before anything is read. Checkpoints of version 0.1.0 have none. A
checkpoint has all state on which a step depends, including the seeds, which Keras' own files
leave out.
"""

import json
import os
import re
import shutil
import uuid
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np

from keras_parts.errors import ConfigError, DataError, IntegrityError
from keras_parts.files import atomic_write, check_regular, file_sha256, read_limited
from keras_parts.keras_private import is_seed, sync_variables
from keras_parts.training.run_folder import (
    CHECKPOINT_FILES,
    checkpoint_folder,
    checkpoint_steps,
)

FORMAT = 2
"""Format of a checkpoint. Format 1, of version 0.1.0, has no checksums."""
(_RECORD, _ARRAYS), _CHECKSUMS = CHECKPOINT_FILES, "SHA256SUMS"
_UNFINISHED = ".unfinished-"


class Checkpoints:
    """The checkpoints of one run. Only the newest ones are kept.

    Args:
        folder: folder of the checkpoints; the first `save` creates it.
        keep: number of checkpoints to keep, at least 1.
        exclude: layers whose weights are not stored, such as a frozen teacher: they never change
            and are loaded from elsewhere.

    Raises:
        ConfigError: `keep` is less than 1.

    Example:
        >>> import keras
        >>> from keras_parts.training.checkpoints import Checkpoints
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> checkpoints = Checkpoints("checkpoints")
        >>> checkpoints.save(20, model).name
        'step-00000020'
        >>> checkpoints.restore(model)
        (20, {})
    """

    def __init__(
        self, folder: str | os.PathLike, *, keep: int = 2, exclude: Iterable[keras.Layer] = ()
    ):
        if keep < 1:
            raise ConfigError(f"keep is {keep} checkpoints, expected at least 1")
        self.folder = Path(folder)
        self.keep = keep
        self.exclude = tuple(exclude)

    def save(self, step: int, model: keras.Model, extra: dict | None = None) -> Path:
        """Store the state of a compiled model after `step` steps and delete older checkpoints.

        Until the call returns, `latest` and `restore` use the previous checkpoint.

        Args:
            step: number of steps made, 0 or more. Checkpoints of later steps are deleted: they
                were written before the run was resumed from an earlier step.
            model: built and compiled.
            extra: JSON values, which `restore` returns.

        Returns:
            The folder of the checkpoint.
        """
        sync_variables(model)
        groups = self._variables(model)
        record = {
            "format": FORMAT,
            "step": step,
            "backend": keras.config.backend(),
            "keras": keras.__version__,
            "variables": {name: [v.path for v in group] for name, group in groups.items()},
            "extra": extra or {},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self._delete_unfinished()
        unfinished = self.folder / f"{_UNFINISHED}{uuid.uuid4().hex[:12]}"
        unfinished.mkdir()
        with _flushed(unfinished / _ARRAYS) as file:
            np.savez(file, **_arrays(groups))
        with _flushed(unfinished / _RECORD) as file:
            file.write(json.dumps(record, indent=2).encode())
        with _flushed(unfinished / _CHECKSUMS) as file:
            file.write(_checksums(unfinished))
        final = self.folder / checkpoint_folder(step)
        self._discard(final)
        os.replace(unfinished, final)
        _sync_folder(self.folder)
        with atomic_write(self.folder / "latest", "w") as file:
            file.write(f"{final.name}\n")
        for folder in self._superseded(step):
            self._discard(folder)
        self._delete_unfinished()
        return final

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        return checkpoint_steps(self.folder)

    def latest(self) -> int | None:
        """Step of the newest checkpoint, or None."""
        steps = self.steps()
        named = [step for step in steps if checkpoint_folder(step) == self._named()]
        return max(named or steps, default=None)

    def _named(self):
        """The name in the file "latest", or "" without one."""
        try:
            return read_limited(self.folder / "latest", 100).decode().strip()
        except (DataError, UnicodeDecodeError):
            return ""

    def restore(self, model: keras.Model) -> tuple[int, dict]:
        """Load the newest readable checkpoint into a compiled model.

        Args:
            model: built and compiled like the model that was saved. Its optimizer is built if
                necessary.

        Returns:
            (step, extra) as given to `save`.

        Warns:
            UserWarning: a checkpoint is damaged or missing and an older one is used; or it was
                written on another backend, which draws other random numbers.

        Raises:
            ConfigError: there is no checkpoint, or the model has other variables.
            IntegrityError: no checkpoint can be read.
        """
        latest = self.latest()
        if latest is None:
            raise ConfigError(f"{self.folder}: no checkpoint to resume from: start the run again")
        name = self._named()
        if name and name != checkpoint_folder(latest):
            warnings.warn(
                f"{self.folder}: the newest checkpoint is missing or incomplete; continuing from "
                f"step {latest}",
                stacklevel=2,
            )
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
            f"{self.folder}: no checkpoint can be read: start the run again, or copy an intact "
            "checkpoint there"
        )

    def _variables(self, model):
        if getattr(model, "optimizer", None) is None:
            raise ConfigError("a checkpoint stores the optimizer's state: compile the model first")
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        excluded = {id(v) for layer in self.exclude for v in layer.weights}
        seeds = {id(v): v for v in model.variables if is_seed(v)}
        return {
            "weights": [v for v in model.weights if id(v) not in excluded],
            "optimizer": list(model.optimizer.variables),
            "seeds": list(seeds.values()),
        }

    def _read(self, step):
        folder = self.folder / checkpoint_folder(step)
        try:
            _check_checksums(folder)
            record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            _check_record(record, step, has_checksums=(folder / _CHECKSUMS).exists())
            arrays = _read_arrays(folder / _ARRAYS)
            groups = [_names(group, paths) for group, paths in record["variables"].items()]
            if set(arrays) != {name for names in groups for name in names}:
                raise ValueError(f"{_ARRAYS} does not contain the variables named in {_RECORD}")
        # In files without checksums NumPy and zipfile find damage by errors of every kind.
        except Exception as error:
            raise IntegrityError(f"checkpoint {folder} is damaged: {error}", path=folder) from error
        return record, arrays

    def _assign(self, model, record, arrays):
        if record["backend"] != keras.config.backend():
            warnings.warn(
                f"the checkpoint was written on {record['backend']}: on {keras.config.backend()} "
                "the run continues with other random numbers",
                stacklevel=3,
            )
        pairs = []
        for group, variables in self._variables(model).items():
            paths = record["variables"].get(group, [])
            stored = [arrays[name] for name in _names(group, paths)]
            if len(stored) != len(variables):
                raise ConfigError(
                    f"{self.folder}: the checkpoint has {len(stored)} variables of the {group}, "
                    f"the model {len(variables)}: build the model with the settings of the run"
                )
            for variable, path, value in zip(variables, paths, stored, strict=True):
                if _without_counters(path) != _without_counters(
                    variable.path
                ) or value.shape != tuple(variable.shape):
                    raise ConfigError(
                        f"{self.folder}: the checkpoint has {path} {value.shape} where the model "
                        f"has {variable.path} {tuple(variable.shape)}: build the model with the "
                        "settings of the run"
                    )
                pairs.append((variable, value))
        for variable, value in pairs:
            variable.assign(value)

    def _superseded(self, step):
        steps = self.steps()
        kept = [s for s in steps if s <= step][-self.keep :]
        return [self.folder / checkpoint_folder(s) for s in steps if s not in kept]

    def _discard(self, folder):
        """Rename a checkpoint, to delete it later: renaming is atomic, deleting a folder is not."""
        if folder.exists():
            os.replace(folder, self.folder / f"{_UNFINISHED}{uuid.uuid4().hex[:12]}")

    def _delete_unfinished(self):
        for folder in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _names(group, variables):
    return [f"{group}/{i:05d}" for i in range(len(variables))]


def _arrays(groups):
    arrays = {}
    for group, variables in groups.items():
        for name, variable in zip(_names(group, variables), variables, strict=True):
            value = variable_to_numpy(variable)
            # NumPy cannot store bfloat16; float32 represents it exactly.
            arrays[name] = value if value.dtype.kind in "fiub" else value.astype(np.float32)
    return arrays


def variable_to_numpy(variable: keras.Variable) -> np.ndarray:
    """A variable's value as an array, even if several devices have a copy each."""
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))


def _without_counters(path):
    """A variable's path without the counters that Keras appends to the names it generates."""
    return re.sub(r"_\d+(?=[_/]|$)", "", path)


@contextmanager
def _flushed(path: Path) -> Iterator[IO[bytes]]:
    """A new file, on the disk when the block ends."""
    with open(path, "xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _checksums(folder: Path) -> bytes:
    """The content of SHA256SUMS."""
    lines = [f"{file_sha256(folder / name)}  {name}\n" for name in (_RECORD, _ARRAYS)]
    return "".join(lines).encode()


def _check_checksums(folder: Path) -> None:
    """Compare the files of a checkpoint with their checksums, if it has any."""
    for name in (_RECORD, _ARRAYS):
        check_regular(folder / name)
    path = folder / _CHECKSUMS
    if not os.path.lexists(path):
        return
    expected = _checksums(folder)
    if read_limited(path, len(expected)) != expected:
        raise ValueError(f"its files differ from the checksums in {_CHECKSUMS}")


def _check_record(record: dict[str, Any], step: int, *, has_checksums: bool) -> None:
    """Check the content of state.json, apart from the names of the variables."""
    if record["step"] != step or record["format"] not in (1, FORMAT):
        raise ValueError(
            f"{_RECORD} has format {record['format']} and step {record['step']}, expected {FORMAT} "
            f"and {step}"
        )
    if record["format"] > 1 and not has_checksums:
        raise ValueError(f"{_CHECKSUMS} is missing")
    paths = [path for group in record["variables"].values() for path in group]
    if not all(isinstance(name, str) for name in (record["backend"], *paths)):
        raise ValueError(f"{_RECORD} has names that are not strings")
    if not isinstance(record["extra"], dict):
        raise ValueError(f"{_RECORD} has the extra values {record['extra']!r}")


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in state.npz, which are not compressed: none takes more memory than its file."""
    with np.load(path, allow_pickle=False) as stored:
        if any(member.compress_type != zipfile.ZIP_STORED for member in stored.zip.infolist()):
            raise ValueError(f"{_ARRAYS} is compressed")
        arrays = {name: stored[name] for name in stored.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise ValueError(f"{_ARRAYS}: {name!a:.100} does not hold numbers")
    return arrays


def _sync_folder(folder):
    if os.name != "nt":  # Windows cannot open folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
