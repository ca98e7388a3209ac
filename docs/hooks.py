"""Pages that are made while the site is built: API reference, command line, root documents.

MkDocs calls the functions `on_...`; `mkdocs.yml` names this file.
"""

import ast
import importlib
import re
import shutil
import sys
import textwrap
from pathlib import Path

import click
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "build" / "site-source" / "keras_parts"
REPOSITORY = "https://github.com/keras-parts/keras-parts/blob/main/"
OUTSIDE = {"zoo": ROOT / "zoo"}
"""Rooms whose folder does not lie in `keras_parts/`."""
ROOMS = (
    "ops", "images", "results", "backbones", "models", "discovery", "data", "metrics",
    "inference", "training", "exports", "zoo",
)  # fmt: skip
MODULES = ("objectives", "errors", "environment", "settings")
ALIASES = {"objectives": "keras_parts.discovery.objectives"}
"""Module with a short public name -> where its functions are defined."""
ROOT_DOCUMENTS = {
    "CONTRIBUTING.md": "contributing.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "RELEASING.md": "releasing.md",
    "examples/README.md": "examples.md",
}
"""Document in the repository -> its page."""
GUIDE = [
    ROOT / "examples" / f"{name}.py"
    for name in (
        "load_and_predict", "train_on_tf_data", "own_loss", "own_teacher", "own_backbone",
        "fine_tune_with_labels", "features", "several_devices", "save_and_export",
    )
]  # fmt: skip
"""The examples that are pages of the guide in Python."""


