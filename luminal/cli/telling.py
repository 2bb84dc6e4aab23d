"""A host of the command line that tells what happens: `run` and `watch`.

Comes in: where to look. Goes out: what was started, what changed, how it stopped; as
text, or as one JSON document a line.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import attrs
import click

from luminal.cli.blaming import tell_problem
from luminal.cli.consequences import after_start, counted
from luminal.cli.exits import Exit
from luminal.cli.hosting import Hosting
from luminal.cli.leaving import silence, write_now
from luminal.cli.paper import clean, print_json, print_table, say, short
from luminal.cli.settings import photon_settings
from luminal.managers import Loader
from luminal.managers.loader import Watches
from luminal.model import EventKind, OutcomeResult, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from luminal.cli.looking import Look
    from luminal.model import Candidate, Event, Outcome, Problem

__all__ = ["Teller", "host", "paged"]

_WORDS = {
    OutcomeResult.LOADED: "running",
    OutcomeResult.SKIPPED: "skipped",
    OutcomeResult.FAILED: "failed",
}


def _unless_lost(tell: Callable[..., Any]) -> Callable[..., Any]:
    """Let a host whose output is refused (a closed pipe, a full disk) end in order.

    Who has closed a pipe has read enough; all else is a failure, and said.
    """

    @functools.wraps(tell)
    def told(self: Teller, *what: Any) -> Any:
        try:
            return tell(self, *what)
        except OSError as error:
            silence()
            if not self.is_lost:
                self.is_lost = True
                self.is_cut = not isinstance(error, BrokenPipeError)
                if self.is_cut:
                    write_now(f"luminal: {error.strerror or error}\n")
                os.kill(os.getpid(), signal.SIGTERM)

    return told


@attrs.define(eq=False)
class Teller:
    """Says what happens, as text or as one JSON document a line.

    Args:
        verb: The verb that speaks.
        is_json: Whether it speaks JSON.
        is_once: Whether the host stops at once.
        has_events: Whether each event is told, instead of what people want to know.
        loader: What runs the photons; None before it is known.
        found: The candidates that it was given, in load order.
        page: Address of the page about the host; empty where there is none.
    """

    verb: str
    is_json: bool
    is_once: bool = False
    has_events: bool = False
    # What it tells of, once there is a host.
    loader: Loader | None = None
    found: Sequence[Candidate] = ()
    page: str = ""
    # Nobody can hear what is said any more.
    is_lost: bool = attrs.field(init=False, default=False)
    # What was said did not arrive, and should have.
    is_cut: bool = attrs.field(init=False, default=False)
    # What photons print goes elsewhere where this is JSON.
    _out: TextIO = attrs.field(init=False, factory=lambda: sys.stdout)
    _has_started: bool = attrs.field(init=False, default=False)
    # Photon → what was last said against it; refused photons are tried again often.
    _told: dict[str, Problem] = attrs.field(init=False, factory=dict)

    @_unless_lost
    def started(self, outcomes: list[Outcome]) -> None:
        """Tell what became of each photon at the start."""
        self._has_started = True
        failed = [o for o in outcomes if o.result is OutcomeResult.FAILED]
        said = after_start(outcomes, self.found)
        self._told |= {o.photon: o.problem for o in failed if o.problem is not None}
        if self.is_json:
            photons = [
                {
                    **attrs.asdict(o),
                    "state": _WORDS[o.result],
                    "consequence": said.get(o.photon, ""),
                }
                for o in outcomes
            ]
            code = Exit.FAILED if failed else Exit.FINE
            self._document(code, event="started", photons=photons)
            return
        if not self.has_events:
            rows = [(o.photon, short(o.origin), _WORDS[o.result]) for o in outcomes]
            print_table(("NAME", "ORIGIN", "STATE"), rows)
        for outcome in failed:
            if outcome.problem is not None:
                say()
                so = said.get(outcome.photon, "")
                tell_problem(outcome.photon, outcome.problem, so=so)
        sys.stdout.flush()

    @_unless_lost
    def stays(self) -> None:
        """Tell that the host stays, and can be reached."""
        if self.is_json:
            place = {"page": self.page} if self.page else {}
            self._document(Exit.FINE, event="ready", pid=os.getpid(), **place)
        else:
            shown = f", shown at {self.page}" if self.page else ""
            say(f"running{shown}; Ctrl-C stops", bold=True)

    @_unless_lost
    def heard(self, event: Event) -> None:
        """Tell an event, where it is new and of interest."""
        if event.problem is not None:
            if self._told.get(event.photon) == event.problem:
                return
            self._told[event.photon] = event.problem
        elif event.kind in (EventKind.SWAPPED, EventKind.STARTED):
            self._told.pop(event.photon, None)
        if self.has_events:
            self._line(event)
        elif self.is_json:
            return
        elif event.problem is not None and (
            self._has_started or event.kind is EventKind.FINALIZED
        ):
            tell_problem(event.photon, event.problem, so=self._consequence(event))
        elif event.kind in (EventKind.SWAPPED, EventKind.ROLLED_BACK):
            say(str(event))

    def _consequence(self, event: Event) -> str:
        """Return what follows from *event*, for the photon and for the others."""
        assert event.problem is not None  # noqa: S101 - it is told because of it
        said = event.problem.consequence
        photons = self.loader.photons if self.loader is not None else {}
        others = [
            handler
            for name, handler in photons.items()
            if name != event.photon and handler.state is State.RUNNING
        ]
        is_alone = not set(photons) - {event.photon}
        rest = "" if is_alone else counted(len(others), "runs", "run")
        return "; ".join(filter(None, (said, rest)))

    def _line(self, event: Event) -> None:
        if self.is_json:
            data = {**attrs.asdict(event), "event": str(event.kind)}
            del data["kind"]
            self._document(Exit.FINE, **data)
            return
        words = [f"{event.kind!s:<11}", clean(event.photon)]
        if event.generation:
            words.append(f"#{event.generation}")
        if event.seconds:
            words.append(f"{event.seconds * 1000:.1f} ms")
        if event.problem is not None:
            problem = event.problem
            place = f"{short(problem.file)}:{problem.line}" if problem.line else ""
            why = f"{problem.what} [{problem.code}] {problem.why}"
            words.append(" ".join(filter(None, (clean(why).strip(), place))))
            if so := self._consequence(event):
                words.append(f"so: {so}")
        click.echo("  ".join(words), file=self._out)
        self._out.flush()

    @_unless_lost
    def stopped(self, code: Exit, abandoned: list[str]) -> None:
        """Tell how it ended."""
        for each in abandoned:
            say(f"abandoned {each}", fg="red")
        if self.is_json:
            self._document(code, event="stopped", abandoned=abandoned)
        else:
            say("stopped")

    def nothing(self) -> Exit:
        """Tell that there is nothing to run."""
        say("no photon found; name a directory, or install a distribution with some")
        if self.is_json:
            self._document(Exit.NOTHING, event="stopped", abandoned=[])
        return Exit.NOTHING

    def _document(self, code: Exit, **data: object) -> None:
        print_json(self.verb, code, stream=self._out, **data)
        self._out.flush()


paged = click.option(
    "--page",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Show the host on a web page at this port of 127.0.0.1; 0 takes a free one.",
)
"""The option of a verb that calls `host` with ``page``."""


def host(look: Look, teller: Teller, page: int | None, *, is_watching: bool) -> Exit:
    """Run what *look* finds until it is told to stop; return the exit code."""
    found = look.find(may_appear=is_watching)
    if not found and not (is_watching and look.paths):
        return teller.nothing()
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    # The teller says the same, and more.
    logging.getLogger("luminal.watch").setLevel(logging.CRITICAL)
    # That the page begins and ends is said, or seen; its troubles are of interest.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    loader = Loader(settings=photon_settings())
    teller.loader, teller.found = loader, found
    loader.events.subscribe(teller.heard)
    hosting = Hosting(
        found,
        loader,
        teller.is_once,
        teller.started,
        teller.stopped,
        teller.stays,
        _watches(look, loader) if is_watching else None,
    )
    with contextlib.ExitStack() as stack:
        if teller.is_json:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if page is not None:
            from luminal.web import serve

            teller.page = stack.enter_context(serve(loader, port=page)).url
        return hosting.run() or (Exit.FAILED if teller.is_cut else Exit.FINE)


def _watches(look: Look, loader: Loader) -> Watches:
    """Return what keeps the directories of *look*; a file's neighbours are left out."""
    whole = [os.path.abspath(path) for path in look.paths if os.path.isdir(path)]
    files = {os.path.abspath(path) for path in look.paths if not os.path.isdir(path)}

    def is_wanted(candidate: Candidate) -> bool:
        is_chosen = not look.only or candidate.name in look.only
        place = candidate.location
        is_here = place in files or any(
            place.startswith(os.path.join(directory, "")) for directory in whole
        )
        return is_chosen and is_here and candidate.name not in look.without

    around = [os.path.dirname(path) for path in files]
    return Watches(
        loader,
        list(dict.fromkeys([*whole, *around])),
        look.recursive,
        is_wanted,
        has_installed=look.group is not None,
    )
