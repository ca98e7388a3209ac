"""The card of an entry that is being packed: its texts, training record and metrics."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec

from keras_parts.data import Dataset
from keras_parts.data.catalogue import DATASETS, about
from keras_parts.errors import ConfigError, hide_secrets
from keras_parts.metrics.report import Report
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.results.palette import part_palette
from keras_parts.training.origins import run_origins
from keras_parts.training.run_folder import RunFolder
from keras_parts.zoo.cards import (
    CARD_FILE,
    CONFIG_FILE,
    FORMAT,
    GOLDEN_FILE,
    PICTURE_FILE,
    WEIGHTS_FILE,
    Card,
    Evaluation,
    FileRecord,
    Licences,
    SeedResult,
    Training,
    read_card,
)
from keras_parts.zoo.golden import TOLERANCE
from keras_parts.zoo.terms import NO_LICENCE, inherit, own_terms

CITATION = (
    "Choudhury, Laina, Rupprecht, Vedaldi: Unsupervised Part Discovery from Contrastive "
    "Reconstruction. NeurIPS 2021. https://arxiv.org/abs/2111.06349"
)
INTENDED_USE = (
    "Segmenting images of the objects that it was trained on into parts, for research and "
    "teaching; initialising another training, or being its teacher."
)
LIMITS = (
    "The parts were discovered, not defined: a part may join or split what people name, and the "
    "left and right side may be one part. Names were given to the parts afterwards, by hand or by "
    "the landmarks or part labels that they cover. Objects, drawings or views unlike the training "
    "data are segmented badly. Not for decisions about people."
)
_LICENCES = ("code_licence", "weights_licence", "data_licence")
_TEXT_NAMES = ("about", "intended_use", "limits", "citation", *_LICENCES)
"""Names of a card's texts."""


def check_text_names(texts: Mapping[str, str]) -> None:
    """Raise ConfigError for a name that none of a card's texts has."""
    if unknown := sorted(set(texts) - set(_TEXT_NAMES)):
        raise ConfigError(
            f"a card has no text {unknown[0]!r}, expected {', '.join(_TEXT_NAMES)}",
            value=unknown[0],
        )


def previous_texts(folder: str | PathLike[str], dataset: str) -> dict[str, str]:
    """The texts, "name" and "version" of the card in a folder; empty if it has no card.

    Terms of the data are left out if the card's model was trained on another data set than
    `dataset`, and so are terms that it inherited.
    """
    if not Path(folder, CARD_FILE).is_file():
        return {}
    card = read_card(folder)
    texts = {
        "name": card.name,
        "version": card.version,
        **{name: getattr(card, name) for name in _TEXT_NAMES if name not in _LICENCES},
        **{
            name: own_terms(getattr(card.licences, name.removesuffix("_licence")))
            for name in _LICENCES
        },
    }
    if card.training.dataset != dataset:
        del texts["data_licence"]
    return texts


def create_card(
    segmenter: PartSegmenter,
    folder: Path,
    config: Mapping[str, Any],
    *,
    steps: int | None,
    pairs: Sequence[tuple[int, int]],
    test: Dataset | None,
    evaluation: Evaluation | None,
    texts: Mapping[str, str],
    previous: str | PathLike[str],
) -> Card:
    """The card of an entry.

    The terms of models that the training began from are added to the licences.

    Args:
        segmenter: of the entry.
        folder: of the entry's files.
        config: of the training run, as `RunFolder.read_config` returns it.
        steps: of the training; None if unknown.
        pairs: parts, from 1, that swap in a mirrored image.
        test: data set of the metrics; if `config` names no training data, this one is recorded.
        evaluation: metrics.
        texts: the "name", the "version" and texts that differ from the default.
        previous: folder of an earlier entry, whose other texts are kept if it has a card.

    Raises:
        IntegrityError: a field does not follow the schema.
    """
    data = config.get("data") or _tested_data(test)
    num_parts = segmenter.num_parts
    dataset = data["dataset"]
    defaults = _default_texts(dataset, num_parts, data["licence"])
    texts = defaults | previous_texts(previous, dataset) | {**texts}
    origins = run_origins(config)
    configuration = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    card = Card(
        format=FORMAT,
        **{
            name: texts[name] for name in ("name", "version", *_TEXT_NAMES) if name not in _LICENCES
        },
        num_parts=num_parts,
        part_names=tuple(configuration["part_names"]),
        palette=tuple(map(tuple, part_palette(num_parts).tolist())),
        pairs=tuple((first, second) for first, second in pairs),
        segmenter=configuration,
        num_parameters=segmenter.count_params(),
        training=_training(config, data, steps),
        evaluation=evaluation,
        licences=Licences(
            code=texts["code_licence"],
            weights=inherit(texts["weights_licence"], origins, "weights"),
            data=inherit(texts["data_licence"], origins, "data"),
        ),
        golden_tolerance=TOLERANCE,
        files=_records(folder),
    )
    # msgspec checks the types of what it reads, not of an object made in Python.
    return Card.decode(card.encode(), f"{card.name}/{CARD_FILE}")


