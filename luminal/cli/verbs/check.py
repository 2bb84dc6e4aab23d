"""``luminal check``: can photons be loaded, and reloaded? For CI and pre-commit."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import click

from luminal.cli.blaming import tell_problem
from luminal.cli.consequences import if_loaded
from luminal.cli.exits import Exit
from luminal.cli.leaving import leave_soon
from luminal.cli.looking import looking
from luminal.cli.paper import print_json, print_table, say, short
from luminal.cli.relations import edges_between
from luminal.cli.safety import obstacles_of
from luminal.cli.verb import verb
from luminal.managers import Loader
from luminal.model import Deadlines, OutcomeResult, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.cli.looking import Look
    from luminal.cli.safety import Obstacle
    from luminal.model import Candidate, Outcome, Report

__all__ = ["command"]

_WORDS = {
    OutcomeResult.LOADED: "ok",
    OutcomeResult.SKIPPED: "disabled",
    OutcomeResult.FAILED: "failed",
}


@verb("check")
@click.option(
    "--strict", is_flag=True, help="End with 4 where a photon is not reload-safe."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a photon's import may take.",
)
@looking
def command(look: Look, strict: bool, timeout: float, as_json: bool) -> Exit:
    """Say whether photons can be loaded, and reloaded safely.

    Their modules are executed, nothing is started, and all is forgotten again. Checked
    are the photons of each PATH; without PATH, the installed ones. What they require
    is loaded as well.
    """
    found = look.find()
    wanted = [c for c in found if not look.paths or c.source is Source.DIRECTORY]
    if not wanted:
        say("no photon found; name a directory or a file")
        if as_json:
            print_json("check", Exit.NOTHING, photons=[])
        return Exit.NOTHING
    with contextlib.redirect_stdout(sys.stderr):  # what photons print is talk
        report = asyncio.run(_stage(_needed(wanted, found), timeout))
    names = {candidate.name for candidate in wanted}
    outcomes = [o for o in _sorted(report, found) if o.photon in names]
    safety = {c.name: obstacles_of(c) for c in wanted}
    code = _code(outcomes, safety, strict)
    failing = [o.photon for o in outcomes if o.result is OutcomeResult.FAILED]
    said = if_loaded([c for c in found if c.name in safety], failing)
    if as_json:
        photons = [
            {
                "name": o.photon,
                "file": o.file,
                "state": _WORDS[o.result],
                "problem": o.problem,
                "consequence": said.get(o.photon, ""),
                "reload_safe": not safety.get(o.photon),
                "obstacles": safety.get(o.photon, []),
            }
            for o in outcomes
        ]
        print_json("check", code, photons=photons)
    else:
        _print(outcomes, safety, said)
    leave_soon(code)
    return code


def _needed(wanted: Sequence[Candidate], found: Sequence[Candidate]) -> list[Candidate]:
    """Return *wanted* and what they require, in load order."""
    names = {candidate.name for candidate in wanted}
    edges = [edge for edge in edges_between(found) if edge.kind == "requires"]
    for candidate in reversed(found):
        if candidate.name in names:
            names |= {e.earlier for e in edges if e.later == candidate.name}
    return [candidate for candidate in found if candidate.name in names]


async def _stage(candidates: Sequence[Candidate], timeout: float) -> Report:  # noqa: ASYNC109 - one for each photon, not for this call
    loader = Loader(cache=False, deadlines=Deadlines(load=timeout))
    async with loader:
        return await loader.load(candidates)


def _sorted(report: Report, found: Sequence[Candidate]) -> list[Outcome]:
    places = {candidate.name: at for at, candidate in enumerate(found)}
    return sorted(report, key=lambda outcome: places.get(outcome.photon, len(places)))


def _code(
    outcomes: Sequence[Outcome], safety: dict[str, list[Obstacle]], strict: bool
) -> Exit:
    if any(outcome.result is OutcomeResult.FAILED for outcome in outcomes):
        return Exit.FAILED
    return Exit.REFUSED if strict and any(safety.values()) else Exit.FINE


def _print(
    outcomes: Sequence[Outcome],
    safety: dict[str, list[Obstacle]],
    said: dict[str, str],
) -> None:
    rows = []
    for outcome in outcomes:
        against = safety.get(outcome.photon)
        line = "yes" if outcome.result is OutcomeResult.LOADED else ""
        if against:
            line = f"no because line {against[0].line}"
        rows.append((outcome.photon, short(outcome.file), line, _WORDS[outcome.result]))
    print_table(("NAME", "FILE", "RELOAD-SAFE", "STATE"), rows)
    for outcome in outcomes:
        if outcome.result is OutcomeResult.FAILED and outcome.problem is not None:
            say()
            tell_problem(outcome.photon, outcome.problem, so=said[outcome.photon])
        for obstacle in safety.get(outcome.photon, ()):
            say()
            say(f"{outcome.photon}: not reload-safe", fg="yellow")
            say(f"  at: {short(obstacle.file)}:{obstacle.line}")
            say(f"  because: {obstacle.why}")
            say(f"  try: {obstacle.hint}")
