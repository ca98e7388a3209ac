"""The scripts run, small, and print their tables; what they print of speed is no test's matter."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def table(script, *arguments, **environment):
    """Rows of the table that a script prints, as lists of cells; the header is the first."""
    result = subprocess.run(
        [sys.executable, FOLDER / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.backend
def test_losses():
    shape = ("--batch", 2, "--size", 33, "--parts", 3, "--channels", 6)
    losses = ("--losses", "feature_consistency", "contrastive", "balance")
    header, *rows = table("losses.py", *shape, *losses, "--repeats", 1)
    forms = [(row[0], row[header.index("form")]) for row in rows]
    assert ("contrastive", "materialised") in forms and ("balance", "package") in forms
    differences = [row[header.index("gradients differ by")] for row in rows]
    assert sum(bool(difference) for difference in differences) == 2
    assert all(float(difference) < 1e-4 for difference in differences if difference)


def test_losses_that_fail_for_another_reason_than_memory():
    shape = ("--losses", "contrastive", "--batch", 2, "--size", 9, "--repeats", 1)
    header, *rows = table("losses.py", *shape, KERAS_BACKEND="none")
    assert [row[header.index("value")] for row in rows] == ["failed", "failed"]


@pytest.mark.backend
def test_profile():
    header, *rows = table(
        "step_profile.py", "--recipe", "toy", "--size", 33, "--batch", 2, "--repeats", 1
    )
    assert [row[0] for row in rows] == [
        "whole step", "networks, trained", "networks, forward and backward", "not of the networks",
    ]  # fmt: skip
    shares = [float(row[2].rstrip("%")) for row in rows]
    assert shares[0] == 100 and shares[2] + shares[3] == pytest.approx(100, abs=1)


def test_train_step():
    header, *rows = table(
        "train_step.py", "--size", 33, "--batch", 2, "--steps", 1, "--repeats", 1,
        "--kinds", "plain-networks", "products", "paper-bfloat16",
        "--backends", keras.backend.backend(),
    )  # fmt: skip
    assert "failed" not in [row[2] for row in rows]
    steps = [row[0].partition(",")[0] for row in rows]
    assert steps == ["its networks alone", "their arithmetic", "paper"]
    peak, above = header.index("peak MiB"), header.index("above libraries")
    assert all(0 < int(row[above]) < int(row[peak]) for row in rows)
