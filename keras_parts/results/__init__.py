"""`Parts`, the result of segmenting one image, and the pictures and annotations made of it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
