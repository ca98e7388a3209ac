"""keras-parts: discover the parts of objects in images without part labels, and segment them.

Nothing is imported before it is used: Keras takes seconds, `keras-parts --help` must not. The
public names, and where they come from, are in `__init__.pyi` beside this file.
"""

from pathlib import Path
from typing import Any

import lazy_loader

__version__ = "0.1.0"

# `zoo/` and `cli/` lie beside this folder in the source tree and inside it once installed:
# when the tree itself is on the path, this makes `keras_parts.zoo` the same in both.
_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "zoo").is_dir():
    __path__.append(str(_ROOT))

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        if error.name == "keras":
            from keras_parts.extras import check_keras

            check_keras()
        raise
