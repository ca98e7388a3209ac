"""keras-parts completion, and the values that a shell can complete."""

import contextlib
import os
import re
from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class

from keras_parts.cli.options import Choice, examples

_SHELLS = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/keras-parts.fish",
}
"""Shell -> the file in which its users put the script."""
_PROGRAM, _VARIABLE = "keras-parts", "_KERAS_PARTS_COMPLETE"  # click's variable for the program

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command(
    epilog=examples(
        "completion bash >> ~/.bashrc",
    )
)
@click.argument("shell", type=Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the script with which a shell completes what you type.

    Values are the names of models, run folders, data sets, recipes, formats and protocols. Add the
    script to the file that the shell reads when it starts.
    """
    from keras_parts.cli.group import main

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(f"# Put this into {_SHELLS[shell]}.")
    click.echo(kind(main, {}, _PROGRAM, _VARIABLE).source())


def completer(names: Callable[[], Iterable[str]], kind: str = "plain") -> Completer:
    """What completes an option.

    Args:
        names: function that returns all values.
        kind: "dir" or "file", if a path is valid as well; the shell completes it.
    """

    def complete(
        context: click.Context, option: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        found = []
        with contextlib.suppress(ImportError):  # of what a smaller installation lacks
            found = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        if found or kind == "plain":
            return found
        return [CompletionItem(incomplete, type=kind)]

    return complete


def typed(value: str) -> CompletionItem:
    """A value as it is typed: bash needs a backslash before spaces, other shells add what they
    need."""
    if os.environ.get(_VARIABLE, "").startswith("bash"):
        value = re.sub(r"([^\w@%+=:,./-])", r"\\\1", value)
    return CompletionItem(value)


def _models() -> list[str]:
    from keras_parts import zoo
    from keras_parts.training.run_folder import RUNS_FOLDER, finished_runs

    runs = [run.path.as_posix() for run in finished_runs(RUNS_FOLDER)]
    return [*runs, *dict.fromkeys(card.name for card in zoo.list())]


def _datasets() -> Iterable[str]:
    from keras_parts.data import DATASETS

    return DATASETS


def _recipes() -> Iterable[str]:
    from keras_parts.training.recipes import RECIPES

    return RECIPES


def _formats() -> Iterable[str]:
    from keras_parts.inference import FORMATS

    return FORMATS


def _protocols() -> Iterable[str]:
    from keras_parts.metrics import PROTOCOLS

    return PROTOCOLS


def _baselines() -> Iterable[str]:
    from keras_parts.metrics import BASELINES

    return BASELINES


def _trackers() -> Iterable[str]:
    from keras_parts.training.tracking import TRACKERS

    return TRACKERS


complete_model = completer(_models, "dir")
complete_dataset = completer(_datasets)
complete_recipe = completer(_recipes, "file")
complete_format = completer(_formats)
complete_protocol = completer(_protocols)
complete_baseline = completer(_baselines)
complete_tracker = completer(_trackers)
