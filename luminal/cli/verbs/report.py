"""``luminal report``: the page of a host as one HTML file."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from luminal.cli.asking import answer_of, asking
from luminal.cli.exits import Exit
from luminal.cli.looking import looking
from luminal.cli.paper import print_json, say, short
from luminal.cli.verb import verb
from luminal.errors import HostNotRunningError

if TYPE_CHECKING:
    from luminal.cli.looking import Look
    from luminal.web import HostSnapshot

__all__ = ["command"]


@verb("report")
@click.option(
    "-o",
    "--output",
    default="luminal-report.html",
    show_default=True,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where to write it; - for standard output.",
)
@asking
@looking
def command(look: Look, host: int | None, output: str, as_json: bool) -> Exit:
    """Write the page of a host as one HTML file.

    The file needs nothing beside it. With PATH, the photons there are loaded and
    started, shown, and unloaded. Without PATH, a running host is asked; where none
    runs, the directories in $LUMINAL_PATHS are taken.
    """
    from luminal.web import render_page

    if as_json and output == "-":
        raise click.UsageError("--json and --output - exclude each other")
    picture = _seen(look, host)
    _write(output, render_page(picture))
    failing = sorted({f.photon for f in picture.failures if f.is_current})
    code = Exit.FAILED if failing else Exit.FINE
    if not picture.photons:
        code = Exit.NOTHING
    if as_json:
        count = len(picture.photons)
        print_json("report", code, output=output, photons=count, failing=failing)
    elif output != "-":
        click.echo(short(output))
        if failing:
            say(f"failing: {', '.join(map(short, failing))}", fg="red")
    return code


def _seen(look: Look, host: int | None) -> HostSnapshot:
    """Look at what was asked for: paths that were typed, else a host that runs."""
    from luminal.web import snapshot_of_status

    source = click.get_current_context().get_parameter_source("paths")
    is_typed = bool(look.paths) and source is click.core.ParameterSource.COMMANDLINE
    if is_typed and host is not None:
        raise click.UsageError("--host and PATH exclude each other")
    if is_typed:
        return _loaded(look)
    try:
        answer = answer_of(host, {"ask": "report"})
        if "refused" in answer:  # a host of an earlier version
            answer = answer_of(host, {"ask": "status"})
        return snapshot_of_status(answer)
    except HostNotRunningError:
        if host is not None or not look.paths:
            raise
        return _loaded(look)


def _loaded(look: Look) -> HostSnapshot:
    """Load and start what is there, look at it, and unload it."""
    import asyncio

    from luminal.managers import Loader
    from luminal.web import snapshot_of

    async def see() -> HostSnapshot:
        async with Loader(suppress_errors=True) as loader:
            await loader.load(look.find())
            await loader.start()
            return snapshot_of(loader)

    with contextlib.redirect_stdout(sys.stderr):  # what photons print is talk
        return asyncio.run(see())


def _write(output: str, page: str) -> None:
    if output == "-":
        click.echo(page, nl=False)
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as error:
        raise click.FileError(output, error.strerror) from error
