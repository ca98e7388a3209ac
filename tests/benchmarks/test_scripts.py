"""The scripts run on small sizes and print their tables; no test depends on measured speed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from keras_parts.training import recipes
from tests.small import register_tiny

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


class WorkerHere:
    """`measuring.Worker` without a new process, which would have to import the libraries again."""

    ran_out_of_memory = False

    def __init__(self, script, settings, backend=None, limit=None):
        module, functions = load(Path(script).name), []
        module.serve_requests = functions.append
        module.work(**settings)
        (self.measure,) = functions

    def request(self, content=None):
        return json.loads(json.dumps(self.measure(content)))

    def close(self):
        pass


def load(script):
    """Import a script as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{Path(script).stem}", FOLDER / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(output):
    """Rows of the table that a script printed, as lists of cells; the first is the header."""
    lines = [line for line in output.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def table(monkeypatch, capsys):
    """`table(script, *arguments)` runs a script and its workers in this process and returns the
    rows of its table."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # gpu.py sets it too

    def table(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        module = load(script)
        if hasattr(module, "Worker"):
            module.Worker = WorkerHere
        capsys.readouterr()
        module.main()
        return rows_of(capsys.readouterr().out)

    before = keras.config.dtype_policy()
    yield table
    keras.config.set_dtype_policy(before)


@pytest.fixture
def tiny_recipe(monkeypatch):
    """Each recipe is "toy" with a tiny network: the paper's networks take a minute to compile."""
    named, tiny = recipes.recipe, {"architecture": register_tiny(), "output_stride": 16}
    monkeypatch.setattr(recipes, "recipe", lambda name, **changes: named("toy", **tiny | changes))


def table_of_process(script, *arguments, **environment):
    """Run a script in a new process; returns the rows of its table."""
    result = subprocess.run(
        [sys.executable, FOLDER / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert result.returncode == 0, result.stderr
    return rows_of(result.stdout)


@pytest.mark.backend
def test_losses(table):
    shape = ("--batch", 2, "--size", 33, "--parts", 3, "--channels", 6)
    losses = ("--losses", "feature_consistency", "contrastive", "balance")
    header, *rows = table("losses.py", *shape, *losses, "--repeats", 1)
    forms = [(row[0], row[header.index("form")]) for row in rows]
    assert ("contrastive", "materialised") in forms and ("balance", "package") in forms
    differences = [row[header.index("gradients differ by")] for row in rows]
    assert sum(bool(difference) for difference in differences) == 2
    assert all(float(difference) < 1e-4 for difference in differences if difference)


def test_losses_that_fail_although_memory_suffices():
    shape = ("--losses", "contrastive", "--batch", 2, "--size", 9, "--repeats", 1)
    header, *rows = table_of_process("losses.py", *shape, KERAS_BACKEND="none")
    assert [row[header.index("value")] for row in rows] == ["failed", "failed"]


@pytest.mark.backend
def test_profile(table, tiny_recipe, eager):
    header, *rows = table(
        "step_profile.py", "--recipe", "toy", "--size", 33, "--batch", 2, "--repeats", 1
    )
    assert [row[0] for row in rows] == [
        "whole step", "networks, trained", "networks, forward and backward", "not of the networks",
    ]  # fmt: skip
    shares = [float(row[2].rstrip("%")) for row in rows]
    assert shares[0] == 100 and shares[2] + shares[3] == pytest.approx(100, abs=1)


def test_train_step(table, tiny_recipe, eager):
    header, *rows = table(
        "train_step.py", "--size", 33, "--batch", 2, "--steps", 1, "--repeats", 1,
        "--kinds", "plain-networks", "paper-bfloat16", "--backends", keras.backend.backend(),
    )  # fmt: skip
    assert "failed" not in [row[2] for row in rows]
    steps = [row[0].partition(",")[0] for row in rows]
    assert steps == ["its networks alone", "paper"]
    assert all(int(row[header.index("peak MiB")]) > 0 for row in rows)


def test_train_step_in_processes():
    header, *rows = table_of_process(
        "train_step.py", "--size", 33, "--batch", 2, "--steps", 1, "--repeats", 1,
        "--kinds", "products",
    )  # fmt: skip
    (row,) = rows
    assert row[0] == "their arithmetic" and row[2] != "failed"
    assert 0 < int(row[header.index("above libraries")]) < int(row[header.index("peak MiB")])


@pytest.mark.backend("jax")
def test_gpu(table, tiny_recipe):
    header, *rows = table(
        "gpu.py", "--recipes", "toy", "--default-size", 33, "--batches", 2, "--matrix", 64,
        "--steps", 1, "--repeats", 1, "--precisions", "mixed_bfloat16", "--without-plain",
    )  # fmt: skip
    (row,) = rows
    assert row[:3] == ["toy", "mixed_bfloat16", "2"]
    assert float(row[header.index("TFLOP per step")]) > 0


def test_inference(table):
    backend = keras.backend.backend()
    header, *rows = table(
        "inference.py", "--architecture", register_tiny(), "--sizes", 33, "--batches", 2,
        "--repeats", 1, "--backends", backend,
    )  # fmt: skip
    assert {"eager", "compiled", "bfloat16", "image to parts"} <= {row[3] for row in rows}
    assert all(float(row[header.index("images/s")]) > 0 for row in rows)


def test_data():
    header, *rows = table_of_process(
        "data.py", "--images", 6, "--drawn-size", 48, "--size", 33, "--batch", 2,
        "--samples", 4, "--repeats", 1, "--step", 2,
    )  # fmt: skip
    assert header[-1] == "relative to the 1.0 images/s of a step" and len(rows) == 8
    assert rows[0][0] == "decode" and all(float(row[3]) > 0 for row in rows)


def test_startup():
    header, *rows = table_of_process(
        "startup.py", "--repeats", 1, "--with-keras", KERAS_BACKEND="jax"
    )
    assert [row[0].strip("`") for row in rows] == [
        "python -c pass", "keras-parts --help", "keras-parts --version", "keras-parts zoo list",
        "keras-parts train --help", "import keras",
    ]  # fmt: skip
    assert all(row[-1] == "none" for row in rows if row[0].startswith("`keras-parts --"))
