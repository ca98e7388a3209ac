"""The benchmark protocols by name; each can be called on its own."""

from keras_parts.metrics.protocols import cub, keypoints, landmarks, later, masks, pixels
from keras_parts.metrics.protocols.base import Protocol, Result, box_crop
from keras_parts.metrics.protocols.cub import cub_foreground, cub_full
from keras_parts.metrics.protocols.keypoints import keypoints_foreground, keypoints_full
from keras_parts.metrics.protocols.landmarks import cub_landmarks
from keras_parts.metrics.protocols.masks import foreground_masks
from keras_parts.metrics.protocols.pixels import pixels_foreground, pixels_full

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        cub.FOREGROUND,
        *cub.FULL.values(),
        *landmarks.LANDMARKS.values(),
        keypoints.FOREGROUND,
        *keypoints.FULL.values(),
        pixels.FOREGROUND,
        *pixels.FULL.values(),
        masks.MASKS,
        *later.LATER,
    )
}

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "Result",
    "box_crop",
    "cub_foreground",
    "cub_full",
    "cub_landmarks",
    "foreground_masks",
    "keypoints_foreground",
    "keypoints_full",
    "pixels_foreground",
    "pixels_full",
]
