"""Stage, then commit or discard: one transaction on a world.

While a stage runs, its own thread sees the new modules and everybody else the old
ones. `Stage.commit` turns the whole world with one store; what is not committed
leaves no trace.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from luminal.loading import finder
from luminal.loading.attempt import Attempt, Committed, Pinned
from luminal.loading.importing import refresh_builtins
from luminal.loading.onstage import on_stage, staging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from luminal.loading.generation import Generation
    from luminal.loading.origin import Origin
    from luminal.loading.source import SourceFile

__all__ = ["Stage", "is_in_transaction"]


def is_in_transaction() -> bool:
    """Whether the caller runs as part of a stage that is not over yet."""
    return on_stage() is not None


@attrs.define(eq=False, slots=False)
class Stage:
    """What is to be committed together.

    Args:
        world: What it is staged for.
        replacing: Units whose serving generation is not to be seen by the new ones.
        snapshot: Path → bytes that have been read already, and are to be used.
        pinned: Unit → files to be used instead of the disk's: of an earlier
            generation, or of a distribution as it was shipped.
        is_over: It has been committed or discarded.
    """

    world: Committed
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
        token = staging.set(self._attempts[-1] if self._attempts else Attempt(self))
        try:
            yield
        finally:
            staging.reset(token)

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Stage some units; whatever is raised inside forgets just these."""
        if not self._has_begun:
            self._has_begun = True
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
        with self.committing() as turn:
            turn()

    @contextmanager
    def committing(self) -> Iterator[Callable[[], None]]:
        """Prepare what `commit` does; see `World.accepting`."""
        with self.world.accepting(self.ready) as turn:
            yield turn
        self._forget()

    def discard(self) -> None:
        """Forget all of it."""
        self.is_over = True  # first: an attempt that is kept just now looks for it
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

    def keep(self, attempt: Attempt) -> None:
        """Take over the units of *attempt*, to be committed with the rest."""
        self.ready.update(attempt.pending)
        self._attempts.append(attempt)
