"""Recipes: frozen dataclasses of all settings of a training, checked. Imports no Keras."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from keras_parts.data.crops import CropSettings
from keras_parts.data.scenes import SceneSettings
from keras_parts.discovery import defaults
from keras_parts.discovery.losses import LOSSES, Loss, create_loss, create_losses
from keras_parts.discovery.transforms import ViewTransforms
from keras_parts.errors import ConfigError, DataError, suggestion
from keras_parts.settings import Settings, choice, flag, integer, number, numbers, string, strings
from keras_parts.training.choices import OPTIMIZERS, SCHEDULES

BATCH_NORM = ("frozen", "statistics", "trained")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

_LOG = logging.getLogger(__name__)
_ZOO = "zoo:"
_WARMUP_DIVISOR, _DECAY_DIVISOR = 4, 3
"""In a short run the learning rate rises in at most a quarter of the steps, and the cluster loss
decays in at most a third."""


@dataclass(frozen=True)
class Recipe(Settings):
    """All settings of a training.

    Attributes:
        name: name of the recipe of which this one is a variant.
        num_parts: number of parts K.
        architecture, output_stride, image_size: settings of the segmenter, see
            `keras_parts.models.SegmenterConfig`. The output stride is the finest of the
            architecture if it is None.
        backbone_weights: "pretrained", "random", or the path of a weights file.
        init_from: folder of a segmenter of the same architecture, such as
            `keras_parts.zoo.path(name)`. Its weights, those of the head included, are the initial
            ones instead of `backbone_weights`.
        keep_parts: keep the parts of `init_from` if it has as many; otherwise new parts are found,
            and only its foreground is kept.
        batch_norm: "frozen" keeps the pretrained statistics; "statistics" updates them and
            freezes scale and offset (the paper); "trained" trains scale and offset as well.
        train_from: name of the first backbone output that is trained. All layers before it stay
            frozen. None trains the whole backbone.
        teacher, teacher_layers, teacher_weights: see `keras_parts.discovery.create_teacher`. The
            teacher "segmenter" without weights is `init_from`.
        teacher_size: side of the teacher's input in pixels; None takes `image_size`.
        teacher_patches: patches along each side of the input of the teacher "dinov2"; None takes
            16. With p patches, `teacher_size` of 14 (p - 1) + 1 pixels is not resampled.
        teacher_turns, teacher_mirror: see `keras_parts.discovery.Teacher`.
        standardise: centre the teacher features and scale them to unit variance over the
            foreground, so that loss weights can be used with another teacher.
        noise_floor: scale down the directions of the standardised features in which an object and
            its mirror image differ, see `keras_parts.discovery.fit_standardiser`; None does not.
        centre_features: subtract the mean feature of an image's foreground before part descriptors
            are compared with each other, and features with clusters.
        prominence_exponent: exponent of `keras_parts.ops.prominence`, which weights the positions
            in the feature consistency and in the clusters; 0 gives all the same weight.
        loss_weights: `{loss name: weight}`, names of `keras_parts.discovery.LOSSES`.
        loss_settings: `{loss name: {setting: value}}`; the other settings have the default values
            of the loss.
        loss_size: side in pixels of the maps from which losses are computed; None takes
            `image_size`.
        view_transforms: the random transforms between the two views.
        crops: how objects are cropped. If `crops.jitter` is not 0, the teacher runs in every step.
        scenes: which second views are of scenes, squares between the object and the photograph.
        batch_size: number of images in each step.
        steps: number of training steps.
        optimizer: "adam", "adamw" or "sgd".
        learning_rate: maximum of the schedule.
        schedule: "cosine", "polynomial" or "constant".
        warmup_steps: number of steps in which the learning rate rises, fewer than `steps`.
        weight_decay: decoupled from the gradient; must be 0 with "adam".
        clip_norm: maximum norm of all gradients together; None does not clip.
        head_multiplier: factor on the learning rate of the head.
        ema_momentum: momentum of the averaged weights, which are the result; None does not average.
        precision: a Keras dtype policy.
        jit_compile: whether XLA compiles the step; None lets Keras decide.
        steps_per_execution: number of steps that the backend makes in one call; the result is the
            same. It must divide the log interval, a fortieth of the steps, and be 1 on PyTorch.
        seed: seed of weights, data order and random draws.

    Raises:
        ConfigError: a setting is outside its range, or settings contradict each other.

    Example:
        >>> from keras_parts.training import recipe
        >>> chosen = recipe("default", num_parts=8, **{"loss_weights.balance": 1.0})
        >>> chosen.num_parts, chosen.loss_weights["balance"], chosen.crops.padding
        (8, 1.0, 0.05)
    """

    prefix: ClassVar[str] = "recipe: "

    name: str = string("default")
    num_parts: int = integer(4, 2, 64)
    architecture: str = string("efficientnet_lite0")
    output_stride: int | None = integer(None, 1, 64, optional=True)
    image_size: int = integer(257, 33, 4097)
    backbone_weights: str = string("pretrained")
    init_from: str | None = string(None, optional=True)
    keep_parts: bool = flag(True)
    batch_norm: str = choice("frozen", BATCH_NORM)
    train_from: str | None = string("block_11", optional=True)
    teacher: str = string("efficientnet_lite0")
    teacher_layers: tuple[str, ...] = strings(("block_10", "block_14"))
    teacher_weights: str | None = string(None, optional=True)
    teacher_size: int | None = integer(321, 33, 4097, optional=True)
    teacher_patches: int | None = integer(None, 2, 256, optional=True)
    teacher_turns: tuple[float, float, float, float] = numbers(
        (1.0, 0.35, 0.35, 0.35),
        "four weights of 0 or more, not all 0",
        lambda weights: min(weights) >= 0 and sum(weights) > 0,
    )
    teacher_mirror: bool = flag(True)
    standardise: bool = flag(True)
    noise_floor: float | None = number(30.0, 1e-3, 1e6, optional=True)
    centre_features: bool = flag(defaults.CENTRE_FEATURES)
    prominence_exponent: float = number(defaults.PROMINENCE_EXPONENT, 0, 8)
    loss_weights: Mapping[str, float] = field(default_factory=lambda: dict(defaults.LOSS_WEIGHTS))
    loss_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    loss_size: int | None = integer(defaults.LOSS_SIZE, 9, 4097, optional=True)
    view_transforms: ViewTransforms = field(default=defaults.VIEW_TRANSFORMS)
    crops: CropSettings = field(default_factory=lambda: CropSettings(jitter=0.0))
    scenes: SceneSettings = field(default_factory=lambda: SceneSettings(share=0.75))
    batch_size: int = integer(12, 1, 65536)
    steps: int = integer(240, 1, 10**8)
    optimizer: str = choice("adam", OPTIMIZERS)
    learning_rate: float = number(5e-5, 0, 100, exclude_minimum=True)
    schedule: str = choice("cosine", SCHEDULES)
    warmup_steps: int = integer(20, 0, 10**8)
    weight_decay: float = number(0.0, 0, 1)
    clip_norm: float | None = number(5.0, 0, 1e6, optional=True, exclude_minimum=True)
    head_multiplier: float = number(20.0, 0, 1e4, exclude_minimum=True)
    ema_momentum: float | None = number(
        None, 0, 1, optional=True, exclude_minimum=True, exclude_maximum=True
    )
    precision: str = choice("float32", PRECISIONS)
    jit_compile: bool | None = choice(None, (None, True, False))
    steps_per_execution: int = integer(1, 1, 10**6)
    seed: int = integer(0, 0, 2**31 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_losses()
        for name, kind in GROUPS.items():
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(
                    f"recipe: {name} is {getattr(self, name)!r}, expected {kind.__name__}"
                )
        if not self.warmup_steps < self.steps:
            raise ConfigError(
                f"recipe: warmup_steps is {self.warmup_steps}, expected fewer than the "
                f"{self.steps} steps"
            )
        if self.optimizer == "adam" and self.weight_decay:
            raise ConfigError(
                f"recipe: weight_decay is {self.weight_decay}, but adam has none: set optimizer to "
                "adamw, or weight_decay to 0"
            )

    def _check_losses(self) -> None:
        _check_loss_tables(self.loss_weights, self.loss_settings)
        weights = dict(self.loss_weights)
        for name, weight in weights.items():
            if name not in LOSSES:
                raise ConfigError(
                    f"recipe: loss_weights.{name}: there is no such loss; there are "
                    f"{', '.join(LOSSES)}{suggestion(name, LOSSES)}"
                )
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
                raise ConfigError(
                    f"recipe: loss_weights.{name} is {weight!r}, expected a number of at least 0"
                )
        try:
            settings = {
                name: create_loss(name, self.loss_settings.get(name, {})).to_json()
                for name in {**_configurable(), **self.loss_settings}
            }
        except ConfigError as error:
            raise ConfigError(f"recipe: {error}") from None
        frozen = {name: MappingProxyType(values) for name, values in settings.items()}
        object.__setattr__(self, "loss_weights", MappingProxyType(weights))
        object.__setattr__(self, "loss_settings", MappingProxyType(frozen))

    @property
    def teacher_views(self) -> tuple[str, ...]:
        """The views that the teacher averages with the upright image: "turned", "mirrored"."""
        views = {"turned": any(self.teacher_turns[1:]), "mirrored": self.teacher_mirror}
        return tuple(view for view, is_used in views.items() if is_used)

    @property
    def needs_features(self) -> bool:
        """Whether a loss with a weight is computed from teacher features."""
        return any(
            LOSSES[name].needs_features for name, weight in self.loss_weights.items() if weight
        )

    def create_losses(self) -> dict[str, tuple[Loss, float]]:
        """The losses and their weights, as `keras_parts.discovery.PartDiscovery` takes them."""
        return create_losses(self.loss_weights, self.loss_settings)

    def with_settings(self, settings: Mapping[str, Any]) -> "Recipe":
        """A copy with some settings changed.

        If `settings` has few `steps`, the warm-up is shortened to a quarter of them, and the decay
        of the cluster loss to a third, unless `settings` has these as well.

        Args:
            settings: `{name: value}`. A name is that of a field; "loss_weights.NAME",
                "view_transforms.NAME" or "crops.NAME" for a value inside a field; or
                "LOSS.SETTING" for a setting of a loss, such as "contrastive.temperature".

        Raises:
            ConfigError: there is no such setting, or a value is outside its range.
        """
        changes: dict[str, Any] = {}
        given_weights = settings.get("loss_weights", self.loss_weights)
        given_losses = settings.get("loss_settings", self.loss_settings)
        _check_loss_tables(given_weights, given_losses)
        weights = dict(given_weights)
        losses = {name: dict(values) for name, values in given_losses.items()}
        inside: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
        for name, value in settings.items():
            group, _, inner = name.partition(".")
            if group == "loss_weights" and inner:
                weights[inner] = value
            elif group in LOSSES and inner:
                losses.setdefault(group, {})[inner] = value
            elif group in GROUPS and inner in GROUPS[group].setting_names():
                inside[group][inner] = value
            elif name in ("loss_weights", "loss_settings"):
                continue
            elif not inner and name in _field_names():
                changes[name] = value
            else:
                raise ConfigError(_unknown(name))
        _warn_without_weight(settings, weights)
        changes |= self._shortened(settings, weights, losses)
        changes |= {"loss_weights": weights, "loss_settings": losses}
        for group, values in inside.items():
            if values:
                changes[group] = replace(changes.get(group, getattr(self, group)), **values)
        return replace(self, **changes)

    def _shortened(
        self,
        settings: Mapping[str, Any],
        weights: Mapping[str, float],
        losses: dict[str, dict[str, Any]],
    ) -> dict[str, Any]:
        """Changes that shorten the warm-up and the decay of the cluster loss in a short run.

        The decay is changed in `losses`. Values in `settings` are kept.
        """
        steps = settings.get("steps")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            return {}
        decay = "clusters.decay_steps"
        given = decay in settings or "loss_settings" in settings
        if weights.get("clusters") and not given:
            maximum = max(1, steps // _DECAY_DIVISOR)
            if losses["clusters"]["decay_steps"] > maximum:
                losses["clusters"]["decay_steps"] = maximum
                _LOG.info("%s is %d, because the run has only %d steps", decay, maximum, steps)
        maximum = steps // _WARMUP_DIVISOR
        if "warmup_steps" in settings or self.warmup_steps <= maximum:
            return {}
        _LOG.info("warmup_steps is %d, because the run has only %d steps", maximum, steps)
        return {"warmup_steps": maximum}

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values, which `from_json` reads."""
        values: dict[str, Any] = {}
        own = super().to_json()
        for name in _field_names():
            if name in own:
                values[name] = own[name]
            elif name in GROUPS:
                values[name] = getattr(self, name).to_json()
        values["loss_weights"] = dict(self.loss_weights)
        values["loss_settings"] = {name: dict(each) for name, each in self.loss_settings.items()}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """The inverse of `to_json`. It also reads settings of older versions.

        Raises:
            ConfigError: there is no such setting, or a value is outside its range.
        """
        values = translate_settings(values)
        if "scenes" not in values:
            values |= _before_scenes(values)
        unknown = [name for name in values if name not in _field_names()]
        if unknown:
            raise ConfigError(_unknown(unknown[0]))
        for group, kind in GROUPS.items():
            if group in values:
                table = _table(values, group)
                wrong = [name for name in table if name not in kind.setting_names()]
                if wrong:
                    raise ConfigError(_unknown(f"{group}.{wrong[0]}"))
                values[group] = kind(**table)
        return cls(**values)


