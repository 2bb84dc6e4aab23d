"""Values that travel through the house, and the one table of states.

Everything here is immutable and does nothing: no I/O, no threads, no asyncio. Each
file is loaded with the first of its names (PEP 562): a host that only discovers does
not pay for the values of reloads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.model.candidate import Candidate, Frame, Problem, Source
    from luminal.model.outcome import (
        Deadlines,
        Event,
        EventKind,
        Outcome,
        OutcomeResult,
        Probation,
        Report,
    )
    from luminal.model.states import TABLE, State, Step, advance

__all__ = [
    "TABLE",
    "Candidate",
    "Deadlines",
    "Event",
    "EventKind",
    "Frame",
    "Outcome",
    "OutcomeResult",
    "Probation",
    "Problem",
    "Report",
    "Source",
    "State",
    "Step",
    "advance",
]

_FILES = {
    "TABLE": "states",
    "Candidate": "candidate",
    "Deadlines": "outcome",
    "Event": "outcome",
    "Frame": "candidate",
    "EventKind": "outcome",
    "Outcome": "outcome",
    "Probation": "outcome",
    "Problem": "candidate",
    "Report": "outcome",
    "Source": "candidate",
    "State": "states",
    "Step": "states",
    "OutcomeResult": "outcome",
    "advance": "states",
}


def __getattr__(name: str) -> object:
    """Load the file that *name* is in, and keep it here."""
    file = _FILES.get(name)
    if file is None:
        raise AttributeError(f"module 'luminal.model' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"luminal.model.{file}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