def create_evaluation(
    split: str,
    best: int,
    seeds: Sequence[int],
    reports: Sequence[Report],
    choices: Sequence[Report],
    reason: str,
) -> Evaluation:
    """The metrics on a card.

    Args:
        split: of the data set.
        best: index of the run that became the entry.
        seeds, reports: of each run.
        choices: reports on the validation split by which the run was chosen, or empty.
        reason: why the run was chosen, or "".
    """
    from keras_parts.metrics import PROTOCOLS

    results = [
        SeedResult(
            seed=seed,
            values=_rounded(report.values),
            validation=_rounded(choices[index].values) if choices else {},
        )
        for index, (seed, report) in enumerate(zip(seeds, reports, strict=True))
    ]
    report = reports[best]
    return Evaluation(
        dataset=report.dataset,
        split=split,
        num_images=report.num_images,
        values=results[best].values,
        best=_rounded({name: one.best for name, one in report.results.items() if one.best})
        or msgspec.UNSET,
        titles={name: PROTOCOLS[name].title for name in report.results},
        shares=tuple(round(float(share), 4) for share in report.shares),
        seeds=tuple(results) if len(results) > 1 else (),
        chosen_by=reason,
    )


def _default_texts(dataset: str, num_parts: int, data_licence: str) -> dict[str, str]:
    return {
        "name": f"{dataset}-{num_parts}",
        "version": "1.0.0",
        "about": f"{num_parts} parts, discovered in {_images_of(dataset)} without part labels.",
        "intended_use": INTENDED_USE,
        "limits": LIMITS,
        "citation": CITATION,
        "code_licence": "Apache-2.0",
        "weights_licence": NO_LICENCE,
        "data_licence": data_licence,
    }


def _images_of(dataset: str) -> str:
    """The images of a data set in words."""
    if dataset == "folder":
        return "the owner's images"
    if dataset in DATASETS:
        return f"images of {about(dataset).title.partition(':')[0]}"
    return f"images of {dataset}"


def _training(config: Mapping[str, Any], data: Mapping[str, Any], steps: int | None) -> Training:
    return Training(
        dataset=data["dataset"],
        split=data.get("split", "unknown"),
        num_images=data.get("images"),
        num_categories=data.get("categories"),
        recipe=without_folders(config["settings"]),
        seed=config["seed"],
        steps=steps,
        commit=config.get("commit") or "",
        versions=config["versions"],
    )


def _records(folder: Path) -> dict[Any, FileRecord]:
    names = (CONFIG_FILE, WEIGHTS_FILE, GOLDEN_FILE, PICTURE_FILE)
    return {name: FileRecord.of(folder / name) for name in names if (folder / name).is_file()}


def _tested_data(test: Dataset | None) -> dict[str, str]:
    """The training data on the card of a run that names none: the data set of the metrics."""
    if test is None:
        return {"dataset": "unknown", "licence": "unknown"}
    return {"dataset": test.info.name, "licence": test.info.licence}


def _rounded(values: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        protocol: {metric: round(float(value), 2) for metric, value in metrics.items()}
        for protocol, metrics in values.items()
    }


def without_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each path replaced by the file's name: a card does not publish folders."""
    files = ("backbone_weights", "init_from", "teacher_weights")
    return {
        name: _public_name(value) if name in files and value else value
        for name, value in settings.items()
    }


def _public_name(path: str) -> str:
    """The name of a file; of the segmenter in a run folder, the name of the run."""
    run = Path(path).parent
    return hide_secrets(run.name if Path(path) == RunFolder(run).segmenter else Path(path).name)