GROUPS: dict[str, type[Settings]] = {
    "view_transforms": ViewTransforms,
    "crops": CropSettings,
    "scenes": SceneSettings,
}
"""Fields of a recipe that hold settings of their own."""

_RENAMED = {
    "parts": "num_parts",
    "size": "image_size",
    "weights": "loss_weights",
    "centre": "centre_features",
    "prominence": "prominence_exponent",
    "views": "view_transforms",
    "warmup": "warmup_steps",
    "ema": "ema_momentum",
    "temperature": "contrastive.temperature",
    "positives": "contrastive.positives",
    "start_steps": "clusters.decay_steps",
    "padding": "crops.padding",
    "box_jitter": "crops.jitter",
    "mirror": "crops.mirror",
}
"""Every setting of version 0.1.0 that was renamed since -> its name now."""


def translate_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run folder or card of any version, with the names of this version.

    Args:
        settings: as `Recipe.to_json` returned them, in any version; some may be missing.

    Raises:
        ConfigError: a group of settings is not a table.

    Example:
        >>> from keras_parts.training.recipes import translate_settings
        >>> translate_settings({"parts": 4, "temperature": 0.2})
        {'num_parts': 4, 'loss_settings': {'contrastive': {'temperature': 0.2}}}
    """
    translated: dict[str, Any] = {}
    for name, value in settings.items():
        group, _, inner = _RENAMED.get(name, name).partition(".")
        if not inner:
            translated[group] = dict(value) if isinstance(value, Mapping) else value
        elif group in GROUPS:
            _table(translated, group)[inner] = value
        else:
            _table(_table(translated, "loss_settings"), group)[inner] = value
    return translated


def _before_scenes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with which versions before scenes trained, whose settings do not name them."""
    losses = {name: dict(table) for name, table in values.get("loss_settings", {}).items()}
    losses["foreground"] = _PLAIN_FOREGROUND | losses.get("foreground", {})
    return {"scenes": {"share": 0.0}, "loss_settings": losses}


