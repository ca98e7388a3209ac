"""What segmenting one image gives, `Parts`, and the pictures and run lengths made of it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
