"""The workers of one server on one machine, as a fleet over a Unix socket.

The workers find one another by the name of the fleet. Whoever holds the lock on the
journal decides for all, and listens on the socket; when it ends, the system frees the
lock, and the first of the others that tries takes over with the journal. So there is no
election. The bytes of what is decided lie beside the journal, where all workers read
them.

What is said over the socket is one line of JSON each. The first line tells who speaks:

- ``{"member": {...}, "life": ...}``: a worker; messages of the fleet follow in both
  directions, and ``{"figures": ...}`` for canaries. ``{"refused": {...}}`` tells it
  why it cannot be a member.
- ``{"ask": "status" | "history" | "swap" | "roll-back" | "recover", ...}``: anybody of
  the same user; ``swap`` has ``source`` and ``options``, ``roll-back`` has ``unit``,
  ``recover`` has ``sources``, and each may say ``by``. The answer is
  ``{"answer": ...}`` or ``{"error": {...}}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from luminal._forks import begin_anew_in_forks
from luminal.errors import FleetError, HostNotRunningError, LuminalError
from luminal.fleet._codec import decode, encode
from luminal.fleet._contents import Contents, digest_of
from luminal.fleet._coordinator import CoordinatorDriver
from luminal.fleet._journal import Journal, JournalBusyError
from luminal.fleet._member import MemberDriver
from luminal.fleet._protocol import Begin, Decided, MemberState
from luminal.fleet._report import FleetStatus, MemberInfo, MemberStatus, SwapReport
from luminal.fleet._sources import bytes_of
from luminal.model import Probation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luminal.managers import Loader
    from luminal.reload.watching import Watcher

__all__ = ["LocalClient", "LocalFleet", "fleet_directory", "local_fleets"]

_log = logging.getLogger("luminal.fleet")

_Path = str | os.PathLike[str]

_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one line at most; a line of a fleet has some hundred."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two tries to find the coordinator, or to become it."""

_ANSWER_SECONDS: Final = 5.0
"""Seconds in which a member tells its figures."""

_LEAVE_SECONDS: Final = 1.0
"""Seconds in which it is seen that a worker has ended which another one replaces."""

_BUFFER: Final = 1024 * 1024
"""Bytes that wait for a process which does not read; what comes then is lost."""


# --- Where things are ----------------------------------------------------------------


def _check(name: str) -> None:
    if not name or name in (".", "..") or any(c in name for c in "/\\\0"):
        raise FleetError(f"{name!r} is no name of a fleet", why="it is no file's name")


def fleet_directory(name: str) -> str:
    """Return where a local fleet keeps its journal and its bundles.

    Args:
        name: Of the fleet.

    Raises:
        FleetError: There is no directory for state, or the name is none.
    """
    from luminal.store import state_directory

    _check(name)
    state = state_directory()
    if state is None:
        raise FleetError(
            f"the fleet {name!r} has no place for its journal",
            why="this user has no home directory",
            hint="set LUMINAL_STATE_DIR, or name a journal",
        )
    return os.path.join(state, "fleet", name)


_PREFIX: Final = "fleet-"


def _socket_path(name: str) -> str:
    from luminal.managers._client import socket_directory

    _check(name)
    path = os.path.join(socket_directory(), f"{_PREFIX}{name}.sock")
    if len(os.fsencode(path)) < 100:  # the system allows 104 to 108 bytes
        return path
    short = hashlib.sha256(os.fsencode(name)).hexdigest()[:24]
    return os.path.join(socket_directory(), f"{_PREFIX}{short}.sock")


def local_fleets() -> list[str]:
    """Return the names of local fleets that have a socket, which may be stale."""
    from luminal.managers._client import socket_directory

    try:
        names = os.listdir(socket_directory())
    except OSError:
        return []
    return sorted(
        name[len(_PREFIX) : -5]
        for name in names
        if name.startswith(_PREFIX) and name.endswith(".sock")
    )


# --- Lines ---------------------------------------------------------------------------


def _leave_to_parent(descriptor: int) -> None:
    """Let a forked child not keep a socket open: others see when the parent ends.

    The number stays in use, as an object of the parent's loop is to close it.
    """
    if descriptor >= 0:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, descriptor, inheritable=False)
        os.close(null)


