"""The public names of the package; `lazy_loader` reads this file as type checkers do."""

from . import (
    backbones,
    cli,
    data,
    discovery,
    environment,
    errors,
    exports,
    foreground,
    images,
    inference,
    metrics,
    models,
    objectives,
    ops,
    results,
    training,
    zoo,
)
from .discovery.model import PartDiscovery
from .models.segmenter import PartSegmenter
from .results.parts import Parts
from .training.preparation import prepare_training

__version__: str

__all__ = [
    "PartDiscovery",
    "PartSegmenter",
    "Parts",
    "backbones",
    "cli",
    "data",
    "discovery",
    "environment",
    "errors",
    "exports",
    "foreground",
    "images",
    "inference",
    "metrics",
    "models",
    "objectives",
    "ops",
    "prepare_training",
    "results",
    "training",
    "zoo",
]