def _table(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """The table of this name in the settings, made if it is missing."""
    table = settings.setdefault(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"recipe: {name} is {table!r}, expected a table {{name: value}}")
    return table


def _check_loss_tables(weights: Any, settings: Any) -> None:
    """Raise `ConfigError` unless both are tables, the settings one of tables."""
    tables = {"loss_weights": weights, "loss_settings": settings}
    if isinstance(settings, Mapping):
        tables |= {f"loss_settings.{name}": values for name, values in settings.items()}
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"recipe: {name} is {table!r}, expected a table {{name: value}}")


def _warn_without_weight(settings: Mapping[str, Any], weights: Mapping[str, float]) -> None:
    """Warn of settings "LOSS.SETTING" whose loss has no weight."""
    for name in settings:
        loss, _, inner = name.partition(".")
        if inner and loss in LOSSES and not weights.get(loss):
            _LOG.warning("%s has no effect: the loss has no weight (loss_weights.%s)", name, loss)


def _field_names() -> tuple[str, ...]:
    return tuple(each.name for each in fields(Recipe))


def _configurable() -> dict[str, type[Loss]]:
    """The losses that have settings."""
    return {name: loss for name, loss in LOSSES.items() if loss.setting_names()}


def _unknown(name: str) -> str:
    """The error message for a setting that does not exist."""
    group, dot, inner = name.partition(".")
    if group in _RENAMED:  # or "weights.NAME", "views.NAME"
        return f"recipe: the setting {name!r} is now called {_RENAMED[group] + dot + inner!r}"
    if group == "loss_settings":
        return f"recipe: there is no setting {name!r}: a setting of a loss is called LOSS.SETTING"
    listed = [each for each in _field_names() if each not in ("loss_settings", *GROUPS)]
    listed += [
        f"{loss}.{each}" for loss, kind in _configurable().items() for each in kind.setting_names()
    ]
    listed += [f"{group}.{each}" for group, kind in GROUPS.items() for each in kind.setting_names()]
    return (
        f"recipe: there is no setting {name!r}"
        f"{suggestion(name, listed)}; `keras-parts recipe show {DEFAULT.name}` lists all settings"
    )