def on_startup(command, dirty):
    """Copy the package to where mkdocstrings reads it, `zoo` and `cli` inside it as installed."""
    shutil.rmtree(SOURCE.parent, ignore_errors=True)
    only_code = shutil.ignore_patterns("__pycache__", "weights", "entries")
    shutil.copytree(ROOT / "keras_parts", SOURCE, ignore=only_code)
    for name in ("zoo", "cli"):
        shutil.copytree(ROOT / name, SOURCE / name, ignore=only_code)
    for path in SOURCE.rglob("*.py"):
        # mkdocstrings reads code with `>>>` in sections of this name only.
        text = re.sub("^( +)Example:$", r"\1Examples:", path.read_text("utf-8"), flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")


def on_files(files, config):
    """Add the pages that are made."""
    pages = {page: root_document(path) for path, page in ROOT_DOCUMENTS.items()}
    pages |= {f"guide/{path.stem}.md": guide_page(path) for path in GUIDE}
    pages |= {f"reference/{room}.md": room_page(room) for room in ROOMS}
    pages |= {f"reference/{name}.md": module_page(name) for name in MODULES}
    pages["reference/keras_parts.md"] = package_page()
    pages["reference/index.md"] = index_page()
    pages["reference/command_line.md"] = command_line_page()
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def guide_page(path):
    """The page of an example in the percent format: its cells of text, and those of code."""
    sections = []
    for cell in re.split("^# %%", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if "[markdown]" in kind:
            sections.append(re.sub("^# ?", "", body, flags=re.MULTILINE))
        else:
            sections.append(f"```python\n{body.strip()}\n```\n")
    link = f"The whole program: [examples/{path.name}]({REPOSITORY}examples/{path.name})\n"
    return "\n".join([*sections, link])


def root_document(path):
    """A document of the repository, with links that work on the site."""
    folder = (ROOT / path).parent
    text = (ROOT / path).read_text(encoding="utf-8")

    def link(match):
        target, _, anchor = match[1].partition("#")
        if "://" in target or not target:
            return match[0]
        inside = (folder / target).resolve().relative_to(ROOT).as_posix()
        if inside in ROOT_DOCUMENTS:
            page = ROOT_DOCUMENTS[inside]
        elif inside.startswith("docs/"):
            page = inside.removeprefix("docs/")
        else:
            page = REPOSITORY + inside
        return f"]({page}{'#' * bool(anchor)}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", link, text)


def public_names(stub, package):
    """(name, dotted path) of the classes, functions and values that a stub file names."""
    found = {}
    for statement in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            for alias in statement.names:
                found[alias.name] = f"{package}.{statement.module}.{alias.name}"
    return sorted(found.items(), key=lambda item: item[0].lower())


def room_page(room):
    """The page of a package: its docstring and all of its public names."""
    folder = OUTSIDE.get(room, ROOT / "keras_parts" / room)
    stub = folder / "__init__.pyi"
    names = (
        public_names(stub, f"keras_parts.{room}")
        if stub.is_file()
        else exported_names(room, folder)
    )
    entries = [f"::: {path}\n" for _, path in names]
    return "\n".join([f"# keras_parts.{room}\n", docstring(folder / "__init__.py"), *entries])


def exported_names(room, folder):
    """Public classes and functions of the modules of a package that has no stub file."""
    found = []
    for module in sorted(folder.glob("[!_]*.py")):
        for statement in ast.parse(module.read_text(encoding="utf-8")).body:
            kinds = (ast.FunctionDef, ast.ClassDef)
            if isinstance(statement, kinds) and not statement.name.startswith("_"):
                path = f"keras_parts.{room}.{module.stem}.{statement.name}"
                found.append((statement.name, path))
    return sorted(found, key=lambda item: item[0].lower())


def module_page(name):
    """The page of a module, with all that it defines."""
    if name in ALIASES:
        source = ALIASES[name]
        path = ROOT.joinpath(*source.split(".")).with_suffix(".py")
        entries = [f"::: {source}.{public}\n" for public in exports(path)]
        return "\n".join([f"# keras_parts.{name}\n", docstring(path), *entries])
    options = "    options:\n      heading_level: 1\n      show_root_full_path: true\n"
    return f"::: keras_parts.{name}\n{options}"


def exports(path):
    """The names in `__all__` of a module."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return sorted(ast.literal_eval(statement.value))
    raise ValueError(f"{path} has no __all__")


def package_page():
    """The page of `keras_parts` itself: the classes that stand there."""
    folder = ROOT / "keras_parts"
    names = public_names(folder / "__init__.pyi", "keras_parts")
    lines = [f"- `{name}`: [`{path}`][{path}]" for name, path in names]
    return "\n".join(["# keras_parts\n", docstring(folder / "__init__.py"), *lines])


def index_page():
    """All packages, with the first line of their docstrings."""
    rows = []
    for room in ROOMS:
        folder = OUTSIDE.get(room, ROOT / "keras_parts" / room)
        rows.append((room, docstring(folder / "__init__.py").partition("\n")[0]))
    for name in MODULES:
        rows.append((name, docstring(ROOT / "keras_parts" / f"{name}.py").partition("\n")[0]))
    lines = [f"- [`keras_parts.{name}`]({name}.md): {about}" for name, about in rows]
    intro = (
        "# Reference\n\nMade from the docstrings. What stands on these pages is public: see "
        "[versions](../versions.md). Commands and their options are on a "
        "[page of their own](command_line.md).\n"
    )
    return "\n".join([intro, *lines])


def command_line_page():
    """The help of every command, as `--help` prints it."""
    sys.path.insert(0, str(ROOT))
    cli = importlib.import_module("keras_parts.cli")
    sections = []
    for path, text in help_texts(cli.main, "keras-parts"):
        level = "##" if path.count(" ") < 2 else "###"
        sections.append(f"{level} {path}\n\n```text\n{text}\n```\n")
    return "\n".join(["# Command line\n", *sections])


def help_texts(command, path, parent=None):
    """(path, help) of a command and of those below it."""
    settings = {"terminal_width": 96, **command.context_settings}
    with click.Context(command, info_name=path.split()[-1], parent=parent, **settings) as context:
        yield path, command.get_help(context)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                yield from help_texts(inner, f"{path} {name}", context)


def docstring(path):
    """The docstring of a module, without reading it as code."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return textwrap.dedent(text) + "\n"
