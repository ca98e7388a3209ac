"""A segmenter in the formats of other runtimes: image in, parts out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
