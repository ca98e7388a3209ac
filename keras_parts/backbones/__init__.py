"""The networks, one file each. Each is a `Backbone`: preprocessed image -> named feature maps.

Segmenters are built on `efficientnet_lite0`, `resnet50` (the paper's) and `small` (which ships with
weights); `vgg19` and `dinov2` serve as teachers. `adapters` and `atrous` turn a network of
KerasHub, keras-cv or `keras.applications` into a `Backbone`. The `load_...` function in the file of
a network loads its pretrained weights.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
