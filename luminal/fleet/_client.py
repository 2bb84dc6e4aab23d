"""How a program that is no member asks a fleet: local, of Dask, or of Ray."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from luminal.errors import HostNotRunningError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterable

    from luminal.fleet._report import FleetStatus, SwapReport

__all__ = ["Fleet", "connect"]

_SECONDS = 10.0
"""How long a scheduler may take to answer."""


class Fleet(Protocol):
    """What can be asked of each fleet, whatever engine carries it."""

    async def swap(
        self, source: str | os.PathLike[str], *, by: str = "", **options: Any
    ) -> SwapReport:
        """Let all members run *source*, or none."""

    async def roll_back(self, unit: str, *, by: str = "") -> SwapReport:
        """Let all members run what was decided before for *unit*."""

    async def status(self) -> FleetStatus:
        """Return who is a member, what each runs, and what is decided."""

    async def history(self) -> tuple[SwapReport, ...]:
        """Return what was decided, the latest last."""

    async def recover(
        self, sources: Iterable[str | os.PathLike[str]] = (), *, by: str = ""
    ) -> tuple[SwapReport, ...]:
        """Decide anew, above all numbers that members know."""


@asynccontextmanager
async def connect(
    name: str = "", *, dask: str = "", ray: str = ""
) -> AsyncIterator[Fleet]:
    """Connect to a fleet, and leave it as it is at the end.

    Args:
        name: Of a local fleet, or of one of a Ray cluster.
        dask: Address of a Dask scheduler, such as ``tcp://10.0.0.5:8786``.
        ray: Address of a Ray cluster, such as ``auto``.

    Raises:
        MissingExtraError: The library of the engine is not installed.
        HostNotRunningError: Nobody answers there.
    """
    if dask:
        async with _connect_dask(dask) as fleet:
            yield fleet
    elif ray:
        async with _connect_ray(ray, name) as fleet:
            yield fleet
    else:
        from luminal.fleet.local import LocalClient

        yield LocalClient(name)


@asynccontextmanager
async def _connect_dask(address: str) -> AsyncIterator[Fleet]:
    from luminal.fleet.dask import DaskFleet  # it names the extra where that is missing

    client_class: Any = import_module("distributed").Client
    try:
        # A client that cannot read its address leaves coroutines behind.
        import_module("distributed.comm").resolve_address(address)
        await _check_port(address)
        client = await client_class(address, asynchronous=True, timeout=_SECONDS)
    except (OSError, ValueError) as error:
        raise _nobody(f"Dask scheduler at {address}", error) from None
    try:
        fleet: Any = DaskFleet(client)  # it awaits, as the client does
        yield fleet
    finally:
        await client.close()


@asynccontextmanager
async def _connect_ray(address: str, name: str) -> AsyncIterator[Fleet]:
    from luminal.fleet.ray import RayFleet, import_ray

    ray = import_ray()
    try:
        await _check_port(address)
        await asyncio.to_thread(
            ray.init, address=address, log_to_driver=False, logging_level="ERROR"
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _nobody(f"Ray cluster at {address}", error) from None
    try:
        yield await asyncio.to_thread(RayFleet.connect, name or "fleet")
    finally:
        await asyncio.to_thread(ray.shutdown)


async def _check_port(address: str) -> None:
    """Look whether somebody listens at an address; the engines try for long.

    Raises:
        OSError: Nobody does.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, int(port))
        writer.close()


def _nobody(who: str, error: Exception) -> HostNotRunningError:
    return HostNotRunningError(
        f"no {who} answers",
        why=str(error).partition("\n")[0],
        hint="check the address, and whether it runs",
    )
