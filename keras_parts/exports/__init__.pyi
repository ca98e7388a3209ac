from .conversion import FORMATS, Export, export, load, load_predictor, read_metadata
from .formats import METADATA

__all__ = [
    "Export",
    "FORMATS",
    "METADATA",
    "export",
    "load",
    "load_predictor",
    "read_metadata",
]
