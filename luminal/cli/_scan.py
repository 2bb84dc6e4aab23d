"""The command ``scan``, and ``check --scan``: scores of a scanner that has learned."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs
import click

from luminal.cli._options import (
    DiscoveryOptions,
    command,
    discovery_options,
    trust_settings,
)
from luminal.cli._output import (
    Exit,
    clean,
    print_json,
    print_message,
    print_no_photons,
    print_table,
    short,
)
from luminal.discovery import files_of
from luminal.trust import TrustSettings, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luminal.model import Candidate
    from luminal.trust import FileScore

__all__ = ["Scan", "scan_command"]


@attrs.frozen
class Scan:
    """What the scanner says of some photons.

    Args:
        scores: Name of a photon → the scores of its files.
        settings: What is reported, and what was accepted.
    """

    scores: dict[str, list[FileScore]]
    settings: TrustSettings

    @classmethod
    def of(
        cls, candidates: Iterable[Candidate], settings: TrustSettings | None
    ) -> Scan:
        """Scan the files of *candidates*."""
        chosen = settings or TrustSettings()
        return cls(
            {each.name: scan(files_of(each.location)) for each in candidates}, chosen
        )

    def reported(self, name: str) -> list[FileScore]:
        """Return the files of a photon that a person should look at.

        Those that were not scanned are among them; those whose digests are listed in
        ``scanned`` are not.
        """
        least, accepted = self.settings.scan_threshold, self.settings.scanned
        return [
            each
            for each in self.scores[name]
            if each.sha512 not in accepted
            and (each.score is None or each.score >= least)
        ]

    @property
    def has_unscanned(self) -> bool:
        """Whether a file was not scanned."""
        return any(e.score is None for name in self.scores for e in self.reported(name))

    @property
    def has_reported(self) -> bool:
        """Whether a file has a high score, or was not scanned."""
        return any(map(self.reported, self.scores))

    def to_json(self, name: str) -> list[dict[str, Any]]:
        """Return the scores of a photon as values of JSON."""
        return [attrs.asdict(each) for each in self.scores[name]]

    def print_reported(self) -> None:
        """Print the files that a person should look at, and why."""
        for name in self.scores:
            for each in self.reported(name):
                print_message()
                file = f"{short(name)}: {clean(each.path)}"
                if each.score is None:
                    print_message(
                        f"{file}: not scanned: {clean(each.why)}", fg="yellow"
                    )
                    continue
                print_message(f"{file}: score {each.text}", fg="yellow")
                for rule in each.rules:
                    where = f"line {rule.line}" if rule.line else "somewhere"
                    print_message(
                        f"  {where}: {clean(rule.about)} [{clean(rule.rule)}, "
                        f"{clean(rule.confidence)}]"
                    )
                print_message(
                    "  try: read it; to accept it, add its digest to 'scanned' of "
                    f"[tool.luminal.trust]: {each.sha512}"
                )


@command("scan")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help="Report files with this score or a higher one; by default 0.3.",
)
@discovery_options
def scan_command(
    options: DiscoveryOptions, threshold: float | None, as_json: bool
) -> Exit:
    """Give the files of photons scores of a scanner of hostile code.

    It has learned from hostile packages. Nothing is imported. A high score is a reason
    to read a file, and a low one is no promise. The exit code is 4 where a file has a
    high score, and 1 where one was not scanned. The scanner is the extra
    `luminal-photons[scan]`.
    """
    found = options.find()
    if not found:
        print_no_photons()
        if as_json:
            print_json("scan", Exit.NOTHING, photons=[])
        return Exit.NOTHING
    settings = trust_settings() or TrustSettings()
    if threshold is not None:
        settings = attrs.evolve(settings, scan_threshold=threshold)
    done = Scan.of(found, settings)
    code = Exit.REFUSED if done.has_reported else Exit.FINE
    if done.has_unscanned:
        code = Exit.FAILED
    if as_json:
        rows = [
            {"name": c.name, "file": c.location, "files": done.to_json(c.name)}
            for c in found
        ]
        print_json("scan", code, threshold=settings.scan_threshold, photons=rows)
        return code
    headings = ("NAME", "FILE", "FILES", "HIGHEST SCORE")
    print_table(headings, [_cells(c, done.scores[c.name]) for c in found])
    done.print_reported()
    return code


def _cells(candidate: Candidate, scores: Sequence[FileScore]) -> tuple[str, ...]:
    highest = max(
        (each.score for each in scores if each.score is not None), default=None
    )
    score = f"{highest:.2f}" if highest is not None else "not scanned"
    if highest is not None and any(each.score is None for each in scores):
        score += ", not all scanned"
    file = short(candidate.location) if candidate.location else ""
    return short(candidate.name), file or os.curdir, str(len(scores)), score
