"""A fleet of plain processes, whose calls go over sockets and may be lost on the way.

``python -m tests.fleet.processes coordinator DIRECTORY`` and ``... member DIRECTORY
NAME`` are the processes. It carries `luminal.fleet._polling`, as an engine does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from luminal.fleet._sources import bytes_of
from tests.fleet.conformance import Adapter, Flags
from tests.waiting import DEADLINE, wait_until

# --- Calls over a socket -------------------------------------------------------------


def call(path: str | Path, method: str, *args: Any, **options: Any) -> Any:
    """Call a method of what `serve` serves at *path*."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE)
        connection.connect(os.fspath(path))
        data = pickle.dumps((method, args, options))
        connection.sendall(struct.pack("!I", len(data)) + data)
        with connection.makefile("rb") as file:
            (length,) = struct.unpack("!I", file.read(4))
            result = pickle.loads(file.read(length))
    if isinstance(result, BaseException):
        raise result
    return result


async def serve(path: Path, target: Any) -> None:
    """Call methods of *target* for whoever connects; until it is cancelled."""

    async def answer(reader: asyncio.StreamReader, writer: Any) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            (length,) = struct.unpack("!I", await reader.readexactly(4))
            method, args, options = pickle.loads(await reader.readexactly(length))
            try:
                result = getattr(target, method)(*args, **options)
                if asyncio.iscoroutine(result):
                    result = await result
            except Exception as error:
                result = error
            try:
                data = pickle.dumps(result)
                pickle.loads(data)
            except Exception:
                data = pickle.dumps(RuntimeError(f"{type(result).__name__}: {result}"))
            writer.write(struct.pack("!I", len(data)) + data)
            await writer.drain()
        writer.close()

    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    server = await asyncio.start_unix_server(answer, path)
    async with server:
        await server.serve_forever()


# --- Coordinator ---------------------------------------------------------------------


async def coordinate(directory: Path) -> None:
    from luminal.fleet._contents import Contents
    from luminal.fleet._journal import Journal
    from luminal.fleet._polling import PollingCoordinator
    from tests.fleet import faults

    faults.install(Flags(directory / "flags"))
    journal = Journal(str(directory / "state" / "journal"))
    contents = Contents(str(directory / "state" / "contents"))
    service = PollingCoordinator(
        journal, contents, poll_seconds=0.5, silence_seconds=1.5, again_seconds=0.2
    )
    await service.start()

    class Target:
        poll, tell, leave = service.poll, service.tell, service.leave
        fetch, report, ask = service.fetch, service.report, service.ask

        def ping(self) -> bool:
            return True

    await serve(directory / "coordinator.sock", Target())


# --- Member --------------------------------------------------------------------------


class LossyCall:
    """A member's calls; messages are lost or doubled as its flags say."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / "coordinator.sock"
        self.flags = Flags(directory / "flags")
        self.name = name
        self.count = 0

    def _times(self) -> int:
        """Return how often the next message arrives."""
        what = self.flags.get(self.name, "messages")
        self.count += 1
        return {"lose": self.count % 2, "double": 2}.get(what, 1)

    async def __call__(self, method: str, *args: Any) -> Any:
        answer = None
        for _ in range(self._times() if method == "tell" else 1):
            answer = await asyncio.to_thread(call, self.path, method, *args)
        if method == "poll":
            return tuple(m for m in answer for _ in range(self._times()))
        return answer


class MemberTarget:
    """What the tests ask of a member."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    async def answer(self, unit: str) -> str:
        from luminal.fleet import hook

        try:
            ask = getattr(hook(), f"ask_{unit}")
        except AttributeError:
            return ""
        return "".join(await asyncio.to_thread(ask))

    async def local(self, operation: str, unit: str) -> str:
        handler = self.loader.photons[unit]
        try:
            if operation == "stop":
                await handler.stop()
            elif operation == "reload":
                await self.loader.reload_photon(unit)
            else:
                await self.loader.unload_photon(handler)
        except Exception as error:
            return str(error)
        return ""

    def ping(self) -> bool:
        return True


def be_member(directory: Path, name: str) -> None:
    import attrs

    from luminal import Loader
    from luminal.fleet._polling import PollingMember
    from luminal.fleet._report import MemberInfo

    about = MemberInfo.of_this_process(name)
    if version := os.environ.get("FLEET_LUMINAL"):
        about = attrs.evolve(about, luminal=version)
    loader = Loader()
    member = PollingMember(
        loader, about, LossyCall(directory, name), ask_seconds=0.2, drain_seconds=2.0
    )
    member.wait_current()
    asyncio.run(serve(directory / f"{name}.sock", MemberTarget(loader)))


# --- Adapter -------------------------------------------------------------------------


class Processes(Adapter):
    """Members and coordinator are children of the test."""

    name = "processes"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (directory / "state").mkdir()

    def _start(self, who: str, *command: str, **environ: str) -> None:
        old = self.processes.get(who)
        if old is not None:
            old.wait(DEADLINE)
        self.socket(who).unlink(missing_ok=True)
        log = (self.directory / f"{who}.log").open("ab")
        with log:
            self.processes[who] = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, "FLEET_MEMBER": who, **environ},
                stdout=log,
                stderr=log,
            )
        process = self.processes[who]

        def answers() -> bool:
            if process.poll() is not None:
                text = (self.directory / f"{who}.log").read_text()
                raise RuntimeError(f"{who} has ended: {text[-2000:]}")
            return self.is_there(who)

        wait_until(answers, 3 * DEADLINE)  # a busy machine starts slowly

    def is_there(self, who: str) -> bool:
        """Whether a process answers."""
        try:
            return bool(call(self.socket(who), "ping"))
        except OSError:
            return False

    def socket(self, who: str) -> Path:
        return self.directory / f"{who}.sock"

    def start_coordinator(self) -> None:
        own = ("-m", "tests.fleet.processes")
        self._start("coordinator", *own, "coordinator", str(self.directory))

    def end_coordinator(self) -> None:
        self.kill("coordinator")

    def add(self, member: str, **environ: str) -> None:
        command = ("-m", "tests.fleet.processes", "member", str(self.directory))
        self._start(member, *command, member, **environ)

    def kill(self, member: str) -> None:
        self.processes[member].send_signal(signal.SIGKILL)
        self.processes[member].wait(DEADLINE)

    def swap(self, source: Path, **options: Any) -> Any:
        return call(
            self.socket("coordinator"), "ask", "swap", bytes_of(source), **options
        )

    def roll_back(self, unit: str) -> Any:
        return self.ask("roll_back", unit)

    def ask(self, method: str, *args: Any) -> Any:
        return call(self.socket("coordinator"), "ask", method, *args)

    def answer(self, member: str, unit: str) -> str:
        return call(self.socket(member), "answer", unit)

    def local(self, member: str, operation: str, unit: str) -> str:
        return call(self.socket(member), "local", operation, unit)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(DEADLINE)
        self.pool.shutdown()


if __name__ == "__main__":
    task, where, *rest = sys.argv[1:]
    threading.current_thread().name = task
    if task == "coordinator":
        asyncio.run(coordinate(Path(where)))
    else:
        be_member(Path(where), *rest)
