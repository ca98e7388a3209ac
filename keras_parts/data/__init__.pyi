from .archives import download
from .batches import Batches
from .catalogue import DATASETS, about, load, loader
from .crops import CropSettings, object_crop
from .dataset import Dataset, DatasetInfo, Subset, hold_out
from .sample import Sample
from .scenes import SceneSettings

__all__ = [
    "Batches",
    "CropSettings",
    "DATASETS",
    "Dataset",
    "DatasetInfo",
    "Sample",
    "SceneSettings",
    "Subset",
    "about",
    "download",
    "hold_out",
    "load",
    "loader",
    "object_crop",
]
