"""The devices that a training runs on: one, several of a machine, or those of several machines.

However many they are, a step is the step of one device on the whole batch: the losses see all of
its images, each image gets the same random numbers, batch statistics are those of all. What
differs is the order in which numbers are added up.

| backend | several devices | several hosts |
|---|---|---|
| JAX | `keras.distribution.DataParallel` | the same, after `keras.distribution.initialize` |
| TensorFlow | `tf.distribute.MirroredStrategy` | `tf.distribute.MultiWorkerMirroredStrategy` |
| PyTorch | no: `fit` has no data parallelism | no |
"""

from contextlib import closing, contextmanager, nullcontext

import keras

from keras_parts.errors import ConfigError
from keras_parts.keras_private import flat_layers


class Devices:
    """One device, and what the others have in common.

    Attributes:
        count: devices, of all hosts together.
        hosts: processes that train together. index: which of them this one is, from 0.
    """

    count = 1
    hosts = 1
    index = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes what is written once."""
        return self.index == 0

    def check_batch(self, batch_size: int) -> None:
        """Raise ConfigError unless every device gets as many images as the others."""
        if batch_size % self.count:
            fitting = max(1, round(batch_size / self.count)) * self.count
            raise ConfigError(
                f"a batch of {batch_size} cannot be shared evenly among {self.count} devices: "
                f"take --batch-size {fitting}, or another number of --devices"
            )

    def own_rows(self, batch_size: int) -> slice:
        """The rows of a batch that this process reads."""
        rows = batch_size // self.hosts
        return slice(self.index * rows, (self.index + 1) * rows)

    def placed(self):
        """A context: what is built inside has its variables on all devices."""
        return nullcontext()

    def alone(self):
        """A context: what is computed inside has nothing to do with the other devices."""
        return nullcontext()

    def fit(self, model, batches, start=0, **options):
        """`model.fit` on the batches from a step on.

        Args:
            model: compiled, built inside `placed()`.
            batches: `keras_parts.data.batches.Batches`, whose batch size is that of all devices
                together.
            start: step of the first batch.
            options: of `fit`.
        """
        with closing(batches.iterate(start)) as stream:
            return model.fit(((batch,) for batch in stream), **options)


class _JaxDevices(Devices):
    """One program on the whole batch, which XLA divides by the batch's axis."""

    def __init__(self, names, hosts, index):
        self.count, self.hosts, self.index = len(names), hosts, index
        # Every process reads its own rows.
        self._distribution = keras.distribution.DataParallel(
            devices=names, auto_shard_dataset=False
        )

    def placed(self):
        return self._distribution.scope()

    @contextmanager
    def alone(self):
        outside = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(outside)

    def fit(self, model, batches, start=0, **options):
        rows = self.own_rows(batches.batch_size)
        with self._distribution.scope(), closing(batches.iterate(start, rows)) as stream:
            return model.fit(((batch,) for batch in stream), **options)


class _TensorFlowDevices(Devices):
    """A replica of the step on each device, which exchange what concerns the whole batch."""

    def __init__(self, strategy, hosts, index):
        self.count, self.hosts, self.index = strategy.num_replicas_in_sync, hosts, index
        self._strategy = strategy

    def placed(self):
        return self._strategy.scope()

    def fit(self, model, batches, start=0, **options):
        synchronise_statistics(model)
        data = self._strategy.distribute_datasets_from_function(
            lambda context: self._dataset(batches, start)
        )
        return model.fit(data, **options)

    def _dataset(self, batches, start):
        """A tf.data.Dataset of the batches of this process' replicas, one after the other."""
        import tensorflow as tf

        rows = self.own_rows(batches.batch_size)
        share = batches.batch_size // self.count

        def replicas():
            for batch in batches.iterate(start, rows):
                for first in range(0, rows.stop - rows.start, share):
                    yield ({name: a[first : first + share] for name, a in batch.items()},)

        example = batches.batch(start, rows)
        signature = {
            name: tf.TensorSpec((share, *array.shape[1:]), array.dtype)
            for name, array in example.items()
        }
        return tf.data.Dataset.from_generator(replicas, output_signature=(signature,)).prefetch(2)


def synchronise_statistics(model) -> None:
    """Let batch normalisation on TensorFlow's replicas compute with the whole batch."""
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def find_devices(devices=None, hosts=None) -> Devices:
    """The devices to train on. To be called before the backend computes anything.

    Args:
        devices: how many of this machine: a number, "all", or None for one, or for all where
            there are several hosts.
        hosts: `keras_parts.training.hosts.Hosts`, or None.

    Raises:
        ConfigError: there are fewer, or the backend cannot train on several.
    """
    backend = keras.config.backend()
    wanted = _number(devices if devices is not None else "all" if hosts else 1)
    if wanted == 1 and not hosts:
        return Devices()
    if backend == "torch":
        return _torch_devices(wanted, hosts)
    return {"jax": _jax_devices, "tensorflow": _tensorflow_devices}[backend](wanted, hosts)


def _number(devices):
    """A number of devices, None for all."""
    if devices == "all":
        return None
    try:
        number = int(devices)
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(f"devices is {devices!r}, expected a number from 1, or all")
    return number


def _chosen(wanted, found):
    if wanted is None:
        return found
    if wanted > len(found):
        names = ", ".join(str(getattr(device, "name", device)) for device in found)
        raise ConfigError(
            f"devices is {wanted}, but {keras.config.backend()} sees {len(found)} here: {names}"
        )
    return found[:wanted]


def _torch_devices(wanted, hosts):
    import torch

    if wanted is None and not hosts and torch.cuda.device_count() < 2:
        return Devices()
    raise ConfigError(
        "PyTorch trains on one device: Keras' fit has no data parallelism there. Take "
        "--backend jax or tensorflow, or leave out --devices and --hosts"
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
            raise ConfigError(f"jax cannot join the other hosts: {error}") from None
    used = {device.id for device in _chosen(wanted, jax.local_devices())}
    if not hosts:
        names = [name for name in jax.devices() if name.id in used]
        count, index = 1, 0
    else:
        count, index = len(hosts.addresses), hosts.index
        # As many of each process, in the order of the processes.
        names = [
            device
            for process in range(count)
            for device in [d for d in jax.devices() if d.process_index == process][: len(used)]
        ]
    if len(names) == 1:
        return Devices()
    return _JaxDevices([f"{device.platform}:{device.id}" for device in names], count, index)


def _tensorflow_devices(wanted, hosts):
    import tensorflow as tf

    if hosts:
        return _TensorFlowDevices(
            _multi_worker_strategy(wanted, hosts), len(hosts.addresses), hosts.index
        )
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    found = _chosen(wanted, found)
    if len(found) == 1:
        return Devices()
    return _TensorFlowDevices(tf.distribute.MirroredStrategy([each.name for each in found]), 1, 0)


def _multi_worker_strategy(wanted, hosts):
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if wanted is not None:
        tf.config.set_visible_devices(_chosen(wanted, gpus or ["CPU"]) if gpus else [], "GPU")
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(hosts.addresses)}),
        task_type="worker",
        task_id=hosts.index,
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
