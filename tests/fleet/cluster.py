"""A scheduler and workers of Dask as a fleet, each a process of the command line.

It is their preload too: then it installs the faults of the tests.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

from tests.fleet.conformance import Flags
from tests.fleet.processes import MemberTarget, Processes
from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]
THIS = "tests.fleet.cluster"


def dask_setup(server: Any) -> None:
    """Let scheduler and workers of Dask obey the tests."""
    import luminal
    from luminal.fleet._member import MemberDriver
    from tests.fleet import faults

    if os.environ["FLEET_MEMBER"] == "coordinator":
        faults.install(Flags(os.environ["FLEET_FLAGS"]))
    else:  # as the other adapters, which have an argument for it
        MemberDriver.__init__.__kwdefaults__["drain_seconds"] = 2.0
    if version := os.environ.get("FLEET_LUMINAL"):
        luminal.__version__ = version


def answer_here(unit: str) -> str:
    return asyncio.run(MemberTarget(None).answer(unit))


async def local_here(operation: str, unit: str, dask_worker: Any) -> str:
    loader = dask_worker.plugins["luminal-fleet"].driver.loader
    return await MemberTarget(loader).local(operation, unit)


class Cluster(Processes):
    """Scheduler and workers are children of the test."""

    name = "dask"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.wanted: dict[str, str] = {}

    def _dask(self, who: str, *command: str, **environ: str) -> None:
        own = ("-m", "dask", *command, "--preload", THIS, "--no-dashboard")
        more = {
            "PYTHONPATH": str(ROOT),
            "FLEET_FLAGS": str(self.flags.directory),
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
        }
        self._start(who, *own, **more, **environ)

    def is_there(self, who: str) -> bool:
        """Whether the scheduler answers, and a worker has ended its set-up."""
        try:
            members = super().members()
        except OSError:
            return False
        is_member = who in members and not members[who].is_behind
        return who == "coordinator" or is_member

    def start_coordinator(self) -> None:
        """Start the scheduler, if it has ended; its workers end with it."""
        old = self.processes.get("coordinator")
        if old is not None:
            old.wait(DEADLINE)
        port = self.address.rpartition(":")[2]
        own = ("--preload", "luminal.fleet.dask", "--journal", str(self.journal))
        host = ("--host", "127.0.0.1", "--port", port)
        self._dask("coordinator", "scheduler", *host, *own)

    def members(self) -> dict[str, Any]:
        """Start again who has ended, as systemd does, and return who is there."""
        for member in self.wanted:
            if self.processes[member].poll() is not None:
                self.add(member)
        return super().members()

    def add(self, member: str, **environ: str) -> None:
        limits = ("--nthreads", "4", "--no-nanny", "--death-timeout", "30")
        place = ("--local-directory", str(self.directory / "dask"))
        self._dask(
            member, "worker", self.address, "--name", member, *limits, *place, **environ
        )
        self.wanted[member] = member

    def remove(self, member: str) -> None:
        self.wanted.pop(member, None)
        self.kill(member)

    def run(self, work: Any, *args: Any, **options: Any) -> Any:
        """Await *work* with a client of the scheduler."""

        async def connected() -> Any:
            from distributed import Client

            async with Client(
                self.address, asynchronous=True, timeout=5, set_as_default=False
            ) as client:
                return await work(client, *args, **options)

        return asyncio.run(connected())

    def swap(self, source: Path, **options: Any) -> Any:
        return self.run(_ask, "swap", source, **options)

    def ask(self, method: str, *args: Any) -> Any:
        return self.run(_ask, method, *args)

    def answer(self, member: str, unit: str) -> str:
        return self.run(_answer, member, unit)

    def local(self, member: str, operation: str, unit: str) -> str:
        return self.run(_local, member, operation, unit)


async def _info(client: Any) -> Any:
    return (await client.scheduler.identity(n_workers=-1))["workers"]


async def _ask(client: Any, method: str, *args: Any, **options: Any) -> Any:
    from luminal.fleet.dask import DaskFleet

    return await getattr(DaskFleet(client), method)(*args, **options)


async def _answer(client: Any, member: str, unit: str) -> str:
    return await client.submit(answer_here, unit, workers=[member], pure=False)


async def _local(client: Any, member: str, operation: str, unit: str) -> str:
    workers = await _info(client)
    (address,) = [a for a, about in workers.items() if about["name"] == member]
    answers = await client.run(local_here, operation, unit, workers=[address])
    return answers[address]
