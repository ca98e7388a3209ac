"""Examples in docstrings run; public names have one and are typed.

Examples are found without an import, and run with an empty namespace: as a reader would type them.
"""

import ast
import doctest
import importlib
import inspect
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"keras_parts": ROOT / "keras_parts", "keras_parts.zoo": ROOT / "zoo"}
FOLDERS |= {"keras_parts.cli": ROOT / "cli"}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules():
    """(dotted name, path) of each file of the package."""
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


def examples():
    """Each docstring that has an example, as a doctest named by its module and definition."""
    parser = doctest.DocTestParser()

    def visit(node, name, path):
        text = ast.get_docstring(node, clean=True)
        if text and ">>>" in text:
            line = node.body[0].lineno - 1
            yield parser.get_doctest(text, {"__name__": "__main__"}, name, str(path), line)
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                yield from visit(child, f"{name}.{child.name}", path)

    for name, path in modules():
        yield from visit(ast.parse(path.read_text(encoding="utf-8")), name, path)


def public_names():
    """(name of the package, name) of all that the stubs `__init__.pyi` list."""
    for package, folder in FOLDERS.items():
        for stub in sorted(folder.rglob("__init__.pyi")):
            within = ".".join([package, *stub.relative_to(folder).parts[:-1]])
            for node in ast.parse(stub.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ImportFrom):
                    yield from ((within, alias.asname or alias.name) for alias in node.names)


def definition(package, name):
    """The public class or function; None for a module or a constant."""
    found = getattr(importlib.import_module(package), name)
    return found if inspect.isclass(found) or inspect.isfunction(found) else None


PUBLIC = [pytest.param(*names, id=".".join(names)) for names in public_names()]


@pytest.mark.slow
@pytest.mark.parametrize("example", list(examples()), ids=lambda example: example.name)
def test_example_runs(example, tmp_path, monkeypatch, eager, request):
    monkeypatch.chdir(tmp_path)
    if "discover_masks" in example.name:
        request.getfixturevalue("few_steps")
    failures = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    runner.run(example, out=failures.append)
    assert not failures, "".join(failures)


@pytest.mark.parametrize("package, name", PUBLIC)
def test_public_name_has_an_example(package, name):
    found = definition(package, name)
    if found is not None:
        assert ">>>" in (found.__doc__ or "")


def functions(found):
    """The functions whose signature a user sees: of a class, those that the package defines."""
    if found is None:
        return []
    if inspect.isfunction(found):
        return [found]
    methods = [inspect.unwrap(method) for _, method in inspect.getmembers(found)]
    return [
        method
        for method in methods
        if inspect.isfunction(method)
        and method.__module__.startswith("keras_parts")
        and (not method.__name__.startswith("_") or method.__name__ == "__init__")
    ]


@pytest.mark.parametrize("package, name", PUBLIC)
def test_public_name_is_typed(package, name):
    untyped = []
    for function in functions(definition(package, name)):
        signature = inspect.signature(function)
        untyped += [
            f"{function.__qualname__}({parameter.name})"
            for parameter in signature.parameters.values()
            if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls")
        ]
        # mypy takes an `__init__` with typed parameters, or none, to return None.
        if function.__name__ != "__init__" and signature.return_annotation is signature.empty:
            untyped.append(f"{function.__qualname__}() -> ?")
    assert not untyped


def test_the_stubs_list_what_the_packages_offer():
    for package in dict.fromkeys(package for package, _ in public_names()):
        module = importlib.import_module(package)
        assert set(module.__all__) <= set(dir(module)), package
        assert all(hasattr(module, name) for name in module.__all__), package
    assert "keras_parts" in sys.modules
