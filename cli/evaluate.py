"""keras-parts evaluate"""

import functools
import json
import os
import textwrap
from dataclasses import replace
from pathlib import Path

import click

from keras_parts.cli.data import data_options
from keras_parts.cli.options import CommandResult, common_options, given, model_name, plain
from keras_parts.cli.runtime import import_keras
from keras_parts.errors import DataError

_TRAINED_ON = {"test": "train", "validation": "fit"}
"""Split -> the one that landmark regressions and baselines are fitted on."""
_SEED = "{seed}"
_FEATURES = (
    "Features are those that the model's recipe learns from, or else the data set's recipe, "
    "averaged over turned and mirrored images where it does so. With --teacher they are that "
    "network's own: its default layers, of the upright image alone."
)
_OF_TEACHER = (
    "teacher", "teacher_layers", "teacher_weights", "teacher_size", "teacher_turns",
    "teacher_mirror", "image_size",
)  # fmt: skip
"""Settings of a recipe that decide what its teacher sees in an image."""
_AS_IT_IS = {
    "teacher_weights": None,
    "teacher_turns": (1.0, 0.0, 0.0, 0.0),
    "teacher_mirror": False,
}
_MASKS = "masks"
"""What our models, and those of the paper, are trained with besides images of one category."""
_NAMED = 3
"""So many of the missing files are named."""
_NO_SUBSET = ("data_dir", "masks")
"""Options of readers that say where things lie."""


def _explain(context, _, asked):
    """Print what protocols and baselines compute, and end."""
    if not asked:
        return
    from keras_parts.metrics import BASELINES, PROTOCOLS

    paragraph = functools.partial(textwrap.fill, width=100)
    for protocol in PROTOCOLS.values():
        needs = ", ".join({"train": "a train split"}.get(need, need) for need in protocol.needs)
        text = f"{protocol.description} Needs: {needs}. Gives: {', '.join(protocol.metrics)}."
        click.echo(f"{protocol.name}: {protocol.title}")
        click.echo(paragraph(text, initial_indent="    ", subsequent_indent="    ") + "\n")
    click.echo("Baselines, each fitted on the train split's foreground with the same K:")
    for name, baseline in BASELINES.items():
        title = baseline.title.format(features="features")
        click.echo(f"    {name}: {title}; from {baseline.supervision}")
    click.echo(paragraph(_FEATURES))
    context.exit()


