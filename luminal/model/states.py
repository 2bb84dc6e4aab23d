"""The states of a photon as one table; the docs page is generated from it."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from luminal.errors import PhotonStateError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TABLE", "State", "Step", "advance"]


class State(enum.StrEnum):
    """Where a photon is in its life."""

    STAGED = "staged"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Step(enum.StrEnum):
    """What happens to a photon."""

    START = "start"
    STARTED = "started"
    STOP = "stop"
    STOPPED = "stopped"
    FAIL = "fail"


TABLE: Mapping[tuple[State, Step], State] = MappingProxyType(
    {
        (State.STAGED, Step.START): State.STARTING,
        (State.STAGED, Step.STOP): State.STOPPED,
        (State.STARTING, Step.STARTED): State.RUNNING,
        (State.STARTING, Step.FAIL): State.FAILED,
        (State.RUNNING, Step.STOP): State.STOPPING,
        (State.STOPPING, Step.STOPPED): State.STOPPED,
        (State.STOPPING, Step.FAIL): State.FAILED,
        (State.STOPPED, Step.START): State.STARTING,
        (State.FAILED, Step.START): State.STARTING,
        (State.FAILED, Step.STOP): State.STOPPED,
    }
)
"""(state, step) → next state. A step that is not listed is an error."""


def advance(state: State, step: Step, *, photon: str | None = None) -> State:
    """Return the state that *step* leads to.

    Args:
        state: Where the photon is.
        step: What is to happen to it.
        photon: Its name, for the error.

    Raises:
        PhotonStateError: `TABLE` has no such step for *state*.

    Example:
        >>> str(advance(State.STAGED, Step.START))
        'starting'
    """
    try:
        return TABLE[state, step]
    except KeyError:
        allowed = ", ".join(str(s) for (at, s) in TABLE if at is state)
        raise PhotonStateError(
            f"cannot {step.value!r} while it is {state.value!r}",
            photon=photon,
            hint=f"wait for another state; possible now: {allowed}",
        ) from None
