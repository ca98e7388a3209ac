"""keras-parts train"""

import functools
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from keras_parts.cli.completion import complete_model, complete_recipe, complete_tracker
from keras_parts.cli.data import ChosenDataset, data_options
from keras_parts.cli.messages import write_message
from keras_parts.cli.options import (
    CommandResult,
    common_options,
    examples,
    given,
    precision_option,
    trust_option,
)
from keras_parts.cli.runtime import import_keras

if TYPE_CHECKING:
    from keras_parts.data import Dataset
    from keras_parts.training.expected import Needs
    from keras_parts.training.part_counts import PartCounts
    from keras_parts.training.recipes import Recipe
    from keras_parts.training.run_folder import RunFolder

_AUTO = "auto"
"""Value of --parts for which the number of parts is chosen from the data."""


@click.command(
    epilog=examples(
        "train --dataset toy",
        "train photos/ --parts 4 --output runs/mine",
        "train photos/ --masks masks/",
        "train --dataset cub --data-dir CUB_200_2011 --steps 2000 --set loss_weights.balance=1",
    )
)
@data_options
@click.option("--split", default="train", show_default=True, help="Split to train on.")
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME|FILE",
    shell_complete=complete_recipe,
    help="A name of `recipe list` (default, outline, dinov2, paper, toy), a TOML file (see `recipe "
    "show`), or the folder or config.json of a run [default: that of the data set, or default].",
)
@click.option("--output", "-o", metavar="DIR", help="Run folder [default: runs/DATASET].")
@click.option("--resume", is_flag=True, help="Continue the run in the run folder.")
@click.option("--overwrite", is_flag=True, help="Replace the run in the run folder.")
@click.option("--dry-run", is_flag=True, help="Only check, and print what would be trained.")
@click.option(
    "--parts",
    "-k",
    "num_parts",
    callback=lambda context, option, value: _number_or_auto(value),
    metavar="K|auto",
    help="Number of parts; auto takes the one that the command `parts` recommends.",
)
@click.option("--steps", type=int, metavar="N", help="Number of training steps.")
@click.option("--batch-size", type=int, metavar="N", help="Number of images in each step.")
@click.option("--image-size", type=int, metavar="PIXELS", help="Side of the network's input.")
@precision_option
@click.option("--backbone-weights", metavar="PATH", help="pretrained, random, or a weights file.")
@click.option(
    "--init-from",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Segmenter whose weights and, without --parts, number of parts the training starts with: "
    "a name of `zoo list`, a run folder, or an address.",
)
@trust_option
@click.option(
    "--teacher",
    metavar="NAME",
    help="Network whose features the parts must explain; zoo:MODEL is the backbone of a zoo model.",
)
@click.option("--teacher-weights", metavar="PATH", help="Weights of the teacher.")
@click.option(
    "--devices", metavar="N|all", help="Number of devices of this machine to train on [default: 1]."
)
@click.option(
    "--hosts",
    metavar="LIST",
    help="Processes that train together, HOST:PORT,HOST:PORT,..., the same list in each; 'auto' "
    "reads it from SLURM or TF_CONFIG.",
)
@click.option("--host-index", type=int, metavar="I", help="Index of this host, from 0.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the recipe or of a loss, such as loss_weights.balance=1 or "
    "contrastive.temperature=0.3; can be repeated.",
)
@click.option(
    "--track",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_tracker,
    help="Send settings, losses and pictures to tensorboard, wandb or mlflow; can be repeated.",
)
@common_options
def train(
    data: Any,
    split: str,
    recipe_name: str | None,
    output: str | None,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
    settings: tuple[str, ...],
    init_from: str | None,
    trust: bool,
    teacher: str | None,
    teacher_weights: str | None,
    devices: str | None,
    hosts: str | None,
    host_index: int | None,
    track: tuple[str, ...],
    quiet: bool,
    **fields: Any,
) -> CommandResult:
    """Discover the parts of the objects in images.

    PHOTOS is the folder of your own photographs; --dataset chooses another data set.

    All settings are those of a recipe; options change some of them. Training needs no part labels.
    It needs a mask of the object in each image: photographs without masks (--masks) have theirs
    found first. `data masks` shows them, and lets you correct them.

    Several devices or hosts share each batch; the result is that of a single device.
    """
    from keras_parts import zoo
    from keras_parts.extras import check_train_extra
    from keras_parts.training.hosts import Hosts
    from keras_parts.training.recipe_files import to_toml
    from keras_parts.training.recipes import parse_setting, recipe_for
    from keras_parts.training.run_folder import RUNS_FOLDER, RunFolder, check_folder
    from keras_parts.training.tracking import check_trackers

    is_auto = fields["num_parts"] == _AUTO
    if is_auto:
        del fields["num_parts"]
    chosen = recipe_for(
        data.name,
        recipe_name,
        init_from=init_from,
        teacher=teacher,
        teacher_weights=teacher_weights,
        find_model=functools.partial(zoo.path, trust=trust),
        settings=given(**fields) | dict(map(parse_setting, settings)),
    )
    check_train_extra()
    check_trackers(track)
    processes = Hosts.parse(hosts, host_index) if hosts else None
    output = output or f"{RUNS_FOLDER}/{data.name}"
    if is_auto:
        _check_auto(chosen, hosts)
        if resume:
            RunFolder(output).check_available(overwrite=overwrite, resume=True)
            stored = RunFolder(output).read_config()["settings"]
            chosen = chosen.with_settings({"num_parts": stored["num_parts"]})
            is_auto = False
    if resume or not processes or processes.index == 0:
        # Before the data set is read and the backend imported, which takes seconds.
        check_folder(RunFolder(output), chosen, overwrite=overwrite, resume=resume)
    data = data.with_masks()
    dataset = data.photographs(split) if data.discovers else data(split)
    plan = _plan(chosen, dataset, output, data)
    if resume:
        plan.lines.insert(1, _resumed(RunFolder(output), chosen))
    if is_auto:
        plan.lines.insert(2, "Parts: their number is chosen before the training")
    if dry_run:
        # The plan comes last: the recipe fills a terminal, and its beginning is out of sight.
        lines = [to_toml(chosen), *(f"# {line}" for line in plan.lines)]
        return CommandResult(plan.content, "\n".join(lines))
    if not quiet and (not processes or processes.index == 0):
        write_message("\n".join(plan.lines))
    import_keras()
    from keras_parts.training.callbacks import SignalStop
    from keras_parts.training.run import train as run

    if data.discovers:
        dataset = data(split)
        if not quiet and (not processes or processes.index == 0):
            _say_more(plan, dataset)
    counts = _recommended(chosen, dataset, quiet=quiet) if is_auto else None
    if counts:
        chosen = chosen.with_settings({"num_parts": counts.recommended})
    with SignalStop() as stop:
        summary = run(
            chosen,
            dataset,
            output,
            resume=resume,
            overwrite=overwrite,
            progress=not quiet,
            split=split,
            devices=devices,
            hosts=processes,
            # One of several hosts cannot stop alone.
            callbacks=[] if processes else [stop],
            track=track,
        )
    if counts:
        summary = {**summary, "num_parts": counts.recommended, "reason": counts.reason}
    return CommandResult(summary, _sentence(summary, data))


