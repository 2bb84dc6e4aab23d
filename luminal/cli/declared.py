"""Which hooks a photon implements, read from its text. Nothing is imported.

Comes in: a candidate. Goes out: the marked methods of its class, as far as they are
written there: what a decorator makes at run time cannot be seen.
"""

from __future__ import annotations

import ast
import os
import stat
import warnings
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from luminal.model import Candidate

__all__ = ["DeclaredHook", "call_order", "hooks_of", "parsed"]

_LIMIT = 2**24
"""Bytes; discovery refuses files that are larger."""


@attrs.frozen
class DeclaredHook:
    """One implementation of a hook.

    Attributes:
        hook: Name of the hook.
        file: Where the implementation is written.
        line: Its line.
        options: Literal options of its marker.
    """

    hook: str
    file: str
    line: int
    options: dict[str, Any] = attrs.Factory(dict)


def parsed(path: str) -> ast.Module | None:
    """Return the syntax tree of the file at *path*, None where there is none."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LIMIT:
            return None
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def hooks_of(candidate: Candidate) -> tuple[DeclaredHook, ...]:
    """Return the hooks that *candidate* implements, in the order of their lines."""
    target = candidate.target.rpartition(":")[2]
    for path in _files(candidate.location):
        tree = parsed(path)
        classes = (
            {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
            if tree
            else {}
        )
        if target in classes:
            found = {
                hook.hook: hook for hook in _inherited(classes, target, path, set())
            }
            return tuple(sorted(found.values(), key=lambda hook: hook.line))
    return ()


def _files(location: str) -> Iterator[str]:
    """Yield the file itself, and of a package the other files at its top."""
    yield location
    if os.path.basename(location) == "__init__.py":
        folder = os.path.dirname(location)
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            return
        for name in names:
            if name.endswith(".py") and name != "__init__.py":
                yield os.path.join(folder, name)


def _inherited(
    classes: dict[str, ast.ClassDef], name: str, path: str, seen: set[str]
) -> Iterator[DeclaredHook]:
    """Yield what class *name* implements: its bases' first, so that its own win."""
    if name not in classes or name in seen:
        return
    seen.add(name)
    for base in classes[name].bases:
        if isinstance(base, ast.Name):
            yield from _inherited(classes, base.id, path, seen)
    for node in classes[name].body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            marker = decorator.func if isinstance(decorator, ast.Call) else decorator
            if ast.unparse(marker).rpartition(".")[2].endswith("hookimpl"):
                options = _literals(decorator)
                hook = str(options.get("specname") or node.name)
                yield DeclaredHook(hook, path, node.lineno, options)


def _literals(decorator: ast.expr) -> dict[str, Any]:
    options = {}
    for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
        try:
            options[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return options


def call_order(
    implementations: Iterable[tuple[str, DeclaredHook]],
) -> list[tuple[str, DeclaredHook]]:
    """Return implementations of one hook in the order in which they are called.

    The hook engine itself decides, with a stand-in for each photon.

    Args:
        implementations: (photon, implementation) in load order.
    """
    from luminal.hooks import PluginManager
    from luminal.interfaces import hookimpl

    manager = PluginManager("luminal")
    known = {}
    for photon, declared in implementations:
        known[photon] = declared

        def stand_in() -> None: ...

        options = {k: v for k, v in declared.options.items() if k in _ORDERING}
        marked = hookimpl(**options, specname="called")(stand_in)
        manager.register(type(photon, (), {"called": staticmethod(marked)})(), photon)
    if not known:
        return []
    impls = manager.hook.called.get_hookimpls()
    return [(impl.plugin_name, known[impl.plugin_name]) for impl in reversed(impls)]


_ORDERING = frozenset({"tryfirst", "trylast", "wrapper", "before", "after"})
