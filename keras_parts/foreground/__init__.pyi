from .discover import DISCOVERY_VERSION, discover_masks
from .found import FoundMask

__all__ = ["DISCOVERY_VERSION", "FoundMask", "discover_masks"]
