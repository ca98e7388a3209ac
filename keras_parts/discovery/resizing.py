"""How a teacher resizes images to a size that its network takes."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras

from keras_parts.backbones.dinov2 import patch_input
from keras_parts.ops import resize_aligned


@keras.saving.register_keras_serializable("keras_parts")
class ResizeTo:
    """Resizes images to a size, see `keras_parts.ops.resize_aligned`.

    Args:
        size: (height, width) in pixels.
    """

    def __init__(self, size: Sequence[int]):
        height, width = size
        self.size = height, width

    def __call__(self, images: Any) -> Any:
        return resize_aligned(images, self.size)

    def get_config(self) -> dict[str, Any]:
        return {"size": list(self.size)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable("keras_parts")
class PatchInput:
    """Resamples images for a transformer, see `keras_parts.backbones.dinov2.patch_input`.

    Args:
        patches, patch_size: as there.
    """

    def __init__(self, patches: int, patch_size: int = 14):
        self.patches, self.patch_size = patches, patch_size

    def __call__(self, images: Any) -> Any:
        return patch_input(images, self.patches, self.patch_size)

    def get_config(self) -> dict[str, Any]:
        return {"patches": self.patches, "patch_size": self.patch_size}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable("keras_parts")
def to_multiple_of_16(images: Any) -> Any:
    """Resize images to multiples of 16, because VGG's poolings drop the last row of odd sizes."""
    height, width = (max(16, round(side / 16) * 16) for side in images.shape[1:3])
    return resize_aligned(images, (height, width))
