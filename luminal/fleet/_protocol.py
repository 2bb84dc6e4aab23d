"""One decision for all members of a fleet: the rules, without transport, clock or disk.

It is a two-phase commit whose decisions are rows of a journal. Members *prepare* a new
generation beside the old one and vote; the coordinator writes its decision before it
tells anybody; whoever has missed something converges later. There are three messages:

- `Prepare`, from the coordinator: start this beside what runs, and vote.
- `Decided`, from the coordinator: all that is decided so far. It may be lost, come
  twice or late; a member ignores one that is older than what it knows.
- `MemberState`, from a member: what it has promised, prepared and committed.

A member that votes with yes commits or aborts only when it is told what was decided.
One that does not answer is no "no": it converges when it comes back. The journal alone
tells what was decided (J. Gray, *Notes on Data Base Operating Systems*, 1978, on
two-phase commit and its blocking).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Abort",
    "Begin",
    "Blocked",
    "Commit",
    "CommitPrepared",
    "Coordinator",
    "Decided",
    "Decision",
    "Effect",
    "Finished",
    "Hold",
    "Load",
    "Log",
    "Member",
    "MemberState",
    "Message",
    "Prepare",
    "Row",
    "Send",
    "Stage",
    "Undo",
    "Write",
]

Mode = Literal["immediate", "barrier"]


# --- What is decided -----------------------------------------------------------------


@attrs.frozen
class Begin:
    """Row of the journal: a swap has been asked for, and members may be told of it.

    Attributes:
        number: Of the decision; each has a higher one than all before.
        unit: Name of the bundle that is swapped.
        digest: Of the bytes that are to run, which the content store has.
        members: The members that it is for; None for all, also later ones.
    """

    number: int
    unit: str
    digest: str
    members: frozenset[str] | None = None


@attrs.frozen
class Commit:
    """Row of the journal: what *number* has begun is decided."""

    number: int


@attrs.frozen
class Abort:
    """Row of the journal: what *number* has begun never happens.

    Attributes:
        number: Of the decision.
        why: For the history.
    """

    number: int
    why: str = ""


Row = Begin | Commit | Abort


@attrs.frozen
class Decision:
    """What some members are to run.

    Attributes:
        number: Of the decision.
        digest: Of the bytes.
        members: As in `Begin`.
    """

    number: int
    digest: str
    members: frozenset[str] | None = None

    def is_for(self, member: str) -> bool:
        """Whether *member* is to run it."""
        return self.members is None or member in self.members


Table = Mapping[str, tuple[Decision, ...]]
"""Unit → decisions that are in force: the latest for all, and later ones for some."""


def decision_for(table: Table, unit: str, member: str) -> Decision | None:
    """Return what *member* is to run of *unit*; None for nothing of the fleet's."""
    for decision in reversed(table.get(unit, ())):
        if decision.is_for(member):
            return decision
    return None


class Log:
    """What the rows of a journal say, from the first to the last.

    Args:
        rows: In their order.

    Attributes:
        highest: The highest number that was begun, 0 for none.
        closed: The highest number that was decided, for or against.
        open: What has begun and is not decided yet.
        table: What is in force.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.highest = 0
        self.closed = 0
        self.open: Begin | None = None
        self.table: dict[str, tuple[Decision, ...]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add the next row.

        Raises:
            ValueError: It cannot follow: the journal is damaged.
        """
        if type(row) is Begin:
            if self.open is not None or row.number <= self.highest:
                raise ValueError(f"row {row} cannot follow number {self.highest}")
            self.highest, self.open = row.number, row
            return
        begun = self.open
        if begun is None or begun.number != row.number:
            raise ValueError(f"row {row} ends what has not begun")
        self.open, self.closed = None, row.number
        if type(row) is Commit:
            decision = Decision(begun.number, begun.digest, begun.members)
            before = () if begun.members is None else self.table.get(begun.unit, ())
            self.table[begun.unit] = (*before, decision)


# --- Messages ------------------------------------------------------------------------


@attrs.frozen
class Decided:
    """All that is decided so far.

    Attributes:
        closed: The highest number that was decided.
        table: What is in force.
        held: A decided number whose calls are still held, 0 for none: members hold and
            drain, and commit when it is 0 again.
    """

    closed: int
    table: Table
    held: int = 0


