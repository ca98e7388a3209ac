"""A picture on standard input, whose parts go to standard output, and one on the clipboard."""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from keras_parts.addresses import is_address
from keras_parts.cli.options import CommandResult, plain

if TYPE_CHECKING:
    from keras_parts.results import Parts

STANDARD_INPUT, CLIPBOARD = "-", "clipboard:"
"""What may be given instead of the path of an image."""
_SAME = {"overlay": "overlay-png", "labels": "indexed"}
"""Formats of a picture by the names of those of folders."""
_FORMATS = ("overlay", "cutout", "labels", "json", "overlay-plain", "overlay-webp", "soft")
_OPTIONS = {
    *("paths", "model", "of", "formats", "batch_size", "precision", "flip", "looks", "tile"),
    *("max_pixels", "runtime", "backend", "device", "seed", "as_json", "quiet", "verbose"),
}
"""Options that a picture on standard input has."""


def check_pipe(context: click.Context) -> str:
    """Check the options of a command whose image is on standard input.

    Returns:
        The format.

    Raises:
        click.UsageError: an option is for files only; there are several formats, or an unknown
            one; or the result would be printed on a terminal.
    """
    given, formats = context.params, context.params["formats"]
    if len(given["paths"]) > 1:
        raise click.UsageError("a picture on standard input is segmented alone: give only -")
    source = context.get_parameter_source
    for option in context.command.params:
        assert option.name is not None
        if source(option.name) == ParameterSource.COMMANDLINE and option.name not in _OPTIONS:
            raise click.UsageError(
                f"{option.opts[0]} is for files, but - is a picture, whose parts go to standard "
                "output"
            )
    if len(formats) > 1:
        raise click.UsageError(
            f"--format {' --format '.join(formats)}: only one goes to standard output"
        )
    chosen = formats[0] if formats else "json" if given["as_json"] else "overlay"
    if chosen not in (*_FORMATS, *_SAME.values()):
        raise click.UsageError(
            f"--format {chosen}: that of a picture on standard input is one of "
            f"{', '.join(_FORMATS)}"
        )
    if given["as_json"] and chosen != "json":
        raise click.UsageError(f"--json and --format {chosen} contradict each other")
    if chosen != "json" and os.isatty(1):
        raise click.UsageError("the picture would go to the terminal: add > parts.png")
    return chosen


def piped_result(parts: "Parts", name: str) -> CommandResult:
    """The parts of a picture in a format that `check_pipe` returns, for standard output."""
    found = parts.to_dict()
    if name == "json":
        content = (json.dumps(plain(found), indent=2) + "\n").encode()
    else:
        content = _encoded(parts, name)
    return CommandResult(found, "", content=content)


def _encoded(parts: "Parts", name: str) -> bytes:
    from keras_parts.inference.writers import create_writers
    from keras_parts.inference.writers.base import PerImageWriter
    from keras_parts.results.cutouts import object_cutout
    from keras_parts.results.pictures import picture_bytes

    if name == "cutout":
        assert parts.image is not None
        return picture_bytes(object_cutout(parts, parts.image), ".png")
    (writer,) = create_writers([_SAME.get(name, name)])
    assert isinstance(writer, PerImageWriter)
    return writer.content(parts)


def from_clipboard(paths: Sequence[str], output: str) -> Sequence[str]:
    """The paths; the clipboard is saved, and replaced by the path of its file.

    Its picture is written to the output folder. Of files that were copied, their paths are taken.

    Raises:
        click.UsageError: there are other paths too, or the output is at an address.
        DataError: there is no picture on the clipboard.
        ConfigError: this system needs another program to read it.
    """
    if not is_clipboard(paths):
        return paths
    from keras_parts.images.clipboard import read_clipboard
    from keras_parts.results import save_picture

    if len(paths) > 1 or is_address(output):
        problem = "--output is at an address" if len(paths) == 1 else "give only this one"
        raise click.UsageError(f"{CLIPBOARD} is written to the output folder: {problem}")
    found = read_clipboard()
    if isinstance(found, list):
        return found
    path = os.path.join(output, "clipboard.png")
    os.makedirs(output, exist_ok=True)
    save_picture(found, path)
    return [path]


def is_clipboard(paths: Sequence[str]) -> bool:
    """Whether the clipboard is among the paths, and not a file of its name."""
    return CLIPBOARD in paths and not os.path.lexists(CLIPBOARD)
