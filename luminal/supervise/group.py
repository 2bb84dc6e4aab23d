"""The loops of a group: who belongs to it, brought up and down together.

The half of a controller that does what it is told; `LoopController` adds what is done
when nobody tells.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

from luminal.supervise.superloop import SuperLoop

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from luminal.supervise.run import Run

__all__ = ["LoopGroup"]

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
