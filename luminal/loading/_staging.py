"""Stage new generations, then commit or discard them: one transaction on a world.

While a stage runs, its own thread finds the new modules in `sys.modules`, and all other
code finds the old ones. `Stage.commit` replaces all of them with one store. What is not
committed leaves no trace.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import attrs

from luminal.loading._generation import Generation, ModuleProxy, namespace
from luminal.loading._importer import (
    add_to_finder,
    current_attempt,
    refresh_builtins,
    remove_from_finder,
    staging_context,
)
from luminal.loading._source import Pinned, read_source
from luminal.loading._world import World  # noqa: TC001 - attrs resolves it

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType, ModuleType

    from luminal.loading._origin import ModuleLocation, Origin
    from luminal.loading._source import SourceFile

__all__ = ["Attempt", "Stage", "is_in_transaction"]


@attrs.define(eq=False, slots=False)
class Attempt:
    """Units of a stage that are staged together, or not at all.

    Attributes:
        stage: The stage it is part of.
        pending: Unit → its new generation; also those that execute now.
        is_over: It has been discarded. A thread whose import took too long may still
            run in it, and gets an error at its next import.
    """

    stage: Stage
    pending: dict[str, Generation] = attrs.Factory(dict)
    is_over: bool = False
    # What was in `sys.modules` before, in the order in which it was replaced.
    _replaced: list[tuple[str, ModuleType | None]] = attrs.Factory(list)

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
        """Return the origin that *fullname* belongs to, or None."""
        return self.stage.origins.get(fullname.partition(".")[0])

    def share(self, fullname: str, origin: Origin) -> ModuleType:
        """Return the package *fullname* without code of `sys.modules`.

        It is made where there is none.
        """
        self._check()
        module = sys.modules.get(fullname)
        if module is None:
            above = fullname.rpartition(".")[0]
            if above:
                self.share(above, origin)
            location = origin.find(fullname)
            module = namespace(fullname, location.path if location is not None else "")
            self._replaced.append((fullname, None))
            sys.modules[fullname] = module
        return module

    def provide(
        self, unit: str, origin: Origin, location: ModuleLocation | None = None
    ) -> Generation:
        """Return the generation of *unit* for new code; it is staged if need be.

        Raises:
            BaseException: Whatever the unit's code raised.
        """
        generation = self.pending.get(unit) or self.stage.ready.get(unit)
        if generation is None and unit not in self.stage.replacing:
            generation = self.stage.world.generations.get(unit)
        if generation is None:
            number = self.stage.world.numbers.get(unit, 0) + 1
            generation = Generation(unit, origin, number, self)
            generation.borrowed = self._is_imported_by_host(unit)
            pinned = self.stage.pinned.get(unit)
            if pinned is not None:
                generation.locations.update(pinned.locations)
                generation.sources.update(pinned.sources)
            self.pending[unit] = generation
            above = unit.rpartition(".")[0]
            if origin.owns(above):
                # For `importlib.import_module` and its like.
                self.stage.origins[unit.partition(".")[0]] = origin
                self.share(above, origin)
            generation.require(unit, location)
        return generation

    def _is_imported_by_host(self, unit: str) -> bool:
        """Whether other code of the program has imported *unit* before."""
        serving = self.stage.world.generations.get(unit)
        return serving.borrowed if serving is not None else unit in sys.modules

    def _check(self) -> None:
        """Stop a thread whose import was given up.

        Where the attempt began after that, only the stage says so.

        Raises:
            ImportError: It was given up.
        """
        if self.is_over or self.stage.is_over:
            self.discard()
            raise ImportError("the staging has been given up")

    def expose(self, fullname: str, module: ModuleType, owner: Generation) -> bool:  # noqa: ARG002
        """Let the staging thread alone find *module* in `sys.modules`."""
        self._check()
        serving = sys.modules.get(fullname)
        if type(serving) is ModuleProxy:
            raise ImportError(f"{fullname!r} is being staged already")
        self._replaced.append((fullname, serving))
        sys.modules[fullname] = (
            module
            if serving is None
            else ModuleProxy(fullname, serving, module, self.stage)
        )
        self._check()  # a `discard` in the meantime has not restored this one
        return True

    def withdraw(self, fullname: str, module: ModuleType) -> None:  # noqa: ARG002
        """Restore what `expose` replaced."""
        for index in range(len(self._replaced) - 1, -1, -1):
            if self._replaced[index][0] == fullname:
                _restore(*self._replaced.pop(index))
                return

    def imports_changed(self, generation: Generation) -> None:
        """Do nothing: what is staged is looked at when it is committed."""

    def read(self, path: str) -> SourceFile:
        """Return the bytes of the file at *path*, from the snapshot if it has them.

        Raises:
            PhotonUnreadableError: It cannot be read.
        """
        return self.stage.snapshot.get(path) or read_source(path)

    def compile(self, source: SourceFile) -> CodeType:
        """Compile *source*, or return what it compiled to before."""
        return self.stage.world.compile(source, is_new=bool(self.stage.replacing))

    def discard(self) -> None:
        """Forget the units, and leave `sys.modules` as it was."""
        self.is_over = True
        with suppress(IndexError):  # two threads may do it
            while True:
                _restore(*self._replaced.pop())
        ready = self.stage.ready
        for unit, generation in list(self.pending.items()):
            if ready.get(unit) is generation:
                ready.pop(unit, None)
        self.pending.clear()

    def keep(self) -> None:
        """Add the units to the stage, to be committed with it.

        Raises:
            ImportError: They have been given up in the meantime.
        """
        self.stage.keep(self)
        # Last: the import may be given up at any moment.
        self._check()


def _restore(fullname: str, serving: ModuleType | None) -> None:
    if serving is None:
        sys.modules.pop(fullname, None)
    else:
        sys.modules[fullname] = serving


def is_in_transaction() -> bool:
    """Whether the caller runs as part of a stage that is not over yet."""
    return current_attempt() is not None


@attrs.define(eq=False, slots=False)
class Stage:
    """What is to be committed together.

    Args:
        world: What it is staged for.
        replacing: Units that new code must not import the serving generation of.
        snapshot: Path → bytes that have been read already, and are to be used.
        pinned: Unit → files to be used instead of those on disk: of an earlier
            generation, or of a distribution as it was installed.
        is_over: It has been committed or discarded.
    """

    world: World
    replacing: frozenset[str] = frozenset()
    snapshot: Mapping[str, SourceFile] = attrs.Factory(dict)
    pinned: dict[str, Pinned] = attrs.Factory(dict)
    is_over: bool = False
    ready: dict[str, Generation] = attrs.Factory(dict)
    # First part of a directory's modules' names → that directory.
    origins: dict[str, Origin] = attrs.Factory(dict)
    _attempts: list[Attempt] = attrs.Factory(list)
    _has_begun: bool = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run a block as part of the transaction: it sees what is ready."""
        token = staging_context.set(
            self._attempts[-1] if self._attempts else Attempt(self)
        )
        try:
            yield
        finally:
            staging_context.reset(token)

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Stage some units; where the block raises, these alone are discarded."""
        if not self._has_begun:
            self._has_begun = True
            refresh_builtins()
            add_to_finder(self.world)
        attempt = Attempt(self)
        token = staging_context.set(attempt)
        try:
            yield attempt
        except BaseException:
            attempt.discard()
            raise
        finally:
            staging_context.reset(token)
        attempt.keep()

    def commit(self) -> None:
        """Let all that is ready serve from now on."""
        with self.committing() as store:
            store()

    @contextmanager
    def committing(self) -> Iterator[Callable[[], None]]:
        """Prepare what `commit` does; see `World.accepting`."""
        with self.world.accepting(self.ready) as store:
            yield store
        self._forget()

    def discard(self) -> None:
        """Forget all of it."""
        self.is_over = True  # first: an attempt that is kept just now checks it
        for attempt in reversed(self._attempts):
            attempt.discard()
        self._forget()

    def _forget(self) -> None:
        if not self.world.generations:
            remove_from_finder(self.world)
        self.is_over = True
        self.ready = {}
        for attempt in self._attempts:
            attempt.pending = {}
        self._attempts.clear()

    def keep(self, attempt: Attempt) -> None:
        """Take over the units of *attempt*, to be committed with the rest."""
        self.ready.update(attempt.pending)
        self._attempts.append(attempt)
