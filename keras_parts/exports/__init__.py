"""Exports: a segmenter in the formats of other runtimes, with resizing and upsampling included."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
