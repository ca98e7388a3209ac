"""The devices that train a model: one, several of one machine, or those of several machines.

On any number of devices a step computes what one device would on the whole batch: losses and batch
statistics are over all images, and each image gets the same random numbers. Only the order of
floating-point additions differs.

| backend | several devices | several hosts |
|---|---|---|
| JAX | `keras.distribution.DataParallel` | the same, after `keras.distribution.initialize` |
| TensorFlow | `tf.distribute.MirroredStrategy` | `tf.distribute.MultiWorkerMirroredStrategy` |
| PyTorch | no: Keras' `fit` has no data parallelism there | no |
"""

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any

import keras

from keras_parts.errors import ConfigError
from keras_parts.keras_private import flat_layers
from keras_parts.training.hosts import Hosts


class Devices:
    """One device that trains a model, and the base class for several.

    Attributes:
        num_devices: number of devices of all hosts together.
        num_hosts: number of processes that train together, one per host.
        host_index: index of this process among them, from 0.

    Example:
        >>> from keras_parts.training.devices import find_devices
        >>> devices = find_devices()
        >>> devices.num_devices, devices.is_leader
        (1, True)
    """

    num_devices = 1
    num_hosts = 1
    host_index = 0

    @property
    def is_leader(self) -> bool:
        """Whether this process writes the run folder: true for one process only."""
        return self.host_index == 0

    def check_batch(self, batch_size: int) -> None:
        """Raise `ConfigError` unless the batch can be divided equally among the devices."""
        if batch_size % self.num_devices:
            nearest = max(1, round(batch_size / self.num_devices)) * self.num_devices
            raise ConfigError(
                f"batch_size is {batch_size}, which cannot be divided equally among "
                f"{self.num_devices} devices: use --batch-size {nearest}, or another number of "
                "--devices"
            )

    def host_rows(self, batch_size: int) -> slice:
        """The rows of a batch that this process reads."""
        rows = batch_size // self.num_hosts
        return slice(self.host_index * rows, (self.host_index + 1) * rows)

    def scope(self) -> AbstractContextManager:
        """A context in which to build models: their variables are on all devices."""
        return nullcontext()

    def single_device(self) -> AbstractContextManager:
        """A context in which computations use one device only."""
        return nullcontext()

    def fit(self, model: keras.Model, batches: Any, first_step: int = 0, **options: Any) -> Any:
        """`model.fit` on the batches from `first_step` on.

        Args:
            model: compiled, built inside `scope()`.
            batches: `keras_parts.data.batches.Batches`, whose batch size is the total over all
                devices.
            first_step: number of the step for which the first batch is read.
            options: further arguments of `keras.Model.fit`.

        Returns:
            `keras.callbacks.History`.
        """
        with closing(batches.iterate(first_step)) as stream:
            return model.fit(((batch,) for batch in stream), **options)


class _JaxDevices(Devices):
    """One program on the whole batch, which XLA splits along the batch axis."""

    def __init__(self, names, num_hosts, host_index):
        self.num_devices, self.num_hosts, self.host_index = len(names), num_hosts, host_index
        # Keras must not shard the data, as each process reads its own rows only.
        self._distribution = keras.distribution.DataParallel(
            devices=names, auto_shard_dataset=False
        )

    def scope(self):
        return self._distribution.scope()

    @contextmanager
    def single_device(self):
        previous = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(previous)

    def fit(self, model, batches, first_step=0, **options):
        rows = self.host_rows(batches.batch_size)
        with self._distribution.scope(), closing(batches.iterate(first_step, rows)) as stream:
            return model.fit(((batch,) for batch in stream), **options)


class _TensorFlowDevices(Devices):
    """A replica of the step on each device; the losses exchange what depends on the whole batch."""

    def __init__(self, strategy, num_hosts, host_index):
        self.num_devices = strategy.num_replicas_in_sync
        self.num_hosts, self.host_index = num_hosts, host_index
        self._strategy = strategy

    def scope(self):
        return self._strategy.scope()

    def fit(self, model, batches, first_step=0, **options):
        synchronise_statistics(model)
        data = self._strategy.distribute_datasets_from_function(
            lambda context: self._dataset(batches, first_step)
        )
        return model.fit(data, **options)

    def _dataset(self, batches, first_step):
        """A tf.data.Dataset of this process' shares of the batches, one element per replica."""
        import tensorflow as tf

        rows = self.host_rows(batches.batch_size)
        share = batches.batch_size // self.num_devices

        def replicas():
            for batch in batches.iterate(first_step, rows):
                for first in range(0, rows.stop - rows.start, share):
                    yield ({name: a[first : first + share] for name, a in batch.items()},)

        example = batches.batch(first_step, rows)
        signature = {
            name: tf.TensorSpec((share, *array.shape[1:]), array.dtype)
            for name, array in example.items()
        }
        return tf.data.Dataset.from_generator(replicas, output_signature=(signature,)).prefetch(2)