def _number_or_auto(value: str | None) -> int | str | None:
    if value in (None, _AUTO):
        return value
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a whole number nor {_AUTO}") from None


def _check_auto(recipe: "Recipe", hosts: str | None) -> None:
    """Raise UsageError if the number of parts cannot be chosen for this training."""
    if hosts:
        raise click.UsageError(
            f"--parts {_AUTO} and --hosts: choose the number once, with `keras-parts parts`"
        )
    if recipe.loss_weights.get("distillation"):
        raise click.UsageError(
            f"--parts {_AUTO}: the recipe {recipe.name} keeps the parts of the model that it "
            "starts from: leave out --parts"
        )


def _recommended(recipe: "Recipe", dataset: "Dataset", *, quiet: bool) -> "PartCounts":
    from keras_parts.training.part_counts import compare_part_counts

    found = compare_part_counts(recipe, dataset, max_images=None, progress=not quiet)
    if not quiet:
        notes = (f"Note: {note}" for note in found.notes)
        write_message("\n".join([f"Parts: {found.recommended}. {found.reason}", *notes]))
    return found


class _Plan(NamedTuple):
    """What is trained, on what, and what it may take: as JSON, and as lines of text."""

    content: dict[str, Any]
    lines: list[str]


def _plan(chosen: "Recipe", dataset: "Dataset", output: str, data: ChosenDataset) -> _Plan:
    from keras_parts.data.advice import advice
    from keras_parts.training.expected import expected_needs, expected_seconds
    from keras_parts.training.run_folder import RUNS_FOLDER

    images, samples = chosen.steps * chosen.batch_size, len(dataset)
    epochs = images / max(samples, 1)
    has_masks = samples > 0 and dataset[0].foreground is not None
    seconds, run = expected_seconds(chosen, RUNS_FOLDER)
    needs, said = expected_needs(chosen, dataset), advice(dataset)
    content = {
        "output": output,
        "dataset": dataset.info.name,
        "samples": samples,
        "masks": has_masks,
        "discovers_masks": data.discovers,
        "epochs": epochs,
        "seconds": seconds,
        **asdict(needs),
        "advice": list(said),
        "recipe": chosen.to_json(),
    }
    time = "unknown, because no run below runs/ has the same network and image size"
    if seconds:
        minutes = seconds / 60
        about = f"about {minutes:.{int(minutes < 10)}f} minutes"
        speed = f"at the speed of {run}" if run else "on two cores, a guess from another machine"
        time = f"{about} {speed}, teacher features apart"
    lines = [
        f"Run folder: {output}",
        f"Data: {dataset.info.name}, {samples:,} samples {'with' if has_masks else 'without'} "
        f"masks, each {_times(epochs)} in {chosen.steps:,} steps of {chosen.batch_size}",
        *_about_masks(dataset, data),
        f"Time: {time}",
        f"Memory: {_about(needs.memory_bytes)} on a processor",
        f"Disk: {_disk(needs)}",
        *(f"Note: {sentence}" for sentence in said),
    ]
    return _Plan(content, lines)


