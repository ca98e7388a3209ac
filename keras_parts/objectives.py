"""The public name of `keras_parts.discovery.objectives`, the losses of part discovery."""

from keras_parts.discovery.objectives import *  # noqa: F403
from keras_parts.discovery.objectives import __all__ as __all__
