"""When something that ended is started again: strategy, policy, pause, limit.

Values and a small counter, with no thread and no clock of their own, so that every
rule can be tested by itself. The words are Erlang/OTP's.
"""

from __future__ import annotations

import enum
from collections import deque

import attrs

__all__ = ["Backoff", "Intensity", "Restart", "RestartLog", "Strategy"]


class Strategy(enum.StrEnum):
    """Which loops of a group are restarted when one of them fails."""

    ONE_FOR_ONE = "one-for-one"
    ONE_FOR_ALL = "one-for-all"
    REST_FOR_ONE = "rest-for-one"


class Restart(enum.StrEnum):
    """Which ends of a loop are answered by a restart."""

    PERMANENT = "permanent"
    """Every end that nobody asked for."""
    TRANSIENT = "transient"
    """An exception only."""
    TEMPORARY = "temporary"
    """None."""


@attrs.frozen
class Backoff:
    """How long to wait before a restart: exponential, capped, with full jitter.

    Attributes:
        initial: Upper bound of the second restart's pause, in seconds; the first
            restart of a row comes at once.
        factor: By what the bound grows with each further restart.
        cap: Highest bound, in seconds.
        healthy_after: Seconds of good running after which the row begins anew.
    """

    initial: float = 0.1
    factor: float = 2.0
    cap: float = 30.0
    healthy_after: float = 10.0

    def pause(self, restarts_in_a_row: int) -> float:
        """Return how many seconds to wait before the next restart."""
        if restarts_in_a_row <= 0:
            return 0.0
        import random

        exponent = min(restarts_in_a_row - 1, 64)
        bound = min(self.cap, self.initial * self.factor**exponent)
        # Full jitter: the pauses of many loops that failed together spread out.
        return random.uniform(0.0, bound)  # noqa: S311 - not a secret


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
    """Counts the restarts of one loop, or of one group; owned by its controller."""

    times: deque[float] = attrs.field(factory=deque)
    total: int = 0
    in_a_row: int = 0
    last: float = float("-inf")

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
