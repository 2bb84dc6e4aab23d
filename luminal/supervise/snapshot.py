"""The tree of controllers and loops as a value: for people, and as JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from luminal.supervise.controller import LoopController

if TYPE_CHECKING:
    from luminal.supervise.superloop import SuperLoop

__all__ = ["LoopState", "snapshot"]


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
