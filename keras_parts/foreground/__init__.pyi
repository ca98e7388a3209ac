from .found import FoundMask

__all__ = ["FoundMask"]