def synchronise_statistics(model: keras.Model) -> None:
    """Make batch normalisation on TensorFlow use statistics over the images of all replicas."""
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def find_devices(devices: int | str | None = None, hosts: Hosts | None = None) -> Devices:
    """The devices to train on. Call it before the backend computes anything.

    Args:
        devices: number of devices of this machine, or "all". None means one device without `hosts`,
            and all devices with `hosts`.
        hosts: the processes that train together, or None for this process alone.

    Raises:
        ConfigError: `devices` is no such number, the machine has fewer devices, the backend cannot
            train on several, or the other hosts cannot be reached.

    Example:
        >>> from keras_parts.training.devices import find_devices
        >>> find_devices(1).num_devices
        1
    """
    backend = keras.config.backend()
    wanted = _parsed_number(devices if devices is not None else "all" if hosts else 1)
    if wanted == 1 and not hosts:
        return Devices()
    if backend == "torch":
        return _torch_devices(wanted, hosts)
    return {"jax": _jax_devices, "tensorflow": _tensorflow_devices}[backend](wanted, hosts)


def _parsed_number(devices: int | str) -> int | None:
    """The requested number of devices; None for all."""
    if devices == "all":
        return None
    try:
        number = int(devices)
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(f"devices is {devices!r}, expected a number from 1, or all")
    return number


def _first_devices(wanted: int | None, found: Sequence) -> Sequence:
    if wanted is None:
        return found
    if wanted > len(found):
        names = ", ".join(str(getattr(device, "name", device)) for device in found)
        raise ConfigError(
            f"devices is {wanted}, but {keras.config.backend()} finds only {len(found)} on this "
            f"machine: {names}; use --devices all, or fewer"
        )
    return found[:wanted]


def _torch_devices(wanted, hosts):
    import torch

    if wanted is None and not hosts and torch.cuda.device_count() < 2:
        return Devices()
    raise ConfigError(
        "on PyTorch, Keras trains on one device only: use --backend jax or tensorflow, or leave "
        "out --devices and --hosts"
    )


def _jax_devices(wanted, hosts):
    import jax

    if hosts:
        try:
            keras.distribution.initialize(
                job_addresses=hosts.addresses[0],
                num_processes=len(hosts.addresses),
                process_id=hosts.index,
            )
        except RuntimeError as error:
            raise ConfigError(
                f"hosts: process {hosts.index} cannot connect to {hosts.addresses[0]}: {error}"
            ) from None
    used = {device.id for device in _first_devices(wanted, jax.local_devices())}
    if not hosts:
        chosen = [device for device in jax.devices() if device.id in used]
        count, index = 1, 0
    else:
        count, index = len(hosts.addresses), hosts.index
        # The same number of devices from each process, in the order of the processes.
        chosen = [
            device
            for process in range(count)
            for device in [d for d in jax.devices() if d.process_index == process][: len(used)]
        ]
    if len(chosen) == 1:
        return Devices()
    return _JaxDevices([f"{device.platform}:{device.id}" for device in chosen], count, index)


def _tensorflow_devices(wanted, hosts):
    import tensorflow as tf

    if hosts:
        return _TensorFlowDevices(
            _multi_worker_strategy(wanted, hosts), len(hosts.addresses), hosts.index
        )
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    found = _first_devices(wanted, found)
    if len(found) == 1:
        return Devices()
    return _TensorFlowDevices(mirrored_strategy(tuple(each.name for each in found)), 1, 0)


@functools.cache
def mirrored_strategy(names: tuple[str, ...]) -> Any:
    """The `tf.distribute.MirroredStrategy` of these devices.

    One per process: a second strategy would number its exchanges from the start again, and
    TensorFlow refuses those whose shapes differ from the first one's.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(list(names))


def _multi_worker_strategy(wanted, hosts):
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if wanted is not None:
        tf.config.set_visible_devices(_first_devices(wanted, gpus) if gpus else [], "GPU")
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(hosts.addresses)}),
        task_type="worker",
        task_id=hosts.index,
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
