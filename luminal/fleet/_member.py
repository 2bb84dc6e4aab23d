"""A member of a fleet: does on a Loader what was decided.

`MemberDriver` drives the rules of `luminal.fleet._protocol.Member`. The bytes of what
runs are those that were decided, fetched by their digest, never those of a disk.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from hashlib import sha512
from typing import TYPE_CHECKING, Any

import attrs

from luminal._forks import begin_anew_in_forks
from luminal._running_loop import running_loop
from luminal.errors import LuminalError, PhotonStateError, PhotonVerificationError
from luminal.fleet._calls import AsyncHooks, CallCounter, Hooks
from luminal.fleet._protocol import (
    CommitPrepared,
    Decided,
    Hold,
    Load,
    Member,
    MemberState,
    Prepare,
    Stage,
    Undo,
)
from luminal.supervise import LoopThread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from luminal.fleet._protocol import Effect
    from luminal.hooks import HookTotal
    from luminal.managers import Loader
    from luminal.reload import Prepared
    from luminal.trust import Bundle

__all__ = ["MemberDriver", "ahook", "hook"]

_log = logging.getLogger("luminal.fleet")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds without another try after a load has failed, doubled each time."""


@attrs.define(eq=False)
class _Unit:
    """What the member knows of one bundle.

    Attributes:
        digest: Of the bytes that run; empty where nothing does.
        staged: Of the bytes that are prepared.
        prepared: What waits for a decision; None where nothing is to be done for it,
            as the same bytes run.
        staging: Prepares.
        last: The latest step; the next one waits for its end.
        why: Why the latest step has failed.
        failures: How often in a row.
        not_before: When a load is tried again, of the monotonic clock.
    """

    digest: str = ""
    staged: str = ""
    prepared: Prepared | None = None
    staging: asyncio.Task[None] | None = None
    last: asyncio.Task[None] | None = None
    why: str = ""
    failures: int = 0
    not_before: float = 0.0


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
        global _current
        self.loader = loader
        self.name = name
        self._fetch = fetch
        self._send = send
        self._own: LoopThread | None = (
            LoopThread("luminal-fleet") if loop is None else None
        )
        self._loop = self._own.loop if self._own is not None else loop
        self._drain_seconds = drain_seconds
        self._ask_seconds = ask_seconds
        self._member = Member(name)
        self._units: dict[str, _Unit] = {}
        self._calls = CallCounter()
        # Held until it runs what was decided when it joined.
        self._calls.hold()
        self._has_begun: bool = False
        self._hold: asyncio.Task[None] | None = None
        self._is_told: bool = False
        self._is_closed: bool = False
        # Whoever waits until it runs what is decided; threads add to it.
        self._waiting: list[Future[None]] = []
        self._lock: threading.Lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None
        # What was counted when a bundle was committed: later figures are from then on.
        self._counted: dict[tuple[str, str], HookTotal] = {}
        self.hook: Any = Hooks(loader.hook, self._calls)
        """Calls hooks of the Loader, counted and held as the fleet asks."""
        self.ahook: Any = AsyncHooks(loader.ahook, self._calls)
        """Awaits hooks of the Loader, likewise."""
        _current = self
        loader._fleet_view = self.view  # noqa: SLF001 - its member
        begin_anew_in_forks(self)
        self._on_loop(self._plan_ask)

    def begin_anew(self) -> None:
        """Let a process that was forked be no member: nobody tells it what to run."""
        self._leave()

    def _leave(self) -> None:
        global _current
        if _current is self:
            _current = None
            self.loader._fleet_view = None  # noqa: SLF001 - its member

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it lives on."""
        assert self._loop is not None  # noqa: S101 - for type checkers
        return self._loop

    def __repr__(self) -> str:
        return f"<MemberDriver {self.name!r} runs={self._member.runs}>"

    # --- Messages --------------------------------------------------------------------

    def received(self, message: Prepare | Decided) -> None:
        """Go on after a message of the coordinator; from any thread."""
        self._on_loop(self._receive, message)

    def lost(self) -> None:
        """Note that the coordinator cannot be reached; from any thread.

        What it has voted for stays prepared; calls that are held go on.
        """
        self._on_loop(lambda: self._perform(self._member.lost()))

    def _on_loop(self, function: Callable[..., object], *arguments: object) -> None:
        loop = self._loop
        assert loop is not None  # noqa: S101 - for type checkers
        if running_loop() is loop:
            function(*arguments)
        else:
            with suppress(RuntimeError):  # its loop has ended, and it with it
                loop.call_soon_threadsafe(function, *arguments)

    def _receive(self, message: Prepare | Decided) -> None:
        if self._is_closed:
            return
        self._is_told = True
        self._perform(self._member.received(message))

    def _tell(self, state: MemberState) -> None:
        try:
            self._send(state)
        except Exception:  # noqa: BLE001 - a lost message is one of many
            _log.exception("member %r cannot send its state", self.name)

    def _plan_ask(self) -> None:
        if not self._is_closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._ask_seconds, self._ask)

    def _ask(self) -> None:
        """Tell the state again, where an answer may be lost."""
        self._notice_ends()
        if not self.is_current or self._member.undecided is not None:
            self._tell(self._member.state())
        self._plan_ask()

    def _notice_ends(self) -> None:
        """Tell of bundles that run no more as decided: a kill list has ended them."""
        for name, unit in list(self._units.items()):
            is_at_rest = unit.last is None or unit.last.done()
            if is_at_rest and unit.digest and self._digest_here(name) != unit.digest:
                unit.digest = ""
                why = f"what was decided of {name!r} was ended in this process"
                self._perform(self._member.ended(name, why))

    def _digest_here(self, name: str) -> str:
        """Return the digest of the bytes that run of a bundle; empty where none do."""
        for handler in self.loader.photons.values():
            generation = handler.generation
            if handler.fleet == name and generation and generation.bundle:
                return generation.bundle.checksum
        return ""

    # --- What it runs ----------------------------------------------------------------

    @property
    def is_current(self) -> bool:
        """Whether it runs what it knows to be decided, and knows that."""
        return self._is_told and self._member.is_current

    @property
    def runs(self) -> dict[str, int]:
        """Name of each bundle → number of the decision that runs."""
        return dict(self._member.runs)

    @property
    def problems(self) -> dict[str, str]:
        """Name of each bundle whose latest step has failed → why."""
        return {name: unit.why for name, unit in list(self._units.items()) if unit.why}

    def view(self) -> dict[str, Any]:
        """Return what this member knows of its fleet, as values of JSON.

        Returns:
            ``name`` and ``coordinator`` (empty, as a member need not know them),
            ``number``, ``members``, ``votes`` and ``latest`` (of the latest swap),
            ``under_way`` and ``blocked_by``.
        """
        undecided = self._member.undecided
        me = {
            "name": self.name,
            "runs": self.runs,
            "prepared": undecided.number if undecided is not None else 0,
            "is_behind": not self.is_current,
        }
        votes = {self.name: "; ".join(self.problems.values())} if self.problems else {}
        return {
            "name": "",
            "coordinator": "",
            "number": self._member.decided.closed,
            "members": [me],
            "votes": votes,
            "latest": None,
            "under_way": "",
            "blocked_by": "",
        }

    async def wait_current(self) -> None:
        """Return once it runs what is decided: then it may take work.

        It may be awaited on any loop.

        Raises:
            PhotonStateError: It was closed meanwhile.
        """
        done: Future[None] = Future()
        with self._lock:
            self._waiting.append(done)
        if not self._is_closed:  # else nobody would wake it
            self._on_loop(self._wake)
            await asyncio.wrap_future(done)
        if self._is_closed:
            raise PhotonStateError("this member has left its fleet")

    def _wake(self) -> None:
        if self.is_current or self._is_closed:
            if not self._has_begun:
                self._has_begun = True
                if self._hold is None:
                    self._calls.release()
            with self._lock:
                waiting, self._waiting = self._waiting, []
            for done in waiting:
                if done.set_running_or_notify_cancel():
                    done.set_result(None)

    def figures(self) -> dict[str, Mapping[str, float]]:
        """Return photon → ``calls``, ``errors`` and ``p95`` (seconds).

        They are of the calls since the latest commit of its bundle.
        """
        from luminal.hooks.records import quantile

        buckets: dict[str, list[int]] = {}
        found: dict[str, dict[str, float]] = {}
        for key, total in self._totals().items():
            before = self._counted.get(key)
            counted = [total.calls, total.errors]
            times = list(total.buckets)
            if before is not None:
                counted = [total.calls - before.calls, total.errors - before.errors]
                for at, count in enumerate(before.buckets):
                    times[at] -= count
            of = found.setdefault(key[0], {"calls": 0, "errors": 0, "p95": 0.0})
            of["calls"] += counted[0]
            of["errors"] += counted[1]
            mine = buckets.setdefault(key[0], [])
            mine += [0] * (len(times) - len(mine))
            for at, count in enumerate(times):
                mine[at] += count
        for photon, times in buckets.items():
            found[photon]["p95"] = quantile(tuple(times), 0.95)
        return dict(found)

    def _totals(self) -> dict[tuple[str, str], HookTotal]:
        from luminal.metrics import snapshot

        names = {n for n, h in self.loader.photons.items() if h.fleet}
        totals = snapshot(self.loader).hooks
        return {(t.photon, t.hook): t for t in totals if t.photon in names}

    # --- What is to be done ----------------------------------------------------------

    def _perform(self, effects: Iterable[Effect]) -> None:
        found = list(effects)
        # Its state is told in a moment, when that is done.
        is_committing = any(isinstance(effect, CommitPrepared) for effect in found)
        for effect in found:
            if isinstance(effect, MemberState):
                if not is_committing:
                    self._tell(effect)
            elif isinstance(effect, Stage):
                unit = self._units.setdefault(effect.unit, _Unit())
                unit.staging = self._then(unit, self._stage, effect)
            elif isinstance(effect, Hold):
                self._hold = self._task(self._drain(effect.number))
            elif isinstance(effect, CommitPrepared):
                unit = self._units.setdefault(effect.unit, _Unit())
                self._then(unit, self._commit, effect)
            elif isinstance(effect, Undo):
                unit = self._units.setdefault(effect.unit, _Unit())
                if unit.staging is not None:
                    unit.staging.cancel()
                self._then(unit, self._undo)
            elif isinstance(effect, Load):
                unit = self._units.setdefault(effect.unit, _Unit())
                self._then(unit, self._load, effect)
        self._wake()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, name="luminal-fleet")

    def _then(
        self, unit: _Unit, work: Callable[..., Awaitable[None]], *arguments: Effect
    ) -> asyncio.Task[None]:
        """Do *work* after what is done of *unit* now."""
        before = unit.last

        async def step() -> None:
            if before is not None and not before.done():
                await asyncio.wait({before})
            await work(unit, *arguments)

        unit.last = self._task(step())
        return unit.last

    async def _stage(self, unit: _Unit, stage: Stage) -> None:
        why = ""
        try:
            await self._prepare(unit, stage.unit, stage.digest)
        except Exception as error:  # noqa: BLE001 - it is a vote against
            why = _reason(error)
            _log.warning("member %r votes against %r: %s", self.name, stage.unit, why)
        unit.staging, unit.why = None, why
        self._perform(self._member.staged(stage, why))

    async def _prepare(self, unit: _Unit, name: str, digest: str) -> None:
        """Prepare the bundle with *digest*.

        Raises:
            Exception: It cannot run here. Everything is as it was.
        """
        unit.prepared = None
        if digest != unit.digest or digest != self._digest_here(name):
            data = await self._fetch(digest)
            bundle = await self._open(data, name, digest)
            unit.prepared = await self.loader._prepare_for_fleet(  # noqa: SLF001
                bundle
            )
        unit.staged = digest

    async def _open(self, data: bytes, name: str, digest: str) -> Bundle:
        if self._own is not None:  # nothing else waits for this loop
            return _opened(data, name, digest)
        return await asyncio.to_thread(_opened, data, name, digest)

    async def _commit(self, unit: _Unit, commits: CommitPrepared) -> None:
        why = await self._commit_prepared(unit, commits.unit)
        self._release()
        self._perform(self._member.committed(commits.unit, commits.number, why))

    async def _commit_prepared(self, unit: _Unit, name: str) -> str:
        prepared, unit.prepared = unit.prepared, None
        digest, unit.staged = unit.staged, ""
        try:
            if not digest:
                return "nothing is prepared"
            if prepared is not None:
                await prepared.commit()
        except Exception as error:  # noqa: BLE001 - it is behind, and is told again
            _log.exception("member %r cannot commit %r", self.name, name)
            unit.why = _reason(error)
            return unit.why
        unit.digest, unit.why, unit.failures = digest, "", 0
        self._count_anew(name)
        return ""

    def _count_anew(self, name: str) -> None:
        photons = self.loader.photons
        for key, total in self._totals().items():
            if photons[key[0]].fleet == name:
                self._counted[key] = total

    async def _undo(self, unit: _Unit) -> None:
        prepared, unit.prepared = unit.prepared, None
        unit.staged, unit.staging = "", None
        self._release()
        if prepared is not None:
            await prepared.undo()

    async def _load(self, unit: _Unit, load: Load) -> None:
        why = unit.why
        if time.monotonic() >= unit.not_before:
            why = ""
            try:
                await self._prepare(unit, load.unit, load.digest)
            except Exception as error:  # noqa: BLE001 - it is behind, and tries again
                why = _reason(error)
                _log.error("member %r cannot run %r: %s", self.name, load.unit, why)
            why = why or await self._commit_prepared(unit, load.unit)
            unit.why = why
            if why:
                pause = min(_FIRST_PAUSE * 2**unit.failures, _LONGEST_PAUSE)
                unit.failures += 1
                unit.not_before = time.monotonic() + pause
        self._perform(self._member.committed(load.unit, load.number, why))

    async def _drain(self, number: int) -> None:
        drained = asyncio.wrap_future(self._calls.hold())
        done, _ = await asyncio.wait({drained}, timeout=self._drain_seconds)
        undrained = 0 if done else self._calls.count
        if undrained:
            _log.warning(
                "member %r: %d calls have not ended within %g s; "
                "they end on the generation that they began on",
                self.name,
                undrained,
                self._drain_seconds,
            )
        self._perform(self._member.drained(number, undrained))

    def _release(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None and hold is not asyncio.current_task():
            hold.cancel()
        if self._has_begun:
            self._calls.release()

    # --- The end ---------------------------------------------------------------------

    async def close(self, *, is_unloading: bool = False) -> None:
        """Undo what waits for a decision, and leave the fleet.

        It may be awaited on any loop.

        Args:
            is_unloading: Whether the Loader is closed too; else its photons go on.
        """
        self._leave()
        if self._is_closed:
            return
        loop = self._loop
        assert loop is not None  # noqa: S101 - for type checkers
        if asyncio.get_running_loop() is loop:
            await self._close(is_unloading)
        elif loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(self._close(is_unloading), loop)
            await asyncio.wrap_future(closing)
        if self._own is not None and self._own.is_here:
            self._own.close()
        elif self._own is not None:
            await asyncio.to_thread(self._own.close)

    async def _close(self, is_unloading: bool) -> None:
        self._is_closed = self._has_begun = True
        if self._timer is not None:
            self._timer.cancel()
        for unit in self._units.values():
            if unit.staging is not None:
                unit.staging.cancel()
            await self._then(unit, self._undo)
        self._release()
        self._wake()
        if is_unloading:
            await self.loader.close()


def _opened(data: bytes, name: str, digest: str) -> Bundle:
    """Return the bundle that *data* is.

    Raises:
        PhotonVerificationError: It is not the one that was decided.
    """
    from luminal.reload import fleet_path
    from luminal.trust import open_bundle

    path = fleet_path(name)
    why = ""
    if sha512(data).hexdigest() != digest:
        why = f"its digest is not {digest[:16]}…, which was decided"
    else:
        bundle = open_bundle(data, path)
        if bundle.name == name:
            return bundle
        why = f"it is called {bundle.name!r}"
    raise PhotonVerificationError(
        f"is not the bundle {name!r} of the fleet",
        file=path,
        why=why,
        hint="look at the coordinator's content store",
    )


def _reason(error: BaseException) -> str:
    """Return *error* in one line, for a vote."""
    text = str(error) if isinstance(error, LuminalError) else repr(error)
    return " ".join(text.split())


# --- The member of this process ------------------------------------------------------

_current: MemberDriver | None = None


def _member() -> MemberDriver:
    if _current is None:
        raise PhotonStateError(
            "this process is no member of a fleet",
            why="no member was started in it, or it has left",
            hint="await LocalFleet.join() in it, or call luminal.fleet.ray.join; "
            "with Dask, start the scheduler with --preload luminal.fleet.dask",
        )
    return _current


def hook() -> Any:
    """Return what calls hooks of this process' member.

    ``luminal.fleet.hook().name(argument=value)`` waits where the fleet holds calls.

    Raises:
        PhotonStateError: This process is no member.
    """
    return _member().hook


def ahook() -> Any:
    """Return what awaits hooks of this process' member.

    ``await luminal.fleet.ahook().name(argument=value)``, likewise.

    Raises:
        PhotonStateError: This process is no member.
    """
    return _member().ahook