_PLAIN_FOREGROUND = {"dice": 0.0, "outline": 0.0, "outliers": None}
"""The foreground loss as a cross-entropy alone."""

DEFAULT = Recipe()

DINOV2 = Recipe(
    name="dinov2",
    teacher="dinov2",
    teacher_weights="dinov2_with_registers_small",
    teacher_layers=("block_11",),
    teacher_patches=32,
    teacher_size=435,
    teacher_turns=(1.0, 0.0, 0.0, 0.0),
)
"""The default recipe with features of DINOv2, for a computer with a GPU. Not measured on DINOv2's
weights; its settings follow from these reasons:

- Registers: without them, large networks hold global information in some patches of plain
  background (Darcet et al., ICLR 2024), which would become clusters; so all sizes are alike.
- Block 11 of 12, in "small" and "base": semantic correspondences are best there (Zhang et al.,
  *A Tale of Two Features*, NeurIPS 2023); the last block is fitted to the training objective.
- 32 patches a side, 448 pixels: a position for 14 pixels of the crop, as fine as the default
  recipe's teacher at its larger crops. Crops of 435 pixels are not resampled.
- Upright and mirrored images: position embeddings know which side is up, so that features of turned
  images differ by more than noise.
- The rest is unchanged: standardised features have the same scale, and with it the loss weights."""

