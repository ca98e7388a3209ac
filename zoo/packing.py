"""From training runs to an entry of the zoo, card and all."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from keras_parts.data import Dataset
from keras_parts.data.crops import CropSettings, object_crop
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import atomic_path, atomic_write
from keras_parts.metrics import evaluate
from keras_parts.metrics.report import Report
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.results.legend import with_legend
from keras_parts.results.palette import part_palette
from keras_parts.results.parts import Parts
from keras_parts.results.pictures import contact_sheet
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
from keras_parts.zoo.golden import TOLERANCE, write_golden
from keras_parts.zoo.weight_checks import check_weights_file

CITATION = (
    "Choudhury, Laina, Rupprecht, Vedaldi: Unsupervised Part Discovery from Contrastive "
    "Reconstruction. NeurIPS 2021. https://arxiv.org/abs/2111.06349"
)
INTENDED_USE = (
    "Segmenting pictures of the objects that it was trained on into parts: research, teaching, and "
    "as the start or the teacher of one's own training."
)
LIMITS = (
    "The parts were discovered, not defined: one may join or split what people name, and left and "
    "right may share one. Their names were given afterwards, by the landmarks or part labels that "
    "fall on them. Other objects, drawings or views than those of the training data are segmented "
    "badly. Not for decisions about people."
)
_OPEN = "Apache-2.0"
"""Terms under which pictures of a data set may be passed on: those that the package drew."""
_SHOWN = 16
_CELL = 112
_COLUMNS = 8
_LARGEST_HALF = float(np.finfo(np.float16).max)


def pack(
    *runs: str | PathLike,
    output: str | PathLike,
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
    texts: dict[str, str] | None = None,
    compact: bool = True,
    progress: bool = True,
) -> Card:
    """Make an entry: weights, configuration, golden pair, picture, and a card that pins them.

    What people wrote on a card that is at `output` already stays (name, version, texts, licences):
    packing again after another training is the same command.

    Args:
        runs: folders of trainings that differ in nothing but the seed. The entry is the one that is
            best on `validation`; the numbers of all are on its card.
        output: the entry's folder, made if need be; its card is written last.
        name, version: of the model; a new one is called DATASET-PARTS and 1.0.0.
        test: what to measure on. split: its name. train: for protocols that fit landmarks.
        validation: to choose among several runs by. None of these: the card has no numbers.
        protocols: to measure; None for all that the data allows.
        choose_by: (protocol, metric) to choose by; the first measured one by default.
        part_names: one a part; else the segmenter's own, else after what falls on the parts in
            `test`, else numbers.
        pairs: parts, from 1, that change places in a mirrored image.
        texts: "about", "intended_use", "limits", "citation", "code_licence", "weights_licence",
            "data_licence", where they differ from what is there or usual.
        compact: store arrays of two and more dimensions as float16.
        progress: show bars.

    Returns:
        The card.

    Raises:
        ConfigError: no runs, several without `validation`, or an unknown text.
        DataError: a folder holds no finished run, or the runs differ in more than the seed.
        IntegrityError: weights are not only weights, or a field of the card is wrong.
    """
    _check_arguments(runs, validation, texts)
    folders = [RunFolder(run) for run in runs]
    configs = _configs(folders)
    with tempfile.TemporaryDirectory() as scratch:
        candidates = [
            _candidate(folder, Path(scratch, str(place)), compact)
            for place, folder in enumerate(folders)
        ]

        def measured(dataset, place, chosen=protocols):
            return evaluate(
                candidates[place].maps, dataset, candidates[place].parts, chosen, train, progress
            )

        reports, choice, best, chosen_by = [], [], 0, ""
        if len(runs) > 1:
            chosen = protocols if choose_by is None else [choose_by[0]]
            choice = [measured(validation, place, chosen) for place in range(len(runs))]
            best, chosen_by = _best(choice, choose_by, [config["seed"] for config in configs])
        if test is not None:
            reports = [measured(test, place) for place in range(len(runs))]
        segmenter, report = candidates[best], reports[best] if reports else None
        names = tuple(part_names) or segmenter.part_names or names_of_parts(report)
        prepared = Path(scratch, str(best))
        _write_configuration(segmenter, names, prepared)
        write_golden(segmenter, prepared / GOLDEN_FILE)
        if test is not None:
            _write_picture(segmenter, names, test, prepared / PICTURE_FILE)
        evaluation = None
        if report is not None:
            seeds = [config["seed"] for config in configs]
            evaluation = _evaluation(report, split, best, seeds, reports, choice, chosen_by)
        card = _card(
            segmenter, names, pairs, prepared, folders[best], configs[best], test, evaluation,
            _written(output, texts, name, version),
        )  # fmt: skip
        _put(prepared, Path(output), card)
    return card


def names_of_parts(report: Report | None) -> tuple[str, ...]:
    """Names for parts after the landmarks, or the true parts, that each of them covers.

    A part is called after what is most often in it, and after a second one that is there at least
    half as often; left and right count as one, and equal names are numbered.

    Args:
        report: of the segmenter, on data with landmarks or part labels; without such: ().
    """
    tables = [
        result
        for name, result in (report.results.items() if report else ())
        if name.endswith("-foreground") and result.counts is not None
    ]
    if not tables:
        return ()
    # Pixels, where there are any, say more than points: their protocols come last.
    counts, labels = np.asarray(tables[-1].counts), map(_without_side, tables[-1].labels)
    merged = {}
    for label, row in zip(labels, counts, strict=True):
        merged[label] = merged.get(label, 0) + row
    return tuple(
        _numbered(
            [
                _name({label: row[part] for label, row in merged.items()})
                for part in range(counts.shape[1])
            ]
        )
    )


def _name(counts):
    first, *others = sorted(counts, key=counts.get, reverse=True)
    if not counts[first]:
        return "unused"
    near = [label for label in others[:1] if 2 * counts[label] >= counts[first]]
    return " and ".join([first, *near])


def _without_side(label):
    return " ".join(word for word in label.split() if word not in ("left", "right")) or label


def _numbered(names):
    for place, name in enumerate(names):
        before = names[:place].count(name)
        yield f"{name} {before + 1}" if before else name


def write_compact(source: str | PathLike, destination: str | PathLike) -> None:
    """Copy a weights file, arrays of two and more dimensions as float16 where they fit.

    One-dimensional ones (biases, statistics of batch normalisation) are small, and a variance
    close to 0 would lose its digits.
    """
    with h5py.File(source, "r") as old, h5py.File(destination, "w") as new:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                made = new.require_group(name)
            else:
                values = item[()]
                if values.ndim > 1 and np.abs(values).max(initial=0) < _LARGEST_HALF:
                    values = values.astype(np.float16)
                made = new.create_dataset(name, data=values)
            made.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)


def _check_arguments(runs, validation, texts):
    if not runs:
        raise ConfigError("no runs to pack")
    if len(runs) > 1 and validation is None:
        raise ConfigError("several runs: to choose among them takes a validation split")
    if unknown := sorted(set(texts or ()) - set(_usual("", "", ""))):
        raise ConfigError(
            f"a card has no text {unknown[0]!r}; it has {', '.join(_usual('', '', ''))}"
        )


def _configs(folders):
    configs = [folder.read_config() for folder in folders]
    first = configs[0]["settings"]
    for folder, config in zip(folders, configs, strict=True):
        settings = config["settings"]
        different = [name for name in first if name != "seed" and settings.get(name) != first[name]]
        if different:
            raise DataError(
                f"{folder.path} and {folders[0].path} differ in {', '.join(different)}: seeds of "
                "one recipe are packed together, other trainings on their own"
            )
    return configs


def _candidate(folder, scratch, compact):
    """The run's segmenter as it will be shipped, its weights in the scratch folder."""
    config, weights = (folder.segmenter / name for name in (CONFIG_FILE, WEIGHTS_FILE))
    for path in (config, weights):
        if not path.is_file():
            raise DataError(f"{path}: there is no such file: its training is not finished")
    check_weights_file(weights)
    scratch.mkdir()
    shutil.copyfile(config, scratch / CONFIG_FILE)
    (write_compact if compact else shutil.copyfile)(weights, scratch / WEIGHTS_FILE)
    return PartSegmenter.from_preset(scratch)


