"""What one loader has committed: unit → generation, replaced as a whole."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from luminal.loading import finder
from luminal.loading.edges import Edges
from luminal.loading.publication import (
    Publication,
    drop_empty_namespaces,
    public_namespace,
    withdraw,
)
from luminal.loading.source import read_source
from luminal.loading.stagehand import Stagehand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet
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
        edges: Who uses what.
        hand: Who stages what is swapped, from the first swap on.
    """

    codes: CodeCache
    generations: Mapping[str, Generation] = attrs.Factory(dict)
    numbers: dict[str, int] = attrs.Factory(dict)
    edges: Edges = attrs.Factory(Edges)
    hand: Stagehand = attrs.Factory(Stagehand)
    # One transaction at a time; re-entrant, for an import that asks for another.
    lock: threading.RLock = attrs.Factory(threading.RLock)
    # First part of a name → where names that begin so are looked for.
    _origins: Mapping[str, Origin] = attrs.Factory(dict)
    # Held for a moment, while `generations` is exchanged.
    _exchange: threading.Lock = attrs.Factory(threading.Lock)

    def __repr__(self) -> str:
        return f"<World generations={len(self.generations)}>"

    def needs(self, unit: str) -> AbstractSet[str]:
        """Return the units that *unit* imports from; none where it does not serve."""
        generation = self.generations.get(unit)
        return generation.needs if generation is not None else frozenset()

    def users(self, unit: str) -> set[str]:
        """Return the units that import from *unit*."""
        known = tuple(self.edges.users.get(unit, ()))
        return {user for user in known if unit in self.needs(user)}

    def readers(self, path: str) -> set[str]:
        """Return the units with a module that was read from the file at *path*."""
        serving = self.generations
        known = tuple(self.edges.readers.get(path, ()))
        return {u for u in known if u in serving and path in serving[u].sources}

    def grown(self, generation: Generation) -> None:
        """Note what *generation* has imported late."""
        if self.generations.get(generation.unit) is generation:
            self.edges.add(generation)

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
            if unit in before:
                self.edges.drop(before[unit])
            self.edges.add(generation)
        public.show_lines()
        if not before.keys().isdisjoint(staged):
            self.hand.begin()

    def retire(
        self, units: Iterable[str], is_wanted: Callable[[str], bool]
    ) -> list[Generation]:
        """Forget those of *units* that nobody wants, and what only they imported from.

        Args:
            units: Which may have become superfluous.
            is_wanted: Whether a unit is to go on for its own sake.

        Returns:
            The retired generations.
        """
        with self._exchange:
            gone = self._superfluous(units, is_wanted)
            retired = [self.generations[unit] for unit in gone]
            if retired:
                serving = dict(self.generations)
                for unit in gone:
                    del serving[unit]
                self.generations = serving
                self._origins = _tops(serving.values())
        for generation in retired:
            self.edges.drop(generation)
            if not generation.borrowed:
                withdraw(generation)
        drop_empty_namespaces(retired, self.generations)
        if not self.generations:
            finder.leave(self)
            self.hand.end()
        return retired

    def _superfluous(
        self, units: Iterable[str], is_wanted: Callable[[str], bool]
    ) -> dict[str, None]:
        found: dict[str, None] = {}
        queue = [unit for unit in units if unit in self.generations]
        while queue:
            unit = queue.pop()
            if unit in found or unit not in self.generations:
                continue
            # With all that imports from it: helpers may import each other.
            group = {unit}
            above = [unit]
            while above and not is_wanted(above[-1]):
                new = self.users(above.pop()) - group - found.keys()
                group |= new
                above.extend(new)
            if not above:
                found.update(dict.fromkeys(sorted(group)))
                queue.extend(need for member in group for need in self.needs(member))
        return found


def _tops(generations: Iterable[Generation]) -> dict[str, Origin]:
    # Most of a thousand units have one origin.
    origins = {id(g.origin): g.origin for g in generations if not g.borrowed}
    return {top: origin for origin in origins.values() for top in origin.tops}
