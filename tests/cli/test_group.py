"""What all commands share: fast help, exit codes, results."""

import json
import logging
import math
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from keras_parts import __version__
from keras_parts.cli import group, main
from keras_parts.cli.messages import as_options
from keras_parts.cli.options import CommandResult, given, output_options, plain
from keras_parts.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    KerasPartsError,
    UnknownModelError,
)
from tests.documents import parse


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, "--help"] for name in group.COMMANDS)]
)
def test_help_imports_nothing_heavy(arguments, python):
    heavy = ("keras", "numpy", "PIL", "tensorflow", "jax", "torch", "sklearn", "h5py", "matplotlib")
    process = python(
        "import sys\n"
        "from keras_parts.cli import main\n"
        f"try: main({arguments!r})\n"
        f"finally: print('HEAVY', [name for name in {heavy!r} if name in sys.modules])"
    )
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert stdout.splitlines()[-1] == "HEAVY []"


def test_zoo_list_imports_no_keras(python):
    process = python(
        "import sys\n"
        "from keras_parts.cli import main\n"
        "try: main(['zoo', 'list', '--json'])\n"
        "finally: print('KERAS', 'keras' in sys.modules, file=sys.stderr)"
    )
    stdout, stderr = process.communicate()
    assert process.returncode == 0
    assert stderr.strip() == "KERAS False"
    json.loads(stdout)


def test_version_and_help():
    assert CliRunner().invoke(main, ["--version"]).output == f"keras-parts, version {__version__}\n"
    output = CliRunner().invoke(main, ["--help"]).output
    for name, line in group.COMMANDS.items():
        assert f"{name} " in output and line in output


@pytest.mark.parametrize("name", group.COMMANDS)
def test_help_of_every_command_starts_with_its_line_in_the_list(name):
    command = main.get_command(None, name)
    assert command.name == name
    assert command.help.startswith(group.COMMANDS[name])


def commands(command=main, path=()):
    """(words, command) of all commands."""
    yield path, command
    for name in command.list_commands(None) if isinstance(command, click.Group) else ():
        yield from commands(command.get_command(None, name), (*path, name))


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_the_help_of_every_command_has_examples_that_parse(path):
    (command,) = (each for name, each in commands() if name == path)
    lines = [line.strip() for line in command.epilog.splitlines()[2:]]
    assert lines and "Examples:" in command.epilog
    for line in lines:
        parse(line.partition(" >")[0])
        assert line.startswith(" ".join(("keras-parts", *path)))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["segmnet"], "no command 'segmnet'; did you mean 'segment'?"),
        (["data", "lst"], "did you mean 'list'?"),
        (["zoo", "x"], "there are card, download"),
        (["train", "--dataset", "tyo"], "did you mean 'toy'?"),
        (["train", "--dataset", "toy", "--recipe", "papre"], "did you mean 'paper'?"),
        (["train", "--dataset", "toy", "--set", "num_part=4"], "did you mean 'num_parts'?"),
    ],
)
def test_the_most_similar_name_is_suggested(arguments, hint):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and hint in result.stderr


@pytest.fixture
def command(monkeypatch):
    """Run a function as `keras-parts work`."""

    def run(function, *arguments):
        work = click.command("work")(output_options(function))
        monkeypatch.setitem(group.COMMANDS, "work", "Work.")
        monkeypatch.setattr(group.Commands, "get_command", lambda *_: work)
        return CliRunner().invoke(main, ["work", *arguments])

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KerasPartsError("broken"), 1),
        (DataError("broken"), 1),
        (OSError("broken"), 1),
        (ConfigError("broken"), 2),
        (click.UsageError("broken"), 2),
        (IntegrityError("broken"), 4),
        (UnknownModelError("broken"), 4),
        (KeyboardInterrupt(), 130),
    ],
    ids=repr,
)
def test_errors_become_a_message_and_an_exit_code(command, error, code):
    def work(quiet):
        raise error

    result = command(work)
    assert result.exit_code == code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert ("Interrupted." if code == 130 else "broken") in result.stderr


def test_unfinished_files_have_their_final_name_in_messages(command):
    def work(quiet):
        raise PermissionError(13, "Permission denied", "out/.0123456789ab.a.txt")

    assert "Error: out/a.txt: Permission denied\n" in command(work).stderr


def test_full_memory_is_no_defect_of_the_program(command):
    def work(quiet):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    result = command(work)
    assert result.exit_code == 1 and "memory is full: try a smaller --batch-size" in result.stderr


