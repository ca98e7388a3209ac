from .decoding import (
    IMAGE_SUFFIXES,
    Picture,
    decode_picture,
    has_alpha,
    read_alpha,
    read_image,
    read_labels,
    read_mask,
    read_size,
    to_rgb,
)
from .geometry import Fit, fit_geometry, fit_image
from .upsampling import EnlargedLogits, Patch

__all__ = [
    "EnlargedLogits",
    "Fit",
    "IMAGE_SUFFIXES",
    "Patch",
    "Picture",
    "decode_picture",
    "fit_geometry",
    "fit_image",
    "has_alpha",
    "read_alpha",
    "read_image",
    "read_labels",
    "read_mask",
    "read_size",
    "to_rgb",
]