def _resumed(run: "RunFolder", chosen: "Recipe") -> str:
    step = run.resumes_at()
    if not step:
        return "Resumed: there is no checkpoint yet, so the training begins at step 0"
    return f"Resumed: after step {step:,} of {chosen.steps:,}"


def _times(epochs: float) -> str:
    number = f"{epochs:.{int(epochs < 10)}f}".removesuffix(".0")
    return "once" if number == "1" else f"{number} times"


def _about_masks(dataset: "Dataset", data: ChosenDataset) -> list[str]:
    """A line about masks that are found, if there are any."""
    if not data.discovers:
        return []
    from keras_parts.data.discovered import found_before
    from keras_parts.foreground.discovered import expected_seconds

    which = "missing ones" if "missing_masks" in data.settings else "none given"
    minutes = max(1, round(expected_seconds(len(dataset)) / 60))
    about = f"about {minutes} minute{'s' * (minutes > 1)}"
    is_known = found_before(dataset)
    found = "and objects were found before" if is_known else f"so objects are found first ({about})"
    line = f"Masks: {which}, {found}"
    if data.mask_command:
        line += f"; look at them: {data.mask_command}"
    return [line]


def _say_more(plan: _Plan, dataset: "Dataset") -> None:
    """Say what is known of the data now that objects are found."""
    from keras_parts.data.advice import advice

    for sentence in advice(dataset):
        if sentence not in plan.content["advice"]:
            write_message(f"Note: {sentence}")


def _disk(needs: "Needs") -> str:
    from keras_parts.environment import cache_path

    features = f"teacher features {_about(needs.feature_bytes)}"
    if needs.feature_bytes:
        features = f"{features} in {cache_path('features')}"
    elif needs.feature_bytes == 0:
        features = "no teacher features are kept"
    return f"run folder {_about(needs.folder_bytes)}; {features}"


def _about(size: int | None) -> str:
    if size is None:
        return "unknown"
    number, unit = (size / 2**30, "GiB") if size >= 2**30 else (size / 2**20, "MiB")
    return f"about {number:.{int(number < 10)}f} {unit}"


def _sentence(summary: Mapping[str, Any], data: ChosenDataset) -> str:
    if "steps" not in summary:
        return f"Trained together with other hosts; the first host has written {summary['output']}"
    output = summary["output"]
    names = " and ".join(name for name, value in summary.items() if value is None)
    not_finite = f", not finite at the end: {names}" if names else ""
    return (
        f"Trained {summary['steps']} steps in {summary['seconds']:.0f} s "
        f"({summary['images_per_second']:.1f} images/s, {summary['skipped_steps']} steps skipped"
        f"{not_finite}).\n"
        f"Pictures, curves and settings: open {os.path.join(output, 'index.html')} in a browser.\n"
        f"{_tracked(summary.get('tracked', {}))}"
        f"Next:\n{_next_commands(output, data)}"
    )


def _tracked(locations: Mapping[str, str]) -> str:
    """A line for each tracker, with the folder or address of the run there."""
    shown = dict(locations)
    if "tensorboard" in shown:
        shown["tensorboard"] = f"tensorboard --logdir {shlex.quote(shown['tensorboard'])}"
    return "".join(f"Tracked by {name}: {location}\n" for name, location in shown.items())


def _next_commands(output: str, data: ChosenDataset) -> str:
    model = f"--model {shlex.quote(output)}"
    has_labels = data.settings.keys() & {"part_labels", "keypoints"}
    # Without labels there are masks to look at, and nothing to measure.
    following = None if has_labels else data.mask_command
    following = following or f"keras-parts evaluate {data.options} {model}"
    folder = data.settings.get("data_dir") if data.is_own else None
    photos = shlex.quote(str(folder)) if folder else "PHOTOS"
    return f"  keras-parts segment {photos} {model}\n  {following}"