def test_defects_of_the_program_keep_their_traceback(command):
    def work(quiet):
        raise ZeroDivisionError

    assert isinstance(command(work).exception, ZeroDivisionError)


def test_unknown_commands_and_options_are_usage_errors():
    assert CliRunner().invoke(main, ["sgement"]).exit_code == 2
    assert CliRunner().invoke(main, ["segment", "--nonsense"]).exit_code == 2


def test_only_the_result_goes_to_stdout(command):
    def work(quiet):
        print("a library's chatter")
        return CommandResult({"value": np.float32(0.5), "missing": math.nan}, "as text", code=3)

    result = command(work, "--json")
    assert json.loads(result.stdout) == {"value": 0.5, "missing": None}
    assert "chatter" in result.stderr
    assert result.exit_code == 3
    result = command(work)
    assert result.stdout == "as text\n"
    assert result.exit_code == 3


def test_warnings_of_the_library_go_to_stderr_unless_quiet(command):
    def work(quiet):
        logging.getLogger("keras_parts.zoo").warning("look at this")
        logging.getLogger("keras_parts.zoo").info("a detail")
        logging.getLogger("keras_parts.zoo").error("broken")
        return CommandResult({}, "done")

    before = logging.getLogger("keras_parts").handlers[:]
    result = command(work)
    assert result.stdout == "done\n"
    assert result.stderr.splitlines() == ["look at this", "broken"]
    assert command(work, "--quiet").stderr.splitlines() == ["broken"]
    shown = command(work, "-v").stderr.splitlines()
    assert shown == ["look at this", "a detail", "broken"]
    assert "contradict each other" in command(work, "-v", "-q").stderr
    assert logging.getLogger("keras_parts").handlers == before
    assert logging.getLogger("keras_parts").propagate


def test_plain_values():
    value = {1: (np.arange(2), np.float64("inf")), "path": Path("a/b")}
    assert plain(value) == {"1": [[0, 1], None], "path": str(Path("a/b"))}


def test_given_keeps_only_what_was_given():
    assert given(a=None, b=(), c=0, d=False, e="", f=("x",)) == {
        "c": 0,
        "d": False,
        "e": "",
        "f": ("x",),
    }


def test_interrupt_of_a_process_exits_130(python):
    process = python(
        "import os, signal\n"
        "import keras_parts.cli.options\n"
        "from keras_parts.cli import group, main\n"
        "import keras_parts.zoo as zoo\n"
        "zoo.list = lambda **options: os.kill(os.getpid(), signal.SIGINT)\n"
        "main(['zoo', 'list'])"
    )
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr.strip().endswith("Interrupted.")


def test_module_runs_as_the_script_does(python):
    process = python("import runpy; runpy.run_module('keras_parts.cli', run_name='__main__')")
    stdout, stderr = process.communicate()
    assert process.returncode == 2  # no command
    assert (stdout + stderr).startswith("Usage: keras-parts ")


def test_messages_command_no_terminal_and_tell_no_password(monkeypatch):
    def fail(*arguments):
        raise DataError("https://me:secret@host/a\x1b[2J\u202e.jpg: damaged")

    monkeypatch.setattr(group.Commands, "get_command", fail)
    result = CliRunner().invoke(main, ["zoo"])
    assert result.exit_code == 1
    assert result.output == "Error: https://***@host/a\\x1b[2J\\u202e.jpg: damaged\n"


@pytest.mark.parametrize(
    ("arguments", "similar"),
    [
        (["segment", "x", "--of", "brids"], "birds"),
        (["export", "--model", "toy", "--format", "onxn"], "onnx"),
        (["cache", "clear", "feature"], "features"),
        (["train", "x", "--precision", "flot32"], "float32"),
    ],
)
def test_the_most_similar_value_of_an_option_is_suggested(arguments, similar):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and f"did you mean '{similar}'?" in result.stderr


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("leave them out with skip_bad (--skip-bad)", "leave them out with --skip-bad"),
        ("by missing_masks=discover (--data-option)", "by --data-option missing_masks=discover"),
        ("pass trust=True (--trust) to", "pass --trust to"),
        ("name it by init_from (--init-from MODEL) or", "name it by --init-from MODEL or"),
        ("start it again (--overwrite)", "start it again (--overwrite)"),
    ],
)
def test_messages_name_options_and_no_arguments_of_python(message, shown):
    assert as_options(message) == shown