@attrs.frozen
class Prepare:
    """Start *digest* beside what runs, and vote.

    Attributes:
        number: Of the decision.
        unit: What is swapped.
        digest: Of the bytes.
        decided: What was decided before.
    """

    number: int
    unit: str
    digest: str
    decided: Decided


@attrs.frozen
class MemberState:
    """What a member has promised, prepared and committed.

    Attributes:
        sequence: Grows with each message of one life of the member.
        promised: The highest number that it was asked to prepare.
        closed: The highest number that it knows to be decided.
        runs: Unit → number of the decision that it runs.
        prepared: Number of what it has started and holds ready, 0 for none.
        held: The number whose calls it holds, drained, 0 for none.
        refused: Number of what it has voted against, 0 for none.
        why: The reason.
        undrained: Of what is held: how many calls have not ended in time.
        problem: Why it does not run what is decided; empty where it does, or where it
            has not tried yet.
    """

    sequence: int
    promised: int
    closed: int
    runs: Mapping[str, int]
    prepared: int = 0
    held: int = 0
    refused: int = 0
    why: str = ""
    undrained: int = 0
    problem: str = ""


Message = Prepare | Decided | MemberState
"""What a transport carries."""


# --- What is to be done --------------------------------------------------------------


@attrs.frozen
class Send:
    """Send *message* to *member*; it may be lost."""

    member: str
    message: Prepare | Decided


@attrs.frozen
class Write:
    """Append *row* to the journal, durably, and report it by `Coordinator.written`."""

    row: Row


@attrs.frozen
class Finished:
    """A swap is over.

    Attributes:
        number: Of the decision; 0 where none was needed.
        is_committed: How it was decided.
        why: Why it was not, why none was needed, or that nobody has voted.
        behind: Members that did not agree by then; they converge later.
    """

    number: int
    is_committed: bool
    why: str = ""
    behind: tuple[str, ...] = ()


@attrs.frozen
class Stage:
    """Stage and start *digest* beside what runs; report by `Member.staged`."""

    number: int
    unit: str
    digest: str


@attrs.frozen
class Hold:
    """Hold new calls and wait for those under way; report by `Member.drained`."""

    number: int
    unit: str


@attrs.frozen
class CommitPrepared:
    """Replace what runs by what is prepared; report by `Member.committed`."""

    number: int
    unit: str


@attrs.frozen
class Undo:
    """Undo what is prepared, and let held calls go on."""

    number: int
    unit: str


@attrs.frozen
class Load:
    """Run *digest*, whatever runs now; report by `Member.committed`."""

    number: int
    unit: str
    digest: str


Effect = (
    Send | Write | Finished | Stage | Hold | CommitPrepared | Undo | Load | MemberState
)


class Blocked(Exception):  # noqa: N818 - it says what the coordinator is
    """The coordinator must not decide: its journal is older than what members know."""


# --- Coordinator ---------------------------------------------------------------------


@attrs.define(eq=False)
class _Swap:
    begin: Begin
    mode: Mode
    # When the present step is over at the latest; None until its row is written.
    until: float | None = None
    is_decided: bool = False
    is_committed: bool = False
    why: str = ""
    # Members that were asked to vote; of those that are there, who has not voted yet,
    # who has with yes, who has with no, and who has calls under way.
    asked: set[str] = attrs.Factory(set)
    waited: set[str] = attrs.Factory(set)
    agreed: set[str] = attrs.Factory(set)
    against: set[str] = attrs.Factory(set)
    undrained: set[str] = attrs.Factory(set)
    is_held: bool = False


def _put(names: set[str], name: str, is_in: bool) -> None:
    """Let *name* be in *names*, or not."""
    if is_in:
        names.add(name)
    else:
        names.discard(name)


