"""The networks: one file each, every one a `Backbone` from a preprocessed image to named maps.

`efficientnet_lite0`, `resnet50` (the paper's) and `small` (ships with weights) are what segmenters
are built on; `vgg19` and `dinov2` serve as teachers; `atrous` dilates the networks of
`keras.applications`. Weights are put in by the `load_...` functions beside them.
"""
