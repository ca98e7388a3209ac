"""The group of commands, loaded when they are called, and what their errors become."""

import importlib

import click

from keras_parts import __version__
from keras_parts.errors import ConfigError, IntegrityError, KerasPartsError, ZooError

FAILED, USAGE, SOME_FAILED, ZOO, NOTHING_TO_DO, INTERRUPTED = 1, 2, 3, 4, 5, 130

COMMANDS = {
    "train": "Discover the parts of the objects in images.",
    "evaluate": "Measure a segmenter, or baselines, by the protocols of a data set.",
    "segment": "Segment picture files into parts.",
    "convert": "Make a segmenter of a checkpoint released with the paper.",
    "export": "Write a segmenter for ONNX, LiteRT, OpenVINO or as a SavedModel.",
    "demo": "Serve a page where one drops a photo and sees its parts.",
    "data": "Data sets: what there is, how to get it, and whether it is whole.",
    "zoo": "Trained segmenters: list, download, verify, pack and publish them.",
}
"""Command -> its one line of help. `keras_parts.cli.NAME` holds a click command of that name."""

_EXIT_CODES = {
    IntegrityError: ZOO,
    ZooError: ZOO,
    ConfigError: USAGE,
    KerasPartsError: FAILED,
    OSError: FAILED,
}
"""Error -> exit code, the first that fits. Other errors are mistakes of the program: they keep
their traceback."""


class Commands(click.Group):
    """Imports a command only when it is called: `--help` must not wait for Keras."""

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"keras_parts.cli.{name}"), name)

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl(COMMANDS.items())

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:  # `| head`: click ends quietly
            raise
        except tuple(_EXIT_CODES) as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="keras-parts")
def main():
    """Discover the parts of objects in images, without part labels, and segment them.

    Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 some inputs failed, 4 a model is unknown or its
    files are damaged, 5 nothing to do, 130 interrupted.
    """
