"""``luminal run``: a host for the photons of directories and distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from luminal.cli.looking import looking
from luminal.cli.telling import Teller, host, paged
from luminal.cli.verb import verb

if TYPE_CHECKING:
    from luminal.cli.exits import Exit
    from luminal.cli.looking import Look

__all__ = ["command"]


@verb("run")
@click.option("--once", is_flag=True, help="Stop as soon as all have been started.")
@click.option(
    "--watch", is_flag=True, help="Reload what changes, and load what appears."
)
@paged
@looking
def command(
    look: Look, once: bool, watch: bool, page: int | None, as_json: bool
) -> Exit:
    """Load and start photons, and stay until Ctrl-C.

    PATH is a directory or a file; installed photons are run as well. Without PATH, the
    directories in $LUMINAL_PATHS. The first Ctrl-C (or SIGTERM) finalizes all photons,
    the second skips that, the third leaves and says what it abandons. SIGHUP reloads
    all; so does `luminal reload`.

    With --json, one document a line: what was started, and how it stopped; what photons
    print goes to standard error.
    """
    if once and (watch or page is not None):
        other = "--watch" if watch else "--page"
        raise click.UsageError(f"--once and {other} exclude each other")
    teller = Teller("run", as_json, is_once=once)
    return host(look, teller, page, is_watching=watch)
