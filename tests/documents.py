"""Commands and code in the documents: how they are found, checked and run."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"(?:<!-- (.*?) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document.

    Attributes:
        language: "sh", "python", ...
        text: its lines.
        remark: the comment `<!-- remark -->` in the line before; "not run: REASON" is for blocks
            that cannot run here.
    """

    language: str
    text: str
    remark: str

    @property
    def is_run(self) -> bool:
        return not self.remark.startswith("not run: ")


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [Block(found[2], found[3], found[1] or "") for found in _BLOCK.finditer(text)]


def commands(block: Block) -> list[str]:
    """The `keras-parts` commands of a shell block, each in one line."""
    if block.language != "sh":
        return []
    text = re.sub(r"\\\n\s*", "", block.text)
    lines = [line.partition(" # ")[0].strip() for line in re.split(r"\n|&&", text)]
    lines = [re.sub(r"^(\S*bin/|srun .*?(?=keras-parts))", "", line) for line in lines]
    return [line for line in lines if line.startswith("keras-parts ")]


def parse(command: str) -> click.Context:
    """Parse a command without running it.

    Raises:
        click.UsageError: it has no such command or option, or a value that is none.
    """
    from keras_parts.cli import main

    _, *words = shlex.split(command)
    context = click.Context(main, info_name="keras-parts")
    found = main
    while isinstance(found, click.Group):
        name, found, words = found.resolve_command(context, words)
        if isinstance(found, click.Group):
            context = click.Context(found, info_name=name, parent=context)
    try:
        return found.make_context(name, words, parent=context)
    except click.exceptions.Exit:  # --help and the like print and end
        return context


def run(command: str) -> str:
    """Run a command in this process; returns its standard output."""
    from keras_parts.cli import main

    _, *words = shlex.split(command)
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, f"{command}\n{result.stderr[-3000:]}"
    return result.stdout