OUTLINE = Recipe(
    name="outline",
    teacher="segmenter",
    teacher_layers=("part_logits",),
    teacher_size=None,
    teacher_turns=(1.0, 0.0, 0.0, 0.0),
    standardise=False,
    noise_floor=None,
    prominence_exponent=0.0,
    loss_weights={"distillation": 2.0, "equivariance": 1.0, "foreground": 5.0},
    loss_settings={"foreground": {"outline": 1.0, "outliers": 3.0}},
    train_from="block_3",
    steps=480,
    learning_rate=2e-4,
    head_multiplier=8.0,
)
"""Sharpens the outline of the segmenter `init_from` and keeps its parts. Parts that start from a
network that knows outlines would follow them."""

TOY = Recipe(
    name="toy",
    num_parts=5,
    architecture="small",
    output_stride=8,
    backbone_weights="random",
    batch_norm="trained",
    train_from=None,
    image_size=161,
    teacher_size=None,
    teacher="small",
    teacher_layers=("stage4",),
    teacher_turns=(1.0, 0.0, 0.0, 0.0),
    teacher_mirror=False,
    noise_floor=None,
    prominence_exponent=0.0,
    loss_weights={
        "feature_consistency": 5.0,
        "visual_consistency": 0.002,
        "contrastive": 1.0,
        "equivariance": 2.5,
        "foreground": 1.0,
        "balance": 1.0,
    },
    loss_settings={"foreground": _PLAIN_FOREGROUND},
    view_transforms=ViewTransforms(rotation=45.0),
    scenes=SceneSettings(),
    loss_size=41,
    steps=480,
    learning_rate=1e-3,
    warmup_steps=50,
    head_multiplier=1.0,
)

