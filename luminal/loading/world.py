"""What one loader has committed: unit → generation, replaced as a whole."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import attrs

from luminal.loading import finder
from luminal.loading.generation import Generation, namespace
from luminal.loading.lines import forget_lines, show_lines
from luminal.loading.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import CodeType, ModuleType

    from luminal.loading.code import CodeCache
    from luminal.loading.origin import Origin
    from luminal.loading.source import SourceFile

__all__ = ["World"]


@attrs.define(eq=False, repr=False, slots=False)
class World:
    """The serving generations of one loader.

    Args:
        codes: Compiles, and remembers what it compiled.

    Attributes:
        generations: Unit → its serving generation. Never changed in place, so that
            a reader needs no lock.
        numbers: Unit → number of its latest generation; outlives retirement.
    """

    codes: CodeCache
    generations: Mapping[str, Generation] = attrs.Factory(dict)
    numbers: dict[str, int] = attrs.Factory(dict)
    # One transaction at a time; re-entrant, for an import that asks for another.
    lock: threading.RLock = attrs.Factory(threading.RLock)
    # First part of a name → where names that begin so are looked for.
    _origins: Mapping[str, Origin] = attrs.Factory(dict)
    # Held for a moment, while `generations` is exchanged.
    _exchange: threading.Lock = attrs.Factory(threading.Lock)

    def __repr__(self) -> str:
        return f"<World generations={len(self.generations)}>"

    def owner(self, fullname: str) -> Generation | None:
        """Return the serving generation that *fullname* belongs to, or None."""
        unit = fullname
        while unit:
            generation = self.generations.get(unit)
            if generation is not None:
                return generation
            unit = unit.rpartition(".")[0]
        return None

    def origin(self, fullname: str) -> Origin | None:
        """Return where *fullname* is to be looked for, or None where not with us."""
        return self._origins.get(fullname.partition(".")[0])

    def share(self, fullname: str, origin: Origin) -> ModuleType:
        """Return a package without code as everybody sees it, made where missing."""
        return _public_namespace(fullname, origin)

    def provide(self, unit: str, origin: Origin) -> Generation:
        """Return the serving generation of *unit*; a late import may stage it."""
        generation = self.generations.get(unit)
        if generation is not None:
            return generation
        from luminal.loading.staging import Stage

        with self.lock:
            stage = Stage(self)
            with stage.attempt() as attempt:
                generation = attempt.provide(unit, origin)
            stage.commit()
        return generation

    def expose(self, fullname: str, module: ModuleType, owner: Generation) -> bool:
        """Publish a module that *owner* imports late, if it is the one that serves."""
        if self.generations.get(owner.unit) is not owner:
            return False
        sys.modules[fullname] = module
        return True

    def withdraw(self, fullname: str, module: ModuleType) -> None:
        """Take back a late import that failed."""
        if sys.modules.get(fullname) is module:
            del sys.modules[fullname]

    def read(self, path: str) -> SourceFile:
        """Return the bytes of the file at *path*.

        Raises:
            PhotonUnreadableError: It cannot be read.
        """
        return read_source(path)

    def compile(self, source: SourceFile, *, is_new: bool = False) -> CodeType:
        """Compile *source*, or return what it compiled to before."""
        return self.codes.compile(source, is_new=is_new)

    def accept(self, staged: Mapping[str, Generation]) -> None:
        """Let *staged* serve from now on, each in the place of its predecessor."""
        for generation in staged.values():
            generation.host = self
        with self._exchange:
            before = self.generations
            self.generations = {**before, **staged}
            self._origins = {**self._origins, **_tops(staged.values())}
        for unit, generation in staged.items():
            self.numbers[unit] = max(generation.number, self.numbers.get(unit, 0))
            if not generation.borrowed:
                _publish(generation, before.get(unit))

    def retire_all_but(self, wanted: Iterable[str]) -> list[Generation]:
        """Forget the units that are neither *wanted* nor imported by one that is.

        Returns:
            The retired generations.
        """
        with self._exchange:
            kept = set(self._reachable(wanted))
            serving = self.generations
            retired = [g for unit, g in serving.items() if unit not in kept]
            self.generations = {u: g for u, g in serving.items() if u in kept}
            self._origins = _tops(self.generations.values())
        for generation in retired:
            if not generation.borrowed:
                _withdraw_all(generation)
        _drop_empty_namespaces(retired, self.generations)
        if not self.generations:
            finder.leave(self)
        return retired

    def _reachable(self, wanted: Iterable[str]) -> Iterable[str]:
        found: dict[str, None] = {}
        queue = [unit for unit in wanted if unit in self.generations]
        while queue:
            unit = queue.pop()
            if unit not in found:
                found[unit] = None
                needs = self.generations[unit].needs
                queue.extend(n for n in needs if n in self.generations)
        return found


def _tops(generations: Iterable[Generation]) -> dict[str, Origin]:
    # Most of a thousand units have one origin.
    origins = {id(g.origin): g.origin for g in generations if not g.borrowed}
    return {top: origin for origin in origins.values() for top in origin.tops}


def _publish(generation: Generation, before: Generation | None) -> None:
    """Put the modules into `sys.modules`, and the root into its parent package."""
    if before is not None:
        for fullname in before.modules.keys() - generation.modules.keys():
            sys.modules.pop(fullname, None)
    sys.modules.update(generation.modules)
    parent, _, leaf = generation.unit.rpartition(".")
    if parent:
        setattr(_public_namespace(parent, generation.origin), leaf, generation.root)
    for source in generation.sources.values():
        show_lines(source)


def _public_namespace(fullname: str, origin: Origin) -> ModuleType:
    """Return the package above a unit as everybody sees it, made where missing."""
    module = sys.modules.get(fullname)
    if module is None:
        place = origin.find(fullname)
        module = namespace(fullname, place.path if place is not None else "")
        sys.modules[fullname] = module
        above, _, leaf = fullname.rpartition(".")
        if above:
            setattr(_public_namespace(above, origin), leaf, module)
    return module


def _withdraw_all(generation: Generation) -> None:
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


def _drop_empty_namespaces(
    retired: Iterable[Generation], serving: Mapping[str, Generation]
) -> None:
    """Remove the packages above *retired* that no serving unit lies in."""
    for generation in retired:
        above = generation.unit.rpartition(".")[0]
        while above and generation.origin.owns(above):
            if any(unit.startswith(above + ".") for unit in serving):
                break
            if sys.modules.pop(above, None) is not None:
                for name in [n for n in sys.modules if n.startswith(above + ".")]:
                    del sys.modules[name]  # packages without code
            parent, _, leaf = above.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(leaf, None)
            above = parent
