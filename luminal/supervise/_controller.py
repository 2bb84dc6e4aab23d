"""The tree of controllers and loops as a value: for people, and as JSON."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from luminal.supervise._loops import Intensity, Restart, RestartLog, Strategy, SuperLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from luminal.supervise._loops import Run

__all__ = [
    "GreenLight",
    "GroupGaveUp",
    "LoopController",
    "LoopGroup",
    "LoopState",
    "snapshot",
    "super_loop_factory",
]


class GreenLight(threading.Event):
    """A `threading.Event` that is set while all is well, and says when it goes out.

    Attributes:
        alarms: How many times it was cleared, also while it was out already: so that
            an alarm raised during a reset is not lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alarms = 0
        self._counting = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def clear(self) -> None:
        """Put the light out and wake who observes it."""
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


_logger = logging.getLogger("luminal.supervise")

L = TypeVar("L", bound=SuperLoop)


class LoopGroup(SuperLoop):
    """A group of loops that share a light.

    Args:
        green_light: The shared light.
        loop_factory: Makes the loops of `new_from_factory`.
        *args: Positional arguments of `SuperLoop` after ``green_light``.
        **kwargs: Further arguments of `SuperLoop`.

    Attributes:
        loops: The adopted loops, in the order in which they are started.
    """

    def __init__(
        self,
        green_light: threading.Event,
        loop_factory: Callable[..., Any] | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(None, *args, **kwargs)
        self._green_light: threading.Event = green_light
        # That of the group that it belongs to; its own stays that of its loops.
        self._light_above: threading.Event | None = None
        self._loop_factory = loop_factory
        self.loops: list[Any] = []
        # Its loops went down with it, and come up with it again.
        self._is_paused = False

    # Who belongs to it ------------------------------------------------------------

    @property
    def supervisor(self) -> Any:
        """Who hears of a loop's end; the group itself only brings up and down."""
        return None

    def new_loop(self, loop: L, use_green_light: bool = True) -> L:
        """Adopt *loop*, hand it the shared light, and return it; twice is once.

        A loop of another group leaves that one.
        """
        before = getattr(loop, "_controller", None)
        if isinstance(before, LoopGroup) and before is not self:
            before.release_loop(loop)
        with self._state:
            if not any(known is loop for known in self.loops):
                self.loops.append(loop)
        if use_green_light:
            self._hand(loop, self._green_light)
        loop._controller = self.supervisor  # noqa: SLF001 - ours
        return loop

    def release_loop(self, loop: SuperLoop) -> None:
        """Take *loop* out of the group; it goes on as it is."""
        with self._state:
            self.loops[:] = [known for known in self.loops if known is not loop]
        if loop._controller is self.supervisor:  # noqa: SLF001 - ours
            loop._controller = None  # noqa: SLF001
            self._hand(loop, None)

    def _hand(self, loop: SuperLoop, light: threading.Event | None) -> None:
        if isinstance(loop, LoopGroup):
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

    # Up and down ------------------------------------------------------------------

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
        try:
            loop.stop()
        except Exception:
            _logger.exception("%s: could not be stopped", loop)

    def stop_loops(self) -> None:
        """Stop every loop, in reverse order; all of them are told first.

        So stuck loops cost one grace period together, not one each.
        """
        self._bring_down(self.loops)

    def _bring_down(self, loops: Sequence[Any], *, is_for_now: bool = False) -> None:
        """Stop *loops* together, the last one first; to start them again if for now."""
        loops = list(reversed(loops))
        for loop in loops:
            if isinstance(loop, LoopGroup):
                loop._is_paused = is_for_now  # noqa: SLF001 - ours
            if isinstance(loop, SuperLoop):
                loop.ask_to_stop()
        for loop in loops:
            if is_for_now and isinstance(loop, SuperLoop):
                self._pause_loop(loop)
            else:
                self.stop_loop(loop)
        for loop in loops:
            if isinstance(loop, SuperLoop) and loop.is_alive:
                _logger.error("%s: does not stop", loop.thread_name)

    def _pause_loop(self, loop: SuperLoop) -> None:
        try:
            loop._pause()  # noqa: SLF001 - ours
        except Exception:
            _logger.exception("%s: could not be stopped", loop)

    def _turn(self, run: Run) -> None:
        if self._is_paused:
            self._is_paused = False
            self._come_back(run)
        super()._turn(run)

    def _come_back(self, run: Run) -> None:
        """Start the loops again that went down with the group."""
        for loop in list(self.loops):
            if run.stopping.is_set():
                return
            if loop._run is not None and not loop.running:  # noqa: SLF001 - ours
                self._revive_loop(loop)

    def _revive_loop(self, loop: Any) -> bool:
        """Bring *loop* up again unless it was stopped on purpose; False if it fails."""
        try:
            if isinstance(loop, SuperLoop):
                return loop._revive()  # noqa: SLF001 - ours
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
        self._is_paused = self._is_ruled()
        has_ended = super().stop(*args, **kwargs)
        if has_ended and self.has_alive_loops():
            self._bring_down(self.loops, is_for_now=self._is_paused)
        return has_ended

    def hard_reset(self) -> None:
        """Do what a loop's does; the group's loops come up with its new thread."""
        self._is_paused = True
        super().hard_reset()

    def on_stop(self, *_args: Any, **_kwargs: Any) -> None:
        """Stop the loops of the group with it."""
        self._bring_down(self.loops, is_for_now=self._is_paused)

    # Who runs ---------------------------------------------------------------------

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


# How often a light that cannot call us, and heartbeats, are looked at, in seconds.
_LOOK_EVERY = 0.1


class GroupGaveUp(RuntimeError):  # noqa: N818 - what happened, in the past tense
    """More restarts were needed within the period than the group allows."""


class LoopController(LoopGroup):
    """Supervises loops; a supervised loop itself.

    Args:
        reset_callback: Called between stop and restart of a reset.
        green_light: The shared light; made and lit where none is given.
        loop_factory: Makes the loops of `new_from_factory`.
        strategy: Which loops a crash of one restarts. One-for-all goes by way of the
            light, and so concerns the loops with ``reset_globally``.
        intensity: How many restarts within which time before the group gives up.
        *args: Positional arguments of `SuperLoop` after ``green_light``.
        **kwargs: Further arguments of `SuperLoop`.

    Attributes:
        loops: The adopted loops, in the order in which they are started.
        has_given_up: The group needed too many restarts, and was stopped.
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
        super().__init__(green_light, loop_factory, *args, **kwargs)
        self.strategy = strategy
        self.intensity = intensity or Intensity()
        self.has_given_up = False
        self._reset_callback = reset_callback
        # Set when there may be something to do.
        self._call = threading.Event()
        # Loop → when its restart is due; owned by the controller's own thread but
        # for the insertion of ends that were heard of.
        self._due: dict[Any, float] = {}
        self._due_lock = threading.Lock()
        self.restarts = RestartLog()
        self._logs: dict[Any, RestartLog] = {}
        self._next_reset = 0.0
        if isinstance(green_light, GreenLight):
            green_light.listen(self._call.set)

    @property
    def green_light(self) -> threading.Event:
        """The light that its loops share."""
        return self._green_light

    @property
    def supervisor(self) -> LoopController:
        """Who hears of a loop's end: this controller."""
        return self

    def _wake(self, run: Run) -> None:  # noqa: ARG002 - it has one call for all
        """Let the cycle look."""
        self._call.set()

    def heard_of_end(self, loop: Any, run: Run) -> bool:
        """Take note that *loop* ended unasked; called in its dying thread.

        Returns:
            Whether this group answers to it by itself; else the light goes out.
        """
        if not self._wants_restart(loop, run):
            return True
        if not self.running:
            return False
        if self.strategy is Strategy.ONE_FOR_ALL and loop.reset_globally:
            self._green_light.clear()
            return True
        self._schedule(loop)
        return True

    def _wants_restart(self, loop: Any, run: Run) -> bool:
        if loop.restart is Restart.TEMPORARY:
            return False
        is_error = isinstance(run.error, Exception)
        return is_error or loop.restart is Restart.PERMANENT

    def _schedule(self, loop: SuperLoop) -> None:
        now = time.monotonic()
        with self._due_lock:
            log = self._logs.setdefault(loop, RestartLog())
            self._due[loop] = now + log.pause(loop.backoff, now)
        self._call.set()

    def release_loop(self, loop: SuperLoop) -> None:
        """Take *loop* out of the group; it goes on as it is."""
        super().release_loop(loop)
        with self._due_lock:
            self._due.pop(loop, None)
            self._logs.pop(loop, None)

    def _turn(self, run: Run) -> None:
        if self.has_given_up:
            self.has_given_up = False
            for log in [self.restarts, *self._logs.values()]:
                log.forget()
        super()._turn(run)

    def restarts_of(self, loop: SuperLoop) -> int:
        """Return how often *loop* was restarted by itself."""
        log = self._logs.get(loop)
        return 0 if log is None else log.total

    def cycle(self) -> None:
        """Answer to a red light, to ends and to hung loops, or sleep until one comes.

        Raises:
            GroupGaveUp: The group needed too many restarts.
        """
        self._call.clear()
        now = time.monotonic()
        if not self._green_light.is_set() and now >= self._next_reset:
            self._count(self.restarts, "the group")
            self._reset()
            self._next_reset = now + self.restarts.pause(self.backoff, now)
            return
        self._restart_hung()
        self._restart_due(now)
        self._call.wait(self._sleep_seconds())

    def _sleep_seconds(self) -> float:
        now = time.monotonic()
        with self._due_lock:
            times = list(self._due.values())
        if not self._green_light.is_set():
            times.append(self._next_reset)
        has_to_look = not isinstance(self._green_light, GreenLight) or any(
            loop.stall_after is not None for loop in self.loops
        )
        times.append(now + (_LOOK_EVERY if has_to_look else 1.0))
        return max(0.0, min(times) - now)

    def _restart_hung(self) -> None:
        for loop in list(self.loops):
            if loop.is_hung is True:
                _logger.error("%s: hangs, given up", loop.thread_name)
                log = self._logs.setdefault(loop, RestartLog())
                self._count(log, str(loop))
                self._bring_back(loop)

    def _restart_due(self, now: float) -> None:
        with self._due_lock:
            due = [loop for loop, when in self._due.items() if when <= now]
            for loop in due:
                del self._due[loop]
        for loop in due:
            if loop.is_stopped or loop not in self.loops or loop.running:
                continue  # stopped, released or started meanwhile
            self._count(self._logs.setdefault(loop, RestartLog()), str(loop))
            if self.strategy is Strategy.REST_FOR_ONE:
                self._restart_rest(loop)
            else:
                self._bring_back(loop)

    def _bring_back(self, loop: SuperLoop) -> None:
        """Start *loop* again, and if it cannot be started now, later."""
        if not self._revive_loop(loop):
            self._schedule(loop)

    def _restart_rest(self, first: SuperLoop) -> None:
        later = self.loops[self.loops.index(first) + 1 :]
        running = [loop for loop in later if loop.is_alive]
        self._bring_down(running, is_for_now=True)
        for loop in [first, *running]:
            self._bring_back(loop)

    def _count(self, log: RestartLog, who: str) -> None:
        if log.note(self.intensity, time.monotonic()):
            return
        self.has_given_up = True
        _logger.critical(
            "%s gives up: %s needed more than %d restarts in %g s",
            self,
            who,
            self.intensity.restarts,
            self.intensity.period,
        )
        self._is_paused = True  # who starts the group again tries anew
        self._bring_down(self.loops, is_for_now=True)
        raise GroupGaveUp(f"{self}: {who} needed too many restarts")

    def _reset(self) -> None:
        _logger.info("%s: red light, resetting", self)
        group = [
            loop
            for loop in self.loops
            if loop.reset_globally and loop.is_stopped is not True
        ]
        self._bring_down(group, is_for_now=True)
        with self._due_lock:
            for loop in group:
                self._due.pop(loop, None)
        if self._reset_callback is not None:
            try:
                self._reset_callback()
            except Exception:
                _logger.exception("%s: the reset callback raised", self)
        run = self._run_of_this_thread()
        if run is not None and run.stopping.is_set():
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
        state: ``running``, ``stopping``, ``hung``, ``stopped``, ``idle``, ``failed``
            or ``gave up``.
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


def _state_of(loop: SuperLoop) -> str:
    run = loop._run  # noqa: SLF001 - ours
    if isinstance(loop, LoopController) and loop.has_given_up:
        return "gave up"
    if loop.is_hung:
        return "hung"
    if loop.running:
        return "running"
    if loop.is_alive:
        return "stopping"
    if loop.is_stopped:
        return "stopped"
    return "failed" if run is not None else "idle"
