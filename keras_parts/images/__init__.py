"""Picture files and pixels: decoding, how an image fits a network's input, upsampling."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
