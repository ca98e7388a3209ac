"""keras-parts: discover the parts of objects in images without part labels, and segment them."""

import importlib
from pathlib import Path

__version__ = "0.1.0"

# `zoo/` and `cli/` lie beside this folder in the source tree and inside it once installed:
# when the tree itself is on the path, this makes `keras_parts.zoo` the same in both.
_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "zoo").is_dir():
    __path__.append(str(_ROOT))

_LAZY = {
    "Parts": "keras_parts.parts",
    "PartSegmenter": "keras_parts.segmenter",
    "PartDiscovery": "keras_parts.discovery",
}
_ROOMS = {
    "architectures", "backbones", "cli", "data", "demo", "discovery", "errors", "exports", "images",
    "inference", "metrics", "objectives", "ops", "parts", "segmenter", "teachers", "training",
    "zoo",
}  # fmt: skip


def __getattr__(name):
    """Import a room or a public class on first use: keras takes seconds, `--help` must not."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"keras_parts.{name}")
    raise AttributeError(f"module 'keras_parts' has no attribute {name!r}")
