"""The formats of results: one writer each, and a table of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_parts.errors import ConfigError, suggestion
from keras_parts.inference.writers.base import RunInfo, Writer, valid_text
from keras_parts.inference.writers.coco import CocoWriter
from keras_parts.inference.writers.cutouts import CutoutsWriter
from keras_parts.inference.writers.cvat import CvatWriter
from keras_parts.inference.writers.descriptors import DescriptorsWriter, NumpyDescriptorsWriter
from keras_parts.inference.writers.indexed import IndexedWriter
from keras_parts.inference.writers.label_studio import LabelStudioWriter
from keras_parts.inference.writers.overlay import OverlayWriter
from keras_parts.inference.writers.page import PageWriter
from keras_parts.inference.writers.soft import SoftWriter
from keras_parts.inference.writers.table import CsvWriter, ParquetWriter

__all__ = [
    "DEFAULT_FORMATS",
    "FORMATS",
    "RunInfo",
    "Writer",
    "create_writers",
    "same_records",
    "valid_text",
]

FORMATS: Mapping[str, tuple[type[Writer], Mapping[str, Any]]] = {
    "indexed": (IndexedWriter, {"suffix": ".png"}),
    "overlay": (OverlayWriter, {"suffix": ".jpg"}),
    "overlay-webp": (OverlayWriter, {"suffix": ".webp"}),
    "overlay-png": (OverlayWriter, {"suffix": ".png"}),
    "overlay-plain": (OverlayWriter, {"suffix": ".jpg", "names": False}),
    "soft": (SoftWriter, {"suffix": ".npz"}),
    "cutouts": (CutoutsWriter, {}),
    "coco": (CocoWriter, {}),
    "label-studio": (LabelStudioWriter, {}),
    "cvat": (CvatWriter, {}),
    "csv": (CsvWriter, {}),
    "parquet": (ParquetWriter, {}),
    "descriptors": (DescriptorsWriter, {}),
    "descriptors-npy": (NumpyDescriptorsWriter, {}),
    "page": (PageWriter, {"suffix": ".js"}),
}
"""Format -> (class of its writer, the writer's arguments)."""
DEFAULT_FORMATS = ("indexed", "overlay", "page")
"""The formats of a run for which none are named."""


def create_writers(formats: Sequence[str]) -> list[Writer]:
    """A writer for each format.

    Raises:
        ConfigError: no formats, an unknown one, one given twice, or one whose package is missing.

    Example:
        >>> from keras_parts.inference.writers import create_writers
        >>> [writer.name for writer in create_writers(["indexed", "csv"])]
        ['indexed', 'csv']
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(
            f"formats: {', '.join(unknown) or 'none given'}; choose from {', '.join(FORMATS)}"
            f"{''.join(suggestion(name, FORMATS) for name in unknown[:1])}",
            setting="formats",
            value=list(formats),
        )
    if len(set(formats)) < len(formats):
        raise ConfigError(
            f"formats: {', '.join(formats)} has a format twice, expected each once",
            setting="formats",
            value=list(formats),
        )
    return [FORMATS[name][0](name, **FORMATS[name][1]) for name in formats]


def same_records(name: str) -> frozenset[str]:
    """The formats whose records are the same, so that each can be written from those of another.

    Args:
        name: of a format. One with files for each image has these from its own run only.

    Returns:
        The names, with that of the format itself.

    Example:
        >>> from keras_parts.inference.writers import same_records
        >>> sorted(same_records("csv")), sorted(same_records("page"))
        (['csv', 'parquet'], ['page'])
    """
    kind = FORMATS[name][0]
    if not kind.merged or kind.files is not Writer.files:
        return frozenset((name,))
    return frozenset(other for other, (each, _) in FORMATS.items() if each.record is kind.record)
