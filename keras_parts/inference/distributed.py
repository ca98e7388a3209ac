"""The engine in several processes or on several machines: Ray Data distributes the images.

Each actor has a predictor and an engine, and writes results to the same output folder. The outcomes
are returned to the driver, which keeps the done log. Ray restarts an actor that was killed, and
distributes its unfinished images again; their results are the same.
"""

import json
import os
import sys
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any

from keras_parts.addresses import is_address
from keras_parts.environment import worker_variables
from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.inference.done_log import Outcome
from keras_parts.inference.engine import Engine, EngineFactory, OnOutcome
from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output, open_output
from keras_parts.inference.writers import Writer, create_writers
from keras_parts.models.predictor import PartPredictor

_BATCHES = 4
"""Number of batches that an actor receives at a time."""
_OBJECT_STORE_BYTES = 200_000_000
"""Memory that Ray's processes share on this machine: they exchange only file names and outcomes."""


class RayEngine:
    """Segments images in Ray actors; see `Engine`.

    Args:
        predictor, writers, output, max_pixels: as for `Engine`.
        threads: as for `Engine`, in each actor.
        create_predictor: called in each actor; returns a predictor equal to `predictor`.
        address: of a Ray cluster ("auto" finds one); None starts one on this machine.
        workers: number of actors; None for one per GPU or, without any, one per two processor
            cores.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(
        self,
        predictor: PartPredictor,
        writers: Sequence[Writer],
        output: Output,
        *,
        threads: int | None,
        max_pixels: int,
        create_predictor: Callable[[], PartPredictor],
        address: str | None,
        workers: int | None,
    ) -> None:
        try:
            import ray.data  # noqa: F401
        except ImportError:
            raise ConfigError("Ray is not installed: pip install 'keras-parts[ray]'") from None
        self._actor = {
            "create_predictor": create_predictor,
            "formats": [writer.name for writer in writers],
            "output": _absolute(output.path),
            "threads": threads,
            "max_pixels": max_pixels,
        }
        self._images_per_call = _BATCHES * predictor.batch_size
        self._address, self._workers = address, workers

    def run(
        self, files: Iterable[ImageFile], on_outcome: OnOutcome
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of each image; see `Engine.run`."""
        import ray
        from ray.data import ActorPoolStrategy, from_items

        items = [{"file": json.dumps(astuple(file))} for file in files]
        if not items:
            return
        self._connect(ray)
        actors, resources = self._resources(ray, len(items))
        try:
            rows = from_items(items).map_batches(
                _Actor,
                fn_constructor_kwargs=self._actor,
                batch_size=min(self._images_per_call, -(-len(items) // actors)),
                compute=ActorPoolStrategy(size=actors),
                **resources,
            )
            for row in rows.iter_rows():
                outcome = Outcome.from_json(json.loads(row["outcome"]))
                on_outcome(outcome)
                yield outcome
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            text = str(cause) if isinstance(cause, KerasPartsError) else f"Ray: {error}"
            raise KerasPartsError(text) from error
        finally:
            if self._address is None:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        variables = worker_variables()
        options: dict[str, Any] = {"runtime_env": {"env_vars": variables}, "log_to_driver": False}
        if self._address is None:
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
            options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        address = self._address or "local"
        try:
            ray.init(address, ignore_reinit_error=True, logging_level="ERROR", **options)
        except Exception as error:  # not always one of Ray's own
            raise KerasPartsError(f"Ray does not start: {error}") from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False

    def _resources(self, ray: Any, images: int) -> tuple[int, dict[str, float]]:
        """(number of actors, resources of each)."""
        cluster = ray.cluster_resources()
        gpus, cores = int(cluster.get("GPU", 0)), int(cluster.get("CPU", 1))
        actors = min(self._workers or gpus or max(1, cores // 2), images)
        return actors, {"num_gpus": min(1, gpus / actors), "num_cpus": 0 if gpus else 1}


def ray_engine(
    create_predictor: Callable[[], PartPredictor],
    *,
    address: str | None = None,
    workers: int | None = None,
) -> EngineFactory:
    """The `engine` of `segment_files` that segments in Ray.

    Args:
        create_predictor, address, workers: as for `RayEngine`.
    """

    def engine(
        predictor: PartPredictor,
        writers: Sequence[Writer],
        output: Output,
        *,
        threads: int | None,
        max_pixels: int,
    ) -> RayEngine:
        return RayEngine(
            predictor,
            writers,
            output,
            threads=threads,
            max_pixels=max_pixels,
            create_predictor=create_predictor,
            address=address,
            workers=workers,
        )

    return engine


def _absolute(path: str | Path) -> str:
    """A path that is valid in another process, whatever its working folder."""
    return str(path) if is_address(path) else os.path.abspath(path)


class _Actor:
    """An engine in one of Ray's processes."""

    def __init__(
        self,
        create_predictor: Callable[[], PartPredictor],
        formats: Sequence[str],
        output: str,
        threads: int | None,
        max_pixels: int,
    ) -> None:
        self._predictor, self._formats, self._output = create_predictor(), formats, output
        self._threads, self._max_pixels = threads, max_pixels

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        files = [ImageFile(*json.loads(str(item))) for item in batch["file"]]
        # A new owner for each call: the next call finds the lock of a killed actor free and removes
        # its unfinished files.
        output = open_output(self._output, f"ray-{uuid.uuid4().hex[:12]}")
        output.prepare()
        with closing(output):
            writers = create_writers(self._formats)
            engine = Engine(
                self._predictor,
                writers,
                output,
                threads=self._threads,
                max_pixels=self._max_pixels,
            )
            outcomes = engine.run(files, on_outcome=lambda outcome: None)
            return {"outcome": [json.dumps(outcome.to_json()) for outcome in outcomes]}
