"""keras-parts name"""

import contextlib
import os
import webbrowser
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from keras_parts.cli.choosing import newest_run, say_loading
from keras_parts.cli.completion import complete_model, typed
from keras_parts.cli.messages import write_message
from keras_parts.cli.options import (
    CommandResult,
    examples,
    is_answered,
    listed,
    output_options,
    trust_option,
)
from keras_parts.cli.runtime import has_backend, how_to_install, import_keras, select_backend

if TYPE_CHECKING:
    from keras_parts.models.part_names import Groups


def _complete_part(
    context: click.Context, option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The parts of the model that are not named yet, each after those that are."""
    from keras_parts.errors import KerasPartsError

    named, comma, last = incomplete.rpartition(",")
    with contextlib.suppress(KerasPartsError, OSError):
        # `args` has it where the option before has no value yet.
        model = context.params.get("model") or next(iter(context.args), None) or newest_run()
        names = _parts(model)[0] if model else ()
        others = [each for each in names if each.startswith(last) and each not in listed(named)]
        return [typed(f"{named}{comma}{each}") for each in others]
    return []


@click.command(
    epilog=examples(
        "name runs/mine",
        "name runs/mine --names head,wing,tail,leg",
        "name runs/mine --join 2,5 --join head,throat",
        "name cub --names wing,leg,throat,face --output runs/birds",
    )
)
@click.argument("model", required=False, shell_complete=complete_model)
@click.option("--names", metavar="A,B,...", help="Names, one for each part (after joining).")
@click.option(
    "--join",
    "groups",
    multiple=True,
    metavar="I,J,...",
    shell_complete=_complete_part,
    help="Parts to join into one, by number or name; repeatable.",
)
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    help="New folder for the model [default: MODEL itself for names, MODEL-joined for joined "
    "parts; of a model of the zoo runs/NAME-named or -joined].",
)
@trust_option
@output_options
def name(
    model: str | None,
    names: str | None,
    groups: Sequence[str],
    output: str | None,
    trust: bool,
    quiet: bool,
) -> CommandResult:
    """Name the parts of a model, and join parts.

    MODEL is a run folder, the folder of a segmenter, a name of `zoo list`, or an address; without
    it, the newest finished run below runs/. Names are stored with the model, and every command uses
    them. The probability of a joined part is the sum of the others'; the result is a new model, for
    every command too.

    Without options, the page of the run shows pictures of each part, a field for its name, and the
    command that stores the names; parts with the same name are joined. On a terminal the page is
    opened, and you are asked for the names.
    """
    model = model or _newest(quiet)
    joined = [listed(group) for group in groups]
    if names is None and not joined:
        if output is not None:
            raise click.UsageError(f"--output {output} needs --names or --join")
        return _look(model, trust, quiet)
    chosen = listed(names) if names is not None else None
    return _store(model, chosen, joined, output, trust, quiet)


def _newest(quiet: bool) -> str:
    run = newest_run()
    if run is None:
        raise click.UsageError("there is no finished run below runs/: give MODEL")
    if not quiet:
        write_message(f"Model: {run} (the newest finished run here).")
    return run


def _store(
    model: str,
    names: Sequence[str] | None,
    joined: Sequence[Sequence[str]],
    output: str | None,
    trust: bool,
    quiet: bool,
) -> CommandResult:
    from keras_parts import zoo
    from keras_parts.results.page import PAGE_FILE
    from keras_parts.zoo.naming import run_of

    run = run_of(model, trust=trust)
    if joined and run and run.page_file.is_file():  # its pictures are segmented again
        select_backend()
        say_loading(model, quiet=quiet)
        import_keras()
    folder = zoo.name_parts(model, names, join_groups=joined, output=output, trust=trust)
    # With the working folder before it, it is no name of the zoo.
    names, outputs = _parts(os.path.join(os.curdir, folder))
    page = folder / PAGE_FILE
    content = {
        "model": model,
        "output": str(folder),
        "names": names,
        "joined": outputs,
        "page": str(page) if page.is_file() else None,
    }
    lines = [f"Stored in {content['output']}, with these parts:", *_listed(names)]
    if joined or output or content["output"] != os.path.normpath(model):
        results = f"{folder.name}-parts/"
        lines.append(
            f"To segment with it: keras-parts segment photos/ --model {folder} --output {results}"
        )
        if not has_backend():
            lines.append(f"This needs Keras with a backend; {how_to_install()}")
    else:
        lines.append(
            "Results that `segment` wrote before have the old names: `segment --overwrite` writes "
            "them again."
        )
    return CommandResult(content, "\n".join(lines))


def _parts(model: str, trust: bool = False) -> tuple[tuple[str, ...], "Groups"]:
    """The names of a model's parts, and the outputs of its head that are joined."""
    from keras_parts import zoo
    from keras_parts.models.part_names import parts_of
    from keras_parts.models.saved_config import read_saved_config
    from keras_parts.results.parts import numbered_names

    folder = zoo.path(model, trust=trust)
    num_parts, names, joined = parts_of(read_saved_config(folder), folder)
    return names or numbered_names(num_parts), joined


def _listed(names: Sequence[str]) -> list[str]:
    return [f"  {part:>2}  {each}" for part, each in enumerate(names, 1)]


def _look(model: str, trust: bool, quiet: bool) -> CommandResult:
    """Show the parts and the page; on a terminal, ask for the names."""
    from keras_parts.results.page import read_page, rename_page
    from keras_parts.zoo.naming import run_of

    run, (names, outputs) = run_of(model, trust=trust), _parts(model, trust)
    content = {"model": model, "output": model, "names": names, "joined": outputs, "page": None}
    page = read_page(run.path) if run else None
    if run is None or page is None:
        where = (
            f"{model} has no page of pictures: `keras-parts segment photos/ --model {model}` makes "
            "one, with fields for the names."
        )
    else:
        if page.get("model") != model:  # a page of an earlier version, or the run was moved
            rename_page(run.path, names, model=model)
        content["page"] = str(run.page_file)
        where = f"Pictures of the parts, and fields for their names: {content['page']}"
    if not is_answered(quiet=quiet):
        give = f"keras-parts name {model} --names A,B,..."
        lines = [*_listed(names), where, f"To name the parts: {give}"]
        return CommandResult(content, "\n".join(lines))
    from keras_parts.environment import has_display

    write_message(where)
    if run and page and has_display():
        webbrowser.open(run.page_file.absolute().as_uri())
    chosen = _ask(names, page)
    if chosen == list(names):
        return CommandResult(content, "The names stay as they are.")
    return _store(model, chosen, [], None, trust, quiet)


def _ask(names: Sequence[str], page: dict[str, Any] | None) -> list[str]:
    """The names that the user types, part after part."""
    from keras_parts.environment import no_colour
    from keras_parts.errors import ConfigError
    from keras_parts.models.part_names import check_part_names
    from keras_parts.results.palette import part_palette

    write_message("Type a name for each part, or press Enter to keep it; Ctrl-C keeps all.")
    chosen: list[str] = []

    def check(text: str) -> str:
        try:
            return check_part_names([*chosen, text], 1 + len(chosen))[-1]
        except ConfigError as error:
            raise click.BadParameter(str(error)) from None

    for part, (old, colour) in enumerate(
        zip(names, part_palette(len(names)).tolist(), strict=True), 1
    ):
        swatch = "" if no_colour() else click.style("  ", bg=tuple(colour)) + " "
        text = f"{swatch}part {part}{_found(page, part)}"
        chosen.append(click.prompt(text, default=old, value_proc=check, err=True))
    return chosen


def _found(page: dict[str, Any] | None, part: int) -> str:
    """How often the page shows a part."""
    if page is None:
        return ""
    shares = [picture[-1][str(part)] for picture in page["pictures"] if str(part) in picture[-1]]
    if not shares:
        return ", in no picture"
    mean = sum(shares) / len(shares)
    return f", in {len(shares)} of {len(page['pictures'])} pictures, {mean:.0f} % of the object"
