"""What came of a reload: for whoever asked for it, and for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from luminal.model import Outcome, Problem, Report, Verdict

if TYPE_CHECKING:
    from luminal.errors import LuminalError
    from luminal.lifecycle import Handler
    from luminal.reload.retirement import Retirement

__all__ = ["Reloaded", "outcome"]


@attrs.frozen
class Reloaded:
    """What came of a reload.

    Attributes:
        handlers: Of the photons that live on in a new generation.
        report: An outcome for every photon that was affected.
        errors: Why those that were refused were.
        retirements: What the swaps have left behind.
    """

    handlers: tuple[Handler, ...] = ()
    report: Report = attrs.Factory(Report)
    errors: tuple[LuminalError, ...] = ()
    retirements: tuple[Retirement, ...] = ()

    async def settle(self) -> None:
        """Wait until the old photons are finalized, if no long call keeps them."""
        for retirement in self.retirements:
            await retirement.wait()

    def __add__(self, other: Reloaded) -> Reloaded:
        """Return what came of both."""
        return Reloaded(
            self.handlers + other.handlers,
            Report(self.report.outcomes + other.report.outcomes),
            self.errors + other.errors,
            self.retirements + other.retirements,
        )


def outcome(
    handler: Handler,
    verdict: Verdict = Verdict.LOADED,
    problem: Problem | None = None,
) -> Outcome:
    """Return what became of the photon of *handler*."""
    origin = handler.candidate.origin if handler.candidate is not None else ""
    return Outcome(
        handler.name, verdict, origin, handler.filepath, handler.number, problem
    )
