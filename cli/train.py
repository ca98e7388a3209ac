"""keras-parts train"""

import click

from keras_parts.cli.data import data_options, default_recipe, start_settings, teacher_settings
from keras_parts.cli.options import CommandResult, common_options, given
from keras_parts.cli.runtime import import_keras


@click.command()
@data_options
@click.option("--split", default="train", show_default=True, help="Split to train on.")
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME",
    help="default, paper or toy; by default the data set's own where it has one.",
)
@click.option("--output", "-o", metavar="DIR", help="Folder of the run [default: runs/DATASET].")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option("--overwrite", is_flag=True, help="Replace the run in the folder.")
@click.option("--parts", "-k", type=int, metavar="K", help="Number of parts.")
@click.option("--steps", type=int, metavar="N", help="Training steps.")
@click.option("--batch-size", type=int, metavar="N", help="Images a step.")
@click.option("--size", type=int, metavar="PIXELS", help="Side of the network's input.")
@click.option("--precision", metavar="POLICY", help="float32, mixed_bfloat16 or mixed_float16.")
@click.option("--backbone-weights", metavar="PATH", help="pretrained, random, or a weights file.")
@click.option(
    "--init-from",
    metavar="MODEL",
    help="Segmenter to start from, its K included: a name of `zoo list`, or the folder of a run.",
)
@click.option(
    "--teacher",
    metavar="NAME",
    help="Network whose features the parts explain; zoo:MODEL is the backbone of a segmenter.",
)
@click.option("--teacher-weights", metavar="PATH", help="The teacher's weights.")
@click.option(
    "--devices", metavar="N|all", help="Devices of this machine to train on [default: one]."
)
@click.option(
    "--hosts",
    metavar="LIST",
    help="Processes that train together, HOST:PORT,HOST:PORT,..., the same list in each; 'auto' "
    "takes SLURM's tasks or TF_CONFIG.",
)
@click.option("--host-index", type=int, metavar="I", help="Which of the hosts this is, from 0.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any field of the recipe, repeatable, such as weights.balance=1 or ema=0.999.",
)
@common_options
def train(
    data, split, recipe_name, output, resume, overwrite, settings, init_from, teacher,
    teacher_weights, devices, hosts, host_index, quiet, **fields,
):  # fmt: skip
    """Discover the parts of the objects in images.

    The recipe decides everything; options change fields of it, and what is not given is the
    recipe's. Needs no part labels, but for training a mask of the object in each image.

    Several devices or hosts share each batch, and train what one device would train.
    """
    from keras_parts.training.hosts import Hosts
    from keras_parts.training.recipes import parse_setting, recipe

    recipe_name = recipe_name or default_recipe(data.name)
    changes = start_settings(init_from, recipe(recipe_name).architecture) | given(**fields)
    changes |= teacher_settings(teacher, teacher_weights)
    changes |= dict(map(parse_setting, settings))
    chosen = recipe(recipe_name, **changes)
    hosts = Hosts.parse(hosts, host_index) if hosts else None
    dataset = data(split)
    import_keras()
    from keras_parts.training.run import train as run

    output = output or f"runs/{data.name}"
    summary = run(chosen, dataset, output, resume, overwrite, not quiet, split, devices, hosts)
    return CommandResult(summary, _sentence(summary))


def _sentence(summary):
    if "steps" not in summary:
        return f"Trained with the other hosts; the first of them has written {summary['output']}"
    described = (
        "output", "segmenter", "devices", "steps", "seconds", "images_per_second",
        "skipped_steps",
    )  # fmt: skip
    losses = ", ".join(
        f"{name} {value:.4g}" for name, value in summary.items() if name not in described
    )
    return (
        f"Trained {summary['steps']} steps in {summary['seconds']:.0f} s "
        f"({summary['images_per_second']:.1f} images/s, {summary['skipped_steps']} steps skipped); "
        f"in the end: {losses}.\nThe segmenter is in {summary['segmenter']}: "
        f"use it with --model {summary['output']}"
    )
