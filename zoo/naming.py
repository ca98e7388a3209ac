"""Names for the parts of a saved model, and joined parts. Nothing here builds the network, unless
the pictures on the page of a run are segmented again."""

import itertools
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from keras_parts.errors import ConfigError
from keras_parts.files import atomic_folder
from keras_parts.models.part_names import check_part_names, join, parts_of
from keras_parts.models.saved_config import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    read_saved_config,
    write_saved_config,
)
from keras_parts.results.page import page_images, read_page, rename_page, write_page
from keras_parts.results.parts import numbered_names
from keras_parts.training.recipes import translate_settings
from keras_parts.training.run_folder import RUNS_FOLDER, RunFolder, run_of_segmenter
from keras_parts.zoo.cards import CARD_FILE, Card, read_card
from keras_parts.zoo.models import path as path_of

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Saved:
    """A saved model.

    Attributes:
        folder: of the segmenter.
        card: of a model of the zoo, else None.
        run: that trained it, if it lies in a run folder and has no card.
    """

    folder: Path
    card: Card | None
    run: RunFolder | None

    @classmethod
    def find(cls, model: str | PathLike[str], trust: bool = False) -> "_Saved":
        folder = path_of(model, trust=trust)
        if (folder / CARD_FILE).is_file():
            return cls(folder, read_card(folder), None)
        return cls(folder, None, run_of_segmenter(folder))

    @property
    def location(self) -> Path:
        """The folder that the commands take."""
        return self.run.path if self.run else self.folder


def name_parts(
    model: str | PathLike[str],
    names: Iterable[str] | None = None,
    *,
    join_groups: Iterable[Iterable[int | str]] = (),
    output: str | PathLike[str] | None = None,
    trust: bool = False,
) -> Path:
    """Store names for the parts of a saved model, or write a model in which parts are joined.

    Names alone are stored in the folder of a run or a segmenter; its page gets them too. Otherwise
    a new folder is written, complete or not at all: that of a run for a run and for a model of the
    zoo, whose terms it records. Pictures on the page of a run are segmented again if parts are
    joined.

    Args:
        model, trust: as for `load`.
        names: for the parts, after joining, see `keras_parts.models.part_names.check_part_names`;
            None keeps them.
        join_groups: parts to join, by their number from 1 or their name; see
            `PartSegmenter.join_parts`.
        output: the new folder; for joined parts MODEL-joined beside the model, and for a model of
            the zoo runs/NAME-named or runs/NAME-joined.

    Returns:
        The folder of the model, for `load`.

    Raises:
        ConfigError: a name, a group or `output` is not valid; another process trains the run.
        Others: as `load`.

    Example:
        >>> import keras_parts
        >>> names = ["head", "trunk", "feet"]
        >>> folder = keras_parts.zoo.name_parts("toy", names, join_groups=[["back", "tail", 4]])
        >>> folder.as_posix(), keras_parts.zoo.load(folder).part_names
        ('runs/toy-joined', ('head', 'trunk', 'feet'))
    """
    saved = _Saved.find(model, trust)
    values, groups = read_saved_config(saved.folder), [[*group] for group in join_groups]
    num_parts, old_names, joined = parts_of(values, saved.folder / CONFIG_FILE)
    if groups:
        values |= join(num_parts, old_names, joined, groups)
    if names is not None:
        values["part_names"] = check_part_names(names, values["num_parts"])
    if output is None and not groups and saved.card is None:
        _rename(saved, values)
        return saved.location
    folder = Path(output) if output is not None else _free(saved, "joined" if groups else "named")
    try:
        with atomic_folder(folder) as unfinished:
            _write(saved, values, unfinished, folder, same_parts=not groups)
    except FileExistsError:
        raise ConfigError(
            f"{folder} exists already: remove it, or choose another --output", path=folder
        ) from None
    return folder


def run_of(model: str | PathLike[str], *, trust: bool = False) -> RunFolder | None:
    """The run that trained a model; None if the model does not lie in a run folder.

    Args:
        model, trust: as for `load`.

    Raises:
        As `load`.
    """
    return _Saved.find(model, trust).run


