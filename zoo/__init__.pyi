from .cards import Card, FileRecord
from .models import download, info, list, load, path, prune, remove, verify
from .naming import name_parts
from .packing import pack
from .publishing import publish

__all__ = [
    "Card",
    "FileRecord",
    "download",
    "info",
    "list",
    "load",
    "name_parts",
    "pack",
    "path",
    "prune",
    "publish",
    "remove",
    "verify",
]
