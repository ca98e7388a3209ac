"""Image files and pixels: decoding, resizing to a network's input, upsampling."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
