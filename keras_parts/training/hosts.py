"""Which processes train together: from addresses that are given, or from a scheduler's variables.

Nothing of Keras is imported here.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from keras_parts.errors import ConfigError

_FIRST_PORT, _PORTS = 61440, 4096  # of schedulers that name hosts but no ports


@dataclass(frozen=True)
class Hosts:
    """The processes of one training, each with its own devices.

    Attributes:
        addresses: "host:port" of each; the first is where the others meet (JAX), on TensorFlow
            each listens at its own.
        index: which of them this process is, from 0. The first one writes the run folder.

    Raises:
        ConfigError: an address without a port or that is there twice, or an index out of range.
    """

    addresses: tuple[str, ...]
    index: int

    def __post_init__(self):
        for address in self.addresses:
            if not re.fullmatch(r".+:\d+", address):
                raise ConfigError(f"hosts: {address!r} is no address, expected HOST:PORT")
        if len(set(self.addresses)) != len(self.addresses):
            raise ConfigError(f"hosts: an address is there twice in {','.join(self.addresses)}")
        if not 0 <= self.index < len(self.addresses):
            raise ConfigError(
                f"hosts: this is process {self.index} of {len(self.addresses)}: expected an index "
                f"from 0 to {len(self.addresses) - 1} (--host-index)"
            )

    @classmethod
    def parse(cls, text: str, index: int | None, environ: Mapping[str, str] = os.environ) -> Self:
        """Hosts of the command line.

        Args:
            text: "HOST:PORT,HOST:PORT,...", the same in every process, or "auto" for those in the
                variables of SLURM (one process a task) or in TF_CONFIG.
            index: of this process among the addresses.
            environ: where "auto" looks.

        Raises:
            ConfigError: no such variables, or values that are wrong.
        """
        if text == "auto":
            return cls.of_scheduler(environ)
        if index is None:
            raise ConfigError("hosts: which of them is this process? give --host-index, from 0")
        return cls(tuple(part.strip() for part in text.split(",")), index)

    @classmethod
    def of_scheduler(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Hosts in TF_CONFIG, or else of the tasks of a SLURM step."""
        if "TF_CONFIG" in environ:
            return cls._of_tf_config(environ["TF_CONFIG"])
        if "SLURM_PROCID" in environ:
            return cls._of_slurm(environ)
        raise ConfigError(
            "hosts: neither TF_CONFIG nor SLURM's variables are set: start with srun, or give "
            "--hosts HOST:PORT,... and --host-index"
        )

    @classmethod
    def _of_tf_config(cls, text):
        try:
            config = json.loads(text)
            workers = config["cluster"]["worker"]
            kind, index = config["task"]["type"], int(config["task"]["index"])
        except (ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"hosts: TF_CONFIG cannot be read ({error!r}): {text}") from None
        if kind != "worker":
            raise ConfigError(f"hosts: TF_CONFIG's task is {kind!r}, only workers train here")
        return cls(tuple(workers), index)

    @classmethod
    def _of_slurm(cls, environ):
        try:
            names = environ.get("SLURM_STEP_NODELIST") or environ["SLURM_JOB_NODELIST"]
            counts = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ["SLURM_TASKS_PER_NODE"]
            index, job = int(environ["SLURM_PROCID"]), int(environ["SLURM_JOB_ID"])
        except (LookupError, ValueError) as error:
            raise ConfigError(f"hosts: SLURM's variables are not complete: {error!r}") from None
        addresses = [
            f"{name}:{_FIRST_PORT + (job + task) % _PORTS}"
            for name, tasks in zip(slurm_names(names), _slurm_counts(counts), strict=False)
            for task in range(tasks)
        ]
        return cls(tuple(addresses), index)


def slurm_names(text: str) -> list[str]:
    """Host names of a SLURM node list: "a[01-03,7],b" is a01, a02, a03, a7, b."""
    names = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        heads = [""]
        for plain, ranges in re.findall(r"([^\[]+)|\[([^\]]*)\]", part):
            tails = [plain] if plain else list(_numbers(ranges))
            heads = [head + tail for head in heads for tail in tails]
        names += heads
    return names


def _numbers(ranges):
    """ "01-03,7" -> 01, 02, 03, 7."""
    for one in ranges.split(","):
        first, _, last = one.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield str(number).zfill(len(first))


def _slurm_counts(text):
    """Tasks of each node: "2(x3),1" is 2, 2, 2, 1."""
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        yield from [int(count)] * int(times or 1)
