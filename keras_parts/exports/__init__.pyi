from .conversion import FORMATS, Export, export, load, read_metadata
from .formats import METADATA

__all__ = [
    "Export",
    "FORMATS",
    "METADATA",
    "export",
    "load",
    "read_metadata",
]
