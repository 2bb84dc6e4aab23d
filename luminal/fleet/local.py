"""The workers of one server on one machine, as a fleet over a Unix socket.

The workers find one another by the name of the fleet. Whoever holds the lock on the
journal decides for all, and listens on the socket; when it ends, the system frees the
lock, and the first of the others that tries takes over with the journal. So there is no
election. The bytes of what is decided lie beside the journal, where all workers read
them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import FleetError, HostNotRunningError, LuminalError
from luminal.fleet._codec import decode, encode
from luminal.fleet._contents import Contents
from luminal.fleet._journal import Journal, JournalBusyError
from luminal.fleet._local_server import LocalServer
from luminal.fleet._member import MemberDriver
from luminal.fleet._protocol import Decided, MemberState
from luminal.fleet._report import FleetStatus, MemberInfo, MemberStatus, SwapReport
from luminal.fleet._socket import (
    LIMIT,
    Peer,
    absolute,
    check_private,
    fleet_directory,
    local_fleets,
    socket_path,
)
from luminal.model import Probation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luminal.fleet._socket import PathLike
    from luminal.managers import Loader

__all__ = ["LocalClient", "LocalFleet", "fleet_directory", "local_fleets"]

_log = logging.getLogger("luminal.fleet")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two tries to find the coordinator, or to become it."""


# --- Whoever asks --------------------------------------------------------------------


class LocalClient:
    """Asks a local fleet, also from a process that is none of its workers.

    Args:
        name: Of the fleet.
        patience: Seconds in which there must be somebody who decides, and in which
            that one tells what it knows. A swap may take longer.
        label: Who asks, for the history, where a method is not told.
    """

    def __init__(self, name: str, patience: float = 5.0, *, label: str = "") -> None:
        self.name = name
        self.patience = patience
        self._label = label

    async def _ask(self, **request: Any) -> Any:
        path, until = socket_path(self.name), time.monotonic() + self.patience
        while True:
            try:
                streams = await asyncio.open_unix_connection(path, limit=LIMIT)
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise HostNotRunningError(
                        f"no worker of the fleet {self.name!r} answers",
                        file=path,
                        why=str(error),
                        hint="is the server running, as this user?",
                    ) from None
            await asyncio.sleep(_FIRST_PAUSE)
        peer = Peer(*streams)
        try:
            peer.say(request)
            is_known = request["ask"] in ("status", "history")
            limit = max(until - time.monotonic(), 0.1) if is_known else None
            answer = await asyncio.wait_for(peer.heard(), limit)
        except TimeoutError:
            raise HostNotRunningError(
                f"the coordinator of {self.name!r} does not answer",
                file=path,
                why=f"it has said nothing within {self.patience:g} s",
                hint="end that process if it is stopped: another worker takes over",
            ) from None
        finally:
            peer.close()
        if "error" in answer:
            raise FleetError(**answer["error"])
        if "answer" not in answer:
            raise FleetError(
                f"the coordinator of {self.name!r} has ended before it answered",
                why="what came of it is not known here",
                hint="luminal fleet history tells; then ask again",
            )
        return answer["answer"]

    async def swap(
        self, source: PathLike, *, by: str = "", **options: Any
    ) -> SwapReport:
        """Let all members run a source, or none; see `CoordinatorDriver.swap`.

        Args:
            source: A directory, file, wheel, ``.photon`` file or distribution.
            by: Who asks, for the history.
            **options: ``members``, ``mode``, ``first`` and ``health``.

        Raises:
            HostNotRunningError: No worker runs.
            FleetError: Nothing was decided, or the source cannot be packed.
        """
        if isinstance(options.get("health"), Probation):
            options["health"] = attrs.asdict(options["health"])
        options = {k: v if _is_plain(v) else list(v) for k, v in options.items()}
        answer = await self._ask(
            ask="swap",
            source=absolute(source),
            by=by or self._label,
            options=options,
        )
        return _report_of(answer)

    async def roll_back(self, unit: str, *, by: str = "") -> SwapReport:
        """Return all members to what was decided before.

        Args:
            unit: Name of the bundle.
            by: Who asks.

        Raises:
            HostNotRunningError: No worker runs.
            FleetError: There is nothing before.
        """
        return _report_of(
            await self._ask(ask="roll-back", unit=unit, by=by or self._label)
        )

    async def status(self) -> FleetStatus:
        """Return what the fleet runs, and who its members are.

        Raises:
            HostNotRunningError: No worker runs.
        """
        values = await self._ask(ask="status")
        members = [
            MemberStatus(**{**each, "info": MemberInfo(**each["info"])})
            for each in values.pop("members")
        ]
        units = {unit: tuple(pair) for unit, pair in values.pop("units").items()}
        canaries = {unit: tuple(of) for unit, of in values.pop("canaries").items()}
        return FleetStatus(
            **values, units=units, canaries=canaries, members=tuple(members)
        )

    async def history(self) -> tuple[SwapReport, ...]:
        """Return what was decided, for and against, the latest last.

        Raises:
            HostNotRunningError: No worker runs.
        """
        return tuple(map(_report_of, await self._ask(ask="history")))

    async def recover(
        self, sources: Iterable[PathLike] = (), *, by: str = ""
    ) -> tuple[SwapReport, ...]:
        """Decide anew above all numbers; see `CoordinatorDriver.recover`.

        Args:
            sources: What is to run; of other units, what the journal says.
            by: Who asks.

        Raises:
            HostNotRunningError: No worker runs.
            FleetError: There is nothing to decide.
        """
        paths = [absolute(each) for each in sources]
        answer = await self._ask(ask="recover", sources=paths, by=by or self._label)
        return tuple(map(_report_of, answer))


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | dict)


