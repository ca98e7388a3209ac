"""Standard streams that are closed, full or broken."""

import os
import sys

import pytest

from keras_parts.cli import streams


def test_a_closed_stream_is_opened(monkeypatch):
    number = os.dup(0)
    os.close(number)
    monkeypatch.setattr(sys, "stdin", None)
    streams._open_if_closed(number, "stdin")
    assert os.fstat(number) and sys.stdin.read() == ""
    sys.stdin.close()
    os.close(number)


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_streams_that_are_none(monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    with streams.reliable_streams():
        print("text", file=sys.stderr)
        print("text")
        assert getattr(sys, name) is not None
    getattr(sys, name).close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has this device")
def test_errors_of_stderr_are_ignored_and_end_with_the_first(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        with streams.reliable_streams():
            print("text", file=sys.stderr, flush=True)
            os.write(sys.stderr.fileno(), b"of native code")
        assert sys.stderr is full
        full.flush()


def test_tracebacks_do_not_command_the_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(ZeroDivisionError) as caught, streams.reliable_streams():
        raise ZeroDivisionError("\x1b[2J https://me:hunter2@host")
    sys.excepthook(caught.type, caught.value, caught.tb)
    shown = capsys.readouterr().err
    assert "\\x1b[2J https://***@host" in shown and "Traceback" in shown
