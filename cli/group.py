"""The group of all commands: it imports a command when it is called, and turns errors into exit
codes."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import click

from keras_parts import __version__
from keras_parts.cli.messages import library_messages, write_message
from keras_parts.cli.options import examples
from keras_parts.cli.streams import reliable_streams
from keras_parts.errors import (
    ConfigError,
    IntegrityError,
    KerasPartsError,
    ZooError,
    escape_controls,
    hide_secrets,
    is_out_of_memory,
    suggestion,
)
from keras_parts.files import describe_os_error

FAILED, USAGE, SOME_FAILED, ZOO, NOTHING_TO_DO, INTERRUPTED = 1, 2, 3, 4, 5, 130
"""Exit codes."""

COMMANDS = {
    "train": "Discover the parts of the objects in images.",
    "parts": "Help to choose the number of parts.",
    "evaluate": "Measure a segmenter, or baselines, by the protocols of a data set.",
    "segment": "Segment image files and videos into parts.",
    "search": "Find the parts that look most like those of a picture.",
    "name": "Name the parts of a model, and join parts.",
    "convert": "Convert a checkpoint released with the paper to a segmenter.",
    "export": "Export a segmenter to ONNX, LiteRT, OpenVINO or a SavedModel.",
    "demo": "Serve a page that shows the parts of a photo dropped on it.",
    "recipe": "List the recipes, and show one as a file to change.",
    "data": "List, prepare, check and show data sets; make masks.",
    "zoo": "Trained segmenters: list, download, verify, pack and publish them.",
    "cache": "List or clear what is kept between runs.",
    "doctor": "Show versions, devices, folders, extras, and what is wrong.",
    "completion": "Print the script with which a shell completes what you type.",
}
"""Command -> its line of help. The module `keras_parts.cli.NAME` has a click command NAME."""

_EXIT_CODES: dict[type[Exception], int] = {
    IntegrityError: ZOO,
    ZooError: ZOO,
    ConfigError: USAGE,
    KerasPartsError: FAILED,
    OSError: FAILED,
}
"""Class of an error -> exit code; the first class that matches counts. Other errors are defects of
the program and keep their traceback."""


class Group(click.Group):
    """Commands, of which the most similar one is suggested for one that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            names = self.list_commands(ctx)
            ctx.fail(
                f"there is no command {name!r}"
                f"{suggestion(name, names) or '; there are ' + ', '.join(names)}"
            )
        return super().resolve_command(ctx, args)


class Commands(Group):
    """Imports a command only when it is called, so that `--help` does not import Keras."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"keras_parts.cli.{cmd_name}"), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **options: Any) -> Any:
        with reliable_streams():
            return super().main(*args, **options)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _usage_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with library_messages(), _usage_errors():
                return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):  # the second at a question
            write_message("Interrupted.")
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:  # `| head`: click exits without a message
            raise
        except tuple(_EXIT_CODES) as error:
            text = describe_os_error(error) if isinstance(error, OSError) else str(error)
            write_message(f"Error: {text}")
            ctx.exit(next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            text = "Error: the memory is full: try a smaller --batch-size, or --device cpu"
            write_message(text)
            ctx.exit(FAILED)


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    """Escape what the user typed in messages about wrong usage, and hide passwords in it."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = escape_controls(hide_secrets(error.message))
        raise


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("segment photos/", "train --dataset toy", "segment photos/ --model runs/toy"),
)
@click.version_option(__version__, prog_name="keras-parts")
def main() -> None:
    """Discover the parts of objects in images, without part labels, and segment them.

    Exit codes: 0 success, 1 failed, 2 wrong usage, 3 some inputs failed, 4 a model is unknown or
    its files are damaged, 5 nothing to do, 130 interrupted.
    """
