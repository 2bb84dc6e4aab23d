"""Workers of one server as a fleet, each of which may coordinate.

``python -m tests.fleet.workers DIRECTORY NAME`` is a worker.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from luminal.errors import LuminalError
from luminal.fleet.local import LocalClient
from tests.fleet.conformance import Flags
from tests.fleet.processes import MemberTarget, Processes, serve
from tests.waiting import wait_until


async def work(directory: Path, name: str) -> None:
    import luminal
    from luminal.fleet.local import LocalFleet
    from tests.fleet import faults

    faults.install(Flags(directory / "flags"))
    if version := os.environ.get("FLEET_LUMINAL"):
        luminal.__version__ = version
    loader = luminal.Loader()
    fleet = LocalFleet(
        loader,
        "tests",
        member=name,
        journal=directory / "state" / "journal",
        again_seconds=0.2,
        drain_seconds=2.0,
    )
    await fleet.join(timeout=None)
    await serve(directory / f"{name}.sock", MemberTarget(loader))


class Workers(Processes):
    """Members are children of the test, and one of them coordinates."""

    name = "local"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        run = directory / "run"
        run.mkdir(mode=0o700)
        self.environ = {
            "LUMINAL_RUNTIME_DIR": str(run),
            "LUMINAL_STATE_DIR": str(directory / "state"),
        }
        self.members_wanted: list[str] = []

    def start_coordinator(self) -> None:
        """Wait until another worker has taken over."""

        def answers() -> bool:
            try:
                return bool(self.members())
            except LuminalError:
                return False

        wait_until(answers)

    def members(self) -> dict[str, Any]:
        """Start again who was killed, as a server does, and return who is there."""
        for member in self.members_wanted:
            if self.processes[member].poll() is not None:
                self.add(member)
        return super().members()

    def end_coordinator(self) -> None:
        self.kill(self.ask("status").coordinator)

    def add(self, member: str, **environ: str) -> None:
        command = ["-m", "tests.fleet.workers", str(self.directory), member]
        self._start(member, *command, **self.environ, **environ)
        if member not in self.members_wanted:
            self.members_wanted.append(member)

    def remove(self, member: str) -> None:
        if member in self.members_wanted:
            self.members_wanted.remove(member)
        self.kill(member)

    def swap(self, source: Path, **options: Any) -> Any:
        return self._client("swap", source, **options)

    def ask(self, method: str, *args: Any) -> Any:
        return self._client(method, *args)

    def _client(self, method: str, *args: Any, **options: Any) -> Any:
        os.environ.update(self.environ)
        return asyncio.run(getattr(LocalClient("tests"), method)(*args, **options))


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2]))
