"""A run on several devices or hosts equals the run of one device on the same batches."""

import os
import shutil
import socket

import keras
import numpy as np
import pytest

from keras_parts import data
from keras_parts.errors import ConfigError
from keras_parts.training import run
from keras_parts.training.devices import Devices, find_devices
from keras_parts.training.recipes import recipe
from keras_parts.training.run_folder import RunFolder
from tests.eagerly import eagerly
from tests.processes import finish, start_python
from tests.small import register_tiny
from tests.training.stored import stored_weights

pytestmark = [pytest.mark.backend, pytest.mark.slow]
BACKEND = keras.config.backend()
several = pytest.mark.backend("tensorflow", "jax")  # PyTorch trains on one device

# With everything that could differ between a share of a batch and the whole: batch statistics, a
# clipped norm, a teacher in the step, random positives, averages. But without what magnifies
# rounding: Adam makes full steps of gradients that are only rounding errors, and centring leaves
# little else of the descriptors of an untrained network.
SETTINGS = {
    "architecture": register_tiny(), "teacher_layers": ("stage2",),
    "num_parts": 3, "steps": 4, "batch_size": 4, "image_size": 33, "loss_size": 9,
    "warmup_steps": 0, "crops.jitter": 0.05, "contrastive.positives": "one", "optimizer": "sgd",
    "learning_rate": 0.02, "clip_norm": 0.5, "ema_momentum": 0.5, "centre_features": False,
    "standardise": False, "loss_weights.clusters": 0.5, "clusters.decay_steps": 3,
    "loss_weights.presence": 0.5, "presence.minimum": 1.0,
}  # fmt: skip


class NoPicture(keras.callbacks.Callback):
    """Replaces the callbacks that draw where a test compares numbers only: drawing compiles too."""

    def __init__(self, *arguments):
        super().__init__()


# With these settings the teacher's features are cached, as in most runs.
CACHED = {"crops.jitter": 0.0, "standardise": True}


# Each host is a process of its own: JAX's threads do not survive a fork.
HOST = """
import os, sys

if os.environ["KERAS_BACKEND"] == "jax":
    sys.modules["tensorflow"] = None  # Keras would import it to set its seed
from keras_parts.training.hosts import Hosts
from tests.training.test_devices import train

folder, addresses, index = sys.argv[1:]
train(folder, devices="all", hosts=Hosts.parse(addresses, int(index)))
"""


def train(folder, resume=False, pictures=False, cached=False, **options):
    drawn = data.load("toy", "train", count=6, size=65)
    settings = recipe("toy", **SETTINGS | (CACHED if cached else {}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_INTERVALS", 2)  # of two steps each
        patch.setattr(run, "_SHEETS", 2)  # a checkpoint every two steps
        if not pictures:
            patch.setattr(run, "SampleSheet", NoPicture)
            patch.setattr(run, "LossCurves", NoPicture)
        return run.train(settings, drawn, folder, resume=resume, progress=False, **options)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices") / "one"
    with eagerly():
        train(folder)
    return folder


def assert_same(folder, expected):
    """Compare the mean losses of every two steps, and the final weights."""
    records, others = RunFolder(folder).metrics(), RunFolder(expected).metrics()
    assert [record["step"] for record in records] == [2, 4]
    for record, other in zip(records, others, strict=True):
        for name in ("loss", *recipe("toy").loss_weights):
            assert record[name] == pytest.approx(other[name], rel=1e-5, abs=1e-6), name
    ours, theirs = stored_weights(folder), stored_weights(expected)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@several
def test_two_devices_equal_one_and_one_resumes_their_run(one_device, tmp_path):
    folder = tmp_path / "two"
    train(folder, devices=2, pictures=True)
    assert_same(folder, one_device)
    assert list((folder / "samples").glob("*.png"))
    checkpoints = {path.name for path in (folder / "checkpoints").glob("step-*")}
    assert checkpoints == {"step-00000002", "step-00000004"}
    shutil.rmtree(folder / "checkpoints" / "step-00000004")
    with eagerly():
        train(folder, resume=True)
    assert_same(folder, one_device)


@pytest.mark.backend("tensorflow")
def test_a_process_trains_on_two_devices_again():
    """Exchanges of another shape, as those of another model."""
    import tensorflow as tf

    def total(size):
        with find_devices(2).scope():
            strategy = tf.distribute.get_strategy()
        context = tf.distribute.get_replica_context
        sums = strategy.run(lambda: context().all_reduce("sum", tf.ones(size)))
        return [each.numpy().tolist() for each in strategy.experimental_local_results(sums)]

    assert total(1) == [[2.0]] * 2
    assert total(2) == [[2.0, 2.0]] * 2


@pytest.mark.backend("jax")  # one backend is enough: cached batches only have one more name
def test_two_devices_train_on_cached_features_as_one_does(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_HOME", str(tmp_path / "home"))
    train(tmp_path / "one", cached=True)
    assert list((tmp_path / "home" / "features").glob("*.npy"))
    train(tmp_path / "two", cached=True, devices=2)
    assert_same(tmp_path / "two", tmp_path / "one")


@several
def test_two_hosts_equal_one_device(one_device, tmp_path):
    folder = tmp_path / "hosts"
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    flags = os.environ["XLA_FLAGS"].replace("device_count=2", "device_count=1")
    processes = [
        start_python(HOST, folder, addresses, index, XLA_FLAGS=flags) for index in range(2)
    ]
    for process in processes:
        finish(process)
    assert_same(folder, one_device)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def test_one_device_is_the_default():
    assert type(find_devices()) is type(find_devices(1)) is Devices


@pytest.mark.parametrize("devices", ["0", "two", -1])
def test_a_wrong_number_of_devices(devices):
    with pytest.raises(ConfigError, match="expected a number from 1, or all"):
        find_devices(devices)


def test_more_devices_than_there_are():
    message = (
        "on PyTorch, Keras trains on one device" if BACKEND == "torch" else "devices is 99, but"
    )
    with pytest.raises(ConfigError, match=message):
        find_devices(99)


def test_a_batch_that_cannot_be_divided_equally():
    devices = Devices()
    devices.num_devices = 4
    devices.check_batch(12)
    with pytest.raises(ConfigError, match="--batch-size 12,"):
        devices.check_batch(13)
