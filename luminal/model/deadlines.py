"""How long a photon may take for each step of its life."""

from __future__ import annotations

import attrs

__all__ = ["Deadlines"]


@attrs.frozen
class Deadlines:
    """Seconds after which a photon that does not come back is given up.

    Attributes:
        load: For executing its modules.
        start: For ``__init__`` and ``start`` together.
        finalize: For ``finalize``.
        close: For ending what it owns once it is finalized.
        drain: For calls that are in flight when it is to be finalized.

    Example:
        >>> Deadlines(start=5)
        Deadlines(load=30.0, start=5, finalize=10.0, close=5.0, drain=10.0)
    """

    load: float = 30.0
    start: float = 30.0
    finalize: float = 10.0
    close: float = 5.0
    drain: float = 10.0
