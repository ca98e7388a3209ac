"""Standard streams as a command needs them: open, and never the reason why its work is lost."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

from keras_parts.errors import escape_controls, hide_secrets


@contextlib.contextmanager
def reliable_streams() -> Iterator[None]:
    """Make the standard streams reliable for one command.

    A closed stream leads nowhere. Characters that the terminal's encoding lacks are escaped. What
    cannot be written to stderr (closed pipe, full disk) is dropped; what cannot be written to
    stdout is an error for the caller, but not again when the process ends.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        _open_if_closed(number, name)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    stderr = sys.stderr
    sys.stderr = _Lenient(stderr)
    try:
        yield
    except Exception:
        sys.excepthook = _show_defect
        raise
    finally:
        sys.stderr = stderr
        for stream in (sys.stdout, stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                _lead_nowhere(stream)


class _Lenient:
    """A stream whose errors are ignored; the first one leads it nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            _lead_nowhere(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _lead_nowhere(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _open_if_closed(number: int, name: str) -> None:
    """Open a stream that the parent process has closed.

    The next file to be opened would get its number, and what native code writes to stderr would
    then be written into that file.
    """
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)
    if getattr(sys, name) is None:
        mode = "r" if name == "stdin" else "w"
        setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


def _lead_nowhere(stream: TextIO) -> None:
    """Let a stream write to nowhere, and with it native code that uses its number."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()


def _show_defect(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print a traceback, in which names of files command the terminal as little as elsewhere."""
    text = "".join(traceback.format_exception(kind, error, trace))
    print(escape_controls(hide_secrets(text)), file=sys.stderr, end="")
