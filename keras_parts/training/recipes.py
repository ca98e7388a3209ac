"""Recipes: everything that decides what a training does, as checked, frozen values."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType

from keras_parts.discovery.views import ViewSettings
from keras_parts.errors import ConfigError
from keras_parts.training.choices import OPTIMIZERS, SCHEDULES

BATCH_NORM = ("frozen", "statistics", "trained")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class Recipe:
    """How a segmenter is trained.

    Attributes:
        name: of the recipe it started from.
        parts: number of parts K.
        architecture, output_stride, size: of the segmenter, see `SegmenterConfig`.
        backbone_weights: "pretrained", "random", or the path of a weights file.
        init_from: folder of a segmenter of this architecture to start from, head included, instead
            of `backbone_weights`; `keras_parts.zoo.path(name)` is one. With as many parts there,
            training goes on with those parts.
        batch_norm: "frozen" keeps the pretrained statistics; "statistics" updates them, with
            scale and offset frozen (the paper); "trained" trains all of it.
        train_from: name of the first backbone output that is trained, with all behind it; what lies
            before it keeps its weights. None trains all.
        teacher, teacher_layers, teacher_weights: see `keras_parts.discovery.create_teacher`.
        teacher_size: side of the teacher's input in pixels; None takes `size`.
        teacher_turns, teacher_mirror: see `keras_parts.discovery.teachers.Teacher`.
        standardise: centre the teacher's features and scale them to unit variance over the
            foreground, so that loss weights carry over between teachers.
        noise_floor: of the standardised features, directions in which an object and its mirror
            image differ are shrunk, see `keras_parts.discovery.fit_standardiser`; None is off.
        centre: compare descriptors, and features with the clusters, relative to their image's
            mean; prominence: how much more what differs from that mean counts in the feature
            consistency; see `PartDiscovery`.
        start_steps: steps over which the loss "clusters" fades out, by which parts start as
            clusters of the teacher's features; without that loss they start by chance.
        weights: {loss name: weight}, names out of `keras_parts.discovery.model.OBJECTIVES`.
        loss_size: side in pixels at which losses are taken; None takes `size`.
        temperature, positives: of the contrastive loss.
        views: the random transforms between the two views.
        padding: of the box, a fraction of its sides. box_jitter: random displacement of each
            side, a fraction. mirror: probability.
        batch_size, steps, optimizer, learning_rate, schedule, warmup (steps), weight_decay,
        clip_norm (global; None is off): of the optimisation.
        head_multiplier: factor on the head's learning rate.
        ema: momentum of the averaged weights that are kept in the end; None is off.
        precision: a Keras dtype policy. jit_compile: None lets Keras decide.
        steps_per_execution: how many steps the backend makes between two looks of the program; the
            result is the same. It must divide the log interval, a fortieth of the steps, and be 1
            on PyTorch.
        seed: of weights, data order and random draws.

    Raises:
        ConfigError: a field is outside its range.
    """

    name: str = "default"
    parts: int = 4
    architecture: str = "efficientnet_lite0"
    output_stride: int = 16
    size: int = 257
    backbone_weights: str = "pretrained"
    init_from: str | None = None
    batch_norm: str = "frozen"
    train_from: str | None = "block_11"
    teacher: str = "efficientnet_lite0"
    teacher_layers: tuple[str, ...] = ("block_10", "block_14")
    teacher_weights: str | None = None
    teacher_size: int | None = 321
    teacher_turns: tuple[float, float, float, float] = (1.0, 0.35, 0.35, 0.35)
    teacher_mirror: bool = True
    standardise: bool = True
    noise_floor: float | None = 30.0
    centre: bool = True
    prominence: float = 3.0
    start_steps: int = 80
    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "feature_consistency": 5.0,
            # Lab differs within a bird by about 300 squared units, the teacher's features by 1.
            "visual_consistency": 0.0033,
            "contrastive": 0.75,
            "equivariance": 6.0,
            "foreground": 1.0,
            "balance": 0.25,
            "clusters": 5.0,
        }
    )
    loss_size: int | None = 33
    temperature: float = 0.19
    positives: str = "all"
    views: ViewSettings = field(
        default_factory=lambda: ViewSettings(rotation=45.0, scale=(0.6, 1.4), bend=0.05, mirror=0.5)
    )
    padding: float = 0.05
    box_jitter: float = 0.0
    mirror: float = 0.5
    batch_size: int = 12
    steps: int = 240
    optimizer: str = "adam"
    learning_rate: float = 5e-5
    schedule: str = "cosine"
    warmup: int = 20
    weight_decay: float = 0.0
    clip_norm: float | None = 5.0
    head_multiplier: float = 20.0
    ema: float | None = None
    precision: str = "float32"
    jit_compile: bool | None = None
    steps_per_execution: int = 1
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "teacher_layers", tuple(self.teacher_layers))
        object.__setattr__(self, "teacher_turns", tuple(self.teacher_turns))
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"recipe: {name} is {getattr(self, name)!r}, expected one of "
                    f"{', '.join(map(str, choices))}"
                )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"recipe: {name} is {value!r}, expected a number")
            if name in _WHOLE and value != int(value):
                raise ConfigError(f"recipe: {name} is {value!r}, expected a whole number")
            if not low <= value <= high:
                raise ConfigError(f"recipe: {name} is {value!r}, expected {low:g} to {high:g}")
        if not self.warmup < self.steps:
            raise ConfigError(
                f"recipe: warmup is {self.warmup}, expected fewer than the {self.steps} steps"
            )
        for name, weight in self.weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
                raise ConfigError(
                    f"recipe: weights.{name} is {weight!r}, expected a number of at least 0"
                )

    @property
    def teacher_views(self):
        """What the teacher sees besides the upright image, in words: "turned", "mirrored"."""
        seen = {"turned": any(self.teacher_turns[1:]), "mirrored": self.teacher_mirror}
        return tuple(word for word, is_seen in seen.items() if is_seen)

    def with_settings(self, settings):
        """A copy with some fields changed.

        Args:
            settings: `{field: value}`; "weights.NAME" and "views.NAME" reach inside.

        Raises:
            ConfigError: no such field, or a value outside its range.
        """
        changes, weights, views = {}, dict(self.weights), {}
        for name, value in settings.items():
            group, _, inner = name.partition(".")
            if group == "weights" and inner:
                weights[inner] = value
            elif group == "views" and inner in _names(ViewSettings):
                views[inner] = value
            elif not inner and name in _names(Recipe):
                changes[name] = value
            else:
                raise ConfigError(
                    f"recipe: there is no setting {name!r}; there are "
                    f"{', '.join(sorted(_names(Recipe)))}, weights.NAME and views.NAME"
                )
        changes.setdefault("weights", weights)
        if views:
            changes.setdefault("views", replace(self.views, **views))
        return replace(self, **changes)

    def to_json(self):
        """Plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {
            "weights": dict(self.weights),
            "views": asdict(self.views),
            "teacher_layers": list(self.teacher_layers),
            "teacher_turns": list(self.teacher_turns),
        }

    @classmethod
    def from_json(cls, values):
        """The inverse of `to_json`."""
        unknown = sorted(set(values) - _names(cls))
        if unknown:
            raise ConfigError(f"recipe: there is no setting {unknown[0]!r}")
        return cls(**values | {"views": ViewSettings(**values["views"])})


