"""From a name in one file to the class that it means in another, without importing.

Comes in: facts of modules. Goes out: whether a class derives from the photon base,
and where a re-exported class is defined. Never leaves the origin: files of the
directory or distribution that the question came from, a bounded number of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.discovery.facts import ClassFacts
    from luminal.discovery.witness import Witness

__all__ = ["Definition", "Resolver"]

_HOPS = 64
"""Most steps from one name to the next: re-exports, bases, modules."""


@attrs.frozen
class Definition:
    """A class and the file that defines it."""

    path: str
    facts: ClassFacts


class Resolver:
    """Follows names through the files below one root.

    Args:
        witness: Where files are looked at.
        root: Directory that absolute imports of neighbours are looked up in.
        base: Name of the class that makes a photon of its subclasses.
    """

    def __init__(self, witness: Witness, root: str, base: str) -> None:
        self._witness = witness
        self._root = root
        self._base = base
        self._answers: dict[tuple[str, str], bool] = {}

    def is_photon(self, definition: Definition, hops: int = _HOPS) -> bool:
        """Return whether the class names itself a photon or derives from the base."""
        facts, path = definition.facts, definition.path
        if facts.names_itself:
            return True
        key = (path, facts.name)
        if key not in self._answers:
            self._answers[key] = False  # what inherits from itself is none
            self._answers[key] = hops > 0 and any(
                self._is_base(path, name, facts.name, hops - 1) for name in facts.bases
            )
        return self._answers[key]

    def find(self, path: str, name: str, hops: int = _HOPS) -> Definition | None:
        """Return the class that *name* means in the module at *path*."""
        facts = self._witness.facts(path)
        if name in facts.classes:
            return Definition(path, facts.classes[name])
        if hops <= 0:
            return None
        if name in facts.imports:
            reference = facts.imports[name][0]
            return self._follow(path, reference, hops - 1)
        for star in facts.stars:
            for module in self.files(path, star):
                found = self.find(module, name, hops - 1)
                if found is not None:
                    return found
        return None

    def public(self, path: str) -> list[str]:
        """Return the names of classes that a star import of *path* would bring."""
        facts = self._witness.facts(path)
        return [n for n in (*facts.classes, *facts.imports) if not n.startswith("_")]

    def files(self, path: str, module: str) -> Iterator[str]:
        """Yield the file that *module*, imported in *path*, would be read from."""
        dots = len(module) - len(module.lstrip("."))
        folder = self._root
        if dots:
            folder = os.path.dirname(path)
            for _ in range(dots - 1):
                folder = os.path.dirname(folder)
            inside = folder == self._root or folder.startswith(self._root + os.sep)
            if not inside:
                return
        parts = [part for part in module.split(".") if part]
        stem = os.path.join(folder, *parts)
        choices = [os.path.join(stem, "__init__.py")]
        if parts:
            choices.append(stem + ".py")
        for choice in choices:
            if self._witness.is_file(choice):
                yield choice
                return

    def _is_base(self, path: str, name: str, inside: str, hops: int) -> bool:
        head, _, rest = name.partition(".")
        facts = self._witness.facts(path)
        if not rest and head in facts.classes and head != inside:
            if head == self._base:
                return True
            return self.is_photon(Definition(path, facts.classes[head]), hops)
        reference = facts.imports[head][0] if head in facts.imports else ""
        if rest and reference:
            before, _, last = rest.rpartition(".")
            reference = f"{_join(reference, before)}:{last}"
        if (reference or name).replace(":", ".").rpartition(".")[2] == self._base:
            return True
        found = self._follow(path, reference, hops) if reference else None
        if found is None and not reference and not rest:
            found = self.find(path, head, hops)  # through a star
            if found is not None and found.facts.name == self._base:
                return True
        return found is not None and self.is_photon(found, hops)

    def _follow(self, path: str, reference: str, hops: int) -> Definition | None:
        module, _, attribute = reference.partition(":")
        if not attribute:
            return None
        for file in self.files(path, module):
            return self.find(file, attribute, hops)
        return None


def _join(reference: str, rest: str) -> str:
    """Return the module that ``reference.rest`` means, in the form of a reference."""
    module, _, attribute = reference.partition(":")
    for part in (attribute, rest):
        if part:
            module += part if not module.strip(".") else f".{part}"
    return module
