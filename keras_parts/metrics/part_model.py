"""`PartModel`: the interface of the models and baselines that protocols measure."""

import typing
from collections.abc import Callable, Sequence

import numpy as np

from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError

ImageFunction = Callable[[list[np.ndarray]], Sequence[np.ndarray]]
"""From RGB images `(height, width, 3)` uint8 to logits `(height, width, 1 + parts)` of each."""


@typing.runtime_checkable
class PartModel(typing.Protocol):
    """The interface of a model or baseline that protocols can measure.

    Attributes:
        has_background: whether channel 0 predicts the background. It is False for baselines, which
            divide the foreground alone; protocols that need the model's background do not run.

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
            samples: samples to segment. A model uses their images, a baseline may use their masks.

        Returns:
            `(height, width, 1 + parts)` float for each sample; channel 0 is the background.
        """
        ...


class ImageModel:
    """A `PartModel` from a function of images.

    Args:
        function: takes a list of RGB images `(height, width, 3)` uint8 and returns the logits
            `(height, width, 1 + parts)` of each at its own size.
        has_background: whether channel 0 predicts the background.

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
    """The model itself, or an `ImageModel` if it is a function of images.

    Raises:
        ConfigError: the model is neither.
    """
    if isinstance(model, PartModel):
        return model
    if callable(model):
        return ImageModel(model)
    raise ConfigError(
        f"{type(model).__name__} cannot be measured: give a function of images or an object with "
        "`logits` and `has_background`, see keras_parts.metrics.PartModel"
    )