PAPER = Recipe(
    name="paper",
    architecture="resnet50",
    output_stride=8,
    image_size=256,
    batch_norm="statistics",
    train_from=None,
    teacher="vgg19",
    teacher_size=None,
    teacher_layers=("relu3_2", "relu5_4"),
    teacher_turns=(1.0, 0.0, 0.0, 0.0),
    teacher_mirror=False,
    standardise=False,
    noise_floor=None,
    centre_features=False,
    prominence_exponent=0.0,
    loss_weights={
        # The paper: 5, on the sum over a batch of 6.
        "feature_consistency": 30.0,
        "visual_consistency": 30.0,
        "contrastive": 2300.0,
        "equivariance": 5700.0,
        # Not in the paper, which takes the foreground from a mask. Its gradient does not change
        # the division into parts; with this weight it is as large as those of the other losses.
        "foreground": 1000.0,
    },
    loss_settings={"foreground": _PLAIN_FOREGROUND},
    loss_size=None,
    view_transforms=ViewTransforms(),
    crops=CropSettings(jitter=0.05),
    scenes=SceneSettings(),
    batch_size=6,
    steps=60_000,
    optimizer="sgd",
    learning_rate=1e-5,
    head_multiplier=10.0,
    schedule="polynomial",
    warmup_steps=0,
    # PyTorch adds 5e-4 of each weight to the gradient; the momentum makes that ten times as much.
    weight_decay=5e-3,
)
"""The settings of the paper's public code. There the learning rate decays over 100,000 steps, and
the released CUB weights are those after 60,000; here it decays over `steps`."""

RECIPES = {recipe.name: recipe for recipe in (DEFAULT, DINOV2, OUTLINE, PAPER, TOY)}


def recipe(name: str = "default", **settings: Any) -> Recipe:
    """A recipe by name or from a file, with settings changed.

    Args:
        name: name in `RECIPES`, or the path that `keras_parts.training.recipe_files.read_recipe`
            reads: a TOML file, or the folder or config.json of a run.
        settings: see `Recipe.with_settings`; write names with dots as `**{"crops.jitter": 0}`.

    Raises:
        ConfigError: there is no such recipe or setting, or a value is outside its range.

    Example:
        >>> from keras_parts.training import recipe
        >>> recipe("paper", num_parts=8).num_parts
        8
        >>> recipe("default", steps=5).warmup_steps
        1
    """
    from keras_parts.training.recipe_files import is_recipe_file, read_recipe

    if is_recipe_file(name):
        return read_recipe(name).with_settings(settings)
    if name not in RECIPES:
        raise ConfigError(
            f"recipe: there is no recipe {name!r}; there are {', '.join(RECIPES)}, and files such "
            f"as mine.toml and runs/mine/config.json{suggestion(name, RECIPES)}"
        )
    return RECIPES[name].with_settings(settings)


