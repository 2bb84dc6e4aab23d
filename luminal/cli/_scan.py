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
    lock_setting,
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
    from collections.abc import Sequence

    from luminal.model import Candidate
    from luminal.trust import FileScore, Novelty

__all__ = ["Scan", "scan_command"]


@attrs.frozen
class Scan:
    """What the scanner says of some photons.

    Args:
        scores: Name of a photon → the scores of its files.
        settings: What is reported, and what was accepted.
        novelties: Name of a photon → how unlike the operator's own it is; empty where
            that was not asked for.
    """

    scores: dict[str, list[FileScore]]
    settings: TrustSettings
    novelties: dict[str, Novelty] = attrs.Factory(dict)

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        settings: TrustSettings | None,
        *,
        novelty: bool = False,
    ) -> Scan:
        """Scan the files of *candidates*.

        Args:
            candidates: The photons.
            settings: What is reported, and what was accepted.
            novelty: Whether they are compared with the photons of the lock, too.
        """
        chosen = settings or TrustSettings()
        scores = {each.name: scan(files_of(each.location)) for each in candidates}
        return cls(scores, chosen, _novelties(candidates) if novelty else {})

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

    def novelty_to_json(self, name: str) -> dict[str, Any]:
        """Return the key ``novelty`` of a photon, where that was asked for."""
        if name not in self.novelties:
            return {}
        found = self.novelties[name]
        return {"novelty": {**attrs.asdict(found), "rate": found.rate}}

    def print_novelties(self) -> None:
        """Print how unlike the operator's own photons each is, and by what."""
        for name, found in self.novelties.items():
            print_message(f"{short(name)}: {clean(found.text)}")
            for each in found.unusual:
                print_message(
                    f"  {clean(each.file)}:{each.line}: {clean(each.feature)}, as "
                    f"{each.of_own} of {found.own} of your own"
                )

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


def _novelties(candidates: Sequence[Candidate]) -> dict[str, Novelty]:
    """Return how unlike the photons that the lock lists each of some photons is."""
    from luminal.managers import find_units
    from luminal.trust import Judge, NoveltyModel, lock_asked_for, own_photons

    judge = Judge(lock_asked_for(lock_setting())[0])
    own = own_photons(judge) if os.path.lexists(judge.path) else {}
    model = NoveltyModel(own)
    found = {}
    for each in candidates:
        units = [unit.unit for unit in find_units(judge, [each]) if unit.unit]
        files, name = (units[0].files, units[0].name) if units else ({}, "")
        found[each.name] = model.score(files, name)
    return found


@command("scan")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help="Report files with this score or a higher one; by default 0.3.",
)
@click.option(
    "--novelty",
    is_flag=True,
    help="Compare them with the photons that luminal.lock lists.",
)
@discovery_options
def scan_command(
    options: DiscoveryOptions, threshold: float | None, novelty: bool, as_json: bool
) -> Exit:
    """Give the files of photons scores of a scanner of hostile code.

    It has learned from hostile packages. Nothing is imported. A high score is a reason
    to read a file, and a low one is no promise. The exit code is 4 where a file has a
    high score, and 1 where one was not scanned. The scanner is the extra
    `luminal-photons[scan]`. A novelty changes no exit code: it says how many of your
    own photons would be called new by it.
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
    done = Scan.of(found, settings, novelty=novelty)
    code = Exit.REFUSED if done.has_reported else Exit.FINE
    if done.has_unscanned:
        code = Exit.FAILED
    if as_json:
        rows = [
            {
                "name": c.name,
                "file": c.location,
                "files": done.to_json(c.name),
                **done.novelty_to_json(c.name),
            }
            for c in found
        ]
        print_json("scan", code, threshold=settings.scan_threshold, photons=rows)
        return code
    headings = ("NAME", "FILE", "FILES", "HIGHEST SCORE")
    print_table(headings, [_cells(c, done.scores[c.name]) for c in found])
    done.print_reported()
    done.print_novelties()
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
