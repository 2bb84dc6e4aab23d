"""What everybody else sees of a generation: `sys.modules`, parents, source lines.

In come generations that are about to serve, out comes what is to be stored where, so
that the stores themselves take no time. It never decides who serves.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs

from luminal.loading.generation import Generation, namespace
from luminal.loading.lines import forget_lines, show_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from luminal.loading.origin import Origin

__all__ = ["Publication", "drop_empty_namespaces", "public_namespace", "withdraw"]


@attrs.frozen(eq=False)
class Publication:
    """The modules of some generations on their way to `sys.modules`.

    Attributes:
        generations: Those that have modules of their own.
        modules: Full name → module that is to be found there.
        gone: Full names that only their predecessors had.
        leaves: (package, attribute, root module that it is to show).
    """

    generations: tuple[Generation, ...]
    modules: dict[str, ModuleType] = attrs.Factory(dict)
    gone: list[str] = attrs.Factory(list)
    leaves: list[tuple[ModuleType, str, ModuleType]] = attrs.Factory(list)

    @classmethod
    def of(
        cls, staged: Iterable[Generation], before: Mapping[str, Generation]
    ) -> Publication:
        """Return what is to be stored when *staged* follow those in *before*."""
        found = cls(tuple(g for g in staged if not g.borrowed))
        for generation in found.generations:
            old = before.get(generation.unit)
            if old is not None:
                found.gone.extend(old.modules.keys() - generation.modules.keys())
            found.modules.update(generation.modules)
            parent, _, leaf = generation.unit.rpartition(".")
            if parent:
                above = public_namespace(parent, generation.origin)
                found.leaves.append((above, leaf, generation.root))
        return found

    def turn(self) -> None:
        """Store it."""
        for fullname in self.gone:
            sys.modules.pop(fullname, None)
        sys.modules.update(self.modules)
        for above, leaf, root in self.leaves:
            setattr(above, leaf, root)

    def show_lines(self) -> None:
        """Let tracebacks show the lines that run now."""
        for generation in self.generations:
            for source in generation.sources.values():
                show_lines(source)


def public_namespace(fullname: str, origin: Origin) -> ModuleType:
    """Return the package above a unit as everybody sees it, made where missing."""
    module = sys.modules.get(fullname)
    if module is None:
        place = origin.find(fullname)
        module = namespace(fullname, place.path if place is not None else "")
        sys.modules[fullname] = module
        above, _, leaf = fullname.rpartition(".")
        if above:
            setattr(public_namespace(above, origin), leaf, module)
    return module


def withdraw(generation: Generation) -> None:
    """Take the modules of *generation* out of `sys.modules` again."""
    for fullname, module in generation.modules.items():
        if sys.modules.get(fullname) is module:
            del sys.modules[fullname]
    for fullname in generation.views:
        if fullname.startswith(generation.unit + "."):
            sys.modules.pop(fullname, None)
    parent, _, leaf = generation.unit.rpartition(".")
    above = sys.modules.get(parent)
    if above is not None and vars(above).get(leaf) is generation.root:
        delattr(above, leaf)
    for source in generation.sources.values():
        forget_lines(source)


def drop_empty_namespaces(
    retired: Iterable[Generation], serving: Mapping[str, Generation]
) -> None:
    """Remove the packages above *retired* that no serving unit lies in."""
    for generation in retired:
        above = generation.unit.rpartition(".")[0]
        while above and generation.origin.owns(above):
            if any(unit.startswith(above + ".") for unit in serving):
                break
            if sys.modules.pop(above, None) is not None:
                for name in [n for n in list(sys.modules) if n.startswith(above + ".")]:
                    sys.modules.pop(name, None)  # packages without code
            parent, _, leaf = above.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(leaf, None)
            above = parent