@click.command()
@data_options
@click.option("--split", default="test", show_default=True, help="Split to measure on.")
@click.option(
    "--model",
    help="A name of `zoo list`, or the folder of a run; with --seeds, {seed} in it stands for "
    "each seed. Without a model, baselines are measured alone.",
)
@click.option(
    "--seeds",
    metavar="N,N,...",
    help="Measure a run for each seed, or one: mean, standard deviation, interval over images.",
)
@click.option("--parts", "-k", type=click.IntRange(2), metavar="K", help="K of baselines alone.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="NAME",
    help="Protocol to run, repeatable; by default all that the data set allows.",
)
@click.option(
    "--mask-folder",
    metavar="DIR",
    help="Masks of the measured split, instead of the data set's own; and of the split that "
    "landmarks and baselines are fitted on, if all of it have one there.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="NAME",
    help="Measure a baseline as well, repeatable.",
)
@click.option("--baselines", "all_baselines", is_flag=True, help="Measure all baselines.")
@click.option(
    "--teacher",
    metavar="NAME",
    help="Network whose own features the baselines cluster, of the upright image, instead of those "
    "that the model learned from; zoo:MODEL is the backbone of a segmenter.",
)
@click.option("--teacher-weights", metavar="PATH", help="Its weights.")
@click.option("--flip", is_flag=True, help="Average with the mirrored image, at twice the cost.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images a batch.")
@click.option("--name-parts", is_flag=True, help="Store what the parts mean with the model.")
@click.option("--confusion", metavar="FILE", help="Draw labels against parts.")
@click.option("--output", "-o", metavar="FILE", help="Write the JSON there as well.")
@click.option(
    "--explain",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Tell what each protocol and baseline computes, and exit.",
)
@common_options
def evaluate(
    data, split, model, seeds, parts, protocols, mask_folder, baselines, all_baselines, teacher,
    teacher_weights, flip, batch_size, name_parts, confusion, output, seed, quiet,
):  # fmt: skip
    """Measure a segmenter, or baselines, by the protocols of a data set.

    Published numbers of the same number of parts stand beside those of the test split.
    """
    together = seeds is not None
    seeds = _seeds(seeds, seed)
    baselines = _baselines(baselines, all_baselines)
    _check(split, model, seeds, parts, baselines, name_parts)
    dataset = data(split)
    train = _train_split(data, split, dataset, protocols, baselines)
    if mask_folder:
        dataset, train = _with_masks(mask_folder, dataset, train)
    import_keras()
    from keras_parts.metrics import evaluate as measure

    run = functools.partial(
        measure, dataset=dataset, train=train, progress=not quiet, split=split,
        subset=_subset(data.settings, dataset.info.name), **given(batch_size=batch_size),
    )  # fmt: skip
    methods, segmenter = [], None
    if model:
        runs, segmenter = _measured_models(run, model, seeds, protocols, flip)
        methods.append(runs)
        parts = segmenter.num_parts
    if baselines:
        trained = _of_seeds(model, seeds)[0] if model else None
        features = _Features(data.name, trained, teacher, teacher_weights)
        possible = functools.partial(_possible, protocols, dataset=dataset, train=train)
        methods += _measured_baselines(run, baselines, parts, seeds, features, train, possible)
    if not methods:
        raise click.UsageError("no baseline can run these protocols")
    if together:
        methods = [runs.with_intervals() for runs in methods]
    meanings = _meanings(methods[0], dataset.info) if segmenter else ()
    content = _content(model, split, seeds if together else [], flip, methods, meanings)
    text = methods[0].to_table(*methods[1:]).rstrip()
    if meanings:
        text += "\n\nWhat the parts mean:\n" + "\n".join(f"  {one}" for one in meanings)
    if name_parts:
        _store_names(model, segmenter, meanings)
    if confusion:
        _draw(methods[0], meanings, confusion)
    if output:
        from keras_parts.files import atomic_write

        with atomic_write(output, "w") as file:
            json.dump(plain(content), file, indent=2)
    return CommandResult(content, text)


def _train_split(data, split, dataset, protocols, baselines):
    """What landmarks and baselines are fitted on; None where nothing is: it need not be there."""
    from keras_parts.metrics import fitted_on_train

    if split not in _TRAINED_ON:
        return None
    if not baselines and not fitted_on_train(dataset, protocols or None):
        return None
    return data(_TRAINED_ON[split])


def _with_masks(folder, dataset, train):
    """Both splits with the masks of a folder; `train` with its own where the folder lacks some.

    What is fitted on given masks must not be tested on masks of another kind: the protocols leave
    that out by `masks_from`, which says here what is missing.
    """
    from keras_parts.data import Subset
    from keras_parts.data.masks import WithMasks

    dataset = WithMasks(dataset, folder)
    if train is None:
        return dataset, None
    if lacking := _lacking(folder, train.ids()):
        own = Subset(train, range(len(train)))
        named = ", ".join(lacking[:_NAMED]) + (", ..." if len(lacking) > _NAMED else "")
        own.masks_from += f" (in {folder} {len(lacking):,} of {len(train):,} are missing: {named})"
        return dataset, own
    return dataset, WithMasks(train, folder)


def _lacking(folder, ids):
    """Those of the samples that `keras_parts.data.masks.WithMasks` finds no mask for."""
    from keras_parts.data.readers.folder import Pictures
    from keras_parts.images.decoding import IMAGE_SUFFIXES

    pictures, lacking = Pictures(folder, "masks"), []
    for name in ids:
        suffix = "" if Path(name).suffix.lower() in IMAGE_SUFFIXES else ".png"
        try:
            pictures.of(Path(f"{name}{suffix}"))
        except DataError:
            lacking.append(name)
    return lacking


