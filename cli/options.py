"""Options that all commands share, and how a command's answer is printed."""

import contextlib
import functools
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath

import click

from keras_parts.cli.runtime import BACKENDS, require_gpu, select_backend, select_device


@dataclass(frozen=True)
class Answer:
    """What a command returns.

    Attributes:
        data: printed by --json.
        text: printed without it.
        code: the exit code.
    """

    data: Mapping
    text: str
    code: int = 0


def answers(command):
    """--json and --quiet for a command that returns an `Answer`.

    Only the answer goes to stdout; whatever else is printed meanwhile, by any library, to stderr.
    The command takes `quiet`.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("--quiet", "-q", is_flag=True, help="No progress and no remarks.")
    @functools.wraps(command)
    def run(as_json, **options):
        with contextlib.redirect_stdout(sys.stderr):
            answer = command(**options)
        click.echo(json.dumps(plain(answer.data), indent=2) if as_json else answer.text)
        click.get_current_context().exit(answer.code)

    return run


def common_options(command):
    """--backend, --device, --seed, --json and --quiet for a command that computes with Keras.

    The command takes `seed` (None unless given) and `quiet`, and must not have imported Keras.
    """

    @click.option("--backend", type=click.Choice(BACKENDS), help="Keras backend to compute with.")
    @click.option("--device", metavar="DEVICE", help="cpu, gpu, or gpu:1 for the second GPU.")
    @click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Of all random draws.")
    @functools.wraps(command)
    def run(backend, device, quiet, **options):
        if device:
            select_device(device)
        backend, remark = select_backend(backend)
        if remark and not quiet:
            click.echo(remark, err=True)
        if device and device.startswith("gpu"):
            require_gpu(backend)
        return command(quiet=quiet, **options)

    return answers(run)


def given(**options):
    """The options that were given: others keep the default of whoever takes them."""
    return {name: value for name, value in options.items() if value not in (None, ())}


def model_name(model):
    """What results call a model: of a folder, only its own name."""
    return os.path.basename(os.path.abspath(model)) if os.path.isdir(model) else model


def plain(value):
    """Values that JSON knows; what is no number (NaN, infinity) becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, PathLike):
        return fspath(value)
    if hasattr(value, "tolist"):  # numpy's arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
