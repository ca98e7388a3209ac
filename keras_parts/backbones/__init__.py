"""The networks, one file each. Every one is a `Backbone`: preprocessed image -> named feature maps.

Segmenters are built on `efficientnet_lite0`, `resnet50` (the paper's) and `small` (which ships with
weights); `vgg19` and `dinov2` serve as teachers. `adapters` and `atrous` make a `Backbone` of a
network of KerasHub, keras-cv or `keras.applications`. The `load_...` function beside each network
loads its pretrained weights.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
