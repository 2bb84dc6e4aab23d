"""A group of loops that is kept healthy together: `LoopController`.

What comes in are loops, what goes out is their running by the group's rules: which of
them are restarted when one fails, how soon, and how often before the group gives up.
The controller is a loop itself, so groups nest. It sleeps until something happens.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from luminal.supervise.greenlight import GreenLight
from luminal.supervise.group import LoopGroup
from luminal.supervise.restarts import Intensity, Restart, RestartLog, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.supervise.run import Run
    from luminal.supervise.superloop import SuperLoop

__all__ = ["GroupGaveUp", "LoopController"]

_logger = logging.getLogger("luminal.supervise")

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
