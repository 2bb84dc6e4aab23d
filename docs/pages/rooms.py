"""The pages of the programming interface, one a room.

Comes in: the architecture contract and each room's ``__all__``. Goes out: Markdown
that asks autodoc for exactly these names.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path

from luminal.sphinx._directives import read_specifications

from .links import canonical, is_public, is_shown

__all__ = ["api_page", "floors", "rooms", "specifications"]


def floors(root: Path) -> list[list[str]]:
    """Return the names of the rooms of each floor, from the top."""
    contract = (root / "setup.cfg").read_text(encoding="utf-8")
    layers = re.search(r"^layers =\n((?: +.+\n?)+)", contract, re.MULTILINE)
    lines = layers[1].splitlines() if layers else []
    found = [re.findall(r"\w+", line) for line in lines]
    return [names for each in found if (names := [n for n in each if n[0] != "_"])]


def rooms(root: Path) -> list[str]:
    """Return the dotted names of the packages of ``setup.cfg`` that are public.

    These have ``__all__``; the others are for Luminal itself.
    """
    names = [f"luminal.{name}" for floor in floors(root) for name in floor]
    return [name for name in names if is_public(name)]


def specifications(root: Path) -> list[tuple[str, str]]:
    """Return the room and the name of each public class that specifies hooks."""
    found = []
    for room in rooms(root):
        module = import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and read_specifications(value):
                found.append((room, name))
    return found


def api_page(room: str) -> str:
    """Return the page of *room*: its docstring, and every name in its ``__all__``.

    Classes of hook specifications have a page of their own, and are only named here.
    """
    module = import_module(room)
    names = [name for name in module.__all__ if not name.startswith("_")]
    own: list[str] = []
    others: list[str] = []
    for name in names:
        value = vars(module)[name] = getattr(module, name)  # wakes a lazy name up
        home = getattr(value, "__module__", None) or ""
        is_here = home[:7] != "luminal" or canonical(value, name) == f"{room}.{name}"
        is_specs = inspect.isclass(value) and bool(read_specifications(value))
        (own if is_here and not is_specs else others).append(name)
    described = [name for name in own if _is_described(getattr(module, name))]
    lines = [f"# `{room}`", "", "```{eval-rst}", f".. automodule:: {room}"]
    if described:
        lines += [f"   :members: {', '.join(described)}", "   :show-inheritance:"]
        lines += ["   :special-members: __call__"]
    for name in own:
        if name not in described:
            lines += ["", *_data(room, name, getattr(module, name))]
    for base in hidden_classes([getattr(module, name) for name in own]):
        lines += ["", f".. autoclass:: {base.__module__}.{base.__qualname__}"]
        lines += ["   :members:", "   :show-inheritance:"]
        lines += ["   :special-members: __call__"]
    lines += ["```", ""]
    if others:
        lines += ["Also to be had here, and described elsewhere:", ""]
        lines += [
            f"- {{py:obj}}`{name} <{canonical(getattr(module, name), name)}>`"
            for name in others
        ]
    return "\n".join([*lines, ""])


def _is_described(value: object) -> bool:
    """Whether autodoc finds what is said of *value* by itself."""
    return inspect.isclass(value) or inspect.isfunction(value)


def _data(room: str, name: str, value: object) -> list[str]:
    """Return the description of a value that is neither a class nor a function."""
    kind = type(value)
    lines = [f".. py:data:: {name}", f"   :module: {room}"]
    said = stated(room, name)
    if not said and kind.__module__.startswith("luminal."):
        lines.append(f"   :type: {kind.__module__}.{kind.__qualname__}")
        said = "Luminal's own; what it takes, its class says."
    return [*lines, "", *(f"   {line}" for line in said.splitlines())]


def stated(room: str, name: str) -> str:
    """Return the text below the assignment of *name* in a file of *room*, or none."""
    origin = import_module(room).__file__ or ""
    here = Path(origin)
    files = here.parent.rglob("*.py") if here.name == "__init__.py" else [here]
    for file in sorted(files):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for node, after in pairwise(body):
            if (
                name in _targets(node)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                return inspect.cleandoc(str(after.value.value))
    return ""


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [each.id for each in targets if isinstance(each, ast.Name)]


def hidden_classes(values: list[object]) -> list[type]:
    """Return classes that make public values or are their bases, and no room shows.

    What a host calls may be written there: the arguments of a Loader, say.
    """
    makers = [
        value if inspect.isclass(value) else type(value)
        for value in values
        if not inspect.isfunction(value)
    ]
    classes = dict.fromkeys(base for each in makers for base in each.__mro__)
    return [
        each
        for each in classes
        if each.__module__.startswith("luminal.") and not is_shown(each)
    ]
