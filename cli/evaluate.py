"""keras-parts evaluate"""

import functools
import json

import click

from keras_parts.cli.data import data_options, default_recipe, teacher_settings
from keras_parts.cli.options import Answer, common_options, given, plain
from keras_parts.cli.runtime import import_keras

_TRAINED_ON = {"test": "train", "validation": "fit"}
"""Split -> the one that landmark regressions and baselines are fitted on."""


@click.command()
@data_options
@click.option("--split", default="test", show_default=True, help="Split to measure on.")
@click.option("--model", required=True, help="A name of `zoo list`, or the folder of a run.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="NAME",
    help="Protocol to run, repeatable; by default all that the data set allows.",
)
@click.option("--baselines", is_flag=True, help="Measure k-means on colours and features as well.")
@click.option("--teacher", help="Network whose features the baseline clusters.")
@click.option("--teacher-weights", metavar="PATH", help="Its weights.")
@click.option("--flip", is_flag=True, help="Average with the mirrored image, at twice the cost.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images a batch.")
@click.option("--output", "-o", metavar="FILE", help="Write the JSON there as well.")
@common_options
def evaluate(
    data, split, model, protocols, baselines, teacher, teacher_weights, flip, batch_size, output,
    seed, quiet,
):  # fmt: skip
    """Measure a segmenter by the protocols of a data set.

    Published numbers of the same number of parts stand beside its own.
    """
    from keras_parts import zoo
    from keras_parts.metrics import evaluate as measure

    dataset = data(split)
    train = data(_TRAINED_ON[split]) if split in _TRAINED_ON else None
    if baselines and train is None:
        raise click.UsageError(f"--baselines needs one of the splits {', '.join(_TRAINED_ON)}")
    import_keras()
    segmenter = zoo.load(model)
    options = {"train": train, "progress": not quiet, **given(batch_size=batch_size)}
    protocols = protocols or None

    maps = functools.partial(segmenter.maps, flip=True) if flip else segmenter.maps
    method = f"{model}, flipped too" if flip else model
    report = measure(maps, dataset, segmenter.parts, protocols, method=method, **options)
    beside = []
    if baselines:
        changes = teacher_settings(teacher, teacher_weights)
        for method, maps in _baselines(data.name, train, segmenter.parts, changes, seed or 0):
            possible = _possible(protocols, maps, dataset, train)
            if possible != []:
                beside.append(
                    measure(maps, dataset, segmenter.parts, possible, method=method, **options)
                )
    content = {"model": model, "split": split, "flip": flip, **json.loads(report.to_json())}
    content["baselines"] = [json.loads(other.to_json()) for other in beside]
    if output:
        from keras_parts.images import atomic_write

        with atomic_write(output, "w") as file:
            json.dump(plain(content), file, indent=2)
    return Answer(content, report.to_table(*beside).rstrip())


def _possible(protocols, maps, dataset, train):
    """Of the protocols asked for, those that a baseline without a background can run."""
    from keras_parts.metrics import PROTOCOLS

    if protocols is None:
        return None
    return [name for name in protocols if not PROTOCOLS[name].missing(maps, dataset, train)]


def _baselines(name, train, parts, changes, seed):
    """(method, maps) of k-means on colours, and on the features of a teacher."""
    from keras_parts.metrics import colour_baseline, feature_baseline
    from keras_parts.teachers import create_teacher
    from keras_parts.training.recipes import recipe

    yield "k-means on Lab colour", colour_baseline(train, parts, seed)
    chosen = recipe(default_recipe(name), **changes)
    teacher = create_teacher(
        chosen.teacher,
        chosen.teacher_layers,
        chosen.teacher_weights,
        turns=chosen.teacher_turns,
    )
    features = _features(teacher, chosen.teacher_size or chosen.size)
    method = f"k-means on {chosen.teacher} {'+'.join(teacher.layer_names)}"
    yield method, feature_baseline(features, train, parts, seed)


def _features(teacher, size):
    """Images of any size -> the teacher's features of each, stretched to a square."""
    import numpy as np
    from keras import ops

    from keras_parts.geometry import fit_image

    def features(images):
        squares = np.stack([fit_image(image, size, "stretch")[0] for image in images])
        return list(ops.convert_to_numpy(teacher(squares.astype("float32") / 255)))

    return features
