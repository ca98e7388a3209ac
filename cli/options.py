"""Options that all commands share, and how a command prints its result."""

import contextlib
import functools
import json
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

import click

from keras_parts.cli.messages import as_options, show_messages
from keras_parts.cli.runtime import BACKENDS, start_keras
from keras_parts.errors import (
    ConfigError,
    KerasPartsError,
    escape_controls,
    hide_secrets,
    suggestion,
)


@dataclass(frozen=True)
class CommandResult:
    """The result of a command.

    Attributes:
        data: printed by --json.
        text: printed without it.
        code: the exit code.
        content: bytes that are printed instead of both.
    """

    data: Mapping[str, Any]
    text: str
    code: int = 0
    content: bytes | None = None


def examples(*commands: str) -> str:
    """The end of a command's help: commands to copy."""
    return "\n".join(["\b", "Examples:", *(f"  keras-parts {command}" for command in commands)])


class Choice(click.Choice):
    """One of several words; the most similar one is suggested for another."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            listed = ", ".join(map(str, self.choices))
            self.fail(
                f"{value!r} is not one of {listed}{suggestion(value, self.choices)}", param, ctx
            )
        return value


def output_options(command: Callable[..., CommandResult]) -> Callable[..., None]:
    """Add --json and --quiet to a command that returns a `CommandResult`.

    Only the result goes to stdout; anything that a library prints meanwhile goes to stderr. The
    command takes the argument `quiet`.
    """
    quiet = click.option("--quiet", "-q", is_flag=True, help="Show no progress and no remarks.")
    verbose = click.option("--verbose", "-v", is_flag=True, help="Show what is done in detail.")

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @verbose
    @quiet
    @functools.wraps(command)
    def run(as_json: bool, verbose: bool, **options: Any) -> None:
        if options["quiet"] and verbose:
            raise click.UsageError("--quiet and --verbose contradict each other: give only one")
        if options["quiet"] or verbose:
            show_messages(logging.ERROR if options["quiet"] else logging.INFO)
        with contextlib.redirect_stdout(sys.stderr), _settings_as_options():
            result = command(**options)
        plain_text = escape_controls(as_options(result.text))
        text = hide_secrets(_json(result.data) if as_json else plain_text)
        try:
            if result.content is None:
                click.echo(text)
            else:
                click.echo(result.content, nl=False)
        except BrokenPipeError:  # `| head`
            raise
        except OSError as error:
            raise KerasPartsError(
                f"the result cannot be written to standard output: {error.strerror}"
            ) from error
        click.get_current_context().exit(result.code)

    return run


@contextlib.contextmanager
def _settings_as_options() -> Iterator[None]:
    """Name the option instead of the setting in an error about a value."""
    try:
        yield
    except ConfigError as error:
        for option in click.get_current_context().command.params:
            if isinstance(option, click.Option) and option.name == error.setting:
                text = re.sub(
                    rf"^(recipe: )?{option.name} is ", f"{option.opts[0]} is ", str(error)
                )
                error.args = (text,)
        raise


def common_options(command: Callable[..., CommandResult]) -> Callable[..., None]:
    """Add --backend, --device, --seed, --json and --quiet to a command that computes with Keras.

    The command takes the arguments `seed` (None unless given) and `quiet`. Its module must not
    import Keras: the backend has to be selected first.
    """

    @keras_options
    @functools.wraps(command)
    def run(backend: str | None, device: str | None, quiet: bool, **options: Any) -> CommandResult:
        start_keras(backend, device, quiet=quiet)
        return command(quiet=quiet, **options)

    return output_options(run)


def keras_options(command: Callable[..., CommandResult]) -> Callable[..., CommandResult]:
    """Add --backend, --device and --seed."""
    backend = click.option(
        "--backend", type=Choice(BACKENDS), help="Keras backend to compute with."
    )
    device = click.option(
        "--device", metavar="DEVICE", help="cpu, gpu, or gpu:1 for the second GPU."
    )
    seed = click.option(
        "--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of all random numbers."
    )
    return backend(device(seed(command)))


def runtime_options(command: Callable[..., CommandResult]) -> Callable[..., None]:
    """Add --runtime, and the options of `common_options` to a command that calls `choose_runtime`.

    The command takes the arguments `runtime`, `backend`, `device`, `seed` and `quiet`.
    """
    runtime = click.option(
        "--runtime",
        type=Choice(["auto", "keras", "onnx"]),
        default="auto",
        show_default=True,
        help="keras, or ONNX Runtime for the models of the package, which starts in a tenth of the "
        "time; auto takes it where it is installed and nothing needs Keras.",
    )
    return output_options(runtime(keras_options(command)))


precision_option = click.option(
    "--precision",
    type=Choice(["float32", "mixed_bfloat16", "mixed_float16"]),
    help="Numbers to compute with.",
)


looks_option = click.option(
    "--looks",
    type=Choice(["auto", "1", "2"]),
    default="auto",
    show_default=True,
    callback=lambda context, option, value: value if value == "auto" else int(value),
    help="1 segments whole images only; 2 segments the objects in them again, from the image's own "
    "pixels; auto does so for objects that become larger by it.",
)


trust_option = click.option(
    "--trust", is_flag=True, help="Accept models from addresses that KERAS_PARTS_ZOO does not name."
)


def listed(text: str) -> list[str]:
    """The values of an option that separates them by commas."""
    return [value.strip() for value in text.split(",")]


def is_answered(*, quiet: bool) -> bool:
    """Whether there is a user at a terminal who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not quiet


def given(**options: Any) -> dict[str, Any]:
    """The options that the user gave; the called function has defaults for the others."""
    return {name: value for name, value in options.items() if value not in (None, ())}


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def model_name(model: str) -> str:
    """The name of a model in results; of a folder, its last component."""
    if os.path.isdir(model):
        return os.path.basename(os.path.abspath(model))
    return hide_secrets(model)


def _json(data: Mapping[str, Any]) -> str:
    # The only control character that `dumps` does not escape.
    return json.dumps(plain(data), indent=2).replace("\x7f", "\\u007f")


def plain(value: Any) -> Any:
    """Values that JSON can represent; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, PathLike):
        return fspath(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
