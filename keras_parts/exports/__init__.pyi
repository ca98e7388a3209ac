from .conversion import (
    FORMATS,
    Export,
    OpenExport,
    export,
    format_at,
    load,
    load_predictor,
    open_export,
    read_metadata,
)
from .formats import METADATA

__all__ = [
    "Export",
    "FORMATS",
    "METADATA",
    "OpenExport",
    "export",
    "format_at",
    "load",
    "load_predictor",
    "open_export",
    "read_metadata",
]
