"""Make an entry of the zoo from training runs."""

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.backbones.weights_file import check_weights_file
from keras_parts.data import Dataset
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import atomic_path, atomic_write
from keras_parts.metrics import Report, SegmenterModel, evaluate, report_meanings
from keras_parts.models.part_names import check_part_names
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.training.data_record import measured_on
from keras_parts.training.run_folder import RunFolder, not_finished
from keras_parts.zoo.cards import (
    CARD_FILE,
    CONFIG_FILE,
    GOLDEN_FILE,
    PICTURE_FILE,
    WEIGHTS_FILE,
    Card,
)
from keras_parts.zoo.compact import write_compact
from keras_parts.zoo.descriptions import (
    check_text_names,
    create_card,
    create_evaluation,
)
from keras_parts.zoo.golden import write_golden
from keras_parts.zoo.pictures import write_picture

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Candidate:
    """A run that may become the entry.

    Attributes:
        run: its folder.
        config: its settings and what it was trained on, from the run folder.
        files: folder into which the entry's files are written.
        segmenter: with the weights in `files`, which may be rounded to float16.
    """

    run: RunFolder
    config: Mapping[str, Any]
    files: Path
    segmenter: PartSegmenter

    @property
    def seed(self) -> int:
        return self.config["seed"]


def pack(
    *runs: str | PathLike[str],
    output: str | PathLike[str],
    name: str | None = None,
    version: str | None = None,
    test: Dataset | None = None,
    split: str = "test",
    train: Dataset | None = None,
    validation: Dataset | None = None,
    protocols: Sequence[str] | None = None,
    choose_by: tuple[str, str] | None = None,
    part_names: Sequence[str] = (),
    pairs: Sequence[tuple[int, int]] = (),
    texts: Mapping[str, str] | None = None,
    compact: bool = True,
    progress: bool = True,
) -> Card:
    """Make an entry: weights, configuration, golden pair, picture, and the card with their
    checksums.

    The name, version, texts and licences of a card that `output` already has are kept, so that an
    entry is updated after another training by the same command; terms of the data only if the data
    set is the same. Without a "weights_licence" the card says that none was given. The terms of
    models that the training was initialised from or taught by are added to the licences.

    Args:
        runs: folders of training runs that differ in the seed alone. The one with the best metric
            on `validation` becomes the entry; the metrics of all are on its card.
        output: the entry's folder, created if necessary; its card is written last.
        name, version: of the model; for a new one DATASET-PARTS and 1.0.0.
        test: data set for the metrics on the card; None for a card without metrics.
        split: the name of its split.
        train: data set on which protocols train their landmark regression.
        validation: data set by which one of several runs is chosen; required for several runs.
        protocols: to measure; None for all that the data allows.
        choose_by: (protocol, metric) to choose by; by default the first metric measured.
        part_names: one for each part. By default the segmenter's own names, or those of the
            landmarks or part labels of `test` that the parts cover, or numbers.
        pairs: parts, from 1, that swap in a mirrored image.
        texts: any of "about", "intended_use", "limits", "citation", "code_licence",
            "weights_licence", "data_licence".
        compact: store arrays of two and more dimensions as float16.
        progress: show progress bars.

    Returns:
        The card.

    Raises:
        ConfigError: no runs, several runs without `validation`, a name that no part may have, or
            an unknown text.
        DataError: a folder has no finished run, or the runs differ in more than the seed.
        IntegrityError: a weights file contains more than weights, or a field of the card is wrong.

    Example:
        A run folder without a training; `keras_parts.training.run.train` makes one.

        >>> import keras_parts
        >>> from keras_parts.training.recipes import recipe
        >>> from keras_parts.training.run_folder import RunFolder
        >>> run = RunFolder.create("runs/animals")
        >>> data = {"dataset": "toy", "split": "train", "licence": "Apache-2.0"}
        >>> _ = run.write_config(recipe("toy").to_json(), 0, data)
        >>> keras_parts.zoo.load("toy").save_preset(run.segmenter)
        >>> card = keras_parts.zoo.pack(run.path, output="entry", name="animals")
        >>> card.id
        'animals@1.0.0'
        >>> keras_parts.zoo.load("entry").part_names == card.part_names
        True
    """
    texts = texts or {}
    _check_arguments(runs, validation, texts)
    named = {"name": name, "version": version}
    given = {key: value for key, value in named.items() if value} | {**texts}
    measure = partial(_measure, train=train, progress=progress)
    with tempfile.TemporaryDirectory() as scratch:
        candidates = _candidates(runs, Path(scratch), compact)
        if part_names:
            part_names = check_part_names(part_names, candidates[0].segmenter.num_parts)
        choices: list[Report] = []
        best, reason = 0, ""
        if validation is not None and len(candidates) > 1:
            chosen_by = protocols if choose_by is None else [choose_by[0]]
            choices = [measure(candidate, validation, chosen_by) for candidate in candidates]
            best, reason = _best(candidates, choices, choose_by)
        reports = [] if test is None else [measure(each, test, protocols) for each in candidates]
        candidate, report = candidates[best], reports[best] if reports else None
        names = _part_names(part_names, candidate.segmenter, report, test)
        _write_files(candidate, names, test)
        evaluation = None
        if test is not None:
            seeds = [each.seed for each in candidates]
            split = _split_measured(candidate, test, split)
            evaluation = create_evaluation(split, best, seeds, reports, choices, reason)
        card = create_card(
            candidate.segmenter,
            candidate.files,
            candidate.config,
            steps=_last_step(candidate.run),
            pairs=pairs,
            test=test,
            evaluation=evaluation,
            texts=given,
            previous=output,
        )
        _copy_entry(candidate.files, Path(output), card)
    return card


