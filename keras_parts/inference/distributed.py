"""The engine on many machines, or many processes of one: Ray Data hands out pictures to actors.

Each actor has the network and the engine of a single machine, and writes results where all others
do. What became of the pictures comes back to the driver, which keeps the done log. An actor that is
killed is started again by Ray, and the few pictures that it had in hand are given out again: they
get the same files.
"""

import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.inference.addresses import is_address
from keras_parts.inference.done import Outcome
from keras_parts.inference.engine import Engine
from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import open_output
from keras_parts.inference.writers import create_writers
from keras_parts.models.predictor import PartPredictor

_BATCHES = 4
"""Network batches of pictures that an actor is given at a time."""
_STORE = 200_000_000
"""Bytes that Ray's processes share on this machine: only names of files and outcomes pass."""
_PASSED_ON = re.compile("KERAS_|JAX_|TF_|XLA_")
"""Environment variables that actors are to have as well."""


class RayEngine:
    """Does what `Engine` does, in actors.

    Args:
        network, writers, output, threads, max_pixels: see `Engine`. Threads are each actor's.
        make_network: called in each actor; gives a network equal to `network`.
        address: of a Ray cluster ("auto" finds one); None starts one on this machine.
        workers: number of actors; None for one a GPU or, without any, one for two cores.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(
        self, network, writers, output, threads, max_pixels, *, make_network, address, workers
    ):
        try:
            import ray.data  # noqa: F401
        except ImportError:
            raise ConfigError("Ray is not installed: pip install 'keras-parts[ray]'") from None
        self._actor = {
            "make_network": make_network,
            "formats": [writer.name for writer in writers],
            "output": _absolute(output.path),
            "threads": threads,
            "max_pixels": max_pixels,
        }
        self._at_a_time = _BATCHES * network.batch_size
        self._address, self._workers = address, workers

    def run(
        self, files: Iterable[ImageFile], remember: Callable[[Outcome], None]
    ) -> Iterator[Outcome]:
        """See `Engine.run`."""
        import ray
        from ray.data import ActorPoolStrategy, from_items

        items = [{"file": json.dumps([file.root, file.relative, file.result])} for file in files]
        if not items:
            return
        self._connect(ray)
        actors, resources = self._share(ray, len(items))
        try:
            rows = from_items(items).map_batches(
                _Actor,
                fn_constructor_kwargs=self._actor,
                batch_size=min(self._at_a_time, -(-len(items) // actors)),
                compute=ActorPoolStrategy(size=actors),
                **resources,
            )
            for row in rows.iter_rows():
                outcome = Outcome.from_json(json.loads(row["outcome"]))
                remember(outcome)
                yield outcome
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            text = str(cause) if isinstance(cause, KerasPartsError) else f"Ray: {error}"
            raise KerasPartsError(text) from error
        finally:
            if self._address is None:
                ray.shutdown()

    def _connect(self, ray):
        variables = {name: os.environ[name] for name in os.environ if _PASSED_ON.match(name)}
        options = {"runtime_env": {"env_vars": variables}, "log_to_driver": False}
        if self._address is None:
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
            options |= {"include_dashboard": False, "object_store_memory": _STORE}
        address = self._address or "local"
        try:
            ray.init(address, ignore_reinit_error=True, logging_level="ERROR", **options)
        except Exception as error:  # not always one of Ray's own
            raise KerasPartsError(f"Ray does not start: {error}") from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False

    def _share(self, ray, pictures):
        """(number of actors, what each of them needs)."""
        whole = ray.cluster_resources()
        gpus, cores = int(whole.get("GPU", 0)), int(whole.get("CPU", 1))
        actors = min(self._workers or gpus or max(1, cores // 2), pictures)
        return actors, {"num_gpus": min(1, gpus / actors), "num_cpus": 0 if gpus else 1}


def ray_engine(
    make_network: Callable[[], PartPredictor],
    address: str | None = None,
    workers: int | None = None,
):
    """What `segment_files` takes as `engine` to work in Ray; see `RayEngine`."""

    def engine(*args):
        options = {"make_network": make_network, "address": address, "workers": workers}
        return RayEngine(*args, **options)

    return engine


def _absolute(path):
    """A path that means the same in another process."""
    return str(path) if is_address(path) else os.path.abspath(path)


class _Actor:
    """The engine in a process of Ray's."""

    def __init__(self, make_network, formats, output, threads, max_pixels):
        self._network, self._formats, self._output = make_network(), formats, output
        self._limits = threads, max_pixels

    def __call__(self, batch):
        files = [ImageFile(*json.loads(str(item))) for item in batch["file"]]
        # Taken and given back each time: what a killed actor left can be told from what is at work.
        output = open_output(self._output, f"ray-{uuid.uuid4().hex[:12]}")
        output.prepare()
        with closing(output):
            engine = Engine(self._network, create_writers(self._formats), output, *self._limits)
            outcomes = [json.dumps(each.to_json()) for each in engine.run(files, lambda each: None)]
        return {"outcome": outcomes}