class Coordinator:
    """Decides what the members of a fleet run. It does nothing itself.

    Each method returns what is to be done, in this order. Whoever drives it keeps time,
    writes the journal and carries messages.

    Args:
        log: What the journal says.
        vote_seconds: How long votes are waited for: longer than a member may take to
            load and to start, so that one whose photon hangs can vote against it.
        agree_seconds: How long it is waited until all members have done what was
            decided; the swap is over then, and members that are behind converge later.
        again_seconds: When a message that was not answered is sent again.
    """

    def __init__(
        self,
        log: Log,
        *,
        vote_seconds: float = 75.0,
        agree_seconds: float = 10.0,
        again_seconds: float = 1.0,
    ) -> None:
        self.log = log
        self.members: dict[str, MemberState] = {}
        self.vote_seconds = vote_seconds
        self.agree_seconds = agree_seconds
        self.again_seconds = again_seconds
        self._swap: _Swap | None = None
        self._is_recovering = log.open is not None
        # A row that is being written: nothing else is decided meanwhile.
        self._writing: Row | None = None
        # Member → when it was sent something last.
        self._told: dict[str, float] = {}
        # Members that are behind. Sets of names are kept, so that a message of one
        # member does not lead to a look at all.
        self._behind: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether a swap can be asked for."""
        return self._swap is None and not self._is_recovering

    @property
    def blocked_by(self) -> str:
        """A member that knows a number which the journal does not; empty for none."""
        for name, state in self.members.items():
            if max(state.promised, state.closed) > self.log.highest:
                return name
        return ""

    def begin(self) -> list[Effect]:
        """Close what an earlier life of the coordinator has left open."""
        if self.log.open is None:
            return []
        why = "the coordinator ended before it was decided"
        if self._swap is not None:
            why = self._swap.why
        return self._write(Abort(self.log.open.number, why))

    def _write(self, row: Row) -> list[Effect]:
        self._writing = row
        return [Write(row)]

    def request(
        self,
        unit: str,
        digest: str,
        members: Iterable[str] | None = None,
        mode: Mode = "immediate",
        *,
        recovers: bool = False,
    ) -> list[Effect]:
        """Ask for a swap.

        Args:
            unit: Name of what is swapped.
            digest: Of the bytes that are to run.
            members: Who is to run it; None for all.
            mode: ``immediate``, or ``barrier``: no call begins on the new generation
                while one goes on on the old.
            recovers: Whether its number is above all that members know, though the
                journal does not.

        Raises:
            Blocked: A member knows a higher number than the journal.
            ValueError: Another swap is under way.
        """
        if not self.is_idle:
            raise ValueError("another swap is under way")
        if self.blocked_by and not recovers:
            raise Blocked(self.blocked_by)
        chosen = None if members is None else frozenset(members)
        if not recovers and self._is_in_force(unit, digest, chosen):
            return [Finished(0, is_committed=True, why="this is what runs already")]
        known = (max(state.promised, state.closed) for state in self.members.values())
        highest = max(self.log.highest, *known, 0)
        begin = Begin(highest + 1, unit, digest, chosen)
        self._swap = _Swap(begin, mode)
        return self._write(begin)

    def _is_in_force(
        self, unit: str, digest: str, members: frozenset[str] | None
    ) -> bool:
        decisions = self.log.table.get(unit, ())
        if members is None:
            return len(decisions) == 1 and decisions[0].digest == digest
        for member in members:
            decision = decision_for(self.log.table, unit, member)
            if decision is None or decision.digest != digest:
                return False
        return bool(members)

    def written(self, row: Row, now: float, *, is_written: bool = True) -> list[Effect]:
        """Go on after a row.

        Args:
            row: Of an earlier `Write`.
            now: Seconds of a monotonic clock.
            is_written: Whether it is durable; False only if it is certainly not there.
        """
        self._writing = None
        if is_written:
            self.log.add(row)
        if type(row) is Begin:
            return self._begun(is_written, now)
        self._is_recovering = self.log.open is not None
        if not is_written:
            return self._retried(row)
        swap = self._swap
        if swap is None:
            self._note(self.members)
            return self._tell_all(now)
        swap.is_decided, swap.is_committed = True, type(row) is Commit
        swap.is_held = swap.is_committed and swap.mode == "barrier"
        swap.until = now + self.agree_seconds
        self._note(self.members)
        return [*self._tell_all(now), *self._conclude(now)]

    def _begun(self, is_written: bool, now: float) -> list[Effect]:
        swap = self._swap
        if swap is None:
            return []
        if not is_written:
            self._swap = None
            why = "the journal cannot be written"
            return [Finished(swap.begin.number, is_committed=False, why=why)]
        swap.until = now + self.vote_seconds
        for member in list(self.members):
            if swap.begin.members is None or member in swap.begin.members:
                swap.asked.add(member)
        self._note(swap.asked)
        message = self._prepare(swap.begin)
        prepares = [self._send(m, message, now) for m in sorted(swap.asked)]
        return [*prepares, *self._count_votes()]

    def _retried(self, row: Row) -> list[Effect]:
        """Return what follows a decision that could not be written: an abort, later."""
        swap = self._swap
        if type(row) is Commit and swap is not None:
            swap.why = "the journal cannot be written"
        # `tick` writes the abort again: nothing is told before it is there.
        self._is_recovering = True
        return []

    def _send(self, member: str, message: Prepare | Decided, now: float) -> Send:
        self._told[member] = now
        return Send(member, message)

    def _prepare(self, begin: Begin) -> Prepare:
        return Prepare(begin.number, begin.unit, begin.digest, self._decided())

    def _decided(self) -> Decided:
        swap = self._swap
        held = swap.begin.number if swap is not None and swap.is_held else 0
        return Decided(self.log.closed, dict(self.log.table), held)

    def _tell(self, member: str, now: float) -> Send:
        return self._send(member, self._decided(), now)

    def _tell_all(self, now: float) -> list[Effect]:
        decided = self._decided()  # one for all, so that it is encoded once
        return [self._send(member, decided, now) for member in sorted(self.members)]

    def joined(self, member: str, now: float) -> list[Effect]:
        """Tell a member that is there, anew or again, what is decided.

        It takes no work before it runs that.
        """
        self.members.pop(member, None)
        self._note([member])
        return [self._tell(member, now)]

    def left(self, member: str, now: float) -> list[Effect]:
        """Forget a member; it is no vote against anything."""
        self.members.pop(member, None)
        self._told.pop(member, None)
        self._note([member])
        return self._count_votes() or self._conclude(now)

    def received(self, member: str, state: MemberState, now: float) -> list[Effect]:
        """Go on after a message of *member*."""
        known = self.members.get(member)
        if known is not None and state.sequence <= known.sequence:
            return []
        self.members[member] = state
        self._told.pop(member, None)
        self._note([member])
        if self._is_recovering:
            return []
        effects = self._count_votes() or self._conclude(now)
        # Only what it cannot know yet: all else is told again by `tick`, with a pause.
        is_held = self._swap is not None and self._swap.is_held
        if not effects and (
            state.closed < self.log.closed or (state.held and not is_held)
        ):
            effects = [self._tell(member, now)]
        return effects

    def _note(self, members: Iterable[str]) -> None:
        """Note what the states of *members* mean now."""
        swap = self._swap
        for member in members:
            state = self.members.get(member)
            _put(self._behind, member, state is not None and self.is_behind(member))
            if swap is None or member not in swap.asked:
                continue
            number = swap.begin.number
            is_there = state is not None
            has_refused = state is not None and state.refused == number
            has_prepared = state is not None and state.prepared == number
            is_held = state is not None and state.held == number
            _put(swap.waited, member, is_there and not (has_refused or has_prepared))
            _put(swap.agreed, member, has_prepared and not has_refused)
            _put(swap.against, member, has_refused)
            _put(swap.undrained, member, has_prepared and not is_held)

    def is_behind(self, member: str) -> bool:
        """Whether *member* has not said yet that it does what is decided."""
        state = self.members.get(member)
        if state is None:
            return True
        if state.closed != self.log.closed or state.prepared:
            return not (self._swap is not None and self._swap.is_held)
        for unit in list(self.log.table):  # threads ask too, for the page
            decision = decision_for(self.log.table, unit, member)
            if (decision.number if decision else 0) != state.runs.get(unit, 0):
                return True
        return False

    def _count_votes(self, *, is_late: bool = False) -> list[Effect]:
        """Write the decision, if all votes are there; each is written once."""
        swap = self._swap
        if swap is None or swap.is_decided or swap.until is None:
            return []
        if self._writing is not None or self._is_recovering:
            return []
        number = swap.begin.number
        if swap.against:
            name = min(swap.against)
            swap.why = f"{name}: {self.members[name].why}"
            return self._write(Abort(number, swap.why))
        if swap.waited and not is_late:
            return []
        if not swap.agreed and swap.asked:
            how = "has voted in time" if is_late else "that was asked is there any more"
            swap.why = f"no member {how}"
            return self._write(Abort(number, swap.why))
        if not swap.asked:
            swap.why = "no member was there to vote: who joins runs it"
        return self._write(Commit(number))

    def _conclude(self, now: float, *, is_late: bool = False) -> list[Effect]:
        """End the swap once all members have done what was decided."""
        swap = self._swap
        if swap is None or not swap.is_decided:
            return []
        number = swap.begin.number
        if swap.is_held:
            if swap.undrained and not is_late:
                return []
            swap.is_held = False
            swap.until = now + self.agree_seconds
            self._note(self.members)
            return self._tell_all(now)
        if self._behind and not is_late:
            return []
        self._swap = None
        behind = tuple(sorted(self._behind))
        return [Finished(number, swap.is_committed, swap.why, behind)]

    def tick(self, now: float) -> list[Effect]:
        """Send again what was not answered, and end what has waited long enough.

        Args:
            now: Seconds of a monotonic clock. Call it a few times a second.
        """
        if self._writing is not None:
            return []
        if self._is_recovering:
            return self.begin()
        swap = self._swap
        if swap is not None and swap.until is not None and now >= swap.until:
            late = self._count_votes(is_late=True)
            return late or self._conclude(now, is_late=True)
        effects: list[Effect] = []
        for member in sorted({*self.members, *self._told}):
            if now - self._told.get(member, float("-inf")) < self.again_seconds:
                continue
            state = self.members.get(member)
            is_voting = swap is not None and not swap.is_decided
            if is_voting and swap is not None and member in swap.asked:
                has_voted = state is not None and swap.begin.number in (
                    state.prepared,
                    state.refused,
                )
                if swap.until is not None and not has_voted:
                    prepare = self._prepare(swap.begin)
                    effects.append(self._send(member, prepare, now))
            elif self.is_behind(member) or (
                state is not None
                and swap is not None
                and swap.is_held
                and state.held != swap.begin.number
            ):
                effects.append(self._tell(member, now))
        return effects


# --- Member --------------------------------------------------------------------------


class Member:
    """Does what is decided. It does nothing itself, as the coordinator.

    Args:
        name: Of this member, for decisions that are for some.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.promised = 0
        self.decided = Decided(0, {})
        # Unit → number of the decision that runs.
        self.runs: dict[str, int] = {}
        self._prepared: Stage | None = None
        self._staging: Stage | None = None
        self._refused = (0, "")
        self._held = 0
        self._holding = 0
        self._undrained = 0
        # Unit → why what is decided does not run here.
        self._problems: dict[str, str] = {}
        # Photons of which something is being committed or loaded → its digest.
        self._busy: dict[str, str] = {}
        # Unit → digest of what runs. A journal that was put back may give a number
        # away once more.
        self._digests: dict[str, str] = {}
        self._sequence = 0

    @property
    def is_current(self) -> bool:
        """Whether it runs what it knows to be decided: it may take work."""
        return not any(self._wanted(unit) for unit in self.decided.table)

    @property
    def undecided(self) -> Stage | None:
        """What it has voted for, without knowing what was decided."""
        return self._prepared

    def state(self) -> MemberState:
        """Return the message that tells its state."""
        self._sequence += 1
        number, why = self._refused
        return MemberState(
            self._sequence,
            self.promised,
            self.decided.closed,
            dict(self.runs),
            self._prepared.number if self._prepared else 0,
            self._held,
            number,
            why,
            self._undrained if self._held else 0,
            "; ".join(self._problems.values()),
        )

    def received(self, message: Prepare | Decided) -> list[Effect]:
        """Go on after a message of the coordinator."""
        if isinstance(message, Decided):
            return [*self._learn(message), self.state()]
        # What it is behind with of this unit is not loaded any more: it would be busy
        # with that, and could not vote.
        effects = self._learn(message.decided, but=message.unit)
        number = message.number
        if number <= self.decided.closed or number < self.promised:
            return [*effects, self.state()]  # an older coordinator, or an old message
        self.promised = number
        has_voted = self._staging or self._prepared or self._refused[0] == number
        if has_voted or self._busy:  # where it is busy, it is asked again
            return [*effects, self.state()]
        self._refused = (0, "")
        self._staging = Stage(number, message.unit, message.digest)
        return [*effects, self._staging]

    def _learn(self, decided: Decided, but: str = "") -> list[Effect]:
        if decided.closed < self.decided.closed:
            return []
        is_held_again = (
            decided.closed == self.decided.closed and decided.held > self.decided.held
        )
        if is_held_again and not self.decided.held and self._has_ended(decided.held):
            return []  # it was let go already
        self.decided = decided
        return self._converge(but)

    def _has_ended(self, number: int) -> bool:
        return self._prepared is None or self._prepared.number != number

    def _wanted(self, unit: str) -> Decision | None:
        decision = decision_for(self.decided.table, unit, self.name)
        if decision is None:
            return None
        runs = self.runs.get(unit, 0), self._digests.get(unit)
        if runs == (decision.number, decision.digest):
            return None
        return decision

    def _converge(self, but: str = "") -> list[Effect]:
        """Return what leads from what it runs to what is decided.

        Args:
            but: A unit that is not loaded now.
        """
        effects: list[Effect] = []
        staging, prepared = self._staging, self._prepared
        if staging is not None and staging.number <= self.decided.closed:
            # Too late for a vote. `staged` is not asked for any more.
            self._staging = None
            effects.append(Undo(staging.number, staging.unit))
        if prepared is not None and prepared.number <= self.decided.closed:
            wanted = self._wanted(prepared.unit)
            is_committed = (
                wanted is not None
                and wanted.number == prepared.number
                and wanted.digest == prepared.digest
            )
            if is_committed and self.decided.held == prepared.number:
                if self._holding != prepared.number:
                    self._holding = prepared.number
                    effects.append(Hold(prepared.number, prepared.unit))
                return effects
            self._prepared, self._held, self._holding = None, 0, 0
            if is_committed:
                self._busy[prepared.unit] = prepared.digest
                effects.append(CommitPrepared(prepared.number, prepared.unit))
            else:
                effects.append(Undo(prepared.number, prepared.unit))
        for unit in self.decided.table:
            decision = self._wanted(unit)
            held = self._prepared or self._staging
            if decision is None or unit in self._busy or unit == but:
                continue
            if held is not None and held.unit == unit:
                continue  # not before it is known what becomes of that
            self._busy[unit] = decision.digest
            effects.append(Load(decision.number, unit, decision.digest))
        return effects

    def staged(self, stage: Stage, why: str = "") -> list[Effect]:
        """Vote.

        Args:
            stage: What was to be staged.
            why: Why it cannot run here; empty where it can, and holds ready.
        """
        if self._staging != stage:
            return []  # it was decided meanwhile, and `Undo` was asked for
        self._staging = None
        if why:
            self._refused = (stage.number, why)
        else:
            self._prepared = stage
        return [*self._converge(), self.state()]

    def drained(self, number: int, undrained: int = 0) -> list[Effect]:
        """Tell that no call begins, and none is under way that is waited for.

        Args:
            number: Of the decision.
            undrained: How many calls have not ended in time.
        """
        if self._holding != number:
            return []
        self._held, self._undrained = number, undrained
        return [self.state()]

    def committed(self, unit: str, number: int, why: str = "") -> list[Effect]:
        """Go on after `CommitPrepared` and `Load`.

        Args:
            unit: What was swapped.
            number: Of the decision.
            why: Why it could not; then it is behind, and it is tried again when it is
                told again.
        """
        digest = self._busy.pop(unit, "")
        if not why:
            self.runs[unit], self._digests[unit] = number, digest
            self._problems.pop(unit, None)
            return [*self._converge(), self.state()]
        self._problems[unit] = why
        return [self.state()]

    def ended(self, unit: str, why: str) -> list[Effect]:
        """Note that a unit does not run any more, though nobody has decided that.

        Args:
            unit: Name of the unit.
            why: What has happened.
        """
        if unit in self._busy or self.runs.pop(unit, None) is None:
            return []
        self._digests.pop(unit, None)
        self._problems[unit] = why
        return [*self._converge(), self.state()]

    def lost(self) -> list[Effect]:
        """Note that the coordinator cannot be reached.

        What it has voted for stays prepared: it must not decide alone. Calls that are
        held for a decision which it knows go on.
        """
        if self.decided.held:
            self.decided = attrs.evolve(self.decided, held=0)
            return self._converge()
        return []
