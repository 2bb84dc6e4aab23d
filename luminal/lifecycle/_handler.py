"""`Handler`: the host's handle on one photon, a state machine.

In comes a loaded class; out comes a running photon, and at the end nothing of it.
What it must never know: that there is such a thing as a reload.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonFinalizeError, PhotonNotInitializedError
from luminal.lifecycle._failures import finalize_failure, has_left, start_failure
from luminal.lifecycle._footprint import Trail
from luminal.lifecycle._lock import CrossLoopLock
from luminal.lifecycle._runtime import Runtime
from luminal.lifecycle._steps import is_containable
from luminal.model import EventKind, Problem, State, Step, advance
from luminal.supervise import Leftover, Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from luminal.interfaces import PhotonContext
    from luminal.loading import Choice, Generation
    from luminal.model import Candidate, Deadlines

__all__ = ["Handler", "Nameplate"]

# === lifecycle.nameplate ===
# What identifies a Handler, and never changes under a host's hands.


@attrs.define(eq=False, repr=False)
class Nameplate:
    """The first arguments of a Handler.

    Args:
        logging: Whether what happens to the photon is logged.
        name: Name of the photon.
        filepath: Path of its file.
        checksum: SHA-512 of the bytes that were compiled, as a hex digest.

    Attributes:
        trail: What its code has changed, where the host asks for that.
    """

    logging: bool
    # Read-only through properties: attrs' own frozen fields would slow down every
    # other attribute, and a host may load thousands of photons.
    _name: str
    _filepath: str
    _checksum: str
    trail: Trail = attrs.field(init=False, factory=Trail)

    @property
    def name(self) -> str:
        """Name of the photon."""
        return self._name

    @property
    def filepath(self) -> str:
        """Path of its file."""
        return self._filepath

    @property
    def checksum(self) -> str:
        """SHA-512 of the bytes that were compiled, as a hex digest."""
        return self._checksum


# === lifecycle.handler ===
# `Handler`: the host's handle on one photon, a state machine.
#
# In comes a loaded class; out comes a running photon, and at the end nothing of it.
# What it must never know: that there is such a thing as a reload.

AT_ONCE = 0.5
"""Seconds for ending what a photon owns where its host will not wait."""


@attrs.define(eq=False, repr=False)
class Handler(Nameplate):
    """The host's handle on one photon.

    Handlers are equal only to themselves.

    Args:
        logging: Whether what happens to the photon is logged.
        name: Name of the photon.
        filepath: Path of its file.
        checksum: SHA-512 of the bytes that were compiled, as a hex digest.
        instance: The photon; a class is created when it is started.
        generation: The generation that it belongs to, where it was loaded.
        candidate: What discovery knows of it.
        choice: How it was chosen among the objects of its file.
        ports: What connects it to a host.
    """

    instance: Any = None
    generation: Generation | None = attrs.field(default=None, kw_only=True)
    candidate: Candidate | None = attrs.field(default=None, kw_only=True)
    choice: Choice | None = attrs.field(default=None, kw_only=True)
    ports: Runtime = attrs.field(factory=Runtime, kw_only=True)
    factory: Any = attrs.field(init=False, default=None)
    context: PhotonContext = attrs.field(init=False)
    # Wall-clock time of the latest change of state, for people.
    since: float = attrs.field(init=False, factory=time.time)
    problem: Problem | None = attrs.field(init=False, default=None)
    _state: State = attrs.field(init=False, default=State.STAGED)
    # What could not be stopped when the latest life ended.
    leftovers: tuple[Leftover, ...] = attrs.field(init=False, default=())
    # It is being unloaded, or has been.
    has_left: bool = attrs.field(init=False, default=False)
    # Owner of what the photon starts, from the start of a life to its end.
    _scope: Scope | None = attrs.field(init=False, default=None)
    # One start or stop at a time.
    _turn: CrossLoopLock = attrs.field(init=False, factory=CrossLoopLock)

    def __attrs_post_init__(self) -> None:
        if issubclass(type(self.instance), type):
            self.factory, self.instance = self.instance, None
        self.context = self.ports.context(self.name)

    def _begin_life(self) -> Scope:
        """Give the photon an owner for what it starts, and after a life a context."""
        if self._state is not State.STAGED:
            self.context = self.ports.context(self.name)
        self._go(Step.START)
        self.leftovers = ()
        self._scope = self.context.scope = Scope(self.name)
        return self._scope

    def _forget_instance(self) -> None:
        if self.factory is not None:
            self.instance = None

    @property
    def number(self) -> int:
        """Number of the photon's generation, 0 where it was not loaded."""
        return self.generation.number if self.generation is not None else 0

    @property
    def state(self) -> State:
        """Where the photon is in its life."""
        return self._state

    @property
    def deadlines(self) -> Deadlines:
        """How long the photon may take for each step."""
        return self.ports.deadlines

    def __repr__(self) -> str:
        return f"<Handler {self.name!r} {self._state} #{self.number}>"

    def __str__(self) -> str:
        return f"photon {self.name!r} ({self._state}) from {self.filepath}"

    def _go(self, step: Step) -> None:
        self._state = advance(self._state, step, photon=self.name)
        self.since = time.time()

    async def start(self) -> None:
        """Create the photon, start it, and seat its hooks; done once only.

        Raises:
            PhotonStartError: It raised. It has been finalized, and can be started
                again.
            PhotonTimeoutError: It passed its deadline; likewise.
            PhotonStateError: It has been unloaded.
        """
        await self.bring_up(seat=self.ports.seat)

    async def bring_up(
        self,
        *,
        prepare: Callable[[Handler], Awaitable[object]] | None = None,
        seat: Callable[[Handler], object] | None = None,
    ) -> None:
        """Do what `start` does, with something between creation and start.

        Args:
            prepare: Awaited when the photon is created and not started yet.
            seat: Called when it has started; None leaves its hooks alone.

        Raises:
            PhotonStartError: As for `start`.
            PhotonTimeoutError: Likewise.
        """
        async with self._turn:
            if self._state is State.RUNNING:
                return
            if self.has_left:
                raise has_left(self.name, self.filepath)
            scope = self._begin_life()
            began = time.perf_counter()
            try:
                following = self.ports.following(self.trail, self.name, self.filepath)
                with scope.owning(), following:
                    self.instance = await self.ports.create(self)
                    self.ports.check_hooks(self)
                    if prepare is not None:
                        await prepare(self)
                    await self.ports.start(self)
                if seat is not None:
                    seat(self)
            except BaseException as error:
                await self._fail(error)
                if not is_containable(error):
                    raise
                raise start_failure(error, self.name, self.filepath) from error
            self._go(Step.STARTED)
            self.problem = None
            self.ports.tell(
                EventKind.STARTED, self, seconds=time.perf_counter() - began
            )

    def exchange(self, other: Handler) -> None:
        """Trade lives with *other*: each goes on with the photon that the other had.

        The name stays, and so does the identity that a host holds on to.
        """
        # One by one: a loop over names would take several times as long, in the middle
        # of a swap.
        self._filepath, other._filepath = other._filepath, self._filepath
        self._checksum, other._checksum = other._checksum, self._checksum
        self.instance, other.instance = other.instance, self.instance
        self.generation, other.generation = other.generation, self.generation
        self.candidate, other.candidate = other.candidate, self.candidate
        self.factory, other.factory = other.factory, self.factory
        self.context, other.context = other.context, self.context
        self.since, other.since = other.since, self.since
        self.problem, other.problem = other.problem, self.problem
        self.leftovers, other.leftovers = other.leftovers, self.leftovers
        self._state, other._state = other._state, self._state
        self._scope, other._scope = other._scope, self._scope
        self.trail.absorb(other.trail)

    @property
    def turn(self) -> CrossLoopLock:
        """Held while the photon starts or stops."""
        return self._turn

    async def _fail(self, error: BaseException) -> None:
        """Bring a photon whose start failed to rest."""
        problem = Problem.of(start_failure(error, self.name, self.filepath), "start")
        try:
            self.ports.unseat(self)
            await self._end(is_forced=self.instance is None)
        finally:
            self._rest(Step.FAIL, EventKind.FAILED, problem)

    def _rest(self, step: Step, kind: EventKind, problem: Problem | None) -> None:
        """Note that the photon's life is over, however that came about."""
        self._forget_instance()
        self.problem = problem
        self._go(step)
        self.ports.tell(kind, self, problem=problem)

    async def stop(self, force_stop: bool = False) -> bool:
        """Unseat the photon's hooks, finalize it, and end what it owns.

        Args:
            force_stop: Skip ``finalize`` and end at once.

        Returns:
            Whether ``finalize`` went well.

        Raises:
            PhotonNotInitializedError: It was never started.
        """
        async with self._turn:
            if self._state is State.STAGED:
                raise PhotonNotInitializedError(
                    "cannot be stopped: it was never started",
                    photon=self.name,
                    file=self.filepath,
                    hint="start it first, or unload it",
                )
            if self._state in (State.STOPPED, State.FAILED):
                return self._state is State.STOPPED
            self._go(Step.STOP)
            problem: Problem | None = None
            try:
                self.ports.unseat(self)
                problem = await self._end(force_stop)
            except BaseException as error:
                # Cancelled: what it owns is ended all the same, and so is its life.
                problem = Problem.of(finalize_failure(error, self.filepath), "finalize")
                raise
            finally:
                step = Step.FAIL if problem is not None else Step.STOPPED
                self._rest(step, EventKind.FINALIZED, problem)
            return problem is None

    def release(self) -> None:
        """Let go of the photon's class and modules, so that they can be collected."""
        self.generation = None
        self.factory = self.instance = None

    async def _end(self, is_forced: bool) -> Problem | None:
        """Finalize the photon and close its scope; return what went wrong."""
        problem: Problem | None = None
        try:
            if not is_forced and not await self._finalize():
                refusal = PhotonFinalizeError("'finalize' returned a false value")
                problem = Problem.of(refusal, "finalize")
        except BaseException as error:
            if not is_containable(error):
                raise
            problem = Problem.of(finalize_failure(error, self.filepath), "finalize")
        finally:
            left = await self._close_scope(is_forced)
            problem = problem or left
        return problem

    async def _finalize(self) -> bool:
        with self._scope.owning() if self._scope is not None else nullcontext():
            return await self.ports.finalize(self) is not False

    async def _close_scope(self, is_forced: bool) -> Problem | None:
        """End what the photon has started; return what raised or could not be ended."""
        scope, self._scope = self._scope, None
        if scope is None:
            return None
        self.leftovers = await scope.close(
            AT_ONCE if is_forced else self.deadlines.close
        )
        self.context.scope = None
        if self.leftovers:
            error = PhotonFinalizeError(
                "left something that could not be stopped",
                file=self.filepath,
                why="; ".join(map(str, self.leftovers)),
                hint="start it through 'self.context', and let it end when asked",
            )
            return Problem.of(error, "finalize")
        if scope.errors:
            return Problem.of(
                finalize_failure(scope.errors[0], self.filepath), "finalize"
            )
        return None
