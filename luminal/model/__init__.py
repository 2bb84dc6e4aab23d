"""Values that travel through the house, and the one table of states.

Everything here is immutable and does nothing: no I/O, no threads, no asyncio.
"""

from __future__ import annotations

from luminal.model.candidate import Candidate, Problem, Source
from luminal.model.deadlines import Deadlines
from luminal.model.event import Event, Happening
from luminal.model.frame import Frame
from luminal.model.probation import Probation
from luminal.model.report import Outcome, Report, Verdict
from luminal.model.states import TABLE, State, Step, advance

__all__ = [
    "TABLE",
    "Candidate",
    "Deadlines",
    "Event",
    "Frame",
    "Happening",
    "Outcome",
    "Probation",
    "Problem",
    "Report",
    "Source",
    "State",
    "Step",
    "Verdict",
    "advance",
]