def _report_of(values: dict[str, Any]) -> SwapReport:
    return SwapReport(**{**values, "behind": tuple(values["behind"])})


# --- A worker ------------------------------------------------------------------------


class LocalFleet(LocalClient):
    """Makes this process a worker of a fleet on this machine.

    Make it in the worker, not before a fork. All methods are for one event loop, which
    runs photons' coroutines too; `luminal.blocking.Loader.call` runs them for a host
    that has no loop.

    Args:
        loader: What runs the photons. What a fleet decides is loaded by the fleet.
        name: Of the fleet, such as that of the program; the same in all workers.
        sources: What the fleet runs: directories, files, wheels, ``.photon`` files or
            names of distributions. Each is a bundle of its own.
        journal: Path of the journal; by default in the state directory. Bundles are
            kept beside it.
        watch: Whether saves are proposed, by whichever worker decides.
        member: Name of this worker; by default of its machine and process.
        drain_seconds: How long calls under way are waited for in the mode ``barrier``.
        seconds: ``vote_seconds``, ``agree_seconds`` and ``again_seconds`` of
            `luminal.fleet.CoordinatorDriver`.

    Attributes:
        is_watching: Whether saves are proposed.

    Raises:
        FleetError: There is no place for the journal.
    """

    def __init__(
        self,
        loader: Loader,
        name: str,
        sources: Sequence[PathLike] | PathLike = (),
        *,
        journal: PathLike | None = None,
        watch: bool = False,
        member: str = "",
        drain_seconds: float = 10.0,
        **seconds: float,
    ) -> None:
        label = member or f"{socket.gethostname()}-{os.getpid()}"
        super().__init__(name, label=label)
        self.loader = loader
        self.sources: tuple[PathLike, ...] = (
            (sources,) if isinstance(sources, str | os.PathLike) else tuple(sources)
        )
        directory = fleet_directory(name)
        self.journal: str = os.path.abspath(
            journal or os.path.join(directory, "journal")
        )
        self.contents: Contents = Contents(
            os.path.join(os.path.dirname(self.journal), "bundles")
        )
        self.socket: str = socket_path(name)
        self.is_watching: bool = watch
        self.member_name: str = label
        self.drain_seconds: float = drain_seconds
        self.seconds: dict[str, float] = seconds
        self._driver: MemberDriver | None = None
        self._peer: Peer | None = None
        self._server: LocalServer | None = None
        self._life: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._life_token: str = secrets.token_hex(8)
        # Why it cannot be a member; None while it can.
        self._error: LuminalError | None = None
        self._has_failed: asyncio.Event = asyncio.Event()
        # Whether it was told of something to run.
        self._is_founded: asyncio.Event = asyncio.Event()
        self._is_closed: bool = False

    def __repr__(self) -> str:
        role = "decides" if self.is_coordinator else "follows"
        return f"<LocalFleet {self.name!r}: {self.member_name} {role}>"

    @property
    def is_coordinator(self) -> bool:
        """Whether this process decides for the fleet."""
        return self._server is not None

    @property
    def hook(self) -> Any:
        """Calls hooks of this worker's photons, held where the fleet asks for it."""
        return self._member.hook

    @property
    def ahook(self) -> Any:
        """Awaits hooks of this worker's photons, likewise."""
        return self._member.ahook

    @property
    def _member(self) -> MemberDriver:
        if self._driver is None:
            raise FleetError(
                f"this process is no member of {self.name!r}", hint="await join() first"
            )
        return self._driver

    # --- Life ------------------------------------------------------------------------

    async def join(self, timeout: float | None = 60.0) -> None:  # noqa: ASYNC109
        """Return when this worker runs what is decided: it may take work now.

        Args:
            timeout: Seconds to wait at most; None for no limit. It is a member
                afterwards too, and goes on to try.

        Raises:
            FleetError: It cannot be a member, or does not run it in that time; or
                nothing is decided yet, and the sources cannot run.
        """
        if self._driver is None:
            loop = asyncio.get_running_loop()
            self._driver = MemberDriver(
                self.loader,
                self.member_name,
                fetch=self._fetch,
                send=self._send,
                loop=loop,
                drain_seconds=self.drain_seconds,
            )
            self.loader._fleet_view = self._view  # noqa: SLF001 - its member
            self._life = loop.create_task(self._live(), name="luminal-fleet")
        self._has_failed.clear()  # it waits for the next try
        loop = asyncio.get_running_loop()
        current = loop.create_task(self._wait_current())
        failed = loop.create_task(self._has_failed.wait())
        waited = {current, failed}
        try:
            await asyncio.wait(
                waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if current.done():
                return current.result()
        finally:
            for task in waited:
                task.cancel()
        if self._error is not None:
            raise self._error
        problems = self._driver.problems
        raise FleetError(
            f"{self.member_name} does not run what {self.name!r} has decided",
            file=self.journal,
            why="; ".join(f"{unit}: {why}" for unit, why in problems.items())
            or f"nobody has told it within {timeout:g} s",
            hint="luminal fleet status tells more",
        )

    async def _wait_current(self) -> None:
        if self.sources:  # there will be something to run
            await self._is_founded.wait()
        await self._member.wait_current()

    async def close(self) -> None:
        """Leave the fleet; what runs here goes on.

        Where this process decides, another worker takes over.
        """
        self._is_closed = True
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait({self._life})

    async def _close_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    def _view(self) -> dict[str, Any]:
        """Return what the page shows of the fleet; see `MemberDriver.view`."""
        if self._server is not None:
            return self._server.driver.view()
        return {**self._member.view(), "name": self.name}

    def _journal_lost(self) -> None:
        """Stop to decide: whoever opens the journal next sees what is in it."""
        self._closing = asyncio.get_running_loop().create_task(self._close_server())

    async def _live(self) -> None:
        """Be a member until `close`, or until the host's loop ends without it.

        What is left open then would keep others from deciding as long as this process
        lives.
        """
        try:
            await self._follow_or_decide()
        finally:
            self._is_closed = True
            await self._close_server()
            if self._peer is not None:
                self._peer.close()
            await self._member.close()

    async def _follow_or_decide(self) -> None:
        """Follow the coordinator, or become it, until the end."""
        pause = _FIRST_PAUSE
        while not self._is_closed:
            try:
                if await self._follow():
                    pause = _FIRST_PAUSE
                elif self._server is None:
                    await self._try_to_decide()
            except LuminalError as error:
                self._fail(error)
                pause = _LONGEST_PAUSE
            except Exception as error:  # noqa: BLE001 - it is told, and tried again
                failure = FleetError(
                    f"{self.member_name} cannot follow the fleet {self.name!r}",
                    file=self.socket,
                    why=f"{type(error).__name__}: {error}",
                )
                failure.__cause__ = error
                self._fail(failure)
                pause = _LONGEST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _fail(self, error: LuminalError) -> None:
        """Note why it cannot be a member now; it goes on to try."""
        if str(error) != str(self._error):
            cause = error.__cause__
            is_told = cause is None or isinstance(cause, OSError)
            _log.error(
                "fleet %r: %s", self.name, error, exc_info=None if is_told else cause
            )
        self._error = error
        self._has_failed.set()

    async def _try_to_decide(self) -> None:
        try:
            journal = await asyncio.to_thread(Journal, self.journal)
        except JournalBusyError:
            return  # it will listen in a moment
        server = self._server = LocalServer(self, journal)
        try:
            await server.start()
        except BaseException:
            self._server = None
            await server.close()
            raise

    async def _follow(self) -> bool:
        """Exchange messages with the coordinator until it ends.

        Returns:
            Whether there was one.

        Raises:
            FleetError: It has refused this worker.
        """
        try:
            check_private(os.path.dirname(self.socket))
            peer = Peer(*await asyncio.open_unix_connection(self.socket, limit=LIMIT))
        except OSError:
            return False
        self._peer, driver = peer, self._member
        try:
            info = MemberInfo.of_this_process(self.member_name)
            peer.say({"member": attrs.asdict(info), "life": self._life_token})
            while line := await peer.line():
                if line.startswith(b'{"refused"'):
                    raise FleetError(**json.loads(line)["refused"])
                if line.startswith(b'{"ask"'):
                    self._tell_figures(peer)
                    continue
                message = decode(line)
                if isinstance(message, MemberState):
                    continue
                driver.received(message)
                if isinstance(message, Decided) and message.table:
                    self._error = None
                    self._has_failed.clear()
                    self._is_founded.set()
        finally:
            self._peer = None
            peer.close()
            driver.lost()
        return True

    def _tell_figures(self, peer: Peer) -> None:
        try:
            peer.say({"figures": self._member.figures()})
        except Exception:  # noqa: BLE001 - canaries are judged without these
            _log.exception("member %r cannot tell its figures", self.member_name)

    def _send(self, state: MemberState) -> None:
        if self._peer is not None:
            self._peer.send(encode(state))

    async def _fetch(self, digest: str) -> bytes:
        data = await asyncio.to_thread(self.contents.get, digest)
        if data is None:
            raise FleetError(
                "the bytes that were decided are not there",
                file=self.contents.directory,
                why=f"no file there has the digest {digest[:16]}…",
            )
        return data

    # --- What can be asked -----------------------------------------------------------

    def watch(self) -> None:
        """Propose saves from now on, if this worker decides or later does."""
        self.is_watching = True
        if self._server is not None:
            self._server.watch()
