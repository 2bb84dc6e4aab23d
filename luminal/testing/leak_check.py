"""The check that a host leaves nothing behind: a moment before, and one after.

In comes a host's Loader, out comes nothing, or an `AssertionError` that names what is
left. Things that are on their way out are waited for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

from luminal.testing.leaks import Leak, Moment
from luminal.testing.patience import until

if TYPE_CHECKING:
    from luminal.managers import Loader
    from luminal.testing.journal import Journal

__all__ = ["LeakCheck"]


@attrs.define(eq=False)
class LeakCheck:
    """Compares now with the moment before the first photon came.

    Args:
        loader: The host's.
        directory: Where photons' files are.
        journal: Tells of files elsewhere.
        owns_loop: Whether every task on the loop is a photon's.
    """

    loader: Loader
    directory: str
    journal: Journal
    owns_loop: bool
    _before: Moment | None = None

    def begin(self) -> None:
        """Remember how everything is; only the first call counts."""
        if self._before is None:
            self._before = self._now()

    async def assert_none(self, deadline: float) -> None:
        """Fail where something is left after *deadline* seconds.

        Raises:
            AssertionError: Names it, and where it stands.
        """
        left: list[Leak] = []

        def look() -> bool | None:
            left[:] = self._now().since(self._before) if self._before else []
            return None if left else True

        if await until(look, deadline, every=0.01) is None:
            lines = "\n".join(f"  {leak}" for leak in left)
            raise AssertionError(f"left behind after {deadline:g} seconds:\n{lines}")

    def _now(self) -> Moment:
        files = {event.file for event in self.journal.events if event.file}
        tasks = [
            task
            for task in asyncio.all_tasks()
            if task is not asyncio.current_task() and self._may_be_photons(task)
        ]
        return Moment.now(self.loader.plugins, {self.directory, *files}, tasks)

    def _may_be_photons(self, task: asyncio.Task[Any]) -> bool:
        """Whether it runs a photon's code; on somebody else's loop, others do not."""
        code = getattr(task.get_coro(), "cr_code", None)
        file = code.co_filename if code is not None else ""
        return self.owns_loop or file.startswith(self.directory)
