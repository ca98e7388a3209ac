"""keras-parts evaluate"""

import functools
import json
import os
import textwrap
from dataclasses import replace
from pathlib import Path

import click

from keras_parts.cli.choosing import check_model
from keras_parts.cli.completion import complete_baseline, complete_model, complete_protocol
from keras_parts.cli.data import data_options
from keras_parts.cli.messages import write_message
from keras_parts.cli.options import (
    CommandResult,
    common_options,
    examples,
    given,
    looks_option,
    model_name,
    plain,
    trust_option,
)
from keras_parts.cli.runtime import import_keras
from keras_parts.extras import check_train_extra

_FITTED_ON = {"test": "train", "validation": "fit"}
"""Measured split -> the split that landmark regressions and baselines are fitted on."""
_SEED = "{seed}"
"""Stands for the seed in --model."""
_SUPERVISION = "masks"
"""What our models and the paper's are trained with besides images of one category."""
_LOOKS = {"auto": "", 1: ", one look", 2: ", two looks"}
"""How the name of a method says the number of looks."""
_NEEDS_FOREGROUND = "needs a foreground protocol, such as pixels-foreground"
_FEATURES_HELP = (
    "Features are the teacher features of the model's recipe or, without one and after the recipe "
    "outline, of the data set's recipe, averaged over turned and mirrored images if the recipe "
    "does so. With --teacher they are the features of that network: its default layers, for the "
    "upright image alone."
)


def _explain(context, _, requested):
    """Explain what each protocol and baseline computes, and exit."""
    if not requested:
        return
    from keras_parts.metrics import BASELINES, PROTOCOLS

    paragraph = functools.partial(textwrap.fill, width=100)
    for protocol in PROTOCOLS.values():
        needs = ", ".join({"train": "a train split"}.get(need, need) for need in protocol.needs)
        text = f"{protocol.description} Needs: {needs}. Values: {', '.join(protocol.metrics)}."
        click.echo(f"{protocol.name}: {protocol.title}")
        click.echo(paragraph(text, initial_indent="    ", subsequent_indent="    ") + "\n")
    click.echo("Baselines, each fitted on the train split's foreground with the same K:")
    for name, baseline in BASELINES.items():
        title = baseline.title.format(features="features")
        click.echo(f"    {name}: {title}; trained with {baseline.supervision}")
    click.echo(paragraph(_FEATURES_HELP))
    context.exit()


