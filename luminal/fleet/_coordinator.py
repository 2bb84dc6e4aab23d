"""Whoever decides for a fleet: drives the rules, with a journal, a clock and messages.

`CoordinatorDriver` lives on one event loop. It knows no transport: it is told who has
joined, who has left and what was said, and is given a function that sends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from luminal.discovery import several
from luminal.errors import FleetError
from luminal.fleet._journal import Entry, committed_before
from luminal.fleet._protocol import (
    Abort,
    Begin,
    Blocked,
    Commit,
    Coordinator,
    Finished,
    Log,
    Send,
    Write,
)
from luminal.fleet._report import FleetStatus, MemberInfo, MemberStatus, SwapReport
from luminal.model import Probation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from luminal.fleet._contents import Contents
    from luminal.fleet._journal import Journal
    from luminal.fleet._protocol import (
        Decided,
        Effect,
        MemberState,
        Mode,
        Prepare,
        Row,
    )

__all__ = ["CoordinatorDriver", "Figures"]

_log = logging.getLogger("luminal.fleet")

_TICK: Final = 0.25
"""Seconds between two looks at what was not answered."""

_HEALTH: Final = Probation(seconds=30.0, interval=1.0, more_errors=0.05, slowdown=4.0)
"""How canaries are judged, unless the caller says."""

Figures = dict[str, dict[str, float]]
"""Photon → ``calls``, ``errors`` and ``p95`` (seconds) since its latest commit."""


@attrs.define(eq=False)
class _UnderWay:
    """A swap that members are asked about.

    Attributes:
        unit: Name of the bundle.
        done: Gets what came of it.
        by: Who has asked for it.
        mode: How it is made.
        source: Where the bytes are from.
        number: Of the decision, once it has begun.
        votes: Member → why not, or empty.
        undrained: Member → how many of its calls have not ended in time.
        first: When the first member was seen to run it, of the monotonic clock.
        latest: When one was seen to run it last.
        keeping: Makes its bytes durable, while members vote.
    """

    unit: str
    done: asyncio.Future[Finished]
    by: str
    mode: str
    source: str = ""
    number: int = 0
    votes: dict[str, str] = attrs.Factory(dict)
    undrained: dict[str, int] = attrs.Factory(dict)
    first: float = 0.0
    latest: float = 0.0
    keeping: asyncio.Task[None] | None = None


class CoordinatorDriver:
    """Decides what the members of one fleet run.

    All methods but the constructor belong to the loop that `start` was called on.

    Args:
        journal: Open; it is closed with this.
        contents: The bytes by their digest.
        send: Sends a message to a member, by its name. It must not block; where it
            raises, the message is lost.
        name: Of the fleet.
        label: Of this coordinator, for people.
        figures: Awaited with the name of a member; returns its figures, for canaries.
        lost: Called when the journal cannot be used any more: nothing is decided here
            any more, and somebody should open it anew.
        vote_seconds: How long votes are waited for: longer than a member may take to
            load and to start, so that one whose photon hangs can vote against it.
        agree_seconds: How long it is waited until all have done what was decided.
        again_seconds: When a message that was not answered is sent again.
    """

    def __init__(
        self,
        journal: Journal,
        contents: Contents,
        send: Callable[[str, Prepare | Decided], object],
        *,
        name: str = "",
        label: str = "",
        figures: Callable[[str], Awaitable[Mapping[str, Mapping[str, float]]]]
        | None = None,
        lost: Callable[[], object] | None = None,
        vote_seconds: float = 75.0,
        agree_seconds: float = 10.0,
        again_seconds: float = 1.0,
    ) -> None:
        self.journal = journal
        self.contents = contents
        self.name = name
        self.label = label
        self._send = send
        self._figures = figures
        self._lost = lost
        self._rules = Coordinator(
            Log(journal.rows),
            vote_seconds=vote_seconds,
            agree_seconds=agree_seconds,
            again_seconds=again_seconds,
        )
        self._infos: dict[str, MemberInfo] = {}
        self._swap: _UnderWay | None = None
        # One swap is under way at a time; others wait, first come, first served.
        self._turn: asyncio.Lock = asyncio.Lock()
        self._is_idle: asyncio.Event = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        # What came of the latest swap; it is written a moment later.
        self._latest: dict[str, Any] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed: bool = False

    # --- Life ------------------------------------------------------------------------

    def start(self) -> None:
        """Close what an earlier coordinator has left open, and begin to decide."""
        self._perform(self._rules.begin())
        self._tick()

    @property
    def is_new(self) -> bool:
        """Whether nothing is decided yet, so that members have nothing to run."""
        return not self._rules.log.table

    @property
    def has_voters(self) -> bool:
        """Whether a member is there that has told its state, and so can vote."""
        return bool(self._rules.members)

    async def close(self) -> None:
        """Decide nothing any more, and give the journal back.

        What has begun stays open: the next coordinator aborts it.
        """
        self._end()
        if self._tasks:  # a row is being written
            await asyncio.wait(self._tasks)
        self.journal.close()

    def _end(self) -> None:
        self._is_closed = True
        self._is_idle.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._swap is not None and not self._swap.done.done():
            self._swap.done.set_exception(
                FleetError(
                    f"what was decided of {self._swap.unit!r} is not known here",
                    why="the coordinator ends",
                    hint="luminal fleet history tells, once there is another one",
                )
            )

    def _tick(self) -> None:
        if self._is_closed:
            return
        self._perform(self._rules.tick(time.monotonic()))
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    # --- Members ---------------------------------------------------------------------

    def joined(self, member: str, about: MemberInfo) -> None:
        """Let a member in: it is told what is decided.

        Args:
            member: Its name. Where one of that name is there already, that has ended.
            about: What it says about itself.

        Raises:
            FleetError: It has another version of Luminal or Python.
        """
        mine = MemberInfo.of_this_process(member)
        for what, theirs, ours in (
            ("Luminal", about.luminal, mine.luminal),
            ("Python", about.python, mine.python),
        ):
            if theirs != ours:
                raise FleetError(
                    f"member {member!r} has {what} {theirs or '?'}, not {ours}",
                    hint="run the same versions on all members of a fleet",
                )
        self._infos[member] = about
        self._perform(self._rules.joined(member, time.monotonic()))

    def left(self, member: str) -> None:
        """Forget a member whose process or connection has ended."""
        if self._infos.pop(member, None) is not None:
            self._perform(self._rules.left(member, time.monotonic()))

    def received(self, member: str, state: MemberState) -> None:
        """Go on after a message of *member*; one that has not joined is not heard."""
        if member not in self._infos or self._is_closed:
            return
        now, swap = time.monotonic(), self._swap
        if swap is not None and swap.number:
            if state.prepared == swap.number:
                swap.votes[member] = ""
            elif state.refused == swap.number:
                swap.votes[member] = state.why
            if state.held == swap.number and state.undrained:
                swap.undrained[member] = state.undrained
            if state.runs.get(swap.unit) == swap.number:
                swap.first = swap.first or now
                swap.latest = now
        self._perform(self._rules.received(member, state, now))

    # --- What is to be done ----------------------------------------------------------

    def _perform(self, effects: Iterable[Effect]) -> None:
        if self._is_closed:
            return
        for effect in effects:
            if isinstance(effect, Send):
                try:
                    self._send(effect.member, effect.message)
                except Exception:  # noqa: BLE001 - it is sent again
                    _log.exception("nothing can be sent to member %r", effect.member)
            elif isinstance(effect, Write):
                self._spawn(self._write(effect.row))
            elif isinstance(effect, Finished):
                swap = self._swap
                if swap is not None and not swap.done.done():
                    swap.done.set_result(effect)
        if self._rules.is_idle:
            self._is_idle.set()
        else:
            self._is_idle.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="luminal-fleet")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, row: Row) -> None:
        swap, about = self._swap, {}
        if type(row) is Begin and swap is not None:
            swap.number = row.number
            about = {"by": swap.by, "mode": swap.mode, "source": swap.source}
        is_written = True
        try:
            if type(row) is Commit and swap is not None and swap.keeping is not None:
                await swap.keeping  # what is decided outlives a loss of power
            await asyncio.to_thread(self.journal.append, row, **about)
        except FleetError as error:
            _log.critical("nothing more is decided here: %s", error)
            self._end()
            if self._lost is not None:
                self._lost()
            return
        except OSError as error:
            _log.error("what is decided cannot be kept: %s", error)
            is_written = False
        now = time.monotonic()
        self._perform(self._rules.written(row, now, is_written=is_written))

    # --- Swaps -----------------------------------------------------------------------

    async def swap(
        self,
        data: bytes,
        *,
        members: Iterable[str] | None = None,
        mode: str = "immediate",
        first: int | Iterable[str] = 1,
        health: Probation = _HEALTH,
        by: str = "",
        source: str = "",
    ) -> SwapReport:
        """Let members run a bundle. When this is cancelled, the swap goes on.

        Args:
            data: The bytes of the bundle, see `luminal.discovery.pack`.
            members: Names of those that are to run it; None for all, later ones too.
            mode: ``immediate``: each commits as soon as it knows the decision.
                ``barrier``: no call begins on the new generation while one goes on on
                the old. ``canary``: first some, and after a time all.
            first: Of ``canary``: who runs it first, or how many.
            health: Of ``canary``: for how long they are watched, and what returns them.
            by: Who asks, for the history.
            source: Where the bytes are from, for the journal.

        Raises:
            FleetError: Nothing can be decided, it is not known what was, or one of
                *members* is no member.
            ValueError: There is no such mode.
            LuminalError: The bytes are no bundle.
        """
        if mode == "canary":
            return await self._canary(data, first, health, by, source)
        if mode not in ("immediate", "barrier"):
            raise ValueError(f"mode={mode!r} is none of immediate, barrier, canary")
        if members is not None:
            members = list(several("members", members))
            self._check_known(members)
        unit, digest = await asyncio.to_thread(self._take, data)
        return await self._decide(unit, digest, members, mode, by, source)

    def _check_known(self, names: Iterable[str]) -> None:
        """Refuse a decision for members that are not there.

        Raises:
            FleetError: One of *names* is no member.
        """
        from luminal.errors import did_you_mean

        there = sorted(self._infos)
        if unknown := sorted(set(names) - set(there)):
            raise FleetError(
                f"{unknown[0]!r} is no member of the fleet",
                hint=f"members: {', '.join(there) or 'none'}"
                + did_you_mean(unknown[0], there, "; "),
            )

    def _take(self, data: bytes) -> tuple[str, str]:
        """Keep a bundle; return its name and digest. In a thread."""
        from luminal.trust import open_bundle

        name = open_bundle(data).manifest.name
        try:
            digest = self.contents.put(data)
        except OSError as error:
            raise FleetError(
                f"the bytes of {name!r} cannot be kept",
                file=self.contents.directory,
                why=str(error),
            ) from error
        return name, digest

    async def _decide(
        self,
        unit: str,
        digest: str,
        members: Iterable[str] | None,
        mode: str,
        by: str,
        source: str = "",
        *,
        recovers: bool = False,
    ) -> SwapReport:
        began, start = time.time(), time.monotonic()
        chosen = None if members is None else frozenset(members)
        async with self._turn:
            while not self._rules.is_idle and not self._is_closed:
                await self._is_idle.wait()
            if self._is_closed:
                raise FleetError("this coordinator decides nothing any more")
            loop = asyncio.get_running_loop()
            swap = self._swap = _UnderWay(unit, loop.create_future(), by, mode, source)
            # One who does not wait any more leaves it to go on in its turn.
            work = loop.create_task(
                self._finish(swap, digest, chosen, recovers=recovers)
            )
            try:
                finished = await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.wait({work})
                raise
        return SwapReport(
            unit,
            finished.number,
            digest,
            finished.is_committed,
            why=finished.why,
            by=by,
            mode=mode,
            began=began,
            seconds=time.monotonic() - start,
            mixed_seconds=_mixed(swap),
            votes=dict(swap.votes),
            behind=finished.behind,
            undrained=dict(swap.undrained),
        )

    async def _finish(
        self,
        swap: _UnderWay,
        digest: str,
        members: frozenset[str] | None,
        *,
        recovers: bool,
    ) -> Finished:
        mode: Mode = "barrier" if swap.mode == "barrier" else "immediate"
        start = time.monotonic()
        try:
            effects = self._rules.request(
                swap.unit, digest, members, mode, recovers=recovers
            )
            swap.keeping = asyncio.get_running_loop().create_task(
                asyncio.to_thread(self.contents.make_durable, digest)
            )
            self._perform(effects)
            finished = await swap.done
        except Blocked as blocked:
            raise self._blocked(str(blocked)) from None
        finally:
            self._swap = None
            if swap.keeping is not None:
                await asyncio.wait({swap.keeping})
                swap.keeping.exception()  # it was told where it mattered
        if finished.number:
            self._latest = {
                "number": finished.number,
                "seconds": round(time.monotonic() - start, 6),
                "mixed_seconds": round(_mixed(swap), 6),
                "votes": dict(swap.votes),
                "behind": list(finished.behind),
                "undrained": dict(swap.undrained),
                "why": finished.why,
            }
            self._spawn(asyncio.to_thread(self._note, self._latest))
        return finished

    def _note(self, about: dict[str, Any]) -> None:
        """Write what came of a swap for the history, and clean up. In a thread."""
        self.journal.note(**about)
        self.contents.keep(self._needed())

    def _needed(self) -> set[str]:
        table = list(self._rules.log.table.values())
        return {decision.digest for of in table for decision in of}

    def _blocked(self, member: str) -> FleetError:
        state = self._rules.members[member]
        known = max(state.promised, state.closed)
        return FleetError(
            "nothing is decided",
            file=self.journal.path,
            why=f"member {member!r} knows of decision {known}, and the journal ends "
            f"with {self._rules.log.highest}: it is an old copy, or was lost",
            hint="put back the right one, or decide anew: luminal fleet recover",
        )

    async def recover(
        self, bundles: Iterable[bytes] = (), *, by: str = ""
    ) -> list[SwapReport]:
        """Decide anew, above all numbers that members know.

        Args:
            bundles: What is to run. Of other units, what the journal says is decided
                again.
            by: Who asks.

        Raises:
            FleetError: Nothing can be decided.
        """
        wanted: dict[str, str] = {}
        for unit, decisions in self._rules.log.table.items():
            base = [d for d in decisions if d.members is None]
            if base:
                wanted[unit] = base[-1].digest
        for data in bundles:
            unit, digest = await asyncio.to_thread(self._take, data)
            wanted[unit] = digest
        if not wanted:
            raise FleetError(
                "there is nothing to decide",
                file=self.journal.path,
                why="the journal is empty",
                hint="name what is to run: luminal fleet recover SOURCE ...",
            )
        for unit, digest in wanted.items():
            if await asyncio.to_thread(self.contents.get, digest) is None:
                raise FleetError(
                    f"the bytes of {unit!r} are not kept any more",
                    file=self.contents.directory,
                    hint="name what is to run: luminal fleet recover SOURCE ...",
                )
        return [
            await self._decide(unit, digest, None, "immediate", by, recovers=True)
            for unit, digest in wanted.items()
        ]

    async def roll_back(self, unit: str, *, by: str = "") -> SwapReport:
        """Return all members to what was decided for all of them before.

        Where canaries run something else, they return to what the others run.

        Args:
            unit: Name of the bundle.
            by: Who asks.

        Raises:
            FleetError: There is nothing before, or its bytes are gone.
        """
        from luminal.errors import did_you_mean

        table = self._rules.log.table
        if unit not in table:
            raise FleetError(
                f"nothing is decided of {unit!r}",
                hint=f"decided: {', '.join(table) or 'nothing'}"
                + did_you_mean(unit, table, "; "),
            )
        digest = self._earlier(unit)
        if not digest:
            raise FleetError(
                f"{unit!r} cannot be rolled back",
                why="nothing else was decided for all members before",
            )
        if await asyncio.to_thread(self.contents.get, digest) is None:
            raise FleetError(
                f"{unit!r} cannot be rolled back",
                file=self.contents.directory,
                why="the bytes of the version before are not kept any more",
                hint="swap to it: luminal fleet swap SOURCE",
            )
        return await self._decide(unit, digest, None, "immediate", by)

    def _earlier(self, unit: str) -> str:
        """Return the digest that a roll-back of *unit* leads to; empty for none."""
        decisions = self._rules.log.table[unit]
        base = [d.digest for d in decisions if d.members is None]
        if len(decisions) > len(base) and base:
            return base[-1]
        rows = self.journal.rows
        before = committed_before(rows, unit, decisions[-1].digest)
        return before.digest if before is not None else ""

    # --- Canaries --------------------------------------------------------------------

    async def _canary(
        self,
        data: bytes,
        first: int | Iterable[str],
        health: Probation,
        by: str,
        source: str,
    ) -> SwapReport:
        """Let some members run a bundle first, and all once these were healthy."""
        if self._figures is None:
            raise FleetError("canaries need figures, which this fleet does not have")
        unit, digest = await asyncio.to_thread(self._take, data)
        there = sorted(self._infos)
        names = (
            there[:first] if isinstance(first, int) else list(several("first", first))
        )
        self._check_known(names)
        base = [d for d in self._rules.log.table.get(unit, ()) if d.members is None]
        if not names or not base or set(names) == set(there):
            return await self._decide(unit, digest, None, "canary", by, source)
        report = await self._decide(unit, digest, names, "canary", by, source)
        if not report.is_committed or not report.number:
            return report
        why = await self._watch(names, health)
        if not why:
            return await self._decide(unit, digest, None, "canary", by, source)
        why = f"canaries are not healthy: {why}"
        _log.error("%s is returned: %s", unit, why)
        back = await self._decide(unit, base[-1].digest, None, "immediate", why)
        return attrs.evolve(report, is_committed=False, why=why, returned=back.number)

    async def _watch(self, canaries: list[str], health: Probation) -> str:
        """Return why *canaries* are not healthy, or nothing once the time is over."""
        until = time.monotonic() + health.seconds
        while True:
            left = until - time.monotonic()
            await asyncio.sleep(max(0.0, min(health.interval, left)))
            if gone := [name for name in canaries if name not in self._infos]:
                return f"{gone[0]} has ended"
            figures = await self._ask(self._infos)
            why = _not_healthy(figures, set(canaries), health)
            if why or left <= health.interval:
                return why

    async def _ask(
        self, members: Iterable[str]
    ) -> dict[str, Mapping[str, Mapping[str, float]]]:
        """Return the figures of those members that answer."""
        assert self._figures is not None  # noqa: S101 - for type checkers
        names = list(members)
        answers = await asyncio.gather(
            *map(self._figures, names), return_exceptions=True
        )
        pairs = zip(names, answers, strict=True)
        return {n: a for n, a in pairs if not isinstance(a, BaseException)}

    # --- What there is ---------------------------------------------------------------

    def status(self) -> FleetStatus:
        """Return what the fleet runs, and who its members are."""
        log = self._rules.log
        units: dict[str, tuple[int, str]] = {}
        canaries: dict[str, tuple[str, ...]] = {}
        for unit, decisions in list(log.table.items()):
            for decision in decisions:
                if decision.members is None:
                    units[unit] = decision.number, decision.digest
                else:
                    canaries[unit] = tuple(sorted(decision.members))
        members = []
        for name, info in sorted(self._infos.items()):
            state = self._rules.members.get(name)
            if state is None:
                members.append(MemberStatus(info, is_behind=True))
                continue
            members.append(
                MemberStatus(
                    info,
                    dict(state.runs),
                    state.prepared,
                    self._rules.is_behind(name),
                    state.problem
                    or (state.why if state.refused == log.highest else ""),
                )
            )
        return FleetStatus(
            self.name,
            self.label,
            log.closed,
            units,
            canaries,
            tuple(members),
            self._swap.unit if self._swap is not None else "",
            self._rules.blocked_by,
        )

    def view(self) -> dict[str, Any]:
        """Return what the page shows of the fleet; see `MemberDriver.view`."""
        status, latest = self.status(), self._reports(self.journal.latest)
        members = [
            {
                "name": each.info.name,
                "runs": dict(each.runs),
                "prepared": each.prepared,
                "is_behind": each.is_behind,
            }
            for each in status.members
        ]
        return {
            "name": status.name,
            "coordinator": status.coordinator,
            "number": status.number,
            "members": members,
            "votes": dict(latest[0].votes) if latest else {},
            "latest": attrs.asdict(latest[0]) if latest else None,
            "under_way": status.under_way,
            "blocked_by": status.blocked_by,
        }

    def history(self) -> tuple[SwapReport, ...]:
        """Return what was decided, for and against, the latest last."""
        return self._reports(self.journal.entries)

    def _reports(self, entries: Iterable[Entry]) -> tuple[SwapReport, ...]:
        """Return the swaps that *entries* are about."""
        found: dict[int, SwapReport] = {}
        for entry in (*entries, Entry(None, 0.0, self._latest)):
            row, about = entry.row, entry.about
            if type(row) is Begin:
                found[row.number] = SwapReport(
                    row.unit,
                    row.number,
                    row.digest,
                    is_committed=False,
                    why="not decided yet",
                    by=str(about.get("by", "")),
                    mode=str(about.get("mode", "")),
                    began=entry.at,
                )
                continue
            known = found.get(row.number if row else int(about.get("number", 0)))
            if known is None:
                continue
            change: dict[str, Any]
            if type(row) is Commit:
                change = {"is_committed": True, "why": ""}
            elif type(row) is Abort:
                change = {"why": row.why}
            else:
                change = {key: about[key] for key in ("seconds", "mixed_seconds")}
                change["votes"] = about["votes"]
                change["behind"] = tuple(about["behind"])
                change["undrained"] = about.get("undrained", {})
                change["why"] = about.get("why", known.why)
            found[known.number] = attrs.evolve(known, **change)
        return tuple(found.values())


def _mixed(swap: _UnderWay) -> float:
    """Return for how many seconds two generations have answered, as far as seen."""
    return swap.latest - swap.first if swap.first else 0.0


def _not_healthy(
    figures: Mapping[str, Mapping[str, Mapping[str, float]]],
    canaries: set[str],
    health: Probation,
) -> str:
    """Return why canaries are not healthy beside the others; empty if they are.

    Args:
        figures: Member → photon → ``calls``, ``errors``, ``p95``.
        canaries: Names of the members that run the new generation.
        health: What is too much.
    """
    photons = {photon for of in figures.values() for photon in of}
    for photon in sorted(photons):
        sides = []
        for is_canary in (True, False):
            of = [
                figures[name][photon]
                for name in figures
                if (name in canaries) is is_canary and photon in figures[name]
            ]
            calls, errors = (sum(f[key] for f in of) for key in ("calls", "errors"))
            sides.append((calls, errors, max((f["p95"] for f in of), default=0.0)))
        (calls, errors, p95), (other_calls, other_errors, other_p95) = sides
        if calls < health.min_calls:
            continue
        rate = errors / calls
        if rate > health.error_rate:
            return f"{photon}: {errors:.0f} of {calls:.0f} calls have raised"
        if other_calls < health.min_calls:
            continue
        other_rate = other_errors / other_calls
        if health.more_errors and rate > other_rate + health.more_errors:
            return (
                f"{photon}: {rate:.1%} of {calls:.0f} calls have raised, "
                f"{other_rate:.1%} of {other_calls:.0f} elsewhere"
            )
        if health.slowdown and other_p95 and p95 > other_p95 * health.slowdown:
            return (
                f"{photon}: p95 is {p95 * 1e3:.3g} ms, elsewhere "
                f"{other_p95 * 1e3:.3g} ms"
            )
    return ""
