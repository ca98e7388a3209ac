"""The rooms of ARCHITECTURE.md are those of the package, and imports run downwards."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("\n## ")[0]
ROOMS = re.findall(r"^\| `(\w+)` \|", TABLE, re.MULTILINE)
FOLDERS = {"keras_parts": ROOT / "keras_parts", "zoo": ROOT / "zoo", "cli": ROOT / "cli"}
PUBLIC_ALIASES = {"objectives"}
"""Modules that only give a longer path a short public name."""


def sources(room):
    """The files of a room."""
    folder = FOLDERS.get(room, ROOT / "keras_parts" / room)
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def imported(path):
    """(line, room) of everything that a file imports from the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "keras_parts":
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_parts."):
            names = [node.module.split(".")[1]]
        elif isinstance(node, ast.Import):
            full = [alias.name for alias in node.names if alias.name.startswith("keras_parts.")]
            names = [name.split(".")[1] for name in full]
        else:
            continue
        for name in names:
            if not name.startswith("__"):
                yield node.lineno, name


def test_the_table_names_every_room():
    found = {path.stem for path in (ROOT / "keras_parts").iterdir() if path.suffix in ("", ".py")}
    found -= {"__init__", "__pycache__"} | PUBLIC_ALIASES
    assert set(ROOMS) == found | {"zoo", "cli"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_above_it(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(room)
        for line, name in imported(path)
        if name not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("room, other", [("training", "inference"), ("inference", "training")])
def test_training_and_inference_do_not_know_each_other(room, other):
    assert other not in {name for path in sources(room) for _, name in imported(path)}