def _subset(settings, name):
    """The options of a data set's reader that may leave images out: "classes=[1], subset=cmr".

    One that the data set's name tells, as "pascal_part/horse" does, leaves nothing out.
    """
    return ", ".join(
        f"{option}={value if isinstance(value, str) else json.dumps(value)}"
        for option, value in settings.items()
        if option not in _NO_SUBSET and value not in name.split("/")
    )


def _seeds(text, seed):
    """The seeds of --seeds, or the one of --seed."""
    if text is None:
        return [seed or 0]
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise click.UsageError(f"--seeds is {text!r}, expected numbers such as 0,1,2")
    return [int(word) for word in words]


def _baselines(names, every):
    from keras_parts.metrics.baselines import BASELINES, baseline_named

    for name in names:
        baseline_named(name)
    return list(BASELINES) if every else list(names)


def _check(split, model, seeds, parts, baselines, name_parts):
    if not model and not baselines:
        raise click.UsageError("there is nothing to measure: give --model, --baseline or both")
    if not model and parts is None:
        raise click.UsageError("baselines without a model need their number of parts: --parts K")
    if model and parts is not None:
        raise click.UsageError("--parts is for baselines alone: beside a model they take its K")
    if baselines and split not in _TRAINED_ON:
        raise click.UsageError(f"--baselines needs one of the splits {', '.join(_TRAINED_ON)}")
    if model and len(seeds) > 1 and _SEED not in model:
        raise click.UsageError(f"--seeds: write {_SEED} where the seed stands in --model {model}")
    if name_parts and (not model or len(seeds) > 1 or _folder(model) is None):
        raise click.UsageError("--name-parts needs --model to be the folder of one run")


def _of_seeds(model, seeds):
    """The names of the models that --model and --seeds stand for."""
    return [model.replace(_SEED, str(seed)) for seed in seeds] if _SEED in model else [model]


def _measured_models(run, model, seeds, protocols, flip):
    """(`Runs` of the model's seeds, the first segmenter)."""
    from keras_parts import zoo
    from keras_parts.metrics import Runs, SegmenterMaps

    reports, first = [], None
    method = f"{model_name(model)}, flipped too" if flip else model_name(model)
    for name in _of_seeds(model, seeds):
        segmenter = zoo.load(name)
        first = first or segmenter
        maps = SegmenterMaps(segmenter, flip)
        report = run(
            maps, parts=segmenter.num_parts, protocols=protocols or None, method=method,
            supervision=_MASKS,
        )  # fmt: skip
        reports.append(report)
    return Runs(tuple(reports)), first


def _measured_baselines(run, names, parts, seeds, features, train, possible):
    """`Runs` of each baseline that can run any of the protocols."""
    from keras_parts.metrics import BASELINES, Runs

    for name in names:
        baseline = BASELINES[name]
        method = baseline.title
        if baseline.on_features:
            method = method.format(features=features.name)
        reports = []
        for seed in seeds:
            embed = features.embed if baseline.on_features else None
            maps = baseline(train, parts, seed, embed)
            chosen = possible(maps)
            if chosen != []:
                report = run(
                    maps, parts=parts, protocols=chosen, method=method,
                    supervision=baseline.supervision,
                )  # fmt: skip
                reports.append(report)
        if reports:
            yield Runs(tuple(reports))


def _possible(protocols, maps, dataset, train):
    """Of the protocols asked for, those that a baseline without a background can run."""
    from keras_parts.metrics import PROTOCOLS

    if not protocols:
        return None
    return [
        name
        for name in protocols
        if name not in PROTOCOLS or not PROTOCOLS[name].missing(maps, dataset, train)
    ]


