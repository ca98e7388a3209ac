"""keras-parts zoo pack and publish"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from keras_parts.cli.options import (
    CommandResult,
    common_options,
    examples,
    given,
    listed,
    output_options,
)
from keras_parts.errors import KerasPartsError

if TYPE_CHECKING:
    from keras_parts.data import Dataset
    from keras_parts.zoo.cards import Card, Evaluation


@click.command(epilog=examples("zoo pack runs/mine --output my-entry --name mine --no-evaluation"))
@click.argument("runs", nargs=-1, required=True)
@click.option("--output", "-o", required=True, metavar="DIR", help="Folder of the entry.")
@click.option(
    "--name",
    help="Name of the model: small letters, digits and hyphens [default: DATASET-PARTS].",
)
@click.option("--version", help='Version of the model [default: as before, or "1.0.0"].')
@click.option("--dataset", metavar="NAME", help="Data set for metrics [default: the run's].")
@click.option("--data-dir", metavar="DIR", help="Folder of the data set.")
@click.option(
    "--data-option",
    "data_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another option of the data set's reader; the value is JSON, or a word.",
)
@click.option("--split", default="test", show_default=True, help="Split for the metrics.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="NAME",
    help="Protocol to measure, repeatable [default: all].",
)
@click.option(
    "--choose-by",
    metavar="PROTOCOL:METRIC",
    help="Metric on the validation split by which one of several runs is chosen.",
)
@click.option(
    "--no-evaluation", is_flag=True, help="Make an entry without metrics and without a picture."
)
@click.option(
    "--part-names",
    metavar="A,B,...",
    help="Names of the parts [default: of the landmarks or part labels that they cover].",
)
@click.option("--pairs", metavar="I-J,...", help="Parts that swap in a mirrored image, from 1.")
@click.option("--about", help="What the model segments, in a sentence.")
@click.option("--intended-use", help="Intended use of the model.")
@click.option("--limits", help="Limits of the model.")
@click.option("--citation", help="Work to cite.")
@click.option(
    "--licence",
    "--weights-licence",
    "weights_licence",
    metavar="TEXT",
    help='Licence of the weights, such as "CC-BY-4.0" [default: none, which allows no use].',
)
@click.option("--data-licence", help="Terms of the training data [default: the data set's].")
@click.option("--float32", is_flag=True, help="Store all weights as float32, at twice the size.")
@common_options
def pack(
    runs: Sequence[str], output: str, name: str | None, version: str | None, dataset: str | None,
    data_dir: str | None, data_settings: Sequence[str], split: str, protocols: Sequence[str],
    choose_by: str | None, no_evaluation: bool, part_names: str | None, pairs: str | None,
    float32: bool, seed: int | None, quiet: bool, **texts: str | None,
) -> CommandResult:  # fmt: skip
    """Make an entry of the zoo from training runs.

    RUNS are folders of `keras-parts train` that differ in the seed alone. Of several runs, the best
    one on the validation split becomes the entry, and the metrics of all are on its card. The texts
    of a card that DIR already has are kept, unless an option changes them. Terms of models that the
    training was initialised from or taught by are added to those of the data.
    """
    from keras_parts import zoo
    from keras_parts.cli.runtime import import_keras
    from keras_parts.extras import check_train_extra

    def load(split: str) -> "Dataset":
        return _load(dataset or _dataset_of(runs[0]), split, data_dir, data_settings)

    if name:
        _check_name(name)
    if not no_evaluation:
        check_train_extra()
        dataset = dataset or _dataset_of(runs[0])
    datasets = {} if no_evaluation else _datasets(load, split, protocols)
    if len(runs) > 1:
        datasets["validation"] = load("validation")
    import_keras()
    card = zoo.pack(
        *runs,
        output=output,
        name=name,
        version=version,
        split=split,
        protocols=protocols or None,
        choose_by=_metric(choose_by) if choose_by else None,
        part_names=listed(part_names) if part_names else (),
        pairs=[_part_pair(one) for one in pairs.split(",")] if pairs else (),
        texts=given(**texts),
        compact=not float32,
        progress=not quiet,
        **datasets,
    )
    lines = (
        f"{card.id}: {card.size / 1e6:.1f} MB in {output}.",
        f"Parts: {', '.join(card.part_names)}",
        metrics_text(card.evaluation),
        f"Licence of the weights: {card.licences.weights}{_way_out(card)}",
        f"Terms of the training data: {card.licences.data}",
    )
    data = card.to_json() | {"output": output, "bytes": card.size}
    return CommandResult(data, "\n".join(lines))


def _way_out(card: "Card") -> str:
    from keras_parts.zoo.terms import NO_LICENCE

    return " (--licence gives one)" if card.licences.weights.startswith(NO_LICENCE) else ""


@click.command(epilog=examples("zoo publish my-entry zoo-folder/"))
@click.argument("entry")
@click.argument("destination")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@output_options
def publish(entry: str, destination: str, private: bool, quiet: bool) -> CommandResult:
    """Publish an entry.

    ENTRY is a folder that `zoo pack` made. DESTINATION is a folder for any web server, whose
    address others put into KERAS_PARTS_ZOO, or hf://USER/REPOSITORY on Hugging Face.
    """
    from keras_parts import zoo

    card = zoo.publish(entry, destination, private=private)
    lines = [f"{card.id}: published to {destination}.", *_how_to_use(card, destination)]
    return CommandResult({"model": card.id, "destination": destination}, "\n".join(lines))


def _how_to_use(card: "Card", destination: str) -> list[str]:
    """The commands with which others use a published model."""
    from keras_parts.zoo.locations import is_address

    install = "  pip install 'keras-parts[tensorflow]'"
    if is_address(destination):
        return [
            "Others use it with:",
            install,
            f"  keras-parts segment photos/ --model {destination} --trust",
        ]
    return [
        f"Others use it with these lines, once a web server serves {destination} (ADDRESS is "
        "that of the folder, or the path of a copy):",
        install,
        "  export KERAS_PARTS_ZOO=ADDRESS",
        f"  keras-parts segment photos/ --model {card.name}",
    ]


def metrics_text(evaluation: "Evaluation | None") -> str:
    """The metrics of the first protocol; `zoo card` shows those of the others."""
    if evaluation is None:
        return "not measured"
    protocol, metrics = next(iter(evaluation.values.items()))
    values = ", ".join(f"{name} {value:.1f}" for name, value in metrics.items())
    others = len(evaluation.values) - 1
    more = f" (and {others} more: zoo card)" if others else ""
    return f"{protocol}: {values}{more}"


def _load(
    dataset: str, split: str, data_dir: str | None, data_settings: Sequence[str]
) -> "Dataset":
    from keras_parts.data import load
    from keras_parts.training.recipes import parse_setting

    return load(dataset, split, data_dir, **dict(map(parse_setting, data_settings)))


def _datasets(load: Any, split: str, protocols: Sequence[str]) -> dict[str, Any]:
    """The data sets for the metrics, with the train split if a protocol needs it."""
    from keras_parts.metrics import needs_train_split

    try:
        datasets = {"test": load(split)}
    except KerasPartsError as error:
        error.args = (f"{error}. Without metrics: --no-evaluation",)
        raise
    if split == "test" and needs_train_split(datasets["test"], protocols):
        datasets["train"] = load("train")
    return datasets


def _dataset_of(run: str) -> str:
    from keras_parts.training.run_folder import RunFolder

    name = RunFolder(run).read_config().get("data", {}).get("dataset")
    if not name:
        raise click.UsageError(f"{run} does not name its training data: give --dataset")
    return name


def _check_name(name: str) -> None:
    from keras_parts.zoo.cards import MODEL_NAME

    if not re.match(MODEL_NAME, name):
        similar = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
        example = similar if re.match(MODEL_NAME, similar) else "my-birds"
        raise click.UsageError(
            f"--name {name!r}: expected small letters, digits and hyphens, such as {example}"
        )


def _metric(text: str) -> tuple[str, str]:
    protocol, _, metric = map(str.strip, text.partition(":"))
    if not metric:
        raise click.UsageError(f"--choose-by: {text!r} is not of the form PROTOCOL:METRIC")
    return protocol, metric


def _part_pair(text: str) -> tuple[int, int]:
    try:
        first, second = map(int, text.split("-"))
    except ValueError:
        raise click.UsageError(
            f"--pairs: {text!r} is not a pair of parts, expected I-J such as 2-3"
        ) from None
    return first, second
