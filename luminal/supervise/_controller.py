"""`LoopController`: a group of loops that is kept healthy together.

The controller starts again what has ended by the group's rules: which loops are
restarted when one fails, how soon, and how often before the group gives up. It is a
supervised loop itself, so groups nest. It sleeps until something happens.
"""

from __future__ import annotations

import enum
import logging
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from luminal.supervise._loops import Restart, Status, Step, SuperLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from luminal.supervise._loops import Backoff, Run

__all__ = [
    "GreenLight",
    "GroupGaveUp",
    "Intensity",
    "LoopController",
    "LoopState",
    "RestartLog",
    "Strategy",
    "snapshot",
    "super_loop_factory",
]

_logger = logging.getLogger("luminal.supervise")

# How often a light that cannot call us, and heartbeats, are looked at, in seconds.
_LOOK_EVERY = 0.1

L = TypeVar("L", bound=SuperLoop)


class GreenLight(threading.Event):
    """A `threading.Event` that is set while all is well, and says when it goes out.

    Attributes:
        alarms: How many times it was cleared, also while it was out already: so that
            an alarm raised during a reset is not lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alarms: int = 0
        self._counting = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def clear(self) -> None:
        """Put the light out and call all listeners."""
        with self._counting:
            self.alarms += 1
            listeners = list(self._listeners)
        super().clear()
        for listener in listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call *listener* whenever the light is put out; it must not block."""
        with self._counting:
            if listener not in self._listeners:
                self._listeners.append(listener)


# The rules: values and a counter, without thread and clock. The words are Erlang/OTP's.


class Strategy(enum.StrEnum):
    """Which loops of a group are restarted when one of them fails."""

    ONE_FOR_ONE = "one-for-one"
    ONE_FOR_ALL = "one-for-all"
    REST_FOR_ONE = "rest-for-one"


@attrs.frozen
class Intensity:
    """How many restarts within which time are too many.

    Attributes:
        restarts: This many are allowed;
        period: within this many seconds. One more, and the group gives up.
    """

    restarts: int = 10
    period: float = 60.0


@attrs.define
class RestartLog:
    """Counts the restarts of one loop, or of one group; owned by its controller.

    Attributes:
        times: When the latest restarts were, within the period.
        total: Number of all restarts.
        in_a_row: Restarts since the last time of good running.
        last: When the last restart was.
        due: When the next restart is due, or may come at the earliest.
    """

    times: deque[float] = attrs.field(factory=deque)
    total: int = 0
    in_a_row: int = 0
    last: float = -math.inf
    due: float = math.inf

    def pause(self, backoff: Backoff, now: float) -> float:
        """Return the pause before a restart that becomes due at *now*."""
        if now - self.last > backoff.healthy_after:
            self.in_a_row = 0
        return backoff.pause(self.in_a_row)

    def note(self, intensity: Intensity, now: float) -> bool:
        """Count a restart at *now*; False where it is one too many."""
        self.times.append(now)
        while self.times and now - self.times[0] > intensity.period:
            self.times.popleft()
        self.total += 1
        self.in_a_row += 1
        self.last = now
        return len(self.times) <= intensity.restarts

    def forget(self) -> None:
        """Begin a new row and a new period; `total` stays."""
        self.times.clear()
        self.in_a_row = 0


class GroupGaveUp(RuntimeError):  # noqa: N818 - what happened, in the past tense
    """More restarts were needed within the period than the group allows."""


