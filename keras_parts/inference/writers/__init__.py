"""The formats of results: a table of writers, one file each."""

from collections.abc import Sequence

from keras_parts.errors import ConfigError
from keras_parts.inference.writers.base import Labels, Writer, written_text
from keras_parts.inference.writers.coco import CocoWriter
from keras_parts.inference.writers.cutouts import CutoutsWriter
from keras_parts.inference.writers.cvat import CvatWriter
from keras_parts.inference.writers.descriptors import DescriptorsWriter, NumpyDescriptorsWriter
from keras_parts.inference.writers.indexed import IndexedWriter
from keras_parts.inference.writers.label_studio import LabelStudioWriter
from keras_parts.inference.writers.overlay import OverlayWriter
from keras_parts.inference.writers.soft import SoftWriter
from keras_parts.inference.writers.table import CsvWriter, ParquetWriter

__all__ = ["FORMATS", "Labels", "Writer", "create_writers", "written_text"]

FORMATS: dict[str, tuple[type[Writer], dict]] = {
    "indexed": (IndexedWriter, {"suffix": ".png"}),
    "overlay": (OverlayWriter, {"suffix": ".jpg"}),
    "overlay-webp": (OverlayWriter, {"suffix": ".webp"}),
    "overlay-png": (OverlayWriter, {"suffix": ".png"}),
    "overlay-plain": (OverlayWriter, {"suffix": ".jpg", "legend": False}),
    "soft": (SoftWriter, {"suffix": ".npz"}),
    "cutouts": (CutoutsWriter, {}),
    "coco": (CocoWriter, {}),
    "label-studio": (LabelStudioWriter, {}),
    "cvat": (CvatWriter, {}),
    "csv": (CsvWriter, {}),
    "parquet": (ParquetWriter, {}),
    "descriptors": (DescriptorsWriter, {}),
    "descriptors-npy": (NumpyDescriptorsWriter, {}),
}
"""Format -> its writer and what the writer is made with."""


def create_writers(formats: Sequence[str]) -> list[Writer]:
    """A writer for each format.

    Raises:
        ConfigError: no formats, an unknown one, one twice, or one that needs a missing package.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(
            f"formats: {', '.join(unknown) or 'none given'}; choose from {', '.join(FORMATS)}"
        )
    if len(set(formats)) < len(formats):
        raise ConfigError(f"formats: {', '.join(formats)} names one twice")
    return [FORMATS[name][0](name, **FORMATS[name][1]) for name in formats]
