"""How long a new generation has to prove itself, and what counts against it."""

from __future__ import annotations

import attrs

__all__ = ["Probation"]


@attrs.frozen
class Probation:
    """Terms under which a swap is provisional; by default there are none.

    A photon fails when its method ``is_healthy(self)``, plain or ``async``, raises or
    returns a false value, or when too many calls of its hooks raise.

    Attributes:
        seconds: How long it lasts; 0 for swaps that are final at once.
        interval: Seconds between looks.
        error_rate: Part of the calls, from 0 to 1, above which errors are too many.
        min_calls: Calls below which no rate is judged.
    """

    seconds: float = 0.0
    interval: float = 0.25
    error_rate: float = 0.5
    min_calls: int = 10
