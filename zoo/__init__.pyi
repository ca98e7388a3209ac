from .cards import Card, FileRecord
from .errors import DownloadError, NotTrusted, UnknownModel, ZooError
from .models import download, info, list, load, pack, path, prune, publish, remove, verify

__all__ = [
    "Card",
    "DownloadError",
    "FileRecord",
    "NotTrusted",
    "UnknownModel",
    "ZooError",
    "download",
    "info",
    "list",
    "load",
    "pack",
    "path",
    "prune",
    "publish",
    "remove",
    "verify",
]
