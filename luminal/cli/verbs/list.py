"""``luminal list``: which photons there are. Imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.cli.blaming import tell_problem
from luminal.cli.consequences import if_loaded
from luminal.cli.exits import Exit
from luminal.cli.looking import looking, state_of
from luminal.cli.paper import print_json, print_table, say, short
from luminal.cli.verb import verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.cli.looking import Look
    from luminal.model import Candidate

__all__ = ["command"]


@verb("list")
@looking
def command(look: Look, as_json: bool) -> Exit:
    """Show which photons there are, without importing any.

    In load order. PATH is a directory or a file; installed photons are listed as well.
    Without PATH, the directories in $LUMINAL_PATHS.
    """
    found = look.find()
    code = _code(found)
    said = if_loaded(found)
    if as_json:
        import attrs

        photons = [
            {
                **attrs.asdict(c),
                "state": state_of(c),
                "consequence": said.get(c.name, ""),
            }
            for c in found
        ]
        print_json("list", code, photons=photons)
        return code
    if not found:
        say("no photon found; name a directory, or install a distribution with some")
        return code
    print_table(("NAME", "VERSION", "SOURCE", "ORIGIN", "STATE"), [*map(_row, found)])
    for candidate in found:
        if candidate.problem is not None:
            say()
            so = said.get(candidate.name, "")
            tell_problem(candidate.name, candidate.problem, so=so)
    return code


def _code(found: Sequence[Candidate]) -> Exit:
    if not found:
        return Exit.NOTHING
    return Exit.FAILED if any(c.problem for c in found) else Exit.FINE


def _row(candidate: Candidate) -> tuple[str, ...]:
    state = state_of(candidate)
    if candidate.problem is not None:
        state += f" {candidate.problem.what}"
    origin = short(candidate.origin)
    return candidate.name, candidate.version, str(candidate.source), origin, state
