"""Messages of the library on stderr: the logger `keras_parts`, set up for one command."""

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click

import keras_parts
from keras_parts.errors import escape_controls, hide_secrets

_logger = logging.getLogger("keras_parts")


class _Handler(logging.Handler):
    """Writes to stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        write_message(self.format(record))


_ARGUMENT = re.compile(r"\b([a-z]+(?:_[a-z]+)+|[a-z_]+=\w+) \((--[a-z-]+)( [A-Z]+)?\)")
"""An argument of Python, and the option for it."""


def as_options(text: str) -> str:
    """A message of the library, with options alone where it names arguments of Python too.

    Example:
        >>> from keras_parts.cli.messages import as_options
        >>> as_options("leave them out with skip_bad (--skip-bad)")
        'leave them out with --skip-bad'
        >>> as_options("are found by missing_masks=discover (--data-option)")
        'are found by --data-option missing_masks=discover'
    """

    def option(found: re.Match[str]) -> str:
        argument, name, value = found.groups()
        return f"{name} {argument}" if name == "--data-option" else f"{name}{value or ''}"

    return _ARGUMENT.sub(option, text)


def write_message(text: str) -> None:
    """Write a line to stderr, above a progress bar if there is one.

    Names of files, data sets and models are in it: nothing in them commands the terminal.
    """
    text = escape_controls(hide_secrets(as_options(text)))
    if "tqdm" not in sys.modules:
        click.echo(text, err=True)
        return
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


@contextlib.contextmanager
def library_messages() -> Iterator[None]:
    """Write warnings and errors of the library to stderr during the block."""
    handler, level, propagate = _Handler(), _logger.level, _logger.propagate
    _logger.addHandler(handler)
    _logger.setLevel(logging.WARNING)
    # TensorFlow adds a handler to the root logger, which would write each message again.
    _logger.propagate = False
    try:
        with _own_warnings():
            yield
    finally:
        _logger.removeHandler(handler)
        _logger.setLevel(level)
        _logger.propagate = propagate


@contextlib.contextmanager
def _own_warnings() -> Iterator[None]:
    """Show the warnings of the package by their text, without the line of code that warns."""
    folders = tuple(str(Path(file).resolve().parent) for file in (keras_parts.__file__, __file__))

    def show(message, category, filename, *arguments, **options):
        if issubclass(category, UserWarning) and filename.startswith(folders):
            write_message(str(message))
        else:
            default(message, category, filename, *arguments, **options)

    with warnings.catch_warnings():
        default, warnings.showwarning = warnings.showwarning, show
        yield


def show_messages(level: int) -> None:
    """Show messages of the library from a level on, until the block of `library_messages` ends."""
    _logger.setLevel(level)