def _best(reports, choose_by, seeds):
    """(place of the best run, why)."""
    protocol = choose_by[0] if choose_by else next(iter(reports[0].values))
    metric = choose_by[1] if choose_by else next(iter(reports[0].values[protocol]))
    try:
        values = [report.values[protocol][metric] for report in reports]
    except KeyError:
        raise ConfigError(
            f"cannot choose by {protocol}:{metric}; measured were {reports[0].values}"
        ) from None
    listed = ", ".join(
        f"seed {seed}: {value:.1f}" for seed, value in zip(seeds, values, strict=True)
    )
    return int(np.argmax(values)), f"{protocol} {metric} on validation images ({listed})"


def _write_configuration(segmenter, names, folder):
    """With everything resolved: the entry does not depend on what is usual one day."""
    values = segmenter.config.to_json() | {
        "part_names": [*(names or _plain_names(segmenter.parts))],
        "preprocessing": segmenter.preprocessing.to_config(),
    }
    with atomic_write(folder / CONFIG_FILE, "w") as file:
        json.dump(values, file, indent=2)
        file.write("\n")


def _plain_names(parts):
    return [f"part {part}" for part in range(1, parts + 1)]


def _write_picture(segmenter, names, dataset, path):
    """Samples from all over a data set, and which colour is which part.

    Photographs of others are not ours to pass on: of them only the parts are shown.
    """
    places = np.linspace(0, len(dataset) - 1, min(_SHOWN, len(dataset))).astype(int)
    crops = CropSettings(padding=0.05, jitter=0.0)
    images = [object_crop(dataset[int(i)], crops, segmenter.config.size).image for i in places]
    shown = dataset.info.licence == _OPEN
    draw = partial(Parts.overlay, legend=False) if shown else _on_grey
    sheet = contact_sheet(list(map(draw, segmenter.segment(images))), _COLUMNS, cell=_CELL)
    names = names or _plain_names(segmenter.parts)
    picture = with_legend(sheet, names, part_palette(len(names)))
    with atomic_path(path) as unfinished:
        picture.quantize(96, dither=Image.Dither.NONE).save(unfinished, optimize=True)


