"""Stage, then commit or discard: one transaction on a world.

While a stage runs, its own thread sees the new modules and everybody else the old
ones. `Stage.commit` turns the whole world with one store; what is not committed
leaves no trace.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from luminal.loading import finder
from luminal.loading.facade import Facade
from luminal.loading.finder import staging
from luminal.loading.generation import Generation, namespace
from luminal.loading.importing import refresh_builtins
from luminal.loading.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import CodeType, ModuleType

    from luminal.loading.origin import Origin
    from luminal.loading.place import Place
    from luminal.loading.source import SourceFile
    from luminal.loading.world import World

__all__ = ["Attempt", "Pinned", "Stage", "is_in_transaction"]


@attrs.frozen
class Pinned:
    """The files of a generation as it found them.

    Attributes:
        places: Full name → where the module was found.
        sources: Path → its bytes.
    """

    places: Mapping[str, Place]
    sources: Mapping[str, SourceFile]

    @classmethod
    def of(cls, generation: Generation) -> Pinned:
        """Return the files of *generation*."""
        return cls(dict(generation.places), dict(generation.sources))


def is_in_transaction() -> bool:
    """Whether the caller runs as part of a stage that is not over yet."""
    attempt = staging.get()
    return isinstance(attempt, Attempt) and not attempt.stage.is_over


@attrs.define(eq=False, slots=False)
class Stage:
    """What is to be committed together.

    Args:
        world: What it is staged for.
        replacing: Units whose serving generation is not to be seen by the new ones.
        snapshot: Path → bytes that have been read already, and are to be used.
        pinned: Unit → files of an earlier generation, to be used instead of the
            disk's.
        is_over: It has been committed or discarded.
    """

    world: World
    replacing: frozenset[str] = frozenset()
    snapshot: Mapping[str, SourceFile] = attrs.Factory(dict)
    pinned: Mapping[str, Pinned] = attrs.Factory(dict)
    is_over: bool = False
    ready: dict[str, Generation] = attrs.Factory(dict)
    # First part of a directory's modules' names → that directory.
    origins: dict[str, Origin] = attrs.Factory(dict)
    _attempts: list[Attempt] = attrs.Factory(list)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run a block as part of the transaction: it sees what is ready."""
        token = staging.set(self._attempts[-1] if self._attempts else Attempt(self))
        try:
            yield
        finally:
            staging.reset(token)

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Stage some units; whatever is raised inside forgets just these."""
        refresh_builtins()
        finder.join(self.world)
        attempt = Attempt(self)
        token = staging.set(attempt)
        try:
            yield attempt
        except BaseException:
            attempt.discard()
            raise
        finally:
            staging.reset(token)
        attempt.keep()

    def commit(self) -> None:
        """Let all that is ready serve from now on."""
        self.world.accept(self.ready)
        self._forget()

    def discard(self) -> None:
        """Forget all of it."""
        for attempt in reversed(self._attempts):
            attempt.discard()
        self._forget()

    def _forget(self) -> None:
        if not self.world.generations:
            finder.leave(self.world)
        self.is_over = True
        self.ready = {}
        for attempt in self._attempts:
            attempt.pending = {}
        self._attempts.clear()

    def _keep(self, attempt: Attempt) -> None:
        self.ready.update(attempt.pending)
        self._attempts.append(attempt)


@attrs.define(eq=False, slots=False)
class Attempt:
    """Units that come out of a stage together or not at all.

    Attributes:
        stage: The stage it is part of.
        pending: Unit → its new generation, half-made ones included.
        is_over: It has been discarded; a thread that still runs in it, because its
            import never returned in time, gets an error at its next import.
    """

    stage: Stage
    pending: dict[str, Generation] = attrs.Factory(dict)
    is_over: bool = False
    # What stood in `sys.modules` before, in the order in which it was covered.
    _covered: list[tuple[str, ModuleType | None]] = attrs.Factory(list)

    def owner(self, fullname: str) -> Generation | None:
        """Return the new generation that *fullname* belongs to, or None."""
        unit = fullname
        while unit:
            generation = self.pending.get(unit) or self.stage.ready.get(unit)
            if generation is not None:
                return generation
            unit = unit.rpartition(".")[0]
        return None

    def origin(self, fullname: str) -> Origin | None:
        """Return where *fullname* is to be looked for, or None where not with us."""
        return self.stage.origins.get(fullname.partition(".")[0])

    def share(self, fullname: str, origin: Origin) -> ModuleType:
        """Return a package without code as everybody sees it, made where missing."""
        module = sys.modules.get(fullname)
        if module is None:
            above = fullname.rpartition(".")[0]
            if above:
                self.share(above, origin)
            place = origin.find(fullname)
            module = namespace(fullname, place.path if place is not None else "")
            self._covered.append((fullname, None))
            sys.modules[fullname] = module
        return module

    def provide(
        self, unit: str, origin: Origin, place: Place | None = None
    ) -> Generation:
        """Return the generation of *unit* that new code is to see, staging it if due.

        Raises:
            BaseException: Whatever the unit's code raised.
        """
        generation = self.pending.get(unit) or self.stage.ready.get(unit)
        if generation is None and unit not in self.stage.replacing:
            generation = self.stage.world.generations.get(unit)
        if generation is None:
            number = self.stage.world.numbers.get(unit, 0) + 1
            generation = Generation(unit, origin, number, self)
            generation.borrowed = self._is_the_hosts(unit)
            pinned = self.stage.pinned.get(unit)
            if pinned is not None:
                generation.places.update(pinned.places)
                generation.sources.update(pinned.sources)
            self.pending[unit] = generation
            above = unit.rpartition(".")[0]
            if origin.owns(above):
                # For code that asks by name, past the import statement.
                self.stage.origins[unit.partition(".")[0]] = origin
                self.share(above, origin)
            generation.require(unit, place)
        return generation

    def _is_the_hosts(self, unit: str) -> bool:
        """Whether somebody else in the program has imported *unit* before."""
        serving = self.stage.world.generations.get(unit)
        return serving.borrowed if serving is not None else unit in sys.modules

    def expose(self, fullname: str, module: ModuleType, owner: Generation) -> bool:
        """Let the staging thread find *module* in `sys.modules`, and nobody else."""
        if self.is_over:
            raise ImportError(f"the staging of {owner.unit!r} has been given up")
        serving = sys.modules.get(fullname)
        if type(serving) is Facade:
            raise ImportError(f"{fullname!r} is being staged already")
        self._covered.append((fullname, serving))
        sys.modules[fullname] = (
            module if serving is None else Facade(fullname, serving, module, self.stage)
        )
        return True

    def withdraw(self, fullname: str, module: ModuleType) -> None:  # noqa: ARG002
        """Uncover what `expose` covered."""
        for index in range(len(self._covered) - 1, -1, -1):
            if self._covered[index][0] == fullname:
                _restore(*self._covered.pop(index))
                return

    def read(self, path: str) -> SourceFile:
        """Return the bytes of the file at *path*, of the snapshot where it has them.

        Raises:
            PhotonUnreadableError: It cannot be read.
        """
        return self.stage.snapshot.get(path) or read_source(path)

    def compile(self, source: SourceFile) -> CodeType:
        """Compile *source*, or return what it compiled to before."""
        return self.stage.world.compile(source)

    def discard(self) -> None:
        """Forget the units, and leave `sys.modules` as it was."""
        self.is_over = True
        while self._covered:
            _restore(*self._covered.pop())
        self.pending.clear()

    def keep(self) -> None:
        """Hand the units to the stage, to be committed with it.

        Raises:
            ImportError: They have been given up in the meantime.
        """
        if self.is_over:
            raise ImportError("the staging has been given up")
        self.stage._keep(self)  # noqa: SLF001 - one noun in two classes


def _restore(fullname: str, serving: ModuleType | None) -> None:
    if serving is None:
        sys.modules.pop(fullname, None)
    else:
        sys.modules[fullname] = serving
