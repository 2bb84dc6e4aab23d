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
    from collections.abc import Callable

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
        self._loop_factory = loop_factory
        self.loops: list[Any] = []

    # Who belongs to it ------------------------------------------------------------

    @property
    def supervisor(self) -> Any:
        """Who hears of a loop's end; the group itself only brings up and down."""
        return None

    def new_loop(self, loop: L, use_green_light: bool = True) -> L:
        """Adopt *loop*, hand it the shared light, and return it; twice is once."""
        if not any(known is loop for known in self.loops):
            self.loops.append(loop)
        if use_green_light:
            loop.set_green_light(self._green_light)
        loop._controller = self.supervisor  # noqa: SLF001 - ours
        return loop

    def release_loop(self, loop: SuperLoop) -> None:
        """Take *loop* out of the group; it goes on as it is."""
        self.loops[:] = [known for known in self.loops if known is not loop]
        if loop._controller is self.supervisor:  # noqa: SLF001 - ours
            loop._controller = None  # noqa: SLF001
            loop.set_green_light(None)

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
        loops = list(reversed(self.loops))
        for loop in loops:
            if isinstance(loop, SuperLoop):
                loop.ask_to_stop()
        for loop in loops:
            self.stop_loop(loop)
        for loop in loops:
            if isinstance(loop, SuperLoop) and loop.is_alive:
                _logger.error("%s: does not stop", loop.thread_name)

    def stop(self, *args: Any, **kwargs: Any) -> bool:
        """Stop the group as any loop, and those of its loops that were started since.

        Returns:
            Whether the group's own thread has ended.
        """
        has_ended = super().stop(*args, **kwargs)
        if has_ended and self.has_alive_loops():
            self.stop_loops()
        return has_ended

    def on_stop(self, *_args: Any, **_kwargs: Any) -> None:
        """Stop the loops of the group with it."""
        self.stop_loops()

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