def _on_grey(parts):
    picture = Image.new("RGB", parts.size, (225, 225, 225))
    picture.paste(parts.indexed().convert("RGB"), mask=Image.fromarray(parts.foreground))
    return picture


def _evaluation(report, split, best, seeds, reports, choice, chosen_by):
    from keras_parts.metrics import PROTOCOLS

    results = [
        SeedResult(
            seed=seed,
            values=_rounded(each.values),
            validation=_rounded(choice[place].values) if choice else {},
        )
        for place, (seed, each) in enumerate(zip(seeds, reports, strict=True))
    ]
    return Evaluation(
        dataset=report.dataset,
        split=split,
        images=report.samples,
        values=results[best].values,
        titles={name: PROTOCOLS[name].title for name in report.results},
        shares=tuple(round(float(share), 4) for share in report.shares),
        seeds=tuple(results) if len(results) > 1 else (),
        chosen_by=chosen_by,
    )


def _rounded(values):
    return {
        protocol: {metric: round(float(value), 2) for metric, value in metrics.items()}
        for protocol, metrics in values.items()
    }


def _usual(parts, dataset, data_licence):
    return {
        "about": f"{parts} parts of {dataset}, discovered without part labels.",
        "intended_use": INTENDED_USE,
        "limits": LIMITS,
        "citation": CITATION,
        "code_licence": "Apache-2.0",
        "weights_licence": "Apache-2.0",
        "data_licence": data_licence,
    }


def _written(output, texts, name, version):
    """What people wrote: now, or on the card that is there."""
    before = {}
    if Path(output, CARD_FILE).is_file():
        card = read_card(output)
        before = {
            "name": card.name,
            "version": card.version,
            "about": card.about,
            "intended_use": card.intended_use,
            "limits": card.limits,
            "citation": card.citation,
            "code_licence": card.licences.code,
            "weights_licence": card.licences.weights,
            "data_licence": card.licences.data,
        }
    named = {"name": name, "version": version}
    return before | {key: value for key, value in named.items() if value} | (texts or {})


def _card(segmenter, names, pairs, folder, run, config, test, evaluation, written):
    settings, trained_on = config["settings"], config.get("data") or _like(test)
    steps = [record["step"] for record in run.metrics()]
    dataset = trained_on["dataset"]
    texts = _usual(segmenter.parts, dataset, trained_on["licence"]) | written
    files = {
        name: FileRecord.of(folder / name)
        for name in (CONFIG_FILE, WEIGHTS_FILE, GOLDEN_FILE, PICTURE_FILE)
        if (folder / name).is_file()
    }
    card = Card(
        format=FORMAT,
        name=texts.get("name", f"{dataset}-{segmenter.parts}"),
        version=texts.get("version", "1.0.0"),
        about=texts["about"],
        intended_use=texts["intended_use"],
        limits=texts["limits"],
        citation=texts["citation"],
        parts=segmenter.parts,
        part_names=tuple(names or _plain_names(segmenter.parts)),
        palette=tuple(map(tuple, part_palette(segmenter.parts).tolist())),
        pairs=tuple(map(tuple, pairs)),
        segmenter=json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")),
        parameters=segmenter.count_params(),
        training=Training(
            dataset=dataset,
            split=trained_on.get("split", "unknown"),
            images=trained_on.get("images"),
            categories=trained_on.get("categories"),
            recipe=_without_folders(settings),
            seed=config["seed"],
            steps=steps[-1] if steps else None,
            commit=config.get("commit") or "",
            versions=config["versions"],
        ),
        evaluation=evaluation,
        licences=Licences(
            code=texts["code_licence"],
            weights=texts["weights_licence"],
            data=texts["data_licence"],
        ),
        golden_tolerance=TOLERANCE,
        files=files,
    )
    # What is made in Python is not checked by itself; what is read is.
    return Card.decode(card.encode(), f"{texts.get('name', dataset)}/{CARD_FILE}")


def _like(test):
    """For a run that does not say what it was trained on: it is measured on the same data set."""
    known = test is not None
    return {
        "dataset": test.info.name if known else "unknown",
        "licence": test.info.licence if known else "unknown",
    }


def _without_folders(settings):
    """Of the files that a training read, the names: where they lay is nobody's business."""
    files = ("backbone_weights", "init_from", "teacher_weights")
    return {
        name: _own_name(value) if name in files and value else value
        for name, value in settings.items()
    }


def _own_name(path):
    """Of a run's segmenter the name of the run, which is what tells it from others."""
    path = Path(path)
    run = path.parent
    return run.name if path == RunFolder(run).segmenter else path.name


def _put(prepared, output, card):
    """The files, then the card that pins them."""
    output.mkdir(parents=True, exist_ok=True)
    for name in card.files:
        with atomic_path(output / name) as path:
            shutil.copyfile(prepared / name, path)
    with atomic_write(output / CARD_FILE) as file:
        file.write(card.encode())
