"""The package is whole as a source tree and as a wheel, and starts without Keras."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from keras_parts import zoo

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


PACKAGES = ("keras_parts", "zoo", "cli")
FOLDERS = (*PACKAGES, "tests", "benchmarks", "docs", "examples", "scripts", ".ci", ".github")
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]  # which the first build replaces
build_meta.build_sdist(folder)
build_meta.build_wheel(folder)
"""
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": ""}  # setuptools warns of it


def files(*folders):
    """Names of the files in folders of the source tree, but what running leaves there."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of the source distribution and the wheel, and what the build printed."""
    tree, folder = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    names = files(*FOLDERS) | {path.name for path in ROOT.iterdir() if path.is_file()}
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-W", "default", "-c", BUILD, str(folder)]
    environment = os.environ | ENVIRONMENT
    result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return folder, result.stdout + result.stderr


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built[0].glob("keras_parts-*.whl")
    return path


def test_the_build_prints_no_warning(built):
    lines = built[1].splitlines()
    assert [line for line in lines if "warning" in line.lower() or "deprecat" in line] == []


def test_the_wheel_has_every_module_and_file_of_the_source_tree(wheel):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.startswith("keras_parts/")}
    expected = {
        name if name.startswith("keras_parts/") else f"keras_parts/{name}"
        for name in files(*PACKAGES)
    }
    assert shipped == expected
    assert {"keras_parts/py.typed", "keras_parts/__init__.pyi"} <= shipped


def test_the_wheel_says_where_weights_come_from(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (notice,) = [name for name in archive.namelist() if name.endswith("licenses/NOTICE")]
        text = archive.read(notice).decode()
    data_sets = {card.training.dataset for card in zoo.list()}
    titles = {"cub": "CUB_200_2011", "celebamask": "CelebAMask-HQ", "toy": "toy:"}
    for dataset in data_sets:
        assert titles.get(dataset, dataset.replace("_", "-")).lower() in text.lower(), dataset


def test_the_source_distribution_has_the_tests_and_the_documentation(built):
    (path,) = built[0].glob("keras_parts-*.tar.gz")
    with tarfile.open(path) as archive:
        shipped = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert files(*FOLDERS) <= shipped
    assert {"README.md", "mkdocs.yml", "pyproject.toml", ".pre-commit-config.yaml"} <= shipped


def test_links_of_the_readme_work_on_the_package_index():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https://)", text) == []
    defined = dict(re.findall(r"^\[(.+)\]: (\S+)$", text, re.MULTILINE))
    assert set(re.findall(r"\]\[(.+?)\]", text)) == set(defined)
    for address in defined.values():
        assert (ROOT / re.sub(r"^https://.+?/main/", "", address)).is_file(), address


def test_dir_shows_the_public_names():
    shown = python("import keras_parts; print(*dir(keras_parts))", ROOT).split()
    assert {"PartDiscovery", "PartSegmenter", "Parts", "zoo"} <= set(shown)
    assert "lazy_loader" not in shown


def test_the_wheel_works_without_the_source_tree(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {IMPORTS}"
    printed = python(f"{code}; print(keras_parts.zoo.__file__)", tmp_path.parent, "-I")
    assert "'toy'" in printed and str(tmp_path) in printed
