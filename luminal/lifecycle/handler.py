"""`Handler`: the host's handle on one photon, a state machine.

In comes a loaded class; out comes a running photon, and at the end nothing of it.
What it must never know: that there is such a thing as a reload.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import (
    LuminalError,
    PhotonFinalizeError,
    PhotonNotInitializedError,
    PhotonStartError,
)
from luminal.lifecycle.ports import Ports
from luminal.lifecycle.scope import PhotonScope
from luminal.lifecycle.step import is_containable
from luminal.lifecycle.turn import Turn
from luminal.lifecycle.wreck import blame, words_of
from luminal.model import Happening, Problem, State, Step, advance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from luminal.interfaces import PhotonContext
    from luminal.loading import Choice, Generation
    from luminal.model import Candidate, Deadlines

__all__ = ["Handler"]

_frozen = attrs.setters.frozen
# What makes up one life of a photon, see `Handler.exchange`.
_LIFE = (
    "filepath",
    "checksum",
    "instance",
    "generation",
    "candidate",
    "factory",
    "context",
    "since",
    "problem",
    "_state",
    "_scope",
)


@attrs.define(eq=False, repr=False)
class Handler:
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

    logging: bool
    name: str = attrs.field(on_setattr=_frozen)
    filepath: str = attrs.field(on_setattr=_frozen)
    checksum: str = attrs.field(on_setattr=_frozen)
    instance: Any = None
    generation: Generation | None = attrs.field(default=None, kw_only=True)
    candidate: Candidate | None = attrs.field(default=None, kw_only=True)
    choice: Choice | None = attrs.field(default=None, kw_only=True)
    ports: Ports = attrs.field(factory=Ports, kw_only=True)
    factory: Any = attrs.field(init=False, default=None)
    context: PhotonContext = attrs.field(init=False)
    # Wall-clock time of the latest change of state, for people.
    since: float = attrs.field(init=False, factory=time.time)
    problem: Problem | None = attrs.field(init=False, default=None)
    _state: State = attrs.field(init=False, default=State.STAGED)
    _scope: PhotonScope = attrs.field(init=False)
    # One start or stop at a time.
    _turn: Turn = attrs.field(init=False, factory=Turn)

    def __attrs_post_init__(self) -> None:
        if issubclass(type(self.instance), type):
            self.factory, self.instance = self.instance, None
        self._renew()

    def _renew(self) -> None:
        """Give the photon a scope and a context for a new life."""
        self._scope = PhotonScope(self.name)
        self.context = self.ports.context(self.name, self._scope)

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
            if self._state is not State.STAGED:
                self._renew()
            self._go(Step.START)
            began = time.perf_counter()
            try:
                self.instance = await self.ports.create(self)
                if prepare is not None:
                    await prepare(self)
                await self.ports.start(self)
                if seat is not None:
                    seat(self)
            except BaseException as error:
                await self._fail(error)
                if not is_containable(error):
                    raise
                raise self._start_error(error) from error
            self._go(Step.STARTED)
            self.problem = None
            self.ports.tell(
                Happening.STARTED, self, seconds=time.perf_counter() - began
            )

    def exchange(self, other: Handler) -> None:
        """Trade lives with *other*: each goes on with the photon that the other had.

        The name stays, and so does the identity that a host holds on to.
        """
        for field in _LIFE:
            mine, theirs = getattr(self, field), getattr(other, field)
            # Past the setters: a host must not write these, we may.
            object.__setattr__(self, field, theirs)
            object.__setattr__(other, field, mine)

    @property
    def turn(self) -> Turn:
        """Held while the photon starts or stops."""
        return self._turn

    async def _fail(self, error: BaseException) -> None:
        """Bring a photon whose start failed to rest."""
        problem = Problem.of(self._start_error(error), "start")
        try:
            self.ports.unseat(self)
            await self._end(is_forced=self.instance is None)
        finally:
            self._rest(Step.FAIL, Happening.FAILED, problem)

    def _rest(self, step: Step, happening: Happening, problem: Problem | None) -> None:
        """Note that the photon's life is over, however that came about."""
        self._forget_instance()
        self.problem = problem
        self._go(step)
        self.ports.tell(happening, self, problem=problem)

    def _start_error(self, error: BaseException) -> LuminalError:
        if isinstance(error, LuminalError):
            error.photon = error.photon or self.name
            error.file = error.file or self.filepath
            return error
        file, line = blame(error, self.filepath)
        return PhotonStartError(
            "could not be started",
            photon=self.name,
            file=file,
            line=line,
            why=words_of(error),
            hint="correct it, then start or reload the photon",
        )

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
                problem = Problem.of(self._finalize_error(error), "finalize")
                raise
            finally:
                step = Step.FAIL if problem is not None else Step.STOPPED
                self._rest(step, Happening.FINALIZED, problem)
            return problem is None

    def release(self) -> None:
        """Let go of the photon's class and modules, so that they can be collected."""
        self.generation = None
        self.factory = self.instance = None

    async def _end(self, is_forced: bool) -> Problem | None:
        """Finalize the photon and close its scope; return what went wrong."""
        problem: Problem | None = None
        try:
            if not is_forced and await self.ports.finalize(self) is False:
                refusal = PhotonFinalizeError("'finalize' returned a false value")
                problem = Problem.of(refusal, "finalize")
        except BaseException as error:
            if not is_containable(error):
                raise
            problem = Problem.of(self._finalize_error(error), "finalize")
        finally:
            errors = await self._scope.close(self.deadlines.close)
            if errors and problem is None:
                problem = Problem.of(self._finalize_error(errors[0]), "finalize")
        return problem

    def _finalize_error(self, error: BaseException) -> LuminalError:
        if isinstance(error, LuminalError):
            return error
        file, line = blame(error, self.filepath)
        return PhotonFinalizeError(
            "could not be finalized",
            file=file,
            line=line,
            why=words_of(error),
            hint="correct 'finalize'; what it held has been ended by force",
        )