class LoopController(SuperLoop):
    """Supervises loops; a supervised loop itself.

    Args:
        reset_callback: Called between stop and restart of a reset.
        green_light: The shared light; made and lit where none is given.
        loop_factory: Makes the loops of `new_from_factory`.
        *args: Positional arguments of `SuperLoop` after ``green_light``.
        strategy: Which loops a crash of one restarts. One-for-all goes by way of the
            light, and so concerns the loops with ``reset_globally``.
        intensity: How many restarts within which time before the group gives up.
        **kwargs: Further arguments of `SuperLoop`.

    Attributes:
        loops: The adopted loops, in the order in which they are started.
        restarts: Counts the resets of the whole group.
    """

    def __init__(
        self,
        reset_callback: Callable[[], object] | None = None,
        green_light: threading.Event | None = None,
        loop_factory: Callable[..., Any] | None = None,
        *args: Any,
        strategy: Strategy = Strategy.ONE_FOR_ALL,
        intensity: Intensity | None = None,
        **kwargs: Any,
    ) -> None:
        if green_light is None:
            green_light = GreenLight()
            green_light.set()
        super().__init__(green_light, *args, **kwargs)
        self._green_light: threading.Event = green_light
        # That of the group that it belongs to; its own stays that of its loops.
        self._light_above: threading.Event | None = None
        self._loop_factory = loop_factory
        self._reset_callback = reset_callback
        self.strategy = strategy
        self.intensity: Intensity = intensity or Intensity()
        self.loops: list[Any] = []
        self.restarts: RestartLog = RestartLog(due=0.0)
        # Loop → its restarts. The lock guards the table and each ``due`` in it, which
        # ending threads set; all else is the controller's own thread's.
        self._logs: dict[Any, RestartLog] = {}
        self._logs_lock = threading.Lock()
        # Set when there may be something to do.
        self._call = threading.Event()
        if isinstance(green_light, GreenLight):
            green_light.listen(self._call.set)

    @property
    def green_light(self) -> threading.Event:
        """The light that its loops share."""
        return self._green_light

    @property
    def has_given_up(self) -> bool:
        """Whether the group needed too many restarts, and has ended by that."""
        run = self._run
        return run is not None and isinstance(run.error, GroupGaveUp)

    # Its loops ------------------------------------------------------------------------

    def new_loop(self, loop: L, use_green_light: bool = True) -> L:
        """Adopt *loop*, hand it the shared light, and return it; twice is once.

        A loop of another group leaves that one.
        """
        before = getattr(loop, "_controller", None)
        if isinstance(before, LoopController) and before is not self:
            before.release_loop(loop)
        with self._status_lock:
            if not any(known is loop for known in self.loops):
                self.loops.append(loop)
        if use_green_light:
            self._hand(loop, self._green_light)
        loop._controller = self  # noqa: SLF001 - ours
        return loop

    def release_loop(self, loop: SuperLoop) -> None:
        """Take *loop* out of the group; it goes on as it is."""
        with self._status_lock:
            self.loops[:] = [known for known in self.loops if known is not loop]
        if loop._controller is self:  # noqa: SLF001 - ours
            loop._controller = None  # noqa: SLF001
            self._hand(loop, None)
        with self._logs_lock:
            self._logs.pop(loop, None)

    def _hand(self, loop: SuperLoop, light: threading.Event | None) -> None:
        if isinstance(loop, LoopController):
            loop._light_above = light  # noqa: SLF001 - ours
        else:
            loop.set_green_light(light)

    def _put_light_out(self) -> None:
        (self._light_above or self._green_light).clear()

    def new_from_factory(
        self,
        klass: type[L],
        green_light: threading.Event | None = None,
        grace_period: float | None = None,
        max_loop_failures: int | None = None,
        stop_on_failure: bool | None = None,
        reset_globally: bool | None = None,
        use_green_light: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> L:
        """Make a loop by the factory and adopt it.

        Raises:
            RuntimeError: No factory was given.
        """
        if self._loop_factory is None:
            raise RuntimeError(f"{self}: no loop factory; call set_loop_factory()")
        loop: L = self._loop_factory(
            klass,
            green_light,
            grace_period,
            max_loop_failures,
            stop_on_failure,
            reset_globally,
            *args,
            **kwargs,
        )
        return self.new_loop(loop, use_green_light=use_green_light)

    def set_loop_factory(self, factory: Callable[..., Any]) -> None:
        """Make loops by *factory* from now on."""
        self._loop_factory = factory

    def has_alive_loops(self) -> bool:
        """Whether any loop of the group is alive."""
        return any(loop.is_alive for loop in self.loops)

    def alive_loops(self) -> list[Any]:
        """Return the loops that are alive."""
        return [loop for loop in self.loops if loop.is_alive]

    def get_stalled_loops(self) -> list[Any]:
        """Return the loops that do not run or hang, the controller included.

        A loop that was stopped on purpose is not one of them.
        """
        return [
            loop
            for loop in [*self.loops, self]
            if loop.is_hung is True
            or (
                not (loop.is_alive and loop.running)
                and (loop is self or loop.is_stopped is not True)
            )
        ]

    def restarts_of(self, loop: SuperLoop) -> int:
        """Return how often *loop* was restarted by itself."""
        log = self._logs.get(loop)
        return 0 if log is None else log.total

    # Up and down ----------------------------------------------------------------------

    def maintain_loop(self, loop: SuperLoop) -> None:
        """Start *loop* unless it is alive."""
        try:
            if not loop.is_alive:
                if loop.running:
                    loop.stop()
                loop.start()
        except Exception:
            _logger.exception("%s: could not be started", loop)

    def maintain_loops(self) -> None:
        """Start every loop that is not alive, in order."""
        for loop in list(self.loops):
            self.maintain_loop(loop)

    def stop_loop(self, loop: SuperLoop) -> None:
        """Stop *loop* and wait for it, at most its grace period."""
        self._stop_loop(loop)

    def stop_loops(self) -> None:
        """Stop every loop, in reverse order; all of them are asked first.

        So stuck loops cost one grace period together, not one each.
        """
        self._bring_down(self.loops)

    def _bring_down(self, loops: Sequence[Any], *, is_for_now: bool = False) -> None:
        """Stop *loops* together, the last one first; to start them again if for now."""
        loops = list(reversed(loops))
        for loop in loops:
            if isinstance(loop, SuperLoop):
                if is_for_now:
                    with loop._for_group():  # noqa: SLF001 - ours
                        loop.ask_to_stop()
                else:
                    loop.ask_to_stop()
        for loop in loops:
            if is_for_now:
                self._stop_loop(loop, is_for_now=True)
            else:
                self.stop_loop(loop)
        for loop in loops:
            if isinstance(loop, SuperLoop) and loop.is_alive:
                _logger.error("%s: does not stop", loop.thread_name)

    def _stop_loop(self, loop: Any, *, is_for_now: bool = False) -> None:
        try:
            if is_for_now and isinstance(loop, SuperLoop):
                loop._pause()  # noqa: SLF001 - ours
            else:
                loop.stop()
        except Exception:
            _logger.exception("%s: could not be stopped", loop)

    def _resume_loop(self, loop: Any) -> bool:
        """Start *loop* again unless it was stopped on purpose; False if that fails."""
        try:
            if isinstance(loop, SuperLoop):
                return loop._resume()  # noqa: SLF001 - ours
            loop.start()
        except Exception:
            _logger.exception("%s: could not be started", loop)
            return False
        return True

    def stop(self, *args: Any, **kwargs: Any) -> bool:
        """Stop the group as any loop, and those of its loops that were started since.

        Returns:
            Whether the group's own thread has ended.
        """
        has_ended = super().stop(*args, **kwargs)
        if has_ended and self.has_alive_loops():
            self._bring_down(self.loops, is_for_now=not self.is_stopped)
        return has_ended

    def on_stop(self, *_args: Any, **_kwargs: Any) -> None:
        """Stop the loops of the group with it."""
        self._bring_down(self.loops, is_for_now=not self.is_stopped)

    def _wake(self, run: Run) -> None:  # noqa: ARG002 - it has one call for all
        """Let the cycle look."""
        self._call.set()

    def _turn(self, run: Run) -> None:
        if run.resumes:
            # Start the loops again that were stopped with the group.
            for loop in list(self.loops):
                if run.asked:
                    break
                if loop._run is not None and not loop.running:  # noqa: SLF001 - ours
                    self._resume_loop(loop)
        super()._turn(run)

    # Supervision ----------------------------------------------------------------------

    def loop_ended(self, loop: Any, run: Run) -> bool:
        """Take note that *loop* ended unasked; called in its ending thread.

        Returns:
            Whether this group answers to it by itself; else the light goes out.
        """
        if loop.restart is Restart.TEMPORARY:
            return True
        if loop.restart is Restart.TRANSIENT and not isinstance(run.error, Exception):
            return True
        if not self.running:
            return False
        if self.strategy is Strategy.ONE_FOR_ALL and loop.reset_globally:
            self._green_light.clear()
        else:
            self._schedule(loop)
        return True

    def _log_of(self, loop: Any) -> RestartLog:
        with self._logs_lock:
            return self._logs.setdefault(loop, RestartLog())

    def _schedule(self, loop: SuperLoop) -> None:
        now = time.monotonic()
        log = self._log_of(loop)
        with self._logs_lock:
            log.due = now + log.pause(loop.backoff, now)
        self._call.set()

    def cycle(self) -> None:
        """Answer to a red light, to ends and to hung loops, or sleep until one comes.

        Raises:
            GroupGaveUp: The group needed too many restarts.
        """
        self._call.clear()
        now = time.monotonic()
        if not self._green_light.is_set() and now >= self.restarts.due:
            self._count(self.restarts, "the group")
            self._reset()
            self.restarts.due = now + self.restarts.pause(self.backoff, now)
            return
        self._restart_hung()
        self._restart_due(now)
        self._call.wait(self._sleep_seconds())

    def _sleep_seconds(self) -> float:
        now = time.monotonic()
        with self._logs_lock:
            times = [log.due for log in self._logs.values()]
        if not self._green_light.is_set():
            times.append(self.restarts.due)
        has_to_look = not isinstance(self._green_light, GreenLight) or any(
            loop.stall_after is not None for loop in self.loops
        )
        times.append(now + (_LOOK_EVERY if has_to_look else 1.0))
        return max(0.0, min(times) - now)

    def _restart_hung(self) -> None:
        for loop in list(self.loops):
            if loop.is_hung is True:
                _logger.error("%s: hangs, given up", loop.thread_name)
                self._count(self._log_of(loop), str(loop))
                self._bring_back(loop)

    def _restart_due(self, now: float) -> None:
        due = []
        with self._logs_lock:
            for loop, log in self._logs.items():
                if log.due <= now:
                    log.due = math.inf
                    due.append(loop)
        for loop in due:
            if loop.is_stopped or loop not in self.loops or loop.running:
                continue  # stopped, released or started meanwhile
            self._count(self._log_of(loop), str(loop))
            if self.strategy is Strategy.REST_FOR_ONE:
                self._restart_rest(loop)
            else:
                self._bring_back(loop)

    def _bring_back(self, loop: SuperLoop) -> None:
        """Start *loop* again, and if it cannot be started now, later."""
        if not self._resume_loop(loop):
            self._schedule(loop)

    def _restart_rest(self, first: SuperLoop) -> None:
        later = self.loops[self.loops.index(first) + 1 :]
        running = [loop for loop in later if loop.is_alive]
        self._bring_down(running, is_for_now=True)
        for loop in [first, *running]:
            self._bring_back(loop)

    def _count(self, log: RestartLog, name: str) -> None:
        if log.note(self.intensity, time.monotonic()):
            return
        _logger.critical(
            "%s gives up: %s needed more than %d restarts in %g s",
            self,
            name,
            self.intensity.restarts,
            self.intensity.period,
        )
        # Started again, the group starts its loops and counts anew.
        self._advance(Step.PAUSE)
        with self._logs_lock:
            for each in [self.restarts, *self._logs.values()]:
                each.forget()
        self._bring_down(self.loops, is_for_now=True)
        raise GroupGaveUp(f"{self}: {name} needed too many restarts")

    def _reset(self) -> None:
        _logger.info("%s: red light, resetting", self)
        group = [
            loop
            for loop in self.loops
            if loop.reset_globally and loop.is_stopped is not True
        ]
        self._bring_down(group, is_for_now=True)
        with self._logs_lock:
            for loop in group:
                if loop in self._logs:
                    self._logs[loop].due = math.inf
        if self._reset_callback is not None:
            try:
                self._reset_callback()
            except Exception:
                _logger.exception("%s: the reset callback raised", self)
        run = self._run_of_this_thread()
        if run is not None and run.asked:
            return  # stopped meanwhile: nothing is started any more
        alarms = getattr(self._green_light, "alarms", 0)
        for loop in group:
            self._bring_back(loop)
        # An alarm that came while the loops started stands: it is answered next.
        if getattr(self._green_light, "alarms", 0) == alarms:
            self._green_light.set()


def super_loop_factory(
    green_light: threading.Event | None = None,
    grace_period: float = 5,
    max_loop_failures: int = 10,
    stop_on_failure: bool = False,
    reset_globally: bool = True,
    **defaults: Any,
) -> Callable[..., Any]:
    """Return a function that makes loops with these settings.

    The function takes the class, then the same settings, where anything but None
    overrides, then further arguments of the class.
    """
    common = {
        "green_light": green_light,
        "grace_period": grace_period,
        "max_loop_failures": max_loop_failures,
        "stop_on_failure": stop_on_failure,
        "reset_globally": reset_globally,
    }

    def factory(
        klass: type[L],
        green_light: threading.Event | None = None,
        grace_period: float | None = None,
        max_loop_failures: int | None = None,
        stop_on_failure: bool | None = None,
        reset_globally: bool | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> L:
        given = {
            "green_light": green_light,
            "grace_period": grace_period,
            "max_loop_failures": max_loop_failures,
            "stop_on_failure": stop_on_failure,
            "reset_globally": reset_globally,
        }
        settings = {
            name: common[name] if value is None else value
            for name, value in given.items()
        }
        return klass(*args, **{**defaults, **settings, **kwargs})

    return factory


@attrs.frozen
class LoopState:
    """How one loop is, and those below it.

    Attributes:
        name: Name of its thread, or of its class where it has none.
        state: ``idle``, ``starting``, ``running``, ``hung``, ``stopping``,
            ``stopped``, ``paused`` (its group stopped it, to start it again),
            ``failed`` or ``gave up``.
        restart: Its restart policy.
        strategy: Of a controller, its strategy; else empty.
        restarts: How often it was restarted by its controller; of a controller, how
            often the group was reset.
        failures: Failures since its last start.
        seconds_since_cycle: Since its last cycle began; -1 where none did.
        error: What ended it, or an empty string.
        abandoned: Names of given-up threads that still live.
        loops: The loops of a controller, in order.
    """

    name: str
    state: str
    restart: str
    strategy: str = ""
    restarts: int = 0
    failures: int = 0
    seconds_since_cycle: float = -1.0
    error: str = ""
    abandoned: tuple[str, ...] = ()
    loops: tuple[LoopState, ...] = ()

    def to_json(self) -> str:
        """Return the tree as one JSON object, keys as the attributes are named."""
        import json

        return json.dumps({"schema": 1, **attrs.asdict(self)}, indent=2)

    def __str__(self) -> str:
        return "\n".join(self._lines(0))

    def _lines(self, depth: int) -> list[str]:
        words = [f"{'  ' * depth}{self.name}: {self.state}"]
        if self.strategy:
            words.append(self.strategy)
        if self.restarts:
            words.append(f"{self.restarts} restarts")
        if self.failures:
            words.append(f"{self.failures} failures")
        if self.error:
            words.append(self.error)
        words.extend(f"abandoned {name}" for name in self.abandoned)
        lines = [", ".join(words)]
        for loop in self.loops:
            lines.extend(loop._lines(depth + 1))  # noqa: SLF001 - ours
        return lines


def snapshot(loop: SuperLoop, restarts: int = 0) -> LoopState:
    """Describe *loop* and everything below it as it is now.

    Args:
        loop: A controller, or any loop.
        restarts: What its controller counted.
    """
    run = loop._run  # noqa: SLF001 - ours
    group = loop if isinstance(loop, LoopController) else None
    below = list(group.loops) if group else []
    return LoopState(
        name=loop.thread_name,
        state=_state_of(loop),
        restart=str(loop.restart),
        strategy=str(group.strategy) if group else "",
        restarts=group.restarts.total if group else restarts,
        failures=loop._failures,  # noqa: SLF001
        seconds_since_cycle=round(time.monotonic() - run.beat, 3) if run else -1.0,
        error=repr(run.error) if run and run.error else "",
        abandoned=loop.abandoned,
        loops=tuple(snapshot(each, group.restarts_of(each)) for each in below if group),
    )


# What a name of a `Status` is for people, where it is not its value.
_WORDS = {
    Status.RESUMING: "starting",
    Status.CANCELLED: "stopping",
    Status.PAUSING: "stopping",
}


def _state_of(loop: SuperLoop) -> str:
    if isinstance(loop, LoopController) and loop.has_given_up:
        return "gave up"
    if loop.is_hung:
        return "hung"
    status = loop._status  # noqa: SLF001 - ours
    if loop.is_alive and status is not Status.RUNNING:
        return "stopping"
    return _WORDS.get(status, str(status))