@click.command(
    epilog=examples(
        "evaluate --dataset toy --model runs/toy",
        "evaluate photos/ --masks masks/ --data-option part_labels=labels/ --model runs/mine",
        "evaluate --dataset cub --data-dir CUB_200_2011 --model cub --baselines",
    )
)
@data_options
@click.option("--split", default="test", show_default=True, help="Split to measure on.")
@click.option(
    "--model",
    shell_complete=complete_model,
    help="Name of a zoo model (see `zoo list`), run folder or address; with --seeds, {seed} stands "
    "for each seed. Without a model, only baselines are measured.",
)
@trust_option
@click.option(
    "--seeds",
    metavar="N,N,...",
    help="Measure the run of each seed; print mean, standard deviation and the interval over "
    "images.",
)
@click.option(
    "--parts",
    "-k",
    type=click.IntRange(2),
    metavar="K",
    help="Number of parts, if no model is given.",
)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_protocol,
    help="Protocol to run, repeatable; by default all that the data set allows (see --explain).",
)
@click.option(
    "--mask-folder",
    metavar="DIR",
    help="Folder of masks to use instead of the data set's own: for the measured split, and for "
    "the split that landmarks and baselines are fitted on if the folder contains all its masks.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_baseline,
    help="Baseline to measure, repeatable (see --explain).",
)
@click.option("--baselines", "all_baselines", is_flag=True, help="Measure all baselines.")
@click.option(
    "--teacher",
    metavar="NAME",
    help="Network whose features of the upright image the baselines cluster, instead of the "
    "features that the model learned from; zoo:MODEL for the backbone of a zoo model.",
)
@click.option("--teacher-weights", metavar="PATH", help="Weights of that network.")
@click.option(
    "--flip",
    is_flag=True,
    help="Average probabilities with those of the mirrored image, at twice the cost.",
)
@looks_option
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N", help="Maximum number of images in a batch."
)
@click.option("--name-parts", is_flag=True, help="Store the names of the parts with the model.")
@click.option("--confusion", metavar="FILE", help="Draw the table of labels and parts to a file.")
@click.option("--output", "-o", metavar="FILE", help="Write the JSON to a file.")
@click.option(
    "--explain",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Explain what each protocol and baseline computes, and exit.",
)
@common_options
def evaluate(
    data, split, model, trust, seeds, parts, protocols, mask_folder, baselines, all_baselines,
    teacher, teacher_weights, flip, looks, batch_size, name_parts, confusion, output, seed, quiet,
):  # fmt: skip
    """Measure a segmenter, or baselines, by the protocols of a data set.

    PHOTOS is the folder of your own photographs; --dataset chooses another data set.

    For the test split, published numbers for the same number of parts are printed too.
    """
    with_intervals = seeds is not None
    seeds = _parse_seeds(seeds, seed)
    baselines = _baseline_names(baselines, all_baselines)
    _check(split, model, seeds, parts, baselines, name_parts)
    check_train_extra()
    for each in _models(model, seeds) if model else ():
        check_model(each, trust=trust)
    evaluation = _evaluation(data, split, protocols, mask_folder, baselines, batch_size, quiet)
    import_keras()
    methods, segmenter = [], None
    if model:
        evaluation, note = _seen_in_training(evaluation, model, seeds, trust=trust)
        if note and not quiet:
            write_message(note)
        runs, segmenter = _measure_models(
            evaluation, model, seeds, trust=trust, flip=flip, looks=looks, note=note
        )
        methods.append(runs)
        parts = segmenter.num_parts
    if baselines:
        first_model = model and _models(model, seeds)[0]
        features = _features_function(data.name, first_model, teacher, teacher_weights, trust=trust)
        methods += evaluation.baselines(baselines, parts, seeds=seeds, features=features)
    if not methods:
        raise click.UsageError("no baseline can run these protocols: see --explain for their needs")
    if with_intervals:
        methods = [runs.with_intervals() for runs in methods]
    meanings = _meanings(methods[0], evaluation.dataset.info) if segmenter else ()
    if name_parts:
        _store_names(model, segmenter, meanings)
    names = tuple(segmenter.part_names) if segmenter else ()
    if confusion:
        _draw(methods[0], meanings, names, confusion)
    about = {"model": model, "split": split, "flip": flip, "looks": looks, "part_names": names}
    content = _content(about, seeds if with_intervals else [], methods, meanings)
    if output:
        _write(content, output)
    return CommandResult(content, _text(methods, meanings, names))


def _evaluation(data, split, protocols, mask_folder, baselines, batch_size, quiet):
    """The data and protocols to measure with."""
    from keras_parts.metrics import Evaluation, needs_train_split
    from keras_parts.metrics.given_masks import with_given_masks
    from keras_parts.metrics.tables import describe_subset

    dataset, train = data(split), None
    # Read the train split only if something is fitted on it: it may be missing.
    if split in _FITTED_ON and (baselines or needs_train_split(dataset, protocols)):
        train = data(_FITTED_ON[split])
    if mask_folder:
        dataset, train = with_given_masks(mask_folder, dataset, train)
    return Evaluation(
        dataset,
        train=train,
        protocols=protocols,
        split=split,
        subset=describe_subset(data.settings, dataset.info.name),
        progress=not quiet,
        **given(batch_size=batch_size),
    )


def _parse_seeds(text, seed):
    """The seeds of --seeds, or the single one of --seed."""
    if text is None:
        return [seed or 0]
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise click.UsageError(f"--seeds {text}: expected numbers such as 0,1,2")
    return [int(word) for word in words]


def _baseline_names(names, every):
    from keras_parts.metrics import BASELINES, baseline_named

    for name in names:
        baseline_named(name)
    return list(BASELINES) if every else list(names)


def _check(split, model, seeds, parts, baselines, name_parts):
    if not model and not baselines:
        raise click.UsageError("nothing to measure: give --model, --baseline or both")
    if not model and parts is None:
        raise click.UsageError("baselines without a model need the number of parts: give --parts K")
    if model and parts is not None:
        raise click.UsageError(
            "--parts is for baselines without a model: with --model leave it out"
        )
    if baselines and split not in _FITTED_ON:
        raise click.UsageError(
            f"--split {split}: baselines can be measured on {' or '.join(_FITTED_ON)} only"
        )
    if model and len(seeds) > 1 and _SEED not in model:
        raise click.UsageError(f"--model {model}: with --seeds write {_SEED} for the seed")
    if name_parts and (not model or len(seeds) > 1 or _segmenter_folder(model) is None):
        raise click.UsageError(f"--name-parts: --model must be the folder of one run, got {model}")


def _models(model, seeds):
    """The models that --model and --seeds stand for."""
    return [model.replace(_SEED, str(seed)) for seed in seeds] if _SEED in model else [model]


