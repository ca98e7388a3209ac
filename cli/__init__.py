"""The command line, `keras-parts`: one file a command, thin: parse, call the library, print."""

from keras_parts.cli.group import main

__all__ = ["main"]