def _rename(saved: _Saved, values: Mapping[str, Any]) -> None:
    with ExitStack() as stack:
        if saved.run:
            stack.enter_context(saved.run.locked())
        write_saved_config(saved.folder, values)
        if saved.run:
            rename_page(saved.run.path, _names(values), model=str(saved.run.path))


def _names(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(values["part_names"]) or numbered_names(values["num_parts"])


def _free(saved: _Saved, suffix: str) -> Path:
    """A free name beside the model; in the folder of runs for a model of the zoo."""
    base = Path(RUNS_FOLDER, saved.card.name) if saved.card else saved.location
    beside = base.absolute().with_name(f"{base.absolute().name}-{suffix}")
    numbered = (beside.with_name(f"{beside.name}-{number}") for number in itertools.count(2))
    free = next(path for path in itertools.chain([beside], numbered) if not os.path.lexists(path))
    return free if base.is_absolute() else Path(os.path.relpath(free))


def _write(
    saved: _Saved,
    values: Mapping[str, Any],
    folder: Path,
    final: Path,
    *,
    same_parts: bool,
) -> None:
    """Write the model to a folder, which gets the name `final`."""
    segmenter, run = folder, RunFolder(folder)
    if saved.run or saved.card:
        segmenter = run.segmenter
        segmenter.mkdir()
    if saved.card:
        _record_origin(run, saved.card)
    if saved.run:
        _copy_run(saved.run, run, with_pictures=same_parts)
    write_saved_config(segmenter, values)
    shutil.copyfile(saved.folder / WEIGHTS_FILE, segmenter / WEIGHTS_FILE)
    if saved.run is None:
        return
    if same_parts:
        rename_page(folder, _names(values), model=str(final))
    else:
        _segment_again(saved.run, folder, segmenter, final)


def _copy_run(source: RunFolder, target: RunFolder, *, with_pictures: bool) -> None:
    """Copy the record of a run and, if its parts are the same, its pictures."""
    names = [source.config_file, source.metrics_file, source.log_file, source.curves_file]
    folders = []
    if with_pictures:
        names.append(source.page_file)
        folders = [source.samples, source.page]
    for file in names:
        if file.is_file():
            shutil.copyfile(file, target.path / file.name)
    for pictures in folders:
        if pictures.is_dir():
            shutil.copytree(pictures, target.path / pictures.name, symlinks=True)


def _record_origin(run: RunFolder, card: Card) -> None:
    """Record the training and the terms of a model of the zoo as those of a run."""
    if card.pairs:
        _LOG.warning(
            "%s: a run does not record which parts swap in a mirrored image: name them again when "
            "you pack it (zoo pack --pairs)",
            card.id,
        )
    training, licences = card.training, card.licences
    origin = {
        "model": card.id,
        "use": "initialisation",
        "data": licences.data,
        "weights": licences.weights,
    }
    data = {
        "dataset": training.dataset,
        "split": training.split,
        "images": training.num_images,
        "categories": training.num_categories,
        "licence": licences.data,
        "models": [origin],
    }
    made_with = {"versions": training.versions, "commit": training.commit or None}
    settings = translate_settings(training.recipe)
    run.write_config(settings, training.seed, data, made_with=made_with)
    if training.steps is not None:
        run.log({"step": training.steps})


def _segment_again(source: RunFolder, folder: Path, segmenter: Path, final: Path) -> None:
    """Segment the pictures on the page of a run with the joined parts, for a page of their own."""
    images = page_images(source.path)
    if not images:
        return
    from keras_parts.models.segmenter import PartSegmenter

    found = PartSegmenter.from_preset(segmenter).segment([*images.values()])
    content = read_page(source.path) or {}
    write_page(
        folder,
        dict(zip(images, found, strict=True)),
        title=f"Joined parts of {source.path.absolute().name}",
        settings=content.get("settings"),
        model=str(final),
        total=total if isinstance(total := content.get("total"), int) else 0,
    )
