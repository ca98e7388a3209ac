"""The package is whole as a source tree and as a wheel, and starts without Keras."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = (
    "import keras_parts.zoo, keras_parts.cli; print([card.name for card in keras_parts.zoo.list()])"
)


def python(code, cwd, *flags):
    result = subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=cwd, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_source_tree_with_the_root_as_working_directory():
    assert "'toy'" in python(IMPORTS, ROOT)


def test_importing_the_package_and_listing_the_zoo_needs_no_keras():
    heavy = "import sys; assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    python(f"{IMPORTS}; {heavy}", ROOT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "-q",
        "-w",
        str(folder),
        str(ROOT),
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    (path,) = folder.glob("keras_parts-*.whl")
    return path


def test_the_wheel_has_every_module_and_file_of_the_source_tree(wheel):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.startswith("keras_parts/")}
    tracked = subprocess.run(
        ["git", "ls-files", "keras_parts", "zoo", "cli"], cwd=ROOT, capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    expected = {
        name if name.startswith("keras_parts/") else f"keras_parts/{name}"
        for name in tracked.stdout.split()
    }
    assert shipped == expected


def test_the_wheel_works_without_the_source_tree(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {IMPORTS}"
    printed = python(f"{code}; print(keras_parts.zoo.__file__)", tmp_path.parent, "-I")
    assert "'toy'" in printed and str(tmp_path) in printed
