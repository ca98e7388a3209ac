"""The command line, `keras-parts`: one file for each command, which parses its options, calls the
library and prints the result."""

from keras_parts.cli.group import main

__all__ = ["main"]
