"""Settings of the random transforms between the two views of an image; imports no Keras."""

from dataclasses import dataclass
from typing import ClassVar

from keras_parts.settings import Settings, flag, number, numbers


@dataclass(frozen=True)
class ViewTransforms(Settings):
    """The random transforms between the two views of an image; the defaults are the paper's.

    Attributes:
        jitter_first: whether the colours of the first view are jittered as well.
        brightness, contrast, saturation, hue, jitter_probability, grey_probability: see
            `keras_parts.ops.colour_jitter`.
        rotation: maximum in degrees, to both sides.
        scale: minimum and maximum factor of the source coordinates; a factor below 1 makes the
            object larger.
        shift, bend: maximum in half image sides; see `keras_parts.ops.random_source_points`.
        mirror: probability that the second view is mirrored.

    Raises:
        ConfigError: a field is outside its range.

    Example:
        >>> from keras_parts.discovery import ViewTransforms
        >>> ViewTransforms(rotation=45.0).scale
        (0.5, 1.4285714285714286)
    """

    prefix: ClassVar[str] = "view_transforms."

    jitter_first: bool = flag(True)
    brightness: float = number(0.3, 0, 1)
    contrast: float = number(0.3, 0, 1)
    saturation: float = number(0.2, 0, 1)
    hue: float = number(0.2, 0, 0.5)
    jitter_probability: float = number(0.8, 0, 1)
    grey_probability: float = number(0.2, 0, 1)
    rotation: float = number(60.0, 0, 180)
    scale: tuple[float, float] = numbers(
        (1 / 2.0, 1 / 0.7),
        "two numbers, 0 < minimum <= maximum <= 10",
        lambda scale: 0 < scale[0] <= scale[1] <= 10,
    )
    shift: float = number(0.1, 0, 1)
    bend: float = number(0.01, 0, 0.2)
    mirror: float = number(0.0, 0, 1)
