from .conversion import FORMATS, Export, export, format_at, load, load_predictor, read_metadata
from .formats import METADATA

__all__ = [
    "Export",
    "FORMATS",
    "METADATA",
    "export",
    "format_at",
    "load",
    "load_predictor",
    "read_metadata",
]
