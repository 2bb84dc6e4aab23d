"""After the swap: calls end, the old photons are finalized, nothing refers to them."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING

from luminal.errors import PhotonTimeoutError
from luminal.model import Event, Happening, Problem, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.lifecycle import Handler, Ports
    from luminal.reload.pairing import Pair

__all__ = ["retire"]


async def retire(pairs: Iterable[Pair], ports: Ports) -> None:
    """Drain, finalize and forget what the *pairs* have left behind.

    What goes wrong here is told and does not undo the swap.
    """
    for pair in reversed(list(pairs)):
        # After the exchange the old life is in the new Handler's place.
        leaving = pair.new if pair.old is not None and pair.new else pair.old
        if leaving is None:
            continue
        if leaving.state is State.RUNNING:
            await _drain(leaving, ports)
            await leaving.stop()
        _announce_retirement(leaving, ports)
        leaving.release()


async def _drain(leaving: Handler, ports: Ports) -> None:
    """Wait until no call of the old photon is under way, or the deadline has passed."""
    began = time.perf_counter()
    deadline = ports.deadlines.drain
    is_idle = await ports.plugins.wait_idle(leaving.instance, deadline)
    problem = None
    if not is_idle:
        late = PhotonTimeoutError(
            f"calls were still under way after {deadline:g} seconds",
            hint="let hooks return sooner, or give them a longer drain deadline",
        )
        problem = Problem.of(late, "drain")
    seconds = time.perf_counter() - began
    ports.tell(Happening.DRAINED, leaving, seconds=seconds, problem=problem)


def _announce_retirement(leaving: Handler, ports: Ports) -> None:
    """Tell when the generation has really been collected."""
    if leaving.generation is None:
        return
    event = Event(Happening.RETIRED, leaving.name, leaving.number, leaving.filepath)
    weakref.finalize(leaving.generation, ports.events.emit, event).atexit = False
