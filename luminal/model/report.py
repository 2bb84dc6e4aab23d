"""The outcome of a batch as a value: what loaded, what was left out, what failed."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.model.candidate import Problem

__all__ = ["Outcome", "Report", "Verdict"]


class Verdict(enum.StrEnum):
    """What became of one photon of a batch."""

    LOADED = "loaded"
    SKIPPED = "skipped"
    FAILED = "failed"


@attrs.frozen
class Outcome:
    """What became of one photon.

    Attributes:
        photon: Its name.
        verdict: Loaded, skipped or failed.
        origin: Where it came from, see `luminal.model.Candidate`.
        file: The file that holds it, or an empty string.
        generation: Number of the generation that serves, 0 where none does.
        problem: Why it was skipped or failed; None where it was loaded.
    """

    photon: str
    verdict: Verdict
    origin: str = ""
    file: str = ""
    generation: int = 0
    problem: Problem | None = None


@attrs.frozen(repr=False)
class Report:
    """The outcomes of one batch, in the order in which they were decided."""

    outcomes: tuple[Outcome, ...] = ()

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def _of(self, verdict: Verdict) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.verdict is verdict)

    @property
    def loaded(self) -> tuple[Outcome, ...]:
        """Outcomes of the photons that are loaded now."""
        return self._of(Verdict.LOADED)

    @property
    def skipped(self) -> tuple[Outcome, ...]:
        """Outcomes of the photons that were left out on purpose."""
        return self._of(Verdict.SKIPPED)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Outcomes of the photons that could not be loaded."""
        return self._of(Verdict.FAILED)

    def followed_by(self, later: Report) -> Report:
        """Return both, with the later outcome of each photon that is in both."""
        decided = {outcome.photon for outcome in later}
        kept = tuple(o for o in self.outcomes if o.photon not in decided)
        return Report(kept + later.outcomes)

    def to_json(self) -> str:
        """Return the report as one JSON object, keys as the attributes are named."""
        import json

        return json.dumps(
            {
                "schema": 1,
                "photons": [attrs.asdict(outcome) for outcome in self.outcomes],
            },
            indent=2,
        )

    def __repr__(self) -> str:
        return (
            f"<Report loaded={len(self.loaded)} skipped={len(self.skipped)} "
            f"failed={len(self.failed)}>"
        )

    def __str__(self) -> str:
        counts = (len(self.loaded), len(self.skipped), len(self.failed))
        lines = ["{} loaded, {} skipped, {} failed".format(*counts)]
        for outcome in (*self.skipped, *self.failed):
            lines.append(f"{outcome.verdict}: {outcome.photon}")
            if outcome.problem is not None:
                problem = str(outcome.problem.error(outcome.photon))
                lines.extend(f"  {line}" for line in problem.splitlines())
        return "\n".join(lines)
