"""keras-parts zoo"""

import click

from keras_parts.cli.group import ZOO
from keras_parts.cli.options import Answer, answers, common_options, given

_MODEL = (
    "NAME or NAME@VERSION of `zoo list`, a folder, or the address of an entry, http(s)://... or "
    "hf://USER/REPOSITORY."
)


@click.group()
def zoo():
    """Trained segmenters: list, download, verify, pack and publish them.

    Environment variables: KERAS_PARTS_HOME is the folder to keep downloads in; KERAS_PARTS_ZOO
    names folders or addresses with further models or copies of the files, with a comma between
    them; KERAS_PARTS_OFFLINE=1 asks no address. Proxies are set with HTTPS_PROXY.
    """


_trust = click.option(
    "--trust", is_flag=True, help="Take models from addresses that KERAS_PARTS_ZOO does not name."
)


@zoo.command("list")
@click.option("--dataset", metavar="NAME", help="Only those trained on it.")
@click.option("--parts", "-k", type=int, metavar="K", help="Only those with so many parts.")
@click.option("--refresh", is_flag=True, help="Ask the addresses of KERAS_PARTS_ZOO.")
@answers
def list_models(dataset, parts, refresh, quiet):
    """List the models: what each was trained on, its parts, and how good they are."""
    from keras_parts import zoo

    cards = zoo.list(dataset, parts, refresh)
    rows = [("name", "version", "trained on", "parts", "MB", "measured")]
    rows += [
        (
            card.name,
            card.version,
            f"{card.training.dataset} ({card.training.split})",
            str(card.parts),
            f"{sum(record.size for record in card.files.values()) / 1e6:.1f}",
            _measured(card.evaluation),
        )
        for card in cards
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return Answer({"models": [card.to_json() for card in cards]}, "\n".join(lines))


def _measured(evaluation):
    """The first protocol that was measured; the card has the others."""
    if evaluation is None:
        return "not measured"
    protocol, metrics = next(iter(evaluation.values.items()))
    values = ", ".join(f"{name} {value:.1f}" for name, value in metrics.items())
    others = len(evaluation.values) - 1
    more = f" (and {others} more: zoo card)" if others else ""
    return f"{protocol}: {values}{more}"


@zoo.command()
@click.argument("model")
@click.option("--output", "-o", metavar="DIR", help="Write README.md and the picture there.")
@_trust
@answers
def card(model, output, trust, quiet):
    """Show what is known of a model: parts, numbers, training, licences, limits.

    MODEL: see `zoo path`.
    """
    from keras_parts import zoo
    from keras_parts.zoo.cards import PICTURE_FILE
    from keras_parts.zoo.rendering import to_markdown

    found = zoo.info(model, trust)
    picture = None
    if PICTURE_FILE in found.files:
        picture = zoo.path(model, trust, progress=not quiet) / PICTURE_FILE
    if output:
        _write_card(output, to_markdown(found), picture)
    text = to_markdown(found, picture.as_uri() if picture else "").rstrip()
    return Answer(found.to_json() | {"picture": picture}, text)


def _write_card(output, text, picture):
    import shutil
    from pathlib import Path

    from keras_parts.files import atomic_path, atomic_write

    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    if picture:
        with atomic_path(folder / picture.name) as path:
            shutil.copyfile(picture, path)
    with atomic_write(folder / "README.md", "w") as file:
        file.write(text)


@zoo.command()
@click.argument("models", nargs=-1)
@_trust
@common_options
def verify(models, trust, seed, quiet):
    """Check models: every file, the weights, and the golden pair on the chosen backend.

    MODELS: see `zoo path`; without any, all that are here.
    """
    from keras_parts import zoo
    from keras_parts.cli.runtime import import_keras
    from keras_parts.errors import KerasPartsError

    models = models or _here()
    import_keras()
    import keras

    rows, failed = [], 0
    for model in models:
        try:
            found = zoo.verify(model, trust)
            rows.append({"model": model, "sound": True, **found})
        except KerasPartsError as error:
            failed += 1
            rows.append({"model": model, "sound": False, "error": str(error)})
    backend = keras.config.backend()
    lines = [
        f"{row['model']}: sound; logits on {backend} differ by {row['difference']:.1g}"
        if row["sound"]
        else f"{row['model']}: NOT SOUND: {row['error']}"
        for row in rows
    ]
    text = "\n".join(lines) or "There are no models here."
    return Answer({"backend": backend, "models": rows}, text, ZOO if failed else 0)


def _here():
    """Models that need no download."""
    from keras_parts.zoo import registry, store

    entries = registry.entries()
    return [entry.card.id for entry in entries if entry.packaged or store.is_whole(entry.card)]


@zoo.command()
@click.argument("models", nargs=-1, required=True)
@answers
def remove(models, quiet):
    """Remove downloaded models: NAME for all versions, or NAME@VERSION."""
    from keras_parts import zoo

    freed = zoo.remove(*models)
    return Answer({"bytes": freed}, f"Removed {freed / 1e6:.1f} MB.")


@zoo.command()
@answers
def prune(quiet):
    """Remove unfinished downloads, and versions of which a later one is there."""
    from keras_parts import zoo

    freed = zoo.prune()
    return Answer({"bytes": freed}, f"Removed {freed / 1e6:.1f} MB.")


@zoo.command(help=f"Print the folder of a model's files, downloaded if need be.\n\nMODEL: {_MODEL}")
@click.argument("model")
@_trust
@answers
def path(model, trust, quiet):
    from keras_parts import zoo

    folder = zoo.path(model, trust, progress=not quiet)
    return Answer({"path": folder}, str(folder))


@zoo.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--to", required=True, metavar="DIR", help="Folder, made if need be.")
@_trust
@answers
def download(models, to, trust, quiet):
    """Put models into a folder for a machine without a network.

    Let KERAS_PARTS_ZOO name that folder there. MODELS: see `zoo path`.
    """
    from keras_parts import zoo

    cards = zoo.download(*models, to=to, trust=trust, progress=not quiet)
    names = ", ".join(card.id for card in cards)
    return Answer({"models": [card.id for card in cards], "folder": to}, f"{names}: in {to}.")


@zoo.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--output", "-o", required=True, metavar="DIR", help="Folder of the entry.")
@click.option("--name", help="Of the model [default: DATASET-PARTS].")
@click.option("--version", help='Of the model [default: "1.0.0", or as before].')
@click.option("--dataset", metavar="NAME", help="To measure on [default: the run's].")
@click.option("--data-dir", metavar="DIR", help="Where the data set lies.")
@click.option(
    "--data-option",
    "data_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other option of the data set's reader; the value is JSON, or a word.",
)
@click.option("--split", default="test", show_default=True, help="Split to measure on.")
@click.option("--protocol", "protocols", multiple=True, metavar="NAME", help="Measured; else all.")
@click.option(
    "--choose-by",
    metavar="PROTOCOL:METRIC",
    help="What decides on the validation split which of several runs it is.",
)
@click.option("--no-evaluation", is_flag=True, help="Neither numbers nor a picture.")
@click.option("--part-names", metavar="A,B,...", help="One a part [default: after the truth].")
@click.option("--pairs", metavar="I-J,...", help="Parts that a mirror image exchanges, from 1.")
@click.option("--about", help="What it is, in a sentence.")
@click.option("--intended-use", help="What for.")
@click.option("--limits", help="What it cannot.")
@click.option("--citation", help="What to cite.")
@click.option("--weights-licence", help="Licence of the weights.")
@click.option("--data-licence", help="Terms of the training data [default: the data set's].")
@click.option("--float32", is_flag=True, help="Keep the weights' precision, at twice the size.")
@common_options
def pack(
    runs, output, name, version, dataset, data_dir, data_settings, split, protocols, choose_by,
    no_evaluation, part_names, pairs, float32, seed, quiet, **texts,
):  # fmt: skip
    """Make an entry of the zoo from trainings.

    RUNS are folders of `keras-parts train`. Several are seeds of one recipe: the best one on the
    validation split becomes the entry, and the numbers of all are on its card. What people wrote on
    a card that is in DIR stays, unless an option says otherwise.
    """
    from keras_parts import zoo
    from keras_parts.cli.runtime import import_keras

    def data(split):
        from keras_parts.data import load
        from keras_parts.training.recipes import parse_setting

        settings = dict(map(parse_setting, data_settings))
        return load(dataset or _dataset_of(runs[0]), split, data_dir, **settings)

    datasets = {}
    if not no_evaluation:
        datasets["test"] = data(split)
        if split == "test" and _needs_train(protocols, datasets["test"]):
            datasets["train"] = data("train")
    if len(runs) > 1:
        datasets["validation"] = data("validation")
    import_keras()
    card = zoo.pack(
        *runs,
        output=output,
        name=name,
        version=version,
        split=split,
        protocols=protocols or None,
        choose_by=_pair(choose_by, ":") if choose_by else None,
        part_names=[one.strip() for one in part_names.split(",")] if part_names else (),
        pairs=[_numbers(one) for one in pairs.split(",")] if pairs else (),
        texts=given(**texts),
        compact=not float32,
        progress=not quiet,
        **datasets,
    )
    size = sum(record.size for record in card.files.values())
    named = ", ".join(card.part_names)
    text = f"{card.id}: {size / 1e6:.1f} MB in {output}.\nParts: {named}\n"
    text += _measured(card.evaluation)
    return Answer(card.to_json() | {"output": output, "bytes": size}, text)


def _dataset_of(run):
    from keras_parts.training.run_folder import RunFolder

    name = RunFolder(run).read_config().get("data", {}).get("dataset")
    if not name:
        raise click.UsageError(f"{run} does not say what it was trained on: give --dataset")
    return name


def _needs_train(protocols, dataset):
    """Whether landmarks are fitted, for which the train split is looked at."""
    from keras_parts.metrics import PROTOCOLS

    name = dataset.info.name
    chosen = [
        protocol
        for protocol in PROTOCOLS.values()
        if (protocol.name in protocols if protocols else name in (protocol.datasets or [name]))
    ]
    return any("train" in protocol.needs for protocol in chosen)


def _pair(text, between):
    first, found, second = text.partition(between)
    if not found or not second:
        raise click.UsageError(f"{text!r} is not of the form A{between}B")
    return first.strip(), second.strip()


def _numbers(text):
    try:
        first, second = map(int, _pair(text, "-"))
    except ValueError:
        raise click.UsageError(f"{text!r} is not a pair of parts such as 2-3") from None
    return first, second


@zoo.command()
@click.argument("entry")
@click.argument("destination")
@click.option("--private", is_flag=True, help="Of a repository that is made by this.")
@answers
def publish(entry, destination, private, quiet):
    """Give an entry to others.

    ENTRY is a folder that `zoo pack` made. DESTINATION is a folder that any web server can serve,
    whose address then goes into KERAS_PARTS_ZOO, or hf://USER/REPOSITORY on Hugging Face.
    """
    from keras_parts import zoo

    card = zoo.publish(entry, destination, private=private)
    return Answer(
        {"model": card.id, "destination": destination}, f"{card.id}: published to {destination}."
    )
