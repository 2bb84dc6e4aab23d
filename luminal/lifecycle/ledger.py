"""What became of each photon of a batch, noted as it is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from luminal.lifecycle.wreck import explain
from luminal.model import Event, Happening, Outcome, Problem, Report, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.errors import LuminalError
    from luminal.lifecycle.events import Events
    from luminal.lifecycle.handler import Handler
    from luminal.model import Candidate

__all__ = ["Ledger"]


@attrs.define(eq=False)
class Ledger:
    """Outcomes and errors of one batch. It is not kept: errors hold frames.

    Args:
        events: Who is told of photons that are left out.
    """

    events: Events
    errors: list[LuminalError] = attrs.Factory(list)
    _outcomes: list[Outcome] = attrs.Factory(list)

    def report(self) -> Report:
        """Return the outcomes so far."""
        return Report(tuple(self._outcomes))

    def load(self, handler: Handler) -> None:
        """Note that a photon is loaded."""
        origin = handler.candidate.origin if handler.candidate is not None else ""
        self._outcomes.append(
            Outcome(
                handler.name, Verdict.LOADED, origin, handler.filepath, handler.number
            )
        )

    def skip(self, candidate: Candidate, problem: Problem) -> None:
        """Note that *candidate* is left out on purpose."""
        self._note(candidate, Verdict.SKIPPED, Happening.SKIPPED, problem)

    def refuse(self, candidate: Candidate, problem: Problem) -> None:
        """Note that *candidate* was found to be broken before anything ran."""
        self.errors.append(problem.error(candidate.name))
        self._note(candidate, Verdict.FAILED, Happening.REFUSED, problem)

    def fail(self, candidates: Sequence[Candidate], cause: BaseException) -> None:
        """Note that the unit of *candidates* could not be loaded because of *cause*.

        It is one error, however many photons the unit has.
        """
        first = candidates[0]
        error, phase = explain(cause, first.name, first.location)
        if error.line is None and error.file == first.location:
            error.line = first.line or None
        self.errors.append(error)
        problem = Problem.of(error, phase)
        for candidate in candidates:
            self._note(candidate, Verdict.FAILED, Happening.REFUSED, problem)

    def _note(
        self,
        candidate: Candidate,
        verdict: Verdict,
        happening: Happening,
        problem: Problem,
    ) -> None:
        self._outcomes.append(
            Outcome(
                candidate.name,
                verdict,
                candidate.origin,
                candidate.location,
                problem=problem,
            )
        )
        self.events.emit(
            Event(happening, candidate.name, file=candidate.location, problem=problem)
        )