def _names(kind):
    return {field.name for field in fields(kind)}


_CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "batch_norm": BATCH_NORM,
    "precision": PRECISIONS,
    "positives": ("all", "one"),
    "jit_compile": (None, True, False),
}
_RANGES = {
    "parts": (2, 64),
    "size": (33, 4097),
    "teacher_size": (33, 4097),
    "loss_size": (9, 4097),
    "temperature": (1e-3, 100),
    "padding": (0, 1),
    "box_jitter": (0, 0.5),
    "mirror": (0, 1),
    "batch_size": (1, 65536),
    "steps": (1, 10**8),
    "learning_rate": (0, 100),
    "warmup": (0, 10**8),
    "weight_decay": (0, 1),
    "noise_floor": (1e-3, 1e6),
    "prominence": (0, 8),
    "start_steps": (1, 10**8),
    "clip_norm": (0, 1e6),
    "head_multiplier": (0, 1e4),
    "ema": (0, 1),
    "steps_per_execution": (1, 10**6),
    "seed": (0, 2**31 - 1),
}
_OPTIONAL = {"teacher_size", "loss_size", "noise_floor", "clip_norm", "ema"}
_WHOLE = {
    "parts", "size", "teacher_size", "loss_size", "batch_size", "steps", "warmup", "start_steps",
    "steps_per_execution", "seed",
}  # fmt: skip

