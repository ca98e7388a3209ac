import sys
import tomllib

import pytest

from keras_parts import extras
from keras_parts.cli.runtime import hidden
from keras_parts.errors import ConfigError
from tests.test_architecture import ROOT


def test_packages_of_an_extra_that_are_not_installed(monkeypatch):
    assert extras.import_from_extra("json.decoder", "train").JSONDecoder
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"needs the package sklearn: .*keras-parts\[train\]"):
        extras.import_from_extra("sklearn", "train")
    monkeypatch.setattr(extras, "_TRAIN", ("json", "not_installed"))
    with pytest.raises(ConfigError, match="not_installed"):
        extras.check_train_extra()


@pytest.mark.parametrize(
    ("keras", "torch", "message"),
    [
        (None, None, r"Keras and one of its backends .*keras-parts\[tensorflow\]"),
        (None, "2.6", r"keras-parts\[torch\]"),
        ("3.10.0", "2.6", r"Keras 3.10.0 is installed, this needs 3.15.1 or later: .*\[torch\]"),
        ("3.15.1", None, None),
    ],
)
def test_without_keras_or_with_an_old_one(monkeypatch, keras, torch, message):
    installed = {"keras": keras, "torch": torch}
    monkeypatch.setattr(extras.importlib.util, "find_spec", installed.get)
    monkeypatch.setattr(extras, "package_version", installed.get)
    if message is None:
        extras.check_keras()
    else:
        with pytest.raises(ConfigError, match=message):
            extras.check_keras()


def test_the_oldest_keras_is_that_of_the_extra():
    found = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (keras, *_) = found["project"]["optional-dependencies"]["keras"]
    assert keras.startswith("keras>=" + ".".join(map(str, extras._OLDEST_KERAS)))


def test_hidden_packages_are_back_afterwards():
    import json

    sys.modules.pop("this", None)
    with hidden("this", "json"):
        with pytest.raises(ImportError):
            import this  # noqa: F401
        assert sys.modules["json"] is json
    assert "this" not in sys.modules


@pytest.mark.parametrize("package", extras._TRAIN)
def test_only_what_trains_and_evaluates_imports_the_extra(package):
    folders = [ROOT / name for name in ("keras_parts", "zoo", "cli")]
    found = [
        path
        for folder in folders
        for path in folder.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith((f"import {package}", f"from {package}"))
    ]
    assert found == []
