"""The values that all packages share, and the table of a photon's states.

They are immutable and do nothing: no I/O, no threads, no asyncio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.model.candidate import Candidate, Frame, Problem, Source
    from luminal.model.outcome import (
        Deadlines,
        Event,
        EventKind,
        Failure,
        FailureKind,
        FileChange,
        Outcome,
        OutcomeResult,
        Probation,
        Quarantine,
        Report,
        SwapChanges,
        as_quarantine,
    )
    from luminal.model.states import TABLE, State, Step, advance

__all__ = [
    "TABLE",
    "Candidate",
    "Deadlines",
    "Event",
    "EventKind",
    "Failure",
    "FailureKind",
    "FileChange",
    "Frame",
    "Outcome",
    "OutcomeResult",
    "Probation",
    "Problem",
    "Quarantine",
    "Report",
    "Source",
    "State",
    "Step",
    "SwapChanges",
    "advance",
    "as_quarantine",
]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "candidate": (
            "Candidate",
            "Frame",
            "Problem",
            "Source",
        ),
        "outcome": (
            "Deadlines",
            "Event",
            "EventKind",
            "Failure",
            "FailureKind",
            "FileChange",
            "Outcome",
            "OutcomeResult",
            "Probation",
            "Quarantine",
            "Report",
            "SwapChanges",
            "as_quarantine",
        ),
        "states": (
            "TABLE",
            "State",
            "Step",
            "advance",
        ),
    },
)