DEFAULT = Recipe()

TOY = Recipe(
    name="toy",
    parts=5,
    architecture="small",
    output_stride=8,
    backbone_weights="random",
    batch_norm="trained",
    train_from=None,
    size=161,
    teacher_size=None,
    teacher="small",
    teacher_layers=("stage4",),
    teacher_turns=(1.0, 0.0, 0.0, 0.0),
    teacher_mirror=False,
    noise_floor=None,
    prominence=0.0,
    weights={
        "feature_consistency": 5.0,
        "visual_consistency": 0.002,
        "contrastive": 1.0,
        "equivariance": 2.5,
        "foreground": 1.0,
        "balance": 1.0,
    },
    views=ViewSettings(rotation=45.0),
    loss_size=41,
    steps=480,
    learning_rate=1e-3,
    warmup=50,
    head_multiplier=1.0,
)

PAPER = Recipe(
    name="paper",
    architecture="resnet50",
    output_stride=8,
    size=256,
    batch_norm="statistics",
    train_from=None,
    teacher="vgg19",
    teacher_size=None,
    teacher_layers=("relu3_2", "relu5_4"),
    teacher_turns=(1.0, 0.0, 0.0, 0.0),
    teacher_mirror=False,
    standardise=False,
    noise_floor=None,
    centre=False,
    prominence=0.0,
    weights={
        # 5 on the sum over a batch of 6 in the paper.
        "feature_consistency": 30.0,
        "visual_consistency": 30.0,
        "contrastive": 2300.0,
        "equivariance": 5700.0,
        # The paper takes the foreground from a mask. The gradient of this one leaves the division
        # into parts alone, and its size is that of the others.
        "foreground": 1000.0,
    },
    loss_size=None,
    views=ViewSettings(),
    box_jitter=0.05,
    batch_size=6,
    steps=60_000,
    optimizer="sgd",
    learning_rate=1e-5,
    head_multiplier=10.0,
    schedule="polynomial",
    warmup=0,
    # 5e-4 in the gradient, as PyTorch has it, adds up over the momentum to ten times as much.
    weight_decay=5e-3,
)
"""The paper as its public code trains it. The polynomial decay runs over `steps`: 100,000 there,
with the released CUB weights taken after 60,000."""

RECIPES = {recipe.name: recipe for recipe in (DEFAULT, PAPER, TOY)}


def recipe(name="default", **settings):
    """A recipe by name, with settings changed: `recipe("paper", parts=8)`.

    Names with dots, such as `weights.balance`, go through `Recipe.with_settings`.

    Raises:
        ConfigError: no such recipe or setting, or a value outside its range.
    """
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name].with_settings(settings)


def parse_setting(text):
    """`"weights.balance=1.5"` -> `("weights.balance", 1.5)`; values are JSON, or plain words."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"setting {text!r} is not of the form name=value")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value
