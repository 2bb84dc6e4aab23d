"""``luminal doctor``: what is amiss here, and how to mend it."""

from __future__ import annotations

import contextlib
import sys
from time import perf_counter
from typing import TYPE_CHECKING

import click

from luminal.cli.exits import Exit
from luminal.cli.findings import findings, mend, versions
from luminal.cli.looking import looking, state_of
from luminal.cli.paper import clean, print_json, print_table, say, short
from luminal.cli.settings import sources
from luminal.cli.verb import verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.cli.looking import Look
    from luminal.model import Candidate

__all__ = ["command"]


@verb("doctor")
@click.option(
    "--import-time",
    is_flag=True,
    help="Load the photons, which executes them, and show how long each takes.",
)
@click.option(
    "--mend", "wants_mend", is_flag=True, help="Remove sockets of hosts that are gone."
)
@click.option(
    "--config", "wants_config", is_flag=True, help="Show each setting and its source."
)
@looking
def command(
    look: Look, import_time: bool, wants_mend: bool, wants_config: bool, as_json: bool
) -> Exit:
    """Say what is amiss, and how to mend it.

    Looks at the versions of what Luminal needs, at watching and caching, at doubled
    distributions, stale files, sockets, and the problems of photons. Nothing is changed
    without --mend.
    """
    if wants_config:
        return _config(as_json)
    for path in mend() if wants_mend else ():
        say(f"removed {short(path)}")
    began = perf_counter()
    found = look.find()
    looked = perf_counter() - began
    amiss = list(findings(look.paths, found))
    times = _import_times(found) if import_time else {}
    code = Exit.FAILED if amiss else Exit.FINE
    here = versions()
    if as_json:
        print_json(
            "doctor",
            code,
            versions=here,
            discover_seconds=looked,
            findings=amiss,
            import_seconds=times,
        )
        return code
    print_table(("WHAT", "VERSION"), [*here.items()])
    if times:
        click.echo()
        rows = [
            (name, f"{seconds * 1000:.1f}")
            for name, seconds in sorted(times.items(), key=lambda item: -item[1])
        ]
        print_table(("PHOTON", "IMPORT MS"), rows)
    click.echo()
    count = "1 photon" if len(found) == 1 else f"{len(found)} photons"
    click.echo(f"{count}, found in {looked * 1000:.1f} ms")
    for finding in amiss:
        click.echo()
        click.echo(f"amiss: {clean(finding.what)}")
        if finding.file:
            click.echo(f"  at: {short(finding.file)}")
        click.echo(f"  try: {clean(finding.mend)}")
    say("nothing amiss" if not amiss else f"{len(amiss)} amiss")
    return code


def _config(as_json: bool) -> Exit:
    """Show each setting, its value, and where that came from."""
    rows = sources(click.get_current_context())
    if as_json:
        print_json("doctor", Exit.FINE, settings=rows)
        return Exit.FINE
    cells = [(row["setting"], _word(row["value"]), row["source"]) for row in rows]
    print_table(("SETTING", "VALUE", "FROM"), cells)
    return Exit.FINE


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _import_times(found: Sequence[Candidate]) -> dict[str, float]:
    """Load one file after the other; return photon → seconds, its imports included."""
    import asyncio

    from luminal.cli.leaving import leave_soon
    from luminal.managers import Loader

    async def load() -> dict[str, float]:
        times = {}
        async with Loader(cache=False) as loader:
            for candidate in found:
                if state_of(candidate) == "ok" and candidate.name not in loader.photons:
                    began = perf_counter()
                    await loader.load([candidate])
                    times[candidate.name] = perf_counter() - began
        return times

    with contextlib.redirect_stdout(sys.stderr):
        times = asyncio.run(load())
    leave_soon(Exit.FAILED)
    return times