def _seen_in_training(evaluation, model, seeds, *, trust):
    """(the evaluation, with the split of its images; a note if a model was trained on them)."""
    from keras_parts import zoo
    from keras_parts.training.data_record import measured_on
    from keras_parts.zoo.training_data import training_data

    for name in _models(model, seeds):
        stored = training_data(zoo.path(name, trust=trust))
        found = measured_on(model_name(model), stored, evaluation.dataset, evaluation.split)
        if found.note:
            return replace(evaluation, split=found.split), found.note
    return evaluation, ""


def _measure_models(evaluation, model, seeds, *, trust, flip, looks, note=""):
    """(`Runs` with one report for each seed, the first segmenter)."""
    from keras_parts import zoo
    from keras_parts.metrics import Runs, SegmenterModel

    reports, first = [], None
    method = model_name(model) + (", with flipping" if flip else "") + _LOOKS[looks]
    for name in _models(model, seeds):
        segmenter = zoo.load(name, trust=trust)
        first = first or segmenter
        report = evaluation.model(
            SegmenterModel(segmenter, flip=flip, looks=looks), segmenter.num_parts, method=method,
            supervision=_SUPERVISION,
        )  # fmt: skip
        reports.append(replace(report, notes=(*filter(None, [note]), *report.notes)))
    return Runs(tuple(reports)), first


def _features_function(dataset, model, teacher, weights, *, trust):
    """A function that returns the features for baselines, computed when first called."""
    from keras_parts import zoo
    from keras_parts.training.recipes import default_recipe, teacher_settings

    find_model = functools.partial(zoo.path, trust=trust)
    changes = teacher_settings(teacher, weights, find_model=find_model)

    @functools.cache
    def features():
        from keras_parts.zoo.features import baseline_features

        folder = find_model(model) if model else None
        return baseline_features(
            default_recipe(dataset), folder=folder, changes=changes, upright=bool(teacher)
        )

    return features


def _meanings(runs, info):
    from keras_parts.metrics import report_meanings

    return report_meanings(runs, info)


def _text(methods, meanings, names):
    text = methods[0].to_table(*methods[1:]).rstrip()
    if meanings:
        lines = (f"  {_with_name(one, names)}" for one in meanings)
        text += "\n\nWhat the parts mean:\n" + "\n".join(lines)
    return text


def _with_name(meaning, names):
    """The meaning of a part, after the name that the model has for it, if that is another one."""
    text, name = str(meaning), names[meaning.part - 1] if names else meaning.name
    if name == meaning.name:
        return text
    number = f"part {meaning.part}"
    return f"{number}, {name}{text.removeprefix(number)}"


def _content(about, seeds, methods, meanings):
    """The JSON: the report of each method or, with --seeds, the summary of its runs."""
    reports = [json.loads((runs if seeds else runs.reports[0]).to_json()) for runs in methods]
    content = dict(about)
    if about["model"]:
        content |= reports.pop(0)
    content["baselines"] = reports
    content["meanings"] = [meaning.to_json() for meaning in meanings]
    return content | {"seeds": seeds} if seeds else content


def _write(content, path):
    from keras_parts.files import atomic_write

    with atomic_write(path, "w") as file:
        json.dump(plain(content), file, indent=2)


def _segmenter_folder(model):
    """The folder of a run's segmenter, or None for a model of the zoo."""
    for folder in (Path(model, "segmenter"), Path(model)):
        if (folder / "segmenter.json").is_file() and not (folder / "card.json").is_file():
            return folder
    return None


def _store_names(model, segmenter, meanings):
    if not meanings:
        raise click.UsageError(f"--name-parts {_NEEDS_FOREGROUND}")
    from keras_parts import zoo

    segmenter.part_names = [meaning.name for meaning in meanings]
    # With the working folder before it, it is no name of the zoo.
    folder = os.path.join(os.curdir, _segmenter_folder(model))
    zoo.name_parts(folder, segmenter.part_names)


def _draw(runs, meanings, names, path):
    from keras_parts.metrics import confusion_picture
    from keras_parts.metrics.part_names import naming_result
    from keras_parts.results.pictures import save_picture

    result = naming_result(runs)
    if result is None:
        raise click.UsageError(f"--confusion {_NEEDS_FOREGROUND}")
    names = names or [meaning.name for meaning in meanings]
    names = [f"{part} {name}" for part, name in enumerate(names, 1)]
    title = f"{runs.method} on {runs.dataset}"
    save_picture(confusion_picture(result, names, title=title), path)
