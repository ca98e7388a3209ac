"""The processes that train together, from addresses or a scheduler's environment variables.

Imports no Keras.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from keras_parts.errors import ConfigError

# SLURM gives no ports: they are computed from the job's number.
_FIRST_PORT, _PORTS = 61440, 4096


@dataclass(frozen=True)
class Hosts:
    """The processes of one training, each with its own devices.

    Attributes:
        addresses: "host:port" of each process. On JAX all processes connect to the first address;
            on TensorFlow each process listens at its own.
        index: index of this process, from 0. Process 0 writes the run folder.

    Raises:
        ConfigError: an address has no port or is repeated, or the index is out of range.

    Example:
        >>> from keras_parts.training.hosts import Hosts
        >>> Hosts.parse("a:4000,b:4000", 1)
        Hosts(addresses=('a:4000', 'b:4000'), index=1)
    """

    addresses: tuple[str, ...]
    index: int

    def __post_init__(self):
        for address in self.addresses:
            if not re.fullmatch(r".+:\d+", address):
                raise ConfigError(f"hosts: {address!r} is not an address, expected HOST:PORT")
        if len(set(self.addresses)) != len(self.addresses):
            raise ConfigError(
                f"hosts: an address is repeated in {','.join(self.addresses)}: each process needs "
                "its own"
            )
        if not 0 <= self.index < len(self.addresses):
            raise ConfigError(
                f"hosts: the index of this process is {self.index}, expected 0 to "
                f"{len(self.addresses) - 1} (--host-index)"
            )

    @classmethod
    def parse(cls, text: str, index: int | None, environ: Mapping[str, str] = os.environ) -> Self:
        """The hosts that a command line gives.

        Args:
            text: "HOST:PORT,HOST:PORT,...", the same in every process; or "auto" to read the
                addresses from TF_CONFIG or from SLURM's variables (one process per task).
            index: index of this process among the addresses; ignored with "auto".
            environ: the environment variables that "auto" reads.

        Raises:
            ConfigError: the variables are not set, or a value is wrong.
        """
        if text == "auto":
            return cls.from_scheduler(environ)
        if index is None:
            raise ConfigError("hosts: --host-index is missing: the index of this process, from 0")
        return cls(tuple(part.strip() for part in text.split(",")), index)

    @classmethod
    def from_scheduler(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The hosts in TF_CONFIG or, if that is not set, the tasks of a SLURM step.

        Args:
            environ: the environment variables.

        Raises:
            ConfigError: the variables are not set, or a value is wrong.
        """
        if "TF_CONFIG" in environ:
            return cls._from_tf_config(environ["TF_CONFIG"])
        if "SLURM_PROCID" in environ:
            return cls._from_slurm(environ)
        raise ConfigError(
            "hosts: neither TF_CONFIG nor SLURM's variables are set: start the processes with "
            "srun, or pass --hosts HOST:PORT,... and --host-index"
        )

    @classmethod
    def _from_tf_config(cls, text):
        try:
            config = json.loads(text)
            workers = config["cluster"]["worker"]
            kind, index = config["task"]["type"], int(config["task"]["index"])
        except (ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"hosts: TF_CONFIG cannot be read ({error!r}): {text}") from None
        if kind != "worker":
            raise ConfigError(f"hosts: TF_CONFIG's task type is {kind!r}, expected 'worker'")
        return cls(tuple(workers), index)

    @classmethod
    def _from_slurm(cls, environ):
        try:
            names = environ.get("SLURM_STEP_NODELIST") or environ["SLURM_JOB_NODELIST"]
            counts = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ["SLURM_TASKS_PER_NODE"]
            index, job = int(environ["SLURM_PROCID"]), int(environ["SLURM_JOB_ID"])
        except (LookupError, ValueError) as error:
            raise ConfigError(f"hosts: SLURM's variables are incomplete: {error!r}") from None
        nodes, tasks = expand_node_list(names), list(_slurm_counts(counts))
        if len(nodes) != len(tasks):
            raise ConfigError(
                f"hosts: SLURM lists {len(nodes)} nodes ({names}), but numbers of tasks for "
                f"{len(tasks)} ({counts}): pass --hosts HOST:PORT,... and --host-index"
            )
        addresses = [
            f"{node}:{_FIRST_PORT + (job + task) % _PORTS}"
            for node, count in zip(nodes, tasks, strict=True)
            for task in range(count)
        ]
        return cls(tuple(addresses), index)


def expand_node_list(text: str) -> list[str]:
    """The host names in a SLURM node list.

    Example:
        >>> from keras_parts.training.hosts import expand_node_list
        >>> expand_node_list("a[01-03,7],b")
        ['a01', 'a02', 'a03', 'a7', 'b']
    """
    names = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        prefixes = [""]
        for plain, ranges in re.findall(r"([^\[]+)|\[([^\]]*)\]", part):
            endings = [plain] if plain else list(_numbers(ranges))
            prefixes = [prefix + ending for prefix in prefixes for ending in endings]
        names += prefixes
    return names


def _numbers(ranges):
    """ "01-03,7" -> 01, 02, 03, 7."""
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield str(number).zfill(len(first))


def _slurm_counts(text):
    """Number of tasks of each node: "2(x3),1" -> 2, 2, 2, 1."""
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        yield from [int(count)] * int(times or 1)
