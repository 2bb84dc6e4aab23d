"""A supervised loop: `SuperLoop` runs ``cycle()`` again and again on its own thread.

What comes in is a subclass with a ``cycle``, what goes out is a thread that can be
started, stopped, reset and asked how it is. Each start is a *run* with a stop flag of
its own, so that a thread that was given up can never come back to life. No lock is
held while code of the subclass runs.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

from luminal.supervise.at_exit import stop_at_exit
from luminal.supervise.cycling import Cycling
from luminal.supervise.restarts import Backoff, Restart
from luminal.supervise.run import Run
from luminal.supervise.thread import TracedThread

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SuperLoop"]

# `start` returns when `on_thread_start` has run, or after this time.
_BEGIN_SECONDS = 0.1

_logger = logging.getLogger("luminal.supervise")


class SuperLoop(Cycling):
    """Runs `cycle` again and again on a thread of its own.

    Args:
        green_light: Event that is set while the group is well; put out by `failure`.
        grace_period: Longest time that `stop` waits for the thread, in seconds.
        max_loop_failures: More failures than this put the light out.
        stop_on_failure: Stop this loop as well when that happens.
        reset_globally: Take part in a reset of the whole group.
        restart: Which ends a controller answers by a restart.
        backoff: How long it waits before that.
        stall_after: Seconds without a new cycle after which the loop counts as hung;
            None where a cycle may take any time.
    """

    def __init__(
        self,
        green_light: threading.Event | None = None,
        grace_period: float = 5,
        max_loop_failures: int = 10,
        stop_on_failure: bool = False,
        reset_globally: bool = True,
        *,
        restart: Restart = Restart.PERMANENT,
        backoff: Backoff | None = None,
        stall_after: float | None = None,
    ) -> None:
        super().__init__(green_light, grace_period, stall_after)
        self._max_loop_failures = max_loop_failures
        self._stop_on_failure = stop_on_failure
        self.reset_globally = reset_globally
        self.restart = restart
        self.backoff = backoff or Backoff()
        # Written under `_state` only.
        self._failures = 0
        self._thread_index = 0
        self._is_starting = False
        # The latest `start` ended in an exception of `on_start`.
        self._has_failed = False
        # Threads that bring it down or up by the rules of its group.
        self._rulers: set[int] = set()

    def start(self, *args: Any, **kwargs: Any) -> None:
        """Start a new thread unless one runs; arguments go to `on_start`.

        Returns when `on_thread_start` has run, or after a tenth of a second.
        """
        self._let_end()
        with self._state:
            # By the rules, what was stopped on purpose stays so.
            is_kept = self._is_ruled() and self._is_stopped
            if self._is_starting or self.is_alive or is_kept:
                return
            self._is_starting = True
            self._is_stopped = self._has_failed = False
        try:
            run = self._new_run() if self._may_start(args, kwargs) else None
            if run is None:
                return
            try:
                run.thread.start()
            finally:
                run.settled.set()
            stop_at_exit(self)
        finally:
            self._is_starting = False
        run.begun.wait(_BEGIN_SECONDS)

    def _let_end(self) -> None:
        """Wait for a thread whose cycles are over; it has only to say so."""
        run = self._run
        if run is None or not run.is_over:
            return
        if threading.current_thread() is not run.thread:
            run.thread.join(self._grace_period)

    def _may_start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        try:
            answer = self.on_start(*args, **kwargs)
        except Exception:
            _logger.exception("%s: on_start raised, not started", self)
            self._has_failed = True
            return False
        # Only an explicit False cancels: a function that forgets to return does not.
        if answer is False:
            _logger.info("%s: on_start returned False, not started", self)
            return False
        return True

    def _new_run(self) -> Run | None:
        in_use = {thread.name for thread in threading.enumerate()}
        with self._state:
            if self._is_stopped:
                return None  # a `stop` that came while `on_start` ran is obeyed
            while (name := self.make_name(self._thread_index)) in in_use:
                self._thread_index += 1
            self._thread_index += 1
            self._failures = 0
            self._abandoned = [r for r in self._abandoned if r.thread.is_alive()]
            run = Run(TracedThread(name=name, daemon=True))
            run.thread.run = functools.partial(self._live, run)  # type: ignore[method-assign]
            self._run = run
            return run

    def stop(self, *args: Any, **kwargs: Any) -> bool:
        """Stop the thread and wait for it, at most `grace_period` seconds in all.

        Called in the loop's own thread, it returns at once; the thread ends after the
        cycle under way. Arguments go to `on_stop`, which runs when the thread has
        ended, in the caller's thread, or in the loop's where the caller did not wait
        for long enough.

        Returns:
            Whether the thread has ended.
        """
        with self._state:
            self._is_stopped = self._is_stopped or not self._is_ruled()
            run = self._run
            if run is None:
                return True
            if not run.asked and not run.is_killed:
                run.on_stop = (args, kwargs)
            run.ask()
        self._wake(run)
        if threading.current_thread() is run.thread:
            return False
        if not run.wait(run.asked + self._grace_period):
            return False
        self._pay_on_stop(run)
        return True

    def ask_to_stop(self) -> None:
        """Tell the thread to end, and do not wait; `stop` then does, from now on."""
        with self._state:
            run = self._run
            if run is not None and run.thread.is_alive() and not run.asked:
                run.on_stop = ((), {})
                run.ask()
        if run is not None:
            self._wake(run)

    def halt(self) -> None:
        """Tell the thread to stop and halt it: a cycle under way does not go on."""
        self.ask_to_stop()
        run = self._run
        if run is not None and threading.current_thread() is not run.thread:
            run.thread.halt()

    def _wake(self, run: Run) -> None:
        """End what the cycle of *run* waits for; for subclasses that know it."""

    def hard_reset(self) -> None:
        """Give the old thread up and start a new one at once, whatever the old does.

        The old thread is told to stop and to halt, never waited for, and listed in
        `abandoned` until it ends. `on_stop` and `on_start` run in between.
        """
        with self._state:
            if self._is_ruled() and self._is_stopped:
                return
            self._is_stopped = False
            run, self._run = self._run, None
            if run is not None:
                run.is_killed = True
                run.on_stop = run.on_stop or ((), {})
                run.ask()
                self._abandoned.append(run)
        if run is not None:
            self._wake(run)
            if threading.current_thread() is not run.thread:
                run.thread.halt()
            self._pay_on_stop(run)
        with self._by_the_rules():  # a `stop` that came meanwhile is obeyed
            self.start()

    @contextlib.contextmanager
    def _by_the_rules(self) -> Iterator[None]:
        """Let `stop` and `start` within the block be no orders of the host's.

        Such a stop is not on purpose, and such a start brings nothing up that was
        stopped on purpose.
        """
        me = threading.get_ident()
        is_outermost = me not in self._rulers
        self._rulers.add(me)
        try:
            yield
        finally:
            if is_outermost:
                self._rulers.discard(me)

    def _is_ruled(self) -> bool:
        return threading.get_ident() in self._rulers

    def _pause(self) -> bool:
        """Stop the loop, to be started again soon."""
        with self._by_the_rules():
            return self.stop()

    def _revive(self) -> bool:
        """Bring the loop up again, unless it was stopped on purpose.

        Returns:
            Whether nothing went wrong: False where `on_start` raised.
        """
        self._let_end()
        with self._by_the_rules():
            if self.is_alive or self.running:
                self.hard_reset()
            else:
                self.start()
        return not self._has_failed

    def failure(self) -> bool:
        """Count a critical failure.

        Returns:
            Whether that was one too many: the green light is out now.
        """
        with self._state:
            self._failures += 1
            if self._failures <= self._max_loop_failures:
                return False
            self._failures = 0
        _logger.warning("%s: more than %d failures", self, self._max_loop_failures)
        if self._stop_on_failure:
            self._pause()  # a reset starts it again
        self._put_light_out()
        return True

    def make_name(self, index: int) -> str:
        """Return the name of the thread number *index*."""
        return f"{type(self).__qualname__}_{index}"

    def set_green_light(self, light: threading.Event | None) -> None:
        """Share *light* from now on."""
        self._green_light = light
