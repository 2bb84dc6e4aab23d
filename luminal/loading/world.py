"""What one loader has committed: unit → generation, replaced as a whole."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from luminal.loading import finder
from luminal.loading.publication import (
    Publication,
    drop_empty_namespaces,
    public_namespace,
    withdraw,
)
from luminal.loading.source import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import CodeType, ModuleType

    from luminal.loading.code import CodeCache
    from luminal.loading.generation import Generation
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
        return public_namespace(fullname, origin)

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
        with self.accepting(staged) as turn:
            turn()

    @contextmanager
    def accepting(
        self, staged: Mapping[str, Generation]
    ) -> Iterator[Callable[[], None]]:
        """Prepare what `accept` does, for a block that says when.

        Args:
            staged: Unit → its new generation.

        Yields:
            What lets them serve, in some microseconds. A block that ends without
            having called it leaves everything as it was.
        """
        with self._exchange:
            before = self.generations
            after = {**before, **staged}
            origins = {**self._origins, **_tops(staged.values())}
            public = Publication.of(staged.values(), before)

            def turn() -> None:
                self.generations, self._origins = after, origins
                for generation in staged.values():
                    generation.host = self
                public.turn()

            yield turn
            if self.generations is not after:
                return
        for unit, generation in staged.items():
            self.numbers[unit] = max(generation.number, self.numbers.get(unit, 0))
        public.show_lines()

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
                withdraw(generation)
        drop_empty_namespaces(retired, self.generations)
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