class _Features:
    """What baselines cluster, made when one of them asks for it.

    Those that the model's recipe learns from, or else the data set's; or the own features of a
    teacher that is named: its default layers, of the upright image, at the network's own size if it
    has one.
    """

    def __init__(self, dataset, model, teacher, weights):
        self._dataset, self._model = dataset, model
        from keras_parts import zoo
        from keras_parts.training.recipes import teacher_settings

        self._named = bool(teacher)
        self._changes = teacher_settings(teacher, weights, find_model=zoo.path)

    @functools.cached_property
    def _recipe(self):
        from keras_parts.training.recipes import default_recipe, recipe

        known = _recipe_settings(self._model) if self._model else {}
        settings = {name: known[name] for name in _OF_TEACHER if name in known}
        if self._named:
            settings |= _AS_IT_IS
        return recipe(default_recipe(self._dataset), **settings | self._changes)

    @functools.cached_property
    def _teacher(self):
        from keras_parts.training.build import build_teacher

        return build_teacher(self._recipe)

    @property
    def name(self):
        """For tables: "efficientnet_lite0 block_14, turned and mirrored"."""
        name = f"{self._recipe.teacher} {'+'.join(self._teacher.layer_names)}"
        return ", ".join(filter(None, (name, " and ".join(self._recipe.teacher_views))))

    @functools.cached_property
    def embed(self):
        from keras_parts.metrics import remembered, teacher_features

        size = self._recipe.teacher_size or self._recipe.image_size
        if self._named:
            size = self._teacher.network.inputs[0].shape[1] or size
        return remembered(teacher_features(self._teacher, size))


def _recipe_settings(model):
    """Of the recipe that a model was trained by; none where neither a run nor a card tells."""
    from keras_parts import zoo
    from keras_parts.training.recipes import translate_settings
    from keras_parts.training.run_folder import RunFolder
    from keras_parts.zoo.cards import CARD_FILE, read_card

    folder = zoo.path(model).resolve()
    if (folder / CARD_FILE).is_file():
        return translate_settings(read_card(folder).training.recipe)
    run = RunFolder(folder.parent)
    if run.segmenter != folder or not run.config_file.is_file():
        return {}
    settings = run.read_config()["settings"]
    weights = settings.get("teacher_weights")  # runs write the home folder as "~"
    return settings | {"teacher_weights": weights and os.path.expanduser(weights)}


def _meanings(runs, info):
    """What the parts of a single run mean; nothing where no protocol of parts alone was run."""
    from keras_parts.metrics import part_meanings

    result = _foreground_result(runs)
    if len(runs.reports) > 1 or result is None:
        return ()
    return part_meanings(result, info)


def _foreground_result(runs):
    """The first result of parts alone that has a table of labels."""
    return next((result for result in runs.results.values() if result.of_parts_alone), None)


def _content(model, split, seeds, flip, methods, meanings):
    """What --json prints: of each method its one report, or with --seeds what they come to."""
    contents = [json.loads((runs if seeds else runs.reports[0]).to_json()) for runs in methods]
    head = {"model": model, "split": split, "flip": flip}
    if model:
        head |= contents.pop(0)
    head["baselines"] = contents
    head["meanings"] = [
        {"part": one.part, "name": one.name, "covers": dict(one.covers), "share": one.share}
        for one in meanings
    ]
    return head | {"seeds": seeds} if seeds else head


def _folder(model):
    """The folder that holds the segmenter of a run, or None for a model of the zoo."""
    for folder in (Path(model, "segmenter"), Path(model)):
        if (folder / "segmenter.json").is_file() and not (folder / "card.json").is_file():
            return folder
    return None


def _store_names(model, segmenter, meanings):
    if not meanings:
        raise click.UsageError("--name-parts needs a protocol of parts alone, such as *-foreground")
    names = tuple(one.name for one in meanings)
    segmenter.config = replace(segmenter.config, part_names=names)
    segmenter.save_preset(_folder(model))


def _draw(runs, meanings, path):
    from keras_parts.metrics import confusion_picture
    from keras_parts.results.pictures import save_picture

    result = _foreground_result(runs)
    if result is None:
        raise click.UsageError("--confusion needs a protocol of parts alone, such as *-foreground")
    names = [f"{one.part} {one.name}" for one in meanings]
    save_picture(confusion_picture(result, names, f"{runs.method} on {runs.dataset}"), path)
