from .discover import discover_masks
from .found import DISCOVERY_VERSION, FoundMask

__all__ = ["DISCOVERY_VERSION", "FoundMask", "discover_masks"]
