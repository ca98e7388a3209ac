from .adapters import from_keras, from_keras_cv, from_keras_hub
from .backbone import Backbone
from .preprocessing import CAFFE, IMAGENET, Preprocessing

__all__ = [
    "Backbone",
    "CAFFE",
    "IMAGENET",
    "Preprocessing",
    "from_keras",
    "from_keras_cv",
    "from_keras_hub",
]
