"""A member of a fleet: does on a Loader what was decided.

`MemberDriver` drives the rules of `luminal.fleet._protocol.Member`. The bytes of what
runs are those that were decided, fetched by their digest, never those of a disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    from luminal.fleet._protocol import Decided, MemberState, Prepare
    from luminal.managers import Loader

__all__ = ["MemberDriver", "ahook", "hook"]


class MemberDriver:
    """Lets a Loader run what a fleet has decided.

    The latest one of a process is that which `luminal.fleet.hook` calls.

    Args:
        loader: What runs the photons of this process.
        name: Of the member.
        fetch: Awaited with a digest; returns the bundle's bytes. It is awaited on the
            loop of the member.
        send: Takes the messages of the member for the coordinator. It is called on the
            loop of the member, and must not block.
        loop: Of the host; None for one of the member's own, on a thread.
        drain_seconds: How long calls under way are waited for in the mode ``barrier``.
            The commit goes on without those that take longer.
        ask_seconds: After how long a member that does not know what was decided, or
            does not run it, tells its state again.
    """

    def __init__(
        self,
        loader: Loader,
        name: str,
        *,
        fetch: Callable[[str], Awaitable[bytes]],
        send: Callable[[MemberState], None],
        loop: asyncio.AbstractEventLoop | None = None,
        drain_seconds: float = 10.0,
        ask_seconds: float = 2.0,
    ) -> None:
        self.loader = loader
        self.name = name

    def received(self, message: Prepare | Decided) -> None:
        """Go on after a message of the coordinator; from any thread."""
        raise NotImplementedError

    def lost(self) -> None:
        """Note that the coordinator cannot be reached; from any thread."""
        raise NotImplementedError

    @property
    def is_current(self) -> bool:
        """Whether it runs what it knows to be decided, and knows that."""
        raise NotImplementedError

    async def wait_current(self) -> None:
        """Return once it runs what is decided: then it may take work."""
        raise NotImplementedError

    @property
    def hook(self) -> Any:
        """Calls hooks of the Loader, counted and held as the fleet asks."""
        raise NotImplementedError

    @property
    def ahook(self) -> Any:
        """Awaits hooks of the Loader, likewise."""
        raise NotImplementedError

    def figures(self) -> dict[str, Mapping[str, float]]:
        """Return photon → ``calls``, ``errors`` and ``p95`` (seconds)."""
        raise NotImplementedError

    async def close(self) -> None:
        """Undo what waits for a decision, and leave the fleet; photons go on."""
        raise NotImplementedError


def hook() -> Any:
    """Return what calls hooks of this process' member: ``hook().name(arg=value)``."""
    raise NotImplementedError


def ahook() -> Any:
    """Return what awaits them: ``await ahook().name(arg=value)``."""
    raise NotImplementedError
