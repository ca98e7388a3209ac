from .decoding import (
    DecodedImage,
    ImageFacts,
    decode_image,
    has_alpha,
    read_alpha,
    read_facts,
    read_image,
    read_size,
    to_rgb,
)
from .formats import IMAGE_FORMATS, IMAGE_SUFFIXES
from .geometry import RESIZE_MODES, ResizeGeometry, resize_geometry, resize_image
from .inputs import ImageLike, as_image
from .masks import DecodedMask, decode_mask, read_labels, read_mask
from .upsampling import Patch, UpsampledLogits

__all__ = [
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "ImageLike",
    "Patch",
    "DecodedImage",
    "DecodedMask",
    "ImageFacts",
    "RESIZE_MODES",
    "ResizeGeometry",
    "UpsampledLogits",
    "as_image",
    "decode_image",
    "decode_mask",
    "has_alpha",
    "read_alpha",
    "read_facts",
    "read_image",
    "read_labels",
    "read_mask",
    "read_size",
    "resize_geometry",
    "resize_image",
    "to_rgb",
]
