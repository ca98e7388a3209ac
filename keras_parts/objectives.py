"""The losses of part discovery under their public name: see `keras_parts.discovery.objectives`."""

from keras_parts.discovery.objectives import *  # noqa: F403
from keras_parts.discovery.objectives import __all__ as __all__
