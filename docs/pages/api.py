"""Pages about the programming interface: one for each module that users import.

Each public name is described once, under the name that people import: `luminal.Loader`,
not ``luminal.managers.loader.Loader``. Every other module that offers the name links to
that description. Packages that are not in `MODULES` are internal and have no page.
"""

from __future__ import annotations

import ast
import inspect
import sys
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from sphinx.pycode import ModuleAnalyzer

from luminal.sphinx._directives import read_specifications

__all__ = ["MODULES", "api_page", "described_as", "modules", "specifications"]

MODULES = (
    "luminal",
    "luminal.interfaces",
    "luminal.discovery",
    "luminal.discovery.lint",
    "luminal.hooks",
    "luminal.managers",
    "luminal.managers.loader",
    "luminal.managers.handler",
    "luminal.managers.threads",
    "luminal.managers.loops",
    "luminal.managers.control",
    "luminal.managers.status",
    "luminal.blocking",
    "luminal.model",
    "luminal.errors",
    "luminal.tools",
    "luminal.testing",
    "luminal.fleet",
    "luminal.fleet.local",
    "luminal.fleet.dask",
    "luminal.fleet.ray",
    "luminal.metrics",
    "luminal.trust",
    "luminal.web",
    "luminal.sphinx",
    "luminal.ipython",
    "luminal.contrib.discord",
)
"""What users import. A name is described in the first of these that offers it."""


def modules() -> list[str]:
    """Return the dotted names of the public modules, as far as they exist."""
    return [name for name in MODULES if find_spec(name) is not None]


def exports() -> dict[str, object]:
    """Return dotted name → value of all that public modules have in ``__all__``."""
    found: dict[str, object] = {}
    for name in modules():
        module = import_module(name)
        found |= {f"{name}.{each}": getattr(module, each) for each in module.__all__}
    return found


def described_as() -> dict[str, str]:
    """Return each name of a public value → the name that describes it.

    The keys are the names in public modules, the name where the code defines the value,
    and the bare name.
    """
    homes: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, value in exports().items():
        home = found[name] = homes.setdefault(id(value), name)
        found.setdefault(name.rpartition(".")[2], home)
        if inspect.isclass(value) or inspect.isfunction(value):
            found.setdefault(f"{value.__module__}.{value.__qualname__}", home)
    return found


def specifications() -> list[tuple[str, str]]:
    """Return the module and the name of each public class that specifies hooks."""
    homes = described_as()
    return [
        (name.rpartition(".")[0], name.rpartition(".")[2])
        for name, value in exports().items()
        if _is_specification(value) and homes[name] == name
    ]


def api_page(module: str) -> str:
    """Return the page of *module*: its docstring, and every name in its ``__all__``.

    Classes of hook specifications have a page of their own, and are only linked here.
    """
    values, homes = exports(), described_as()
    names = [f"{module}.{name}" for name in import_module(module).__all__]
    lines = [f"# `{module}`", "", "```{eval-rst}", f".. automodule:: {module}"]
    linked = []
    for name in names:
        if homes[name] == name and not _is_specification(values[name]):
            lines += ["", *_description(name, values[name], values)]
        else:
            linked.append(f"- {{py:obj}}`{name.rpartition('.')[2]} <{homes[name]}>`")
    lines += ["```", ""]
    if linked:
        lines += ["Described elsewhere, and available here as well:", "", *linked, ""]
    inner = [each for each in modules() if each.startswith(f"{module}.")]
    if inner and module != "luminal":
        lines += ["```{toctree}", ":maxdepth: 1", "", *inner, "```", ""]
    return "\n".join(lines)


def _is_specification(value: object) -> bool:
    return inspect.isclass(value) and bool(read_specifications(value))


def _description(name: str, value: object, public: dict[str, object]) -> list[str]:
    """Return the directive that describes *value* under *name*."""
    if inspect.isclass(value):
        return _class(name, value, public)
    if callable(value):
        return [f".. autofunction:: {name}"]
    module, _, own = name.rpartition(".")
    said = stated(module, own).splitlines()
    return [f".. py:data:: {own}", f"   :module: {module}", "", *_indented(said)]


def _class(name: str, value: type, public: dict[str, object]) -> list[str]:
    """Return the directive for a class.

    What a private base class of Luminal's defines is described as the class's own.
    """
    ours = {id(each) for each in public.values()}
    bases = value.__mro__[1:]
    shown = [
        each
        for each in bases
        if id(each) in ours or not each.__module__.startswith("luminal.")
    ]
    kind = "exception" if issubclass(value, BaseException) else "class"
    lines = [f".. auto{kind}:: {name}", "   :members:"]
    if len(shown) < len(bases):
        stop = ", ".join(each.__name__ for each in shown)
        lines.append(f"   :inherited-members: {stop}")
        lines.append(f"   :exclude-members: {', '.join(_commented(shown))}")
    if value.__bases__ != (object,) and {*value.__bases__} <= {*shown}:
        lines.append("   :show-inheritance:")
    if issubclass(value, Enum):
        lines.append("   :undoc-members:")
    return [*lines, "   :special-members: __call__"]


def _commented(classes: list[type]) -> list[str]:
    """Return the instance attributes of *classes* that only comments describe.

    Sphinx takes them for inherited members, wherever the inheritance is to stop.
    """
    found = set()
    for each in classes:
        if each.__module__ not in sys.builtin_module_names:
            documented = ModuleAnalyzer.for_module(each.__module__)
            documented.analyze()
            for owner, name in documented.attr_docs:
                if owner == each.__qualname__:
                    found.add(name)
    return sorted(found)


def _indented(lines: list[str]) -> list[str]:
    return [f"   {line}" for line in lines]


def stated(module: str, name: str) -> str:
    """Return the text below the assignment of *name* in a file of *module*, or none."""
    here = Path(import_module(module).__file__ or "")
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
