"""What a command takes where the user named no model and no output folder; it is printed first."""

import contextlib
import difflib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from keras_parts.cli.completion import complete_model
from keras_parts.cli.messages import write_message
from keras_parts.cli.options import Choice, is_answered, model_name, trust_option
from keras_parts.cli.pipes import is_clipboard
from keras_parts.cli.runtime import has_backend

OBJECTS = {"birds": "cub", "faces": "faces-4", "clothes": "clothing-4"}
"""Kind of object -> the zoo's model for it; the first one is taken where nothing else is known."""
_RESULTS = "parts"
_NOT_IN_NAMES = re.compile(r"[^\w.@-]+")


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --model and --of, from which `choose_model` takes the model, and --trust."""
    of = click.option(
        "--of",
        type=Choice(list(OBJECTS)),
        help="What is in the images: takes the zoo's model for it.",
    )
    model = click.option(
        "--model",
        shell_complete=complete_model,
        help="A name of `zoo list`, a run folder, or an address [default: the model for --of, else "
        f"the newest finished run below runs/, else {OBJECTS['birds']}; on a terminal you are "
        "asked].",
    )
    return model(of(trust_option(command)))


def choose_model(
    model: str | None, of: str | None, *, trust: bool = False, quiet: bool = False
) -> str:
    """The model that --model or --of names, or else the one that is likely to be meant.

    It is the newest finished run if Keras can run it; without one, the user of a terminal chooses
    from a list, and anybody else gets the first model of `OBJECTS`. A message says what was taken.

    Args:
        model: the value of --model.
        of: the value of --of.
        trust: the value of --trust.
        quiet: ask nothing, and say nothing.

    Raises:
        click.UsageError: both are given.
        UnknownModelError: there is no such model; the message suggests another name, or a value of
            --of.
        UntrustedAddressError: an address that needs `trust`.
    """
    if model and of:
        raise click.UsageError(f"--model {model} and --of {of}: give only one of them")
    if model:
        with _objects_suggested():
            check_model(model, trust=trust)
        return model
    if of:
        model, reason = OBJECTS[of], f"for {of}"
    elif (run := newest_run()) and has_backend():
        model, reason = run, "the newest finished run here; --model takes another"
    elif is_answered(quiet=quiet):
        return _ask()
    else:
        (kind, model), *others = OBJECTS.items()
        instead = ", ".join(f"--of {other}" for other, _ in others)
        reason = f"for {kind}; for others give {instead}, or --model with a name of `zoo list`"
        if run:
            reason += f"; {run} needs Keras with a backend, and none is installed"
    if not quiet:
        write_message(f"Model: {model} ({reason}).")
    return model


def check_model(model: str, *, trust: bool = False) -> None:
    """Check a model or an export, before Keras is imported; addresses are not requested.

    Raises:
        As `keras_parts.zoo.models.check_model`.
    """
    from keras_parts.exports import format_at
    from keras_parts.zoo.models import check_model as check

    if format_at(model) is None:
        check(model, trust=trust)


@contextlib.contextmanager
def _objects_suggested() -> Iterator[None]:
    """Where a name of no model resembles a value of --of, suggest that."""
    from keras_parts.errors import UnknownModelError

    try:
        yield
    except UnknownModelError as error:
        meant = difflib.get_close_matches((error.model or "").lower(), OBJECTS, 1)
        if not meant or error.similar:
            raise
        raise UnknownModelError(
            f"{error}; for {meant[0]} give --of {meant[0]} instead of --model", model=error.model
        ) from error


def newest_run() -> str | None:
    """The newest finished run below the folder of runs; None if there is none."""
    from keras_parts.training.run_folder import RUNS_FOLDER, finished_runs

    return next((str(run.path) for run in finished_runs(RUNS_FOLDER)), None)


def _ask() -> str:
    """The model that the user chooses from a list."""
    width = max(map(len, OBJECTS))
    for number, (kind, model) in enumerate(OBJECTS.items(), 1):
        click.echo(f"  {number}  {kind:<{width}}  {model}", err=True)
    click.echo("`keras-parts zoo list` has more; --model NAME takes one of them.", err=True)
    number = click.prompt("Model for", type=click.IntRange(1, len(OBJECTS)), default=1, err=True)
    return list(OBJECTS.values())[number - 1]


def choose_output(
    paths: Sequence[str], output: str | None, *, model: str = "", quiet: bool = False
) -> str:
    """The output folder: --output, or a folder beside the images; a message then names it.

    Beside a folder `images`, a file `images.jpg` or the folder of several files it is
    `images-parts`. For other inputs, patterns, lists, addresses and the working folder it is
    `parts` in the working folder, and for the clipboard `clipboard-parts`. If that folder has the
    results of another model, the name of the model follows: `images-parts-mine`.
    """
    if output:
        return output
    output = _RESULTS
    if is_clipboard(paths):
        output = f"clipboard-{_RESULTS}"
    else:
        path = _common_path(paths)
        name = os.path.basename(path)
        if name not in ("", os.curdir, os.pardir):
            stem = name if os.path.isdir(path) else os.path.splitext(name)[0]
            output = os.path.join(os.path.dirname(path), f"{stem}-{_RESULTS}")
    there = _recorded_model(output)
    reason = ""
    if model and there not in (None, model_name(model)):
        reason = f" ({output} has those of {there})"
        output = f"{output}-{_NOT_IN_NAMES.sub('-', os.path.basename(model_name(model)))}"
    if not quiet:
        write_message(f"Results: {os.path.join(output, '')}{reason}")
    return output


def _common_path(paths: Sequence[str]) -> str:
    """The only file or folder, or the folder of all files; "" if there is none."""
    if len(paths) == 1 and os.path.exists(paths[0]):
        return os.path.normpath(paths[0])
    folders = {os.path.dirname(os.path.normpath(path)) for path in paths}
    return folders.pop() if len(folders) == 1 and all(map(os.path.isfile, paths)) else ""


def _recorded_model(folder: str) -> str | None:
    """The model whose results a folder has; None if there are none, or they cannot be read."""
    from keras_parts.errors import KerasPartsError
    from keras_parts.inference import recorded_model

    try:
        return recorded_model(folder) if os.path.isdir(folder) else None
    except KerasPartsError:  # the run itself reports it
        return None


def say_loading(model: str, *, quiet: bool = False) -> None:
    """Say that the model is being loaded, which takes seconds."""
    if not quiet:
        write_message(f"Loading {model_name(model)} ...")