@attrs.define(eq=False)
class _Peer:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    has_ended: asyncio.Event = attrs.Factory(asyncio.Event)

    def __attrs_post_init__(self) -> None:
        begin_anew_in_forks(self)

    def send(self, data: bytes) -> None:
        """Send a line, without waiting; what its buffer has no room for is lost."""
        transport = self.writer.transport
        if not transport.is_closing() and transport.get_write_buffer_size() < _BUFFER:
            self.writer.write(data + b"\n")

    def say(self, values: Mapping[str, Any]) -> None:
        """Send values of JSON."""
        self.send(json.dumps(values).encode())

    async def line(self) -> bytes:
        """Return the next line, without its end; empty at the end of them."""
        try:
            line = await self.reader.readline()
        except (OSError, ValueError):  # it is gone, or says too much
            return b""
        return line.removesuffix(b"\n") if line.endswith(b"\n") else b""

    async def heard(self) -> dict[str, Any]:
        """Return the values of the next line; empty at the end, or of no sense."""
        with contextlib.suppress(ValueError):
            values = json.loads(await self.line() or b"{}")
            if isinstance(values, dict):
                return values
        return {}

    def begin_anew(self) -> None:
        """Leave the connection to the parent, in a process that was forked."""
        _leave_to_parent(self.writer.get_extra_info("socket").fileno())

    def close(self) -> None:
        """End the connection."""
        self.writer.close()


def _plain_error(error: BaseException) -> dict[str, Any]:
    if not isinstance(error, LuminalError):
        return {"what": f"{type(error).__name__}: {error}"}
    keys = ("what", "photon", "file", "line", "why", "hint")
    return {key: getattr(error, key) for key in keys if getattr(error, key) is not None}


def _as_fleet_error(error: LuminalError) -> FleetError:
    """Return *error* as whoever asks gets it."""
    return error if isinstance(error, FleetError) else FleetError(**_plain_error(error))


# --- The coordinator -----------------------------------------------------------------


class _Server:
    """Decides for the fleet, and answers on its socket.

    Args:
        fleet: Of the worker that has the journal.
        journal: Open.
    """

    def __init__(self, fleet: LocalFleet, journal: Journal) -> None:
        self._fleet = fleet
        self._peers: dict[str, _Peer] = {}
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
        self._is_closed: bool = False
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
        await asyncio.to_thread(_make_private, os.path.dirname(path))
        # Whoever has the journal is the only one that listens here.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._server = await asyncio.start_unix_server(self._talk, path, limit=_LIMIT)
        os.chmod(path, 0o600)
        if self._fleet.is_watching:
            self.watch()

    async def close(self) -> None:
        """Stop to listen and to decide."""
        self._is_closed = True
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
            _leave_to_parent(each.fileno())

    # Members.

    def _send(self, member: str, message: Any) -> None:
        peer = self._peers.get(member)
        if peer is not None:
            peer.send(encode(message))

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = _Peer(reader, writer)
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
        except OSError:
            pass
        except asyncio.CancelledError:
            # By `close`. Where its task is cancelled, asyncio 3.11 logs an error.
            if not self._is_closed:
                raise
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

    async def _serve(self, peer: _Peer, values: dict[str, Any], life: str) -> None:
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
            peer.say({"refused": _plain_error(refusal)})
            return
        self._peers[info.name], self._lives[info.name] = peer, life
        try:
            self.driver.joined(info.name, info)
            while line := await peer.line():
                self._hear(info.name, line)
        except LuminalError as error:
            peer.say({"refused": _plain_error(error)})
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
                    text = _absolute(source)
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
            self._refusal = _as_fleet_error(error)
            for peer in list(self._peers.values()):
                peer.say({"refused": _plain_error(self._refusal)})
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
            return {"error": _plain_error(error)}
        except Exception as error:  # noqa: BLE001 - whoever asks is told
            _log.exception("fleet %r: %r cannot be answered", self._fleet.name, request)
            return {"error": _plain_error(error)}

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
                text = _absolute(source)
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


def _make_private(directory: str) -> None:
    os.makedirs(directory, mode=0o700, exist_ok=True)
    _check_private(directory)


def _check_private(directory: str) -> None:
    """Trust a socket's directory only where no other user can put a socket.

    Raises:
        FleetError: It is open to others.
        OSError: It does not exist.
    """
    about = os.lstat(directory)
    if about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise FleetError(
            "the socket of the fleet cannot be used",
            file=directory,
            why="that directory is open to other users",
            hint=f"chmod 700 {directory}",
        )


# --- A worker ------------------------------------------------------------------------


