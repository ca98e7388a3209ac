"""`PartModel`: what the protocols measure."""

import typing
from collections.abc import Callable, Sequence

import numpy as np

from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError

ImageFunction = Callable[[list[np.ndarray]], Sequence[np.ndarray]]
"""RGB images `(height, width, 3)` uint8 to logits `(height, width, 1 + parts)`, one an image."""


@typing.runtime_checkable
class PartModel(typing.Protocol):
    """What a model or a baseline offers to be measured.

    Attributes:
        has_background: False if channel 0 means nothing, as for baselines that divide the
            foreground alone: protocols that need the model's own background leave these out.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "test", count=4)
        >>> model = metrics.colour_baseline(animals, 2)
        >>> isinstance(model, metrics.PartModel), model.has_background
        (True, False)
    """

    has_background: bool

    def logits(self, samples: Sequence[Sample]) -> Sequence[np.ndarray]:
        """Logits of each sample's image at its own size.

        Args:
            samples: what is segmented; a model reads the image, a baseline may read the mask too.

        Returns:
            `(height, width, 1 + parts)` floats for each sample, channel 0 the background.
        """
        ...


class ImageModel:
    """A `PartModel` made of a function of images.

    Args:
        function: RGB images `(height, width, 3)` uint8 to logits `(height, width, 1 + parts)` at
            each image's own size.
        has_background: whether channel 0 is the background.

    Example:
        >>> import numpy as np
        >>> from keras_parts import data, metrics
        >>> def brightness(images):  # channels: background, dark part, bright part
        ...     grey = [image.mean(-1) / 255 for image in images]
        ...     return [np.stack([0 * one, 1 - one, one], axis=-1) for one in grey]
        >>> animals = data.load("toy", "test", count=4)
        >>> metrics.ImageModel(brightness).logits([animals[0]])[0].shape == (*animals[0].size, 3)
        True
    """

    def __init__(self, function: ImageFunction, *, has_background: bool = True):
        self.function = function
        self.has_background = has_background

    def logits(self, samples: Sequence[Sample]) -> Sequence[np.ndarray]:
        """See `PartModel.logits`."""
        return self.function([sample.image for sample in samples])


def as_part_model(model: PartModel | ImageFunction) -> PartModel:
    """The model itself, or an `ImageModel` of a function of images.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(model, PartModel):
        return model
    if callable(model):
        return ImageModel(model)
    raise ConfigError(
        f"{type(model).__name__} cannot be measured: give a function of images or an object with "
        "`logits` and `has_background`, see keras_parts.metrics.PartModel"
    )
