"""`Watches`: several directories, and what pip installs, kept for one host.

What `Loader.watch_photons` does for one directory. Comes in: a Loader. Must never load
what its caller does not want.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from luminal.reload._directory_watch import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from luminal.managers.loader import Loader
    from luminal.model import Candidate

__all__ = ["Watches"]


@attrs.define(eq=False)
class Watches:
    """Keeps what runs as several directories are.

    Args:
        loader: The host.
        directories: Paths of directories.
        recursive: Whether directories below them are kept too.
        is_wanted: Whether a photon that appears is to be loaded.
        has_installed: Whether upgrades of installed distributions are swapped in.
    """

    loader: Loader
    directories: Sequence[str]
    recursive: bool = False
    is_wanted: Callable[[Candidate], bool] = attrs.field(default=lambda _: True)
    has_installed: bool = False
    _keepers: list[Keeper] = attrs.field(init=False, factory=list)

    async def start(self) -> None:
        """Begin to watch; the threads that do it do not end with this loop."""
        import asyncio

        rooms = self.loader._intake, self.loader._reloader, self.loader._turn  # noqa: SLF001 - one host
        for directory in dict.fromkeys(self.directories):
            keeper = Keeper(directory, *rooms, self.recursive, self.is_wanted)
            self._keepers.append(keeper)
            keeper.start(asyncio.get_running_loop())
        if self.has_installed:
            await self.loader.watch_distributions()

    async def stop(self, is_forced: bool = False) -> None:
        """End the watches, and unload what they have loaded.

        Args:
            is_forced: Skip ``finalize``.
        """
        await self.loader.stop_watching_distributions()
        while self._keepers:
            await self._keepers.pop().stop(is_forced)
