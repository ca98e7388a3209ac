"""Settings of the random transforms between two views of an image; needs no Keras."""

from dataclasses import dataclass

from keras_parts.errors import ConfigError


@dataclass(frozen=True)
class ViewSettings:
    """The random transforms between the two views; the defaults are the paper's.

    Attributes:
        jitter_first: whether the first view has its colours jittered too.
        brightness, contrast, saturation, hue, jitter_probability, grey_probability: see
            `keras_parts.ops.colour_jitter`.
        rotation: largest, in degrees. scale: of the source coordinates, below 1 enlarges.
        mirror: probability that the second view is mirrored.
        shift, bend: largest, in half image sides; see `keras_parts.ops.random_source_points`.

    Raises:
        ConfigError: a field is outside its range.
    """

    jitter_first: bool = True
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.2
    hue: float = 0.2
    jitter_probability: float = 0.8
    grey_probability: float = 0.2
    rotation: float = 60.0
    scale: tuple[float, float] = (1 / 2.0, 1 / 0.7)
    shift: float = 0.1
    bend: float = 0.01
    mirror: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "scale", tuple(self.scale))
        limits = dict.fromkeys(
            (
                "brightness",
                "contrast",
                "saturation",
                "jitter_probability",
                "grey_probability",
                "mirror",
            ),
            1,
        ) | {"hue": 0.5, "rotation": 180, "shift": 1, "bend": 0.2}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ConfigError(f"views.{name} is {getattr(self, name)!r}, expected 0 to {limit}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 10:
            raise ConfigError(
                f"views.scale is {self.scale!r}, expected two numbers, 0 < low <= high"
            )
