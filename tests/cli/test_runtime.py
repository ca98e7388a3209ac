import gc
import json
import os
import sys

import click
import pytest

from keras_parts.cli import runtime
from keras_parts.errors import ConfigError


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with the given backends installed, a keras.json, and a clean environment."""

    def make(*installed, configured=None):
        def find_spec(name):
            return object() if name in installed else None

        monkeypatch.setattr(runtime.importlib.util, "find_spec", find_spec)
        if configured:
            (tmp_path / "keras.json").write_text(json.dumps({"backend": configured}))

    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("KERAS", "CUDA", "TF_"))
    }
    environment["KERAS_HOME"] = str(tmp_path)
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    return make


def test_first_installed_backend(machine):
    machine("torch", "jax")
    assert runtime.select_backend() == ("jax", "")
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_keras_json_takes_precedence(machine):
    machine("tensorflow", "torch", configured="torch")
    assert runtime.select_backend() == ("torch", "")


def test_keras_json_of_a_backend_that_is_not_installed(machine):
    machine("tensorflow", configured="jax")
    chosen, remark = runtime.select_backend()
    assert chosen == "tensorflow"
    assert "jax, which is not installed" in remark


def test_the_option_precedes_the_variable_which_precedes_keras_json(machine):
    machine("tensorflow", "jax", "torch", configured="torch")
    os.environ["KERAS_BACKEND"] = "jax"
    assert runtime.select_backend()[0] == "jax"
    assert runtime.select_backend("tensorflow")[0] == "tensorflow"
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


def test_tensorflow_computes_with_onednn_unless_the_variable_disables_it(machine):
    machine("tensorflow", "jax")
    runtime.select_backend("jax")
    assert "TF_ENABLE_ONEDNN_OPTS" not in os.environ
    runtime.select_backend("tensorflow")
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    runtime.select_backend("tensorflow")
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"backend": null}'])
def test_a_damaged_keras_json_is_ignored(machine, tmp_path, content):
    machine("jax")
    (tmp_path / "keras.json").write_text(content)
    assert runtime.select_backend()[0] == "jax"


def test_a_requested_backend_that_is_not_installed(machine):
    machine("jax")
    with pytest.raises(ConfigError, match=r"torch is not installed.*keras-parts\[torch\]"):
        runtime.select_backend("torch")


def test_no_backend_at_all(machine):
    machine()
    with pytest.raises(ConfigError, match=r"pip install 'keras-parts\[tensorflow\]'"):
        runtime.select_backend()


def test_keras_running_on_another_backend(machine, monkeypatch):
    machine("jax", "torch")

    class Running:
        class config:
            backend = staticmethod(lambda: "torch")

    monkeypatch.setitem(sys.modules, "keras", Running)
    assert runtime.select_backend("torch")[0] == "torch"
    with pytest.raises(ConfigError, match="already runs on torch"):
        runtime.select_backend("jax")


def test_notices_are_suppressed_unless_the_import_fails(capfd):
    with runtime._stderr_held_back():
        os.write(2, b"a notice of a library\n")
    with pytest.raises(ImportError), runtime._stderr_held_back():
        os.write(2, b"why it failed\n")
        raise ImportError
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "why it failed\nafterwards\n"


def test_no_garbage_is_looked_for_during_imports():
    with runtime._garbage_kept():
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.backend
@pytest.mark.slow
def test_keras_starts_silently(python):
    process = python(
        "import os\n"
        "os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)\n"
        "from keras_parts.cli.runtime import import_keras, select_backend\n"
        "backend, _ = select_backend()\n"
        "import_keras()\n"
        "import keras\n"
        "assert keras.config.backend() == backend\n"
        "assert backend != 'tensorflow' or os.environ['TF_CPP_MIN_LOG_LEVEL'] == '3'"
    )
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert not stderr


@pytest.mark.parametrize("level", [None, "1", "3"])
def test_the_users_log_level_is_kept_and_its_notices_are_printed(
    machine, monkeypatch, tmp_path, capfd, level
):
    machine("tensorflow", "keras")
    (tmp_path / "keras.py").write_text("import os; os.write(2, b'a notice of a library')")
    monkeypatch.syspath_prepend(tmp_path)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if level:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = level
    runtime.import_keras()
    del sys.modules["keras"]
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == (level or "3")
    assert capfd.readouterr().err == ("a notice of a library" if level else "")


def test_cpu_hides_gpus_from_every_library(machine):
    runtime.select_device("cpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert os.environ["JAX_PLATFORMS"] == "cpu"
    assert os.environ["KERAS_TORCH_DEVICE"] == "cpu"


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("gpu", None, None),
        ("gpu", "2,3", "2,3"),
        ("gpu:1", None, "1"),
        ("gpu:1", "2,3", "3"),
        ("gpu:0", "GPU-ab12", "GPU-ab12"),
    ],
)
def test_gpus_by_number_among_the_visible_ones(machine, device, visible, expected):
    if visible:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    runtime.select_device(device)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == expected


@pytest.mark.parametrize("device", ["tpu", "cpu:1", "gpu:", "gpu:x", "gpu:-1", "gpux", ""])
def test_other_devices_are_refused(machine, device):
    with pytest.raises(ConfigError, match="expected cpu, gpu or gpu:N"):
        runtime.select_device(device)


def test_more_gpus_than_visible(machine):
    os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
    with pytest.raises(ConfigError, match="names only 0,1"):
        runtime.select_device("gpu:2")


GIVEN = {
    "runtime": "auto", "backend": None, "device": None, "precision": None, "flip": False,
    "formats": (), "quiet": True,
}  # fmt: skip
BOTH = ("tensorflow", "onnxruntime")


@pytest.mark.parametrize(
    ("model", "installed", "options", "recorded", "expected"),
    [
        ("cub", BOTH, {}, None, "onnx"),
        ("cub", BOTH, {}, "keras", "keras"),
        ("cub", BOTH, {"runtime": "onnx"}, "keras", "onnx"),
        ("cub", BOTH, {"runtime": "keras"}, "onnx", "keras"),
        ("cub", BOTH, {"flip": True}, None, "keras"),
        ("cub", BOTH, {"precision": "mixed_bfloat16"}, None, "keras"),
        ("cub", BOTH, {"formats": ("csv", "descriptors-npy")}, None, "keras"),
        ("cub", BOTH, {"backend": "tensorflow"}, None, "keras"),
        ("cub", ("tensorflow",), {}, None, "keras"),
        ("runs/mine", BOTH, {}, None, "keras"),
        ("runs/mine", BOTH, {}, "onnx", "keras"),  # the results of another model
    ],
)
def test_runtimes(machine, monkeypatch, model, installed, options, recorded, expected):
    machine(*installed)
    monkeypatch.setattr(runtime.shutil, "which", lambda program: None)
    assert runtime.choose_runtime(model, GIVEN | options, recorded=recorded) == expected
    assert ("KERAS_BACKEND" in os.environ) == (expected == "keras")


def test_a_gpu_is_for_keras(machine, monkeypatch):
    machine(*BOTH)
    monkeypatch.setattr(runtime.shutil, "which", lambda program: f"/usr/bin/{program}")
    assert runtime.choose_runtime("cub", GIVEN) == "keras"


@pytest.mark.parametrize(
    ("model", "installed", "options", "recorded", "message"),
    [
        ("cub", BOTH, {"runtime": "onnx", "flip": True}, None, "leave out --runtime onnx"),
        ("cub", BOTH, {"flip": True}, "onnx", "--flip needs Keras: the results there are ONNX"),
        ("runs/mine", BOTH, {"runtime": "onnx"}, None, "export it with"),
        ("cub", (), {"runtime": "onnx"}, None, r"keras-parts\[runtime\]"),
        ("cub", (), {}, None, "the model cub needs Keras with a backend, and none is installed"),
        ("cub", ("onnxruntime",), {"formats": ("descriptors",)}, None, "descriptors needs Keras"),
        ("runs/mine", ("onnxruntime",), {}, None, "the model runs/mine needs Keras"),
    ],
)
def test_runtimes_that_cannot_be(machine, model, installed, options, recorded, message):
    machine(*installed)
    with pytest.raises((click.UsageError, ConfigError), match=message):
        runtime.choose_runtime(model, GIVEN | options, recorded=recorded)