class LocalFleet:
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
        sources: Sequence[_Path] | _Path = (),
        *,
        journal: _Path | None = None,
        watch: bool = False,
        member: str = "",
        drain_seconds: float = 10.0,
        **seconds: float,
    ) -> None:
        self.loader = loader
        self.name = name
        self.sources: tuple[_Path, ...] = (
            (sources,) if isinstance(sources, str | os.PathLike) else tuple(sources)
        )
        directory = fleet_directory(name)
        self.journal: str = os.path.abspath(
            journal or os.path.join(directory, "journal")
        )
        self.contents: Contents = Contents(
            os.path.join(os.path.dirname(self.journal), "bundles")
        )
        self.socket: str = _socket_path(name)
        self.is_watching: bool = watch
        self.member_name: str = member or f"{socket.gethostname()}-{os.getpid()}"
        self.drain_seconds: float = drain_seconds
        self.seconds: dict[str, float] = seconds
        self._driver: MemberDriver | None = None
        self._peer: _Peer | None = None
        self._server: _Server | None = None
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
        await self._close_server()
        if self._peer is not None:
            self._peer.close()
        if self._driver is not None:
            await self._driver.close()

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
            _log.error("fleet %r: %s", self.name, error, exc_info=error.__cause__)
        self._error = error
        self._has_failed.set()

    async def _try_to_decide(self) -> None:
        try:
            journal = await asyncio.to_thread(Journal, self.journal)
        except JournalBusyError:
            return  # it will listen in a moment
        server = self._server = _Server(self, journal)
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
            _check_private(os.path.dirname(self.socket))
            peer = _Peer(*await asyncio.open_unix_connection(self.socket, limit=_LIMIT))
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

    def _tell_figures(self, peer: _Peer) -> None:
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

    @property
    def _client(self) -> LocalClient:
        return LocalClient(self.name)

    async def swap(self, source: _Path, *, by: str = "", **options: Any) -> SwapReport:
        """Let all workers run a source, or none; see `CoordinatorDriver.swap`."""
        return await self._client.swap(source, by=by or self.member_name, **options)

    async def roll_back(self, unit: str, *, by: str = "") -> SwapReport:
        """Return all workers to what was decided before; see `CoordinatorDriver`."""
        return await self._client.roll_back(unit, by=by or self.member_name)

    async def status(self) -> FleetStatus:
        """Return what the fleet runs, and who its members are."""
        return await self._client.status()

    async def history(self) -> tuple[SwapReport, ...]:
        """Return what was decided, for and against, the latest last."""
        return await self._client.history()

    async def recover(
        self, sources: Iterable[_Path] = (), *, by: str = ""
    ) -> tuple[SwapReport, ...]:
        """Decide anew above all numbers; see `CoordinatorDriver.recover`."""
        return await self._client.recover(sources, by=by or self.member_name)


# --- Whoever asks --------------------------------------------------------------------


class LocalClient:
    """Asks a local fleet, also from a process that is none of its workers.

    Args:
        name: Of the fleet.
        patience: Seconds in which there must be somebody who decides, and in which
            that one tells what it knows. A swap may take longer.
    """

    def __init__(self, name: str, patience: float = 5.0) -> None:
        self.name = name
        self.patience = patience

    async def _ask(self, **request: Any) -> Any:
        path, until = _socket_path(self.name), time.monotonic() + self.patience
        while True:
            try:
                streams = await asyncio.open_unix_connection(path, limit=_LIMIT)
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
        peer = _Peer(*streams)
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

    async def swap(self, source: _Path, *, by: str = "", **options: Any) -> SwapReport:
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
            source=_absolute(source),
            by=by,
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
        return _report_of(await self._ask(ask="roll-back", unit=unit, by=by))

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
        self, sources: Iterable[_Path] = (), *, by: str = ""
    ) -> tuple[SwapReport, ...]:
        """Decide anew above all numbers; see `CoordinatorDriver.recover`.

        Args:
            sources: What is to run; of other units, what the journal says.
            by: Who asks.

        Raises:
            HostNotRunningError: No worker runs.
            FleetError: There is nothing to decide.
        """
        paths = [_absolute(each) for each in sources]
        answer = await self._ask(ask="recover", sources=paths, by=by)
        return tuple(map(_report_of, answer))


def _absolute(source: _Path) -> str:
    """Return a source as it is called in every directory."""
    path = os.path.abspath(os.fspath(source))
    return path if os.path.exists(path) else os.fspath(source)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | dict)


def _report_of(values: dict[str, Any]) -> SwapReport:
    return SwapReport(**{**values, "behind": tuple(values["behind"])})
