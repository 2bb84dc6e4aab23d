"""What is public is exactly what ``__all__`` says, and it is described."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import luminal

ROOT = Path(luminal.__file__).resolve().parent.parent
FILES = sorted((ROOT / "luminal").rglob("*.py"))
NAMES = sorted(
    ["luminal"]
    + [module.name for module in pkgutil.walk_packages(luminal.__path__, "luminal.")]
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def bound(body: list[ast.stmt]) -> Iterator[tuple[str, bool]]:
    """Yield each name that *body* binds, and whether by an import."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, False
            case ast.Assign():
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        yield target.id, False
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, False
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    yield (alias.asname or alias.name).partition(".")[0], True
            case ast.If() | ast.Try():
                yield from bound(node.body)
                yield from bound(node.orelse)


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=ast.expr() as value)
                | ast.AnnAssign(
                    target=ast.Name(id="__all__"), value=ast.expr() as value
                )
            ):
                return list(ast.literal_eval(value))
    return None


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_all_names_what_the_module_binds_and_nothing_twice(path: Path) -> None:
    """``__all__`` is there, has no repetition, and every name in it is bound."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = exported(tree)
    if names is None:
        own = [name for name, is_import in bound(tree.body) if not is_import]
        assert path.name == "__main__.py" or own == [], "a module without __all__"
        return
    assert len(names) == len(set(names))
    assert set(names) <= {name for name, _ in bound(tree.body)}


@pytest.mark.parametrize("name", NAMES)
def test_star_import_brings_what_all_says(name: str) -> None:
    """Every name in ``__all__`` can really be had, lazily bound ones included."""
    if name.endswith("__main__"):
        pytest.skip("runs when imported")
    module = importlib.import_module(name)
    for each in getattr(module, "__all__", ()):
        assert hasattr(module, each)


def test_front_door_offers_what_it_lists_in_dir() -> None:
    assert set(luminal.__all__) <= set(dir(luminal))


def test_front_door_refuses_an_unknown_name_as_a_module_does() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        luminal.nothing  # noqa: B018 - the access is the test


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield what *module* defines and exports, and the public members of classes."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if not inspect.isclass(value) and not inspect.isfunction(value):
            continue
        yield name, value
        if inspect.isclass(value):
            for member, what in vars(value).items():
                if not member.startswith("_") and (
                    inspect.isfunction(what)
                    or isinstance(what, property | classmethod | staticmethod)
                ):
                    yield f"{name}.{member}", what


@pytest.mark.parametrize("name", NAMES)
def test_public_names_have_docstrings(name: str) -> None:
    if name.endswith("__main__"):
        pytest.skip("runs when imported")
    module = importlib.import_module(name)
    assert module.__doc__, "the module itself"
    assert [member for member, what in public(module) if not inspect.getdoc(what)] == []


HEAVY = frozenset(
    {
        "asyncio",
        "attr",
        "attrs",
        "click",
        "concurrent",
        "email",
        "importlib.metadata",
        "importlib_metadata",
        "inspect",
        "inotify_simple",
        "json",
        "logging",
        "packaging",
        "pluggy",
        "rich",
        "subprocess",
        "typing_extensions",
        "watchfiles",
    }
)
"""Modules that would be felt at start-up. `typing` is loaded by the front door."""


def loaded_by(statement: str) -> set[str]:
    """Return the modules that *statement* loads in a fresh interpreter."""
    code = f"import sys; before = set(sys.modules); {statement}; "
    code += "print('\\n'.join(set(sys.modules) - before))"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path[:0] = [{str(ROOT)!r}]; {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_luminal_loads_nothing_heavy() -> None:
    """The front door is lazy: no room, no third-party module, nothing of weight."""
    loaded = loaded_by("import luminal")
    assert "luminal" in loaded
    assert {name for name in loaded if name.startswith("luminal.")} == {"luminal._lazy"}
    assert loaded & HEAVY == set()


def test_errors_load_nothing_but_typing() -> None:
    """Whoever only catches an error does not pay for the rest."""
    loaded = loaded_by("import luminal.errors")
    assert loaded & HEAVY == set()