def recipe_for(
    dataset: str,
    name: str | None = None,
    *,
    init_from: str | os.PathLike | None = None,
    teacher: str | None = None,
    teacher_weights: str | os.PathLike | None = None,
    find_model: Callable[[str], str | os.PathLike] = Path,
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe for a data set, changed for an initial segmenter and for another teacher.

    Args:
        dataset: name of the data set.
        name: name or file of the recipe, see `recipe`; None takes the recipe of the data set if
            there is one, else "default".
        init_from: segmenter whose weights are the initial ones. Architecture, output stride, image
            size and number of parts become those of this segmenter, unless `settings` has them. A
            recipe with the loss "distillation", such as "outline", keeps its own output stride.
        teacher: name of the teacher, which is used with its default layers; "zoo:MODEL" is the
            backbone of a segmenter.
        teacher_weights: weights of the teacher.
        find_model: function from the name in `init_from` or "zoo:MODEL" to the folder of the
            segmenter, such as `keras_parts.zoo.path`. By default the names are folders.
        settings: changes to the recipe, see `Recipe.with_settings`.

    Raises:
        ConfigError: there is no such recipe or setting, or a value is outside its range.
        DataError: `init_from` is not the folder of a segmenter.

    Example:
        >>> from keras_parts import zoo
        >>> from keras_parts.training import recipe_for
        >>> chosen = recipe_for("folder", init_from="toy", teacher="zoo:toy", find_model=zoo.path)
        >>> chosen.name, chosen.architecture, chosen.num_parts, chosen.teacher
        ('default', 'small', 5, 'segmenter')
    """
    base = recipe(name or default_recipe(dataset))
    changes: dict[str, Any] = {}
    if init_from is not None:
        changes |= _settings_of_segmenter(find_model(os.fspath(init_from)), base)
    chosen = teacher_settings(teacher, teacher_weights, find_model=find_model)
    if chosen.get("teacher", base.teacher) != base.teacher:
        chosen.setdefault("teacher_weights", None)  # those of the recipe are of its own teacher
    changes |= chosen
    return base.with_settings(changes | dict(settings or {}))


def default_recipe(dataset: str) -> str:
    """Name of the recipe for a data set: its own if there is one, else "default"."""
    return dataset if dataset in RECIPES else "default"


def teacher_settings(
    teacher: str | None,
    weights: str | os.PathLike | None = None,
    *,
    find_model: Callable[[str], str | os.PathLike] = Path,
) -> dict[str, Any]:
    """Changes to a recipe that choose another teacher, with its default layers.

    Args:
        teacher: a name in `keras_parts.discovery.TEACHERS`, or "zoo:MODEL"; None keeps the teacher.
        weights: weights of the teacher; None keeps those of the recipe.
        find_model: see `recipe_for`.

    Raises:
        ConfigError: weights are given for "zoo:MODEL", which has its own.
    """
    if teacher and teacher.startswith(_ZOO):
        if weights:
            raise ConfigError(
                f"teacher_weights is {os.fspath(weights)!r}, but the teacher {teacher} has weights "
                "already: leave out one of the two"
            )
        folder = Path(find_model(teacher.removeprefix(_ZOO))).resolve()
        teacher, weights = "segmenter", folder
    changes: dict[str, Any] = {}
    if teacher:
        changes = {"teacher": teacher, "teacher_layers": (), "teacher_patches": None}
    return changes | ({"teacher_weights": os.fspath(weights)} if weights else {})


def _settings_of_segmenter(folder: str | os.PathLike, base: Recipe) -> dict[str, Any]:
    """Changes with which a recipe takes its initial weights from a segmenter."""
    folder = Path(folder).resolve()
    path = folder / "segmenter.json"
    try:
        config = translate_settings(json.loads(path.read_text(encoding="utf-8")))
        same = ["num_parts", "architecture", "image_size"]
        if not base.loss_weights.get("distillation"):
            same.append("output_stride")
        changes = {"init_from": str(folder), **{name: config[name] for name in same}}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot be read: {error!r}; expected a folder that save_preset wrote"
        ) from None
    # `train_from` names a layer of the recipe's architecture: another one is trained whole.
    is_same = config["architecture"] == base.architecture
    return changes if is_same else changes | {"train_from": None}


def parse_setting(text: str) -> tuple[str, Any]:
    """Name and value of a setting of the command line. A value that is not JSON is a string.

    Raises:
        ConfigError: the text is not of the form name=value.

    Example:
        >>> from keras_parts.training.recipes import parse_setting
        >>> parse_setting("loss_weights.balance=1.5")
        ('loss_weights.balance', 1.5)
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"setting {text!r} is not of the form name=value")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value
