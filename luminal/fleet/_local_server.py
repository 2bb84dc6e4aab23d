"""Whoever decides for a local fleet: answers on its socket, and proposes saves.

It belongs to the worker that holds the lock on the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from typing import TYPE_CHECKING, Any, Final

import attrs

from luminal._forks import begin_anew_in_forks
from luminal.errors import FleetError, LuminalError
from luminal.fleet._codec import decode, encode
from luminal.fleet._contents import digest_of
from luminal.fleet._coordinator import CoordinatorDriver
from luminal.fleet._protocol import Begin, MemberState
from luminal.fleet._report import MemberInfo
from luminal.fleet._socket import (
    LIMIT,
    Peer,
    absolute,
    as_fleet_error,
    leave_to_parent,
    make_private,
    plain_error,
)
from luminal.fleet._sources import bytes_of
from luminal.model import Probation

if TYPE_CHECKING:
    from luminal.fleet._journal import Journal
    from luminal.fleet.local import LocalFleet
    from luminal.reload.watching import Watcher

__all__ = ["LocalServer"]

_log = logging.getLogger("luminal.fleet")

_ANSWER_SECONDS: Final = 5.0
"""Seconds in which a member tells its figures."""

_LEAVE_SECONDS: Final = 1.0
"""Seconds in which it is seen that a worker has ended which another one replaces."""


class LocalServer:
    """Decides for the fleet, and answers on its socket.

    Args:
        fleet: Of the worker that has the journal.
        journal: Open.
    """

    def __init__(self, fleet: LocalFleet, journal: Journal) -> None:
        self._fleet = fleet
        self._peers: dict[str, Peer] = {}
        # Member → a token of its process' life.
        self._lives: dict[str, str] = {}
        self._asked: dict[str, asyncio.Future[Any]] = {}
        self._server: asyncio.Server | None = None
        self._watcher: Watcher | None = None
        # Source → digest of what was proposed of it last, also by who decided before.
        self._proposed: dict[str, str] = {
            entry.about["source"]: entry.row.digest
            for entry in journal.entries
            if type(entry.row) is Begin and entry.about.get("source")
        }
        # Why there is nothing that members could run; None where there is.
        self._refusal: FleetError | None = None
        self._founding: asyncio.Task[None] | None = None
        self._proposing: asyncio.Lock = asyncio.Lock()
        # Set once a worker can vote: a swap that nobody is asked about is not refused.
        self._has_member: asyncio.Event = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.driver = CoordinatorDriver(
            journal,
            fleet.contents,
            self._send,
            name=fleet.name,
            label=fleet.member_name,
            figures=self._figures,
            lost=fleet._journal_lost,  # noqa: SLF001 - both are in this module
            **fleet.seconds,
        )
        begin_anew_in_forks(self)

    async def start(self) -> None:
        """Begin to decide, and listen.

        Raises:
            FleetError: The directory of the socket is open to others.
            OSError: The socket cannot be made.
        """
        self.driver.start()
        path = self._fleet.socket
        await asyncio.to_thread(make_private, os.path.dirname(path))
        # Whoever has the journal is the only one that listens here.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._server = await asyncio.start_unix_server(self._talk, path, limit=LIMIT)
        os.chmod(path, 0o600)
        if self._fleet.is_watching:
            self.watch()

    async def close(self) -> None:
        """Stop to listen and to decide."""
        if self._watcher is not None:
            await asyncio.to_thread(self._watcher.stop)
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._fleet.socket)
        for peer in list(self._peers.values()):
            peer.close()
        for task in list(self._tasks):
            task.cancel()
        await self.driver.close()

    def begin_anew(self) -> None:
        """Leave the socket to the parent, in a process that was forked."""
        for each in self._server.sockets if self._server is not None else ():
            leave_to_parent(each.fileno())

    # Members.

    def _send(self, member: str, message: Any) -> None:
        peer = self._peers.get(member)
        if peer is not None:
            peer.send(encode(message))

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = Peer(reader, writer)
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            first = await peer.heard()
            if "member" in first:
                await self._serve(peer, first["member"], str(first.get("life")))
            elif "ask" in first:
                peer.say(await self._answer(first))
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            # By `close`, or as the loop ends; asyncio 3.11 logs an error where the task
            # of a connection is cancelled.
            pass
        finally:
            peer.close()

    async def _replace(self, name: str, life: str) -> None:
        """Wait for the end of a worker's connection where a new one of it begins."""
        before = self._peers.get(name)
        if before is not None and self._lives[name] == life:
            before.close()
        if before is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(before.has_ended.wait(), _LEAVE_SECONDS)

    async def _serve(self, peer: Peer, values: dict[str, Any], life: str) -> None:
        """Exchange messages with a worker until it ends."""
        try:
            info = MemberInfo(**values)
        except TypeError as error:
            peer.say({"refused": {"what": f"not understood: {error}"}})
            return
        await self._replace(info.name, life)
        if self._peers.get(info.name) is not None:
            refusal = FleetError(
                f"there is a member {info.name!r} already",
                hint="give each worker a name of its own",
            )
            peer.say({"refused": plain_error(refusal)})
            return
        self._peers[info.name], self._lives[info.name] = peer, life
        try:
            self.driver.joined(info.name, info)
            while line := await peer.line():
                self._hear(info.name, line)
        except LuminalError as error:
            peer.say({"refused": plain_error(error)})
        finally:
            del self._peers[info.name]
            self.driver.left(info.name)
            peer.has_ended.set()

    def _hear(self, name: str, line: bytes) -> None:
        if line.startswith(b'{"figures"'):
            asked = self._asked.pop(name, None)
            if asked is not None and not asked.done():
                asked.set_result(json.loads(line)["figures"])
            return
        message = decode(line)
        if isinstance(message, MemberState):
            self.driver.received(name, message)
            self._has_member.set()
            if self.driver.is_new and self._fleet.sources and self._founding is None:
                self._founding = asyncio.get_running_loop().create_task(self._found())
                self._tasks.add(self._founding)
                self._founding.add_done_callback(self._tasks.discard)

    async def _found(self) -> None:
        """Let those who are there vote on the disk, as nothing is decided yet.

        Where they vote against it, all are told why they cannot run anything.
        """
        by = f"{self._fleet.member_name}: first"
        try:
            async with self._proposing:
                for source in self._fleet.sources:
                    text = absolute(source)
                    data = await asyncio.to_thread(bytes_of, source)
                    digest = digest_of(data)
                    if self._refusal is not None and self._proposed.get(text) == digest:
                        raise self._refusal
                    self._proposed[text] = digest
                    report = await self.driver.swap(data, by=by, source=text)
                    if not report.is_committed:
                        raise FleetError(
                            f"the fleet {self._fleet.name!r} has nothing to run",
                            file=text,
                            why=report.why,
                            hint="mend it: it is tried again when it has changed",
                        )
        except LuminalError as error:
            self._refusal = as_fleet_error(error)
            for peer in list(self._peers.values()):
                peer.say({"refused": plain_error(self._refusal)})
        else:
            self._refusal = None
        finally:
            self._founding = None

    async def _figures(self, member: str) -> Any:
        asked = self._asked[member] = asyncio.get_running_loop().create_future()
        self._peers[member].say({"ask": "figures"})
        return await asyncio.wait_for(asked, _ANSWER_SECONDS)

    # Whoever asks.

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"answer": await self._do(request)}
        except (LuminalError, ValueError, TypeError) as error:
            return {"error": plain_error(error)}
        except Exception as error:  # noqa: BLE001 - whoever asks is told
            _log.exception("fleet %r: %r cannot be answered", self._fleet.name, request)
            return {"error": plain_error(error)}

    async def _do(self, request: dict[str, Any]) -> Any:
        ask, by = request["ask"], str(request.get("by", ""))
        if ask == "status":
            return attrs.asdict(self.driver.status())
        if ask == "history":
            return [attrs.asdict(each) for each in self.driver.history()]
        await self._has_member.wait()
        if ask == "swap":
            source = str(request["source"])
            data = await asyncio.to_thread(bytes_of, source)
            self._proposed[source] = digest_of(data)
            options = {**request.get("options", {}), "source": source}
            if "health" in options:
                options["health"] = Probation(**options["health"])
            return attrs.asdict(await self.driver.swap(data, by=by, **options))
        if ask == "roll-back":
            return attrs.asdict(
                await self.driver.roll_back(str(request["unit"]), by=by)
            )
        if ask == "recover":
            sources = [str(each) for each in request.get("sources", ())]
            bundles = [await asyncio.to_thread(bytes_of, each) for each in sources]
            done = await self.driver.recover(bundles, by=by)
            return [attrs.asdict(each) for each in done]
        raise FleetError(f"{ask!r} is nothing that a fleet is asked")

    # The disk.

    def watch(self) -> None:
        """Propose each change of the sources, and what has changed already."""
        if self._watcher is not None:
            return
        from luminal.reload.watching import Watcher

        loop = asyncio.get_running_loop()
        places = [os.path.abspath(os.fspath(each)) for each in self._fleet.sources]
        folders = {p if os.path.isdir(p) else os.path.dirname(p) for p in places}
        folders = {folder for folder in folders if os.path.isdir(folder)}

        def look(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._look)

        self._watcher = Watcher(sorted(folders), look)
        self._watcher.start()
        if not self.driver.is_new:
            self._look()

    def _look(self) -> None:
        task = asyncio.get_running_loop().create_task(self._propose())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _propose(self) -> None:
        """Propose the sources whose bytes are not what was proposed last."""
        if self.driver.is_new:
            return  # `_found` does
        await self._has_member.wait()
        async with self._proposing:
            for source in self._fleet.sources:
                text = absolute(source)
                try:
                    data = await asyncio.to_thread(bytes_of, source)
                    digest = digest_of(data)
                    if self._proposed.get(text) == digest:
                        continue
                    self._proposed[text] = digest
                    by = f"{self._fleet.member_name}: saved {text}"
                    report = await self.driver.swap(data, by=by, source=text)
                except Exception as error:  # noqa: BLE001 - the next save is looked at
                    _log.error(
                        "fleet %r: %s is not proposed: %s",
                        self._fleet.name,
                        text,
                        error,
                    )
                    continue
                if not report.is_committed:
                    _log.error(
                        "fleet %r: %s is rejected: %s",
                        self._fleet.name,
                        text,
                        report.why,
                    )
                elif report.number:
                    _log.info(
                        "fleet %r: %s is decision %d, in %.3f s, mixed for %.3f s",
                        self._fleet.name,
                        report.unit,
                        report.number,
                        report.seconds,
                        report.mixed_seconds,
                    )
