"""``luminal run``: a host for the photons of directories and distributions."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

import attrs
import click

from luminal.cli.exits import Exit
from luminal.cli.hosting import Hosting
from luminal.cli.looking import looking
from luminal.cli.paper import print_json, print_table, say, short, tell_problem
from luminal.cli.verb import verb
from luminal.managers import Loader
from luminal.model import Happening, Verdict

if TYPE_CHECKING:
    from typing import TextIO

    from luminal.cli.looking import Look
    from luminal.model import Event, Outcome

__all__ = ["command"]

_WORDS = {
    Verdict.LOADED: "running",
    Verdict.SKIPPED: "skipped",
    Verdict.FAILED: "failed",
}


@attrs.define(eq=False)
class _Teller:
    """Says what happens, as text or as one JSON document a line."""

    out: TextIO
    is_json: bool
    is_once: bool

    def started(self, outcomes: list[Outcome]) -> None:
        failed = [o for o in outcomes if o.verdict is Verdict.FAILED]
        if self.is_json:
            photons = [
                {**attrs.asdict(o), "state": _WORDS[o.verdict]} for o in outcomes
            ]
            code = Exit.FAILED if failed else Exit.FINE
            self._document(code, event="started", photons=photons)
            return
        rows = [(o.photon, short(o.origin), _WORDS[o.verdict]) for o in outcomes]
        print_table(("NAME", "ORIGIN", "STATE"), rows)
        for outcome in failed:
            if outcome.problem is not None:
                say()
                tell_problem(outcome.photon, outcome.problem)
        sys.stdout.flush()
        if not self.is_once and any(o.verdict is Verdict.LOADED for o in outcomes):
            say("running; Ctrl-C stops", bold=True)

    def heard(self, event: Event) -> None:
        """Tell what goes wrong at the end; the beginning is in the report."""
        if event.happening is Happening.FINALIZED and event.problem is not None:
            tell_problem(event.photon, event.problem)

    def stopped(self, code: Exit, abandoned: list[str]) -> None:
        for each in abandoned:
            say(f"abandoned {each}", fg="red")
        if self.is_json:
            self._document(code, event="stopped", abandoned=abandoned)
        else:
            say("stopped")

    def _document(self, code: Exit, **data: object) -> None:
        print_json("run", code, indent=None, file=self.out, **data)
        self.out.flush()


@verb("run")
@click.option("--once", is_flag=True, help="Stop as soon as all have been started.")
@looking
def command(look: Look, once: bool, as_json: bool) -> Exit:
    """Load and start photons, and stay until Ctrl-C.

    PATH is a directory or a file; installed photons are run as well. Without PATH, the
    directories in $LUMINAL_PATHS. The first Ctrl-C (or SIGTERM) finalizes all photons,
    the second skips that, the third leaves and says what it abandons.

    With --json, one document a line: what was started, and how it stopped; what photons
    print goes to standard error.
    """
    found = look.find()
    if not found:
        say("no photon found; name a directory, or install a distribution with some")
        if as_json:
            print_json("run", Exit.NOTHING, indent=None, event="stopped", abandoned=[])
        return Exit.NOTHING
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    teller = _Teller(sys.stdout, as_json, once)
    loader = Loader()
    loader.events.subscribe(teller.heard)
    hosting = Hosting(found, loader, once, teller.started, teller.stopped)
    elsewhere = contextlib.redirect_stdout(sys.stderr)
    with elsewhere if as_json else contextlib.nullcontext():
        return hosting.run()