def _check_arguments(
    runs: Sequence[Any], validation: Dataset | None, texts: Mapping[str, str]
) -> None:
    if not runs:
        raise ConfigError("no runs to pack: name at least one run folder")
    if len(runs) > 1 and validation is None:
        raise ConfigError(
            f"{len(runs)} runs to pack: choosing one of them needs a validation split"
        )
    check_text_names(texts)


def _candidates(
    runs: Sequence[str | PathLike[str]], scratch: Path, compact: bool
) -> list[_Candidate]:
    folders = [RunFolder(run) for run in runs]
    configs = [folder.read_config() for folder in folders]
    _check_same_recipe(folders, configs)
    return [
        _candidate(run, config, scratch / str(index), compact)
        for index, (run, config) in enumerate(zip(folders, configs, strict=True))
    ]


def _check_same_recipe(folders: Sequence[RunFolder], configs: Sequence[Mapping[str, Any]]) -> None:
    first = configs[0]["settings"]
    for folder, config in zip(folders, configs, strict=True):
        settings = config["settings"]
        different = [name for name in first if name != "seed" and settings.get(name) != first[name]]
        if different:
            raise DataError(
                f"{folder.path} and {folders[0].path} differ in {', '.join(different)}: only runs "
                "of one recipe that differ in the seed are packed together",
                path=folder.path,
            )


def _candidate(
    run: RunFolder, config: Mapping[str, Any], folder: Path, compact: bool
) -> _Candidate:
    """The run's segmenter as in the entry, with its weights file in `folder`."""
    config_file, weights_file = run.segmenter / CONFIG_FILE, run.segmenter / WEIGHTS_FILE
    for path in (config_file, weights_file):
        if not path.is_file():
            problem = not_finished(run.path) or f"{path}: there is no such file"
            raise DataError(problem, path=path)
    check_weights_file(weights_file)
    folder.mkdir()
    shutil.copyfile(config_file, folder / CONFIG_FILE)
    (write_compact if compact else shutil.copyfile)(weights_file, folder / WEIGHTS_FILE)
    return _Candidate(run, config, folder, PartSegmenter.from_preset(folder))


def _measure(
    candidate: _Candidate,
    dataset: Dataset,
    protocols: Sequence[str] | None,
    *,
    train: Dataset | None,
    progress: bool,
) -> Report:
    segmenter = candidate.segmenter
    return evaluate(
        SegmenterModel(segmenter), dataset, segmenter.num_parts, protocols, train=train,
        progress=progress,
    )  # fmt: skip


def _split_measured(candidate: _Candidate, test: Dataset, split: str) -> str:
    """The name of the split on the card; a warning says if the model was trained on its images."""
    stored = candidate.config.get("data", {})
    found = measured_on(candidate.run.path.name, stored, test, split)
    if found.note:
        _LOG.warning("%s", found.note)
    return found.split


def _best(
    candidates: Sequence[_Candidate],
    reports: Sequence[Report],
    choose_by: tuple[str, str] | None,
) -> tuple[int, str]:
    """(index of the best candidate, the reason for the card)."""
    protocol = choose_by[0] if choose_by else next(iter(reports[0].values))
    metric = choose_by[1] if choose_by else next(iter(reports[0].values[protocol]))
    try:
        values = [report.values[protocol][metric] for report in reports]
    except KeyError:
        measured = [f"{name}:{key}" for name, found in reports[0].values.items() for key in found]
        raise ConfigError(
            f"choose_by is {protocol}:{metric}, expected one of {', '.join(measured)}",
            setting="choose_by",
            value=f"{protocol}:{metric}",
        ) from None
    listed = ", ".join(
        f"seed {candidate.seed}: {value:.1f}"
        for candidate, value in zip(candidates, values, strict=True)
    )
    return int(np.argmax(values)), f"{protocol} {metric} on validation images ({listed})"


def _part_names(
    given: Sequence[str], segmenter: PartSegmenter, report: Report | None, test: Dataset | None
) -> tuple[str, ...]:
    """The names on the card.

    They are `given`, else the segmenter's own, else those of the landmarks or part labels that the
    parts cover in the test split, else numbers.
    """
    names = tuple(given) or segmenter.part_names
    if not names and report is not None and test is not None:
        names = tuple(meaning.name for meaning in report_meanings(report, test.info))
    return names or tuple(f"part {part}" for part in range(1, segmenter.num_parts + 1))


def _write_files(candidate: _Candidate, names: Sequence[str], test: Dataset | None) -> None:
    segmenter, folder = candidate.segmenter, candidate.files
    _write_configuration(segmenter, names, folder / CONFIG_FILE)
    write_golden(segmenter, folder / GOLDEN_FILE)
    if test is not None:
        write_picture(segmenter, names, test, folder / PICTURE_FILE)


def _write_configuration(segmenter: PartSegmenter, names: Sequence[str], path: Path) -> None:
    """Write all settings in full, so that the entry does not depend on later defaults."""
    values = segmenter.config.to_json() | {
        "part_names": [*names],
        "preprocessing": segmenter.preprocessing.to_config(),
    }
    with atomic_write(path, "w") as file:
        json.dump(values, file, indent=2)
        file.write("\n")


def _last_step(run: RunFolder) -> int | None:
    steps = [record["step"] for record in run.metrics()]
    return steps[-1] if steps else None


def _copy_entry(files: Path, output: Path, card: Card) -> None:
    """Copy the files, and write the card with their checksums last."""
    output.mkdir(parents=True, exist_ok=True)
    for name in card.files:
        with atomic_path(output / name) as path:
            shutil.copyfile(files / name, path)
    with atomic_write(output / CARD_FILE) as file:
        file.write(card.encode())
