"""The commands ``run`` and ``watch``: a host that runs until it is stopped.

It loads and starts photons, prints what happens, and stops on signals: the first
SIGINT or SIGTERM finalizes all photons, the second skips ``finalize``, the third ends
the process at once. Each wait at the end has a limit, and what did not end is named.
SIGHUP reloads all photons.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

import attrs
import click
from click.core import ParameterSource

from luminal.cli._options import (
    DiscoveryOptions,
    command,
    deny_option,
    discovery_options,
    lock_setting,
    settings_file,
    trust_settings,
)
from luminal.cli._output import (
    EXIT_TIMEOUT,
    Exit,
    clean,
    clock,
    count_states,
    discard_output,
    exit_after_timeout,
    exit_now,
    print_durations,
    print_json,
    print_message,
    print_no_photons,
    print_problem,
    print_table,
    run_async,
    short,
    short_names,
    step_line,
    write_unbuffered,
)
from luminal.discovery.lint import dependents
from luminal.errors import LuminalError
from luminal.managers import Control, Loader
from luminal.managers.loader import Watches
from luminal.model import EventKind, FailureKind, OutcomeResult, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from luminal.model import Candidate, Event, Outcome, Problem
    from luminal.web import Server

__all__ = ["run_command", "watch_command"]

_Lines = Literal["news", "saves", "steps"]

_NO_FAILURES = (
    EventKind.SKIPPED,
    EventKind.OUTDATED,
    EventKind.DRIFTED,
    EventKind.RAISED,
    EventKind.QUARANTINED,
    EventKind.THROTTLED,
)
"""Events with a problem that does not keep the photon from running."""

_SAID = {
    EventKind.RECOVERED: "save undone",
    EventKind.CONFIRMED: "confirmed",
    EventKind.UNCHANGED: "no code changed",
    EventKind.RELEASED: "out of quarantine",
}
"""Events without a problem that have a line of their own under a watch."""

_NEWS = (
    EventKind.SWAPPED,
    EventKind.ROLLED_BACK,
    EventKind.RECOVERED,
    EventKind.UNCHANGED,
)
"""Events without a problem that are told once all have been started."""

_SAFE_STEPS = (
    "luminal top           shows what runs and what is disabled",
    "luminal enable NAME   starts one, or says why it does not run",
    "luminal enable        starts all",
    "luminal log NAME      shows what it did",
)
"""What to do after a safe start, in another terminal."""

# --- Commands ------------------------------------------------------------------------

_page_option = click.option(
    "--page",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Show the host on a web page at this port of 127.0.0.1; 0 takes a free one.",
)

_polling_option = click.option(
    "--polling/--no-polling",
    default=None,
    envvar="LUMINAL_POLLING",
    help="Find changes by looking at every file every 2 s, or only by events.",
)


_quarantine_option = click.option(
    "--quarantine",
    type=click.IntRange(min=0),
    metavar="FAILURES",
    envvar="LUMINAL_QUARANTINE",
    help="Skip a hook of a photon for 30 seconds after so many failures in a row; 0, "
    "the default, never.",
)


_history_option = click.option(
    "--history/--no-history",
    default=False,
    envvar="LUMINAL_HISTORY",
    help="Write what is counted to a file, for `luminal report --since`.",
)

_page_actions_option = click.option(
    "--page-actions",
    is_flag=True,
    help="Let who has the token in the printed address reload and roll back there.",
)

_frozen_option = click.option(
    "--frozen",
    is_flag=True,
    help="Run only what luminal.lock lists, and as it was accepted.",
)

_safe_option = click.option(
    "--safe",
    is_flag=True,
    help="Start with all photons disabled; `luminal enable NAME`, in another terminal, "
    "starts one, and `luminal enable` all.",
)


@command("run")
@click.option("--once", is_flag=True, help="Stop as soon as all have been started.")
@click.option(
    "--durations",
    is_flag=False,
    flag_value=10,
    type=click.IntRange(min=0),
    metavar="[=N]",
    help="Show how long the N slowest photons took to load and start, phase by phase; "
    "10 without a number, all with 0.",
)
@click.option(
    "--watch", is_flag=True, help="Reload what changes, and load what appears."
)
@_safe_option
@_frozen_option
@_polling_option
@_page_option
@_page_actions_option
@_quarantine_option
@_history_option
@deny_option
@discovery_options
def run_command(
    options: DiscoveryOptions,
    once: bool,
    durations: int | None,
    watch: bool,
    safe: bool,
    frozen: bool,
    polling: bool | None,
    page: int | None,
    page_actions: bool,
    quarantine: int | None,
    history: bool,
    deny: tuple[str, ...],
    as_json: bool,
) -> Exit:
    """Load and start photons, and run until Ctrl-C.

    PATH is a directory or a file; installed photons are run as well. Without PATH, the
    directories in $LUMINAL_PATHS. The first Ctrl-C (or SIGTERM) finalizes all photons,
    the second skips that, the third ends the process and prints what it abandons.
    SIGHUP reloads all photons; so does `luminal reload`.

    With --json, one document a line: what was started, and how it stopped; what photons
    print goes to standard error.
    """
    for other, is_given in (
        ("--watch", watch),
        ("--page", page is not None),
        ("--safe", safe),
    ):
        if once and is_given:
            raise click.UsageError(f"--once and {other} exclude each other")
    source = click.get_current_context().get_parameter_source("polling")
    if source is ParameterSource.COMMANDLINE and not watch:
        raise click.UsageError("--polling is about --watch, which is missing")
    reporter = _Reporter("run", as_json, is_once=once, durations=durations)
    return _run(
        options,
        reporter,
        page,
        polling,
        quarantine,
        deny,
        is_watching=watch,
        is_safe=safe,
        is_frozen=frozen,
        has_actions=page_actions,
        has_history=history,
    )


@command("watch")
@click.option(
    "--events", is_flag=True, help="Print each step of each photon, not each save."
)
@_safe_option
@_frozen_option
@_polling_option
@_page_option
@_page_actions_option
@_quarantine_option
@_history_option
@deny_option
@discovery_options
def watch_command(
    options: DiscoveryOptions,
    polling: bool | None,
    page: int | None,
    page_actions: bool,
    quarantine: int | None,
    history: bool,
    deny: tuple[str, ...],
    events: bool,
    safe: bool,
    frozen: bool,
    as_json: bool,
) -> Exit:
    """Run photons, reload what changes, and print a line for each save.

    As `luminal run --watch`: PATHs are directories or files; what changes in them is
    reloaded, what appears is loaded, what is deleted is unloaded. A new generation
    that does not work is rejected, and the old one keeps running. A line has the time,
    the file, the photons with their generations, how long it took, and why.

    With --json, each step of each photon is a line with a document.
    """
    lines: _Lines = "steps" if as_json or events else "saves"
    reporter = _Reporter("watch", as_json, lines=lines)
    return _run(
        options,
        reporter,
        page,
        polling,
        quarantine,
        deny,
        is_watching=True,
        is_safe=safe,
        is_frozen=frozen,
        has_actions=page_actions,
        has_history=history,
    )


def _run(
    options: DiscoveryOptions,
    reporter: _Reporter,
    page: int | None,
    polling: bool | None,
    quarantine: int | None,
    deny: tuple[str, ...],
    *,
    is_watching: bool,
    is_safe: bool,
    is_frozen: bool,
    has_actions: bool,
    has_history: bool,
) -> Exit:
    """Run what *options* find until a signal; return the exit code."""
    if has_actions and page is None:
        raise click.UsageError("--page-actions needs --page")
    began = time.perf_counter()
    found = options.find(may_appear=is_watching)
    reporter.discovery_seconds = time.perf_counter() - began
    if not found and not (is_watching and options.paths):
        return reporter.nothing()
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    # The reporter prints the same, and more.
    logging.getLogger("luminal.watch").setLevel(logging.CRITICAL)
    logging.getLogger("luminal.watch.notes").setLevel(logging.WARNING)
    # Only problems of the web server are of interest.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    lock: Any = lock_setting()
    if is_frozen:
        from luminal.trust import open_judge

        lock = open_judge(lock, "frozen")
    loader = Loader(
        settings=settings_file(),
        roots=options.roots,
        quarantine=quarantine,
        history=has_history,
        lock=lock,
        trust=trust_settings(deny),
    )
    reporter.loader, reporter.found = loader, found
    loader.events.subscribe(reporter.event)
    watches = _watches(options, loader, polling) if is_watching else None
    host = _Host(found, loader, reporter, watches, is_safe)
    with contextlib.ExitStack() as stack:
        if reporter.is_json:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if page is not None:
            from luminal.web import serve

            server = serve(loader, port=page, actions=has_actions)
            reporter.page = stack.enter_context(server).private_url
            host.server = server
        return host.run() or (Exit.FAILED if reporter.has_failed else Exit.FINE)


def _watches(
    options: DiscoveryOptions, loader: Loader, polling: bool | None
) -> Watches:
    """Return the watches of the paths; beside a single file nothing else is loaded."""
    whole = [os.path.abspath(path) for path in options.paths if os.path.isdir(path)]
    files = {os.path.abspath(path) for path in options.paths if not os.path.isdir(path)}

    def is_wanted(candidate: Candidate) -> bool:
        is_chosen = not options.only or candidate.name in options.only
        place = candidate.location
        is_here = place in files or any(
            place.startswith(os.path.join(directory, "")) for directory in whole
        )
        return is_chosen and is_here and candidate.name not in options.without

    around = [os.path.dirname(path) for path in files]
    return Watches(
        loader,
        list(dict.fromkeys([*whole, *around])),
        options.recursive,
        is_wanted,
        has_installed=options.group is not None,
        polling=polling,
    )


# --- Output --------------------------------------------------------------------------

_STATES = {
    OutcomeResult.LOADED: "running",
    OutcomeResult.STARTED: "running",
    OutcomeResult.SKIPPED: "skipped",
    OutcomeResult.FAILED: "failed",
}


def _stops_without_output(method: Callable[..., Any]) -> Callable[..., Any]:
    """Stop the host in order when its output cannot be written any more.

    A reader that closed the pipe has read enough; a full disk is a failure.
    """

    @functools.wraps(method)
    def guarded(self: _Reporter, *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except OSError as error:
            discard_output()
            if not self.is_closed:
                self.is_closed = True
                self.has_failed = not isinstance(error, BrokenPipeError)
                if self.has_failed:
                    write_unbuffered(f"luminal: {error.strerror or error}\n")
                os.kill(os.getpid(), signal.SIGTERM)

    return guarded


@attrs.define(eq=False)
class _Reporter:
    """Prints what happens in a host, as text or as one JSON document a line.

    Args:
        command: Name of the command.
        is_json: Whether it prints JSON.
        is_once: Whether the host stops as soon as all photons have been started.
        lines: What has a line of its own: ``news`` for what concerns users, ``saves``,
            or ``steps``.
        loader: What runs the photons; None until it is made.
        found: The candidates that it was given, in load order.
        page: Address of the page about the host; empty where there is none.
        durations: How many photons are shown with the time of their start; 0 for all,
            None for no such table.
        discovery_seconds: How long it took to find the candidates.
    """

    command: str
    is_json: bool
    is_once: bool = False
    lines: _Lines = "news"
    loader: Loader | None = None
    found: Sequence[Candidate] = ()
    page: str = ""
    durations: int | None = None
    discovery_seconds: float = 0.0
    # The output cannot be written any more.
    is_closed: bool = attrs.field(init=False, default=False)
    # ... and nobody has closed it on purpose.
    has_failed: bool = attrs.field(init=False, default=False)
    # Kept: with JSON, `sys.stdout` is redirected for what photons print.
    _out: TextIO = attrs.field(init=False, factory=lambda: sys.stdout)
    _has_started: bool = attrs.field(init=False, default=False)
    # The host stops: what ends now is not told.
    is_stopping: bool = attrs.field(init=False, default=False)
    # Photon → its generation, as the lines of saves have said.
    _numbers: dict[str, int] = attrs.field(init=False, factory=dict)
    # Photons and generations that are being started beside old ones.
    _staged: set[tuple[str, int]] = attrs.field(init=False, factory=set)
    # Photons of one swap, until the last one.
    _together: list[str] = attrs.field(init=False, factory=list)
    # Photon → its problem that was printed last; a rejected photon is retried often.
    _printed: dict[str, Problem] = attrs.field(init=False, factory=dict)

    @_stops_without_output
    def started(
        self, outcomes: list[Outcome], disabled: Sequence[str] | None = None
    ) -> None:
        """Print the outcome of the start for each photon.

        Args:
            outcomes: What became of those that were to run.
            disabled: Names of those that a safe start has disabled; None for another.
        """
        self._has_started = True
        failed = [o for o in outcomes if o.result is OutcomeResult.FAILED]
        needed = dependents(self.found)
        self._printed |= {o.photon: o.problem for o in failed if o.problem is not None}
        if self.is_json:
            photons = [
                {
                    **attrs.asdict(outcome),
                    "state": _STATES[outcome.result],
                    "required_by": needed.get(outcome.photon, []),
                }
                for outcome in outcomes
            ]
            code = Exit.FAILED if failed else Exit.FINE
            more: dict[str, Any] = {} if disabled is None else {"disabled": disabled}
            self._document(
                code,
                event="started",
                photons=photons,
                discover_seconds=self.discovery_seconds,
                **more,
            )
            return
        if self.lines != "steps":
            rows = [(o.photon, short(o.origin), _STATES[o.result]) for o in outcomes]
            if rows:
                print_table(("NAME", "ORIGIN", "STATE"), rows)
        for outcome in failed:
            if outcome.problem is not None:
                print_message()
                names = needed.get(outcome.photon, ())
                print_problem(outcome.photon, outcome.problem, required_by=names)
        if failed:
            print_message(f"\n{count_states(_STATES[o.result] for o in outcomes)}")
        if disabled is not None:
            listed = short_names([*map(clean, disabled)]) or "nothing"
            print_message(f"safe start: disabled {listed}")
            for does in _SAFE_STEPS if disabled else ():
                print_message(f"  {does}")
        if self.durations is not None and outcomes:
            click.echo()
            phases = {outcome.photon: outcome.phases for outcome in outcomes}
            print_durations(phases, self.discovery_seconds, self.durations)
        sys.stdout.flush()

    @_stops_without_output
    def ready(self) -> None:
        """Print that the host runs, and can be reached."""
        if self.is_json:
            place = {"page": self.page} if self.page else {}
            self._document(Exit.FINE, event="ready", pid=os.getpid(), **place)
        else:
            page = f"page: {self.page}; " if self.page else ""
            print_message(f"running; {page}press Ctrl-C to stop", bold=True)

    @_stops_without_output
    def event(self, event: Event) -> None:
        """Print an event, where it is new and concerns users."""
        # The event "finalized" says those of the end as well.
        ends = (FailureKind.FINALIZE, FailureKind.ON_CLOSE)
        if event.kind is EventKind.RAISED and (
            event.problem is not None and event.problem.phase in ends
        ):
            return
        if event.problem is not None:
            if self._printed.get(event.photon) == event.problem:
                return
            self._printed[event.photon] = event.problem
        elif event.kind in (*_NEWS, EventKind.STARTED):
            self._printed.pop(event.photon, None)
        if self.lines == "steps":
            self._line(event)
        elif self.is_json:
            return
        elif self.lines == "saves":
            self._save(event)
        elif event.problem is not None and (
            self._has_started or event.kind is EventKind.FINALIZED
        ):
            print_problem(event.photon, event.problem)
            if states := self._states():
                print_message(states)
        elif event.kind in _NEWS:
            print_message(str(event))

    def _states(self) -> str:
        """Return how many photons of the host are in each state."""
        photons = self.loader.photons.values() if self.loader is not None else ()
        return count_states(str(handler.state) for handler in [*photons])

    def _line(self, event: Event) -> None:
        if self.is_json:
            data = {**attrs.asdict(event), "event": str(event.kind)}
            del data["kind"]
            self._document(Exit.FINE, **data)
            return
        click.echo(step_line(attrs.asdict(event)), file=self._out)
        self._out.flush()

    def _save(self, event: Event) -> None:
        """Print a line for a save, with the first or last event of it that tells all.

        All photons of a swap are named in each of its events, and it is printed with
        the last one, when the generations of all are known.
        """
        kind, name = event.kind, event.photon
        before = self._numbers.get(name, 0)
        if kind is EventKind.STAGED:
            self._staged.add((name, event.generation))
            return
        is_told_later = (name, event.generation) in self._staged
        if is_told_later and kind in (EventKind.STARTED, EventKind.FAILED):
            return  # what becomes of it follows
        if kind in (EventKind.STARTED, EventKind.SWAPPED, EventKind.ROLLED_BACK):
            self._numbers[name] = event.generation
        self._staged.discard((name, event.generation))
        if not self._has_started or self.is_stopping:
            return
        photon, why, color = clean(name), "", ""
        if kind is EventKind.SWAPPED:
            self._together.append(f"{photon} {before} -> {event.generation}")
            if event.photons and name != event.photons[-1]:
                return
            photon, self._together = short_names(self._together), []
            why = self._why_swapped(event)
        elif event.photons and name != event.photons[0]:
            return
        elif event.problem is not None:
            problem = event.problem
            photon = short_names([*map(clean, event.photons)]) or photon
            photon += f" {before}" if before and len(event.photons) < 2 else ""
            cause = f"{problem.what} [{problem.code}] {problem.why}"
            why, color = f"{kind}: {clean(cause).strip()}", "red"
        elif kind is EventKind.STARTED or (
            kind is EventKind.LOADED and event.generation == before
        ):
            why = "new" if event.generation == 1 else "started"
            photon += f" {event.generation}"
        elif kind is EventKind.UNLOADED:
            self._numbers.pop(name, None)
            why = "unloaded" if os.path.lexists(event.file) else "deleted"
        elif kind is EventKind.ROLLED_BACK:
            photon, why = f"{photon} {before} -> {event.generation}", "rolled back"
        elif kind in _SAID:
            photon = short_names([*map(clean, event.photons)]) or photon
            number = event.generation or before
            photon += f" {number}" if len(event.photons) < 2 else ""
            why = _SAID[kind]
        else:
            return
        files = event.files or (event.file,)
        if event.problem is not None and event.problem.line:
            files = (f"{event.problem.file}:{event.problem.line}",)
        took = f"{event.seconds * 1000:.1f} ms" if event.seconds else "-"
        places = short_names([short(file) or "-" for file in files], 2)
        cells = (clock(event.at), places, photon, took, why)
        is_colored = color and self._out.isatty() and "NO_COLOR" not in os.environ
        text = "  ".join(cells)
        click.echo(click.style(text, fg=color) if is_colored else text, file=self._out)
        self._out.flush()

    def _why_swapped(self, event: Event) -> str:
        """Return why a photon was swapped, in a few words."""
        if not event.files:
            return "reloaded on request"
        handler = self.loader.photons.get(event.photon) if self.loader else None
        candidate = handler.candidate if handler is not None else None
        if candidate is not None and candidate.distribution:
            return f"installed {candidate.version}".strip()
        return "saved"

    @_stops_without_output
    def stopped(self, code: Exit, abandoned: list[str]) -> None:
        """Print how it ended."""
        for each in abandoned:
            print_message(f"abandoned {each}", fg="red")
        if self.is_json:
            self._document(code, event="stopped", abandoned=abandoned)
        else:
            print_message("stopped")

    def nothing(self) -> Exit:
        """Print that there is nothing to run; return the exit code."""
        print_no_photons()
        if self.is_json:
            self._document(Exit.NOTHING, event="stopped", abandoned=[])
        return Exit.NOTHING

    def _document(self, code: Exit, **data: object) -> None:
        print_json(self.command, code, stream=self._out, **data)
        self._out.flush()


# --- The host ------------------------------------------------------------------------


@attrs.define(eq=False)
class _Host:
    """Runs photons until a signal. Belongs to the main thread, used once.

    Args:
        found: Candidates in load order.
        loader: What loads them.
        reporter: Prints what happens.
        watches: What is watched while they run; None for nothing.
        is_safe: Whether all of them are disabled at the start.
    """

    found: Sequence[Candidate]
    loader: Loader
    reporter: _Reporter
    watches: Watches | None = None
    is_safe: bool = False
    # What serves the page; None where there is none.
    server: Server | None = attrs.field(init=False, default=None)
    # Photon → its last failure, until it is swapped.
    failures: dict[str, Event] = attrs.field(init=False, factory=dict)
    # Made before anything is loaded: it keeps what photons log.
    _control: Control = attrs.field(init=False)
    # Signals that have come. Written by the handler only, in the main thread.
    _signals: list[int] = attrs.field(init=False, factory=list)
    _is_over: bool = attrs.field(init=False, default=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)
    # Set by the first and by the second signal.
    _stop: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)
    _force: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)
    # Reloads under way; the loop itself holds tasks only weakly.
    _reloads: set[asyncio.Task[None]] = attrs.field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        self._control = Control(self.loader)

    def run(self) -> Exit:
        """Run, and return the exit code.

        The signal handlers stay: threads that are left may need another signal.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_stop_signal)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._on_hangup)
        self.loader.events.subscribe(self._note_failure)
        return run_async(self._main())

    def _note_failure(self, event: Event) -> None:
        if event.problem is not None and event.kind not in _NO_FAILURES:
            self.failures[event.photon] = event
        elif event.kind in (EventKind.SWAPPED, EventKind.RECOVERED):
            self.failures.pop(event.photon, None)

    # Signals.

    def _on_stop_signal(self, number: int, frame: object) -> None:  # noqa: ARG002 - Python's
        """Note a signal. Runs between any two instructions: it must not print."""
        self._signals.append(number)
        if self._is_over or len(self._signals) > 2:
            exit_now(Exit.INTERRUPTED, self._unstopped())
        text = (
            "stopping; press Ctrl-C again to force"
            if len(self._signals) == 1
            else "stopping without finalize; press Ctrl-C again to exit at once"
        )
        write_unbuffered(f"\nluminal: {text}\n")
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._set_events)

    def _on_hangup(self, number: int, frame: object) -> None:  # noqa: ARG002 - Python's
        if self._loop is not None and not self._signals:
            self._loop.call_soon_threadsafe(self._start_reload)

    def _start_reload(self) -> None:
        task = asyncio.ensure_future(self._reload_all())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_all(self) -> None:
        with contextlib.suppress(LuminalError):  # it is printed as an event
            await self.loader.reload_photons([*self.loader.photons], "component")

    def _set_events(self) -> None:
        if self._signals:
            self._stop.set()
        if len(self._signals) > 1:
            self._force.set()

    def _unstopped(self) -> list[str]:
        """Return the photons that are not stopped."""
        return [
            f"photon {handler.name!r} ({handler.state})"
            for handler in self.loader.photons.values()
            if handler.state not in (State.STAGED, State.STOPPED, State.FAILED)
        ]

    # The life of the host.

    async def _main(self) -> Exit:
        self._loop = asyncio.get_running_loop()
        if self.server is not None:
            self.server.use_running_loop()
        self._set_events()  # a signal may have come before there was a loop
        start = asyncio.create_task(self._start())
        if not await _first(start, self._stop):
            start.cancel()
            await asyncio.wait({start}, timeout=EXIT_TIMEOUT)
        elif not self.reporter.is_once and (start.result() or self.watches is not None):
            await self._stay()
        abandoned = await self._close()
        code = self._code(bool(abandoned))
        self.reporter.stopped(code, abandoned)
        self._is_over = True
        if hasattr(signal, "SIGHUP"):
            # Nothing is left to reload, and it must not end the process now.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        exit_after_timeout(code or Exit.FAILED)
        return code

    async def _start(self) -> bool:
        """Load and start; return whether the host has something to run."""
        if self.is_safe:
            is_off = {c.name: c.enabled and not c.problem for c in self.found}
            wanted = [each for each in self.found if is_off[each.name]]
            names = await self.loader.disable_photons(wanted)
            # The others cannot run, and are told of as at any start.
            rest = [each for each in self.found if not is_off[each.name]]
            report = await self.loader.load(rest)
            self.reporter.started([*report.skipped, *report.failed], names)
            return True
        loaded = await self.loader.load(self.found)
        started = await self.loader.start()
        outcomes = [*loaded.skipped, *loaded.failed, *started]
        positions = {candidate.name: at for at, candidate in enumerate(self.found)}
        outcomes.sort(key=lambda each: positions.get(each.photon, len(positions)))
        self.reporter.started(outcomes)
        return bool(started.loaded)

    async def _stay(self) -> None:
        """Listen on the control socket, watch, and wait for the first signal."""
        control = self._control
        try:
            control.start(self._loop)
        except (OSError, AttributeError) as error:
            text = f"luminal: 'reload' and 'top' cannot reach this host: {error}\n"
            write_unbuffered(text)
        watch = asyncio.create_task(self._watch())
        if await _first(watch, self._stop):
            watch.result()
            self.reporter.ready()
            await self._stop.wait()
        watch.cancel()
        control.stop()

    async def _watch(self) -> None:
        if self.watches is not None:
            await self.watches.start()

    async def _close(self) -> list[str]:
        """Unload everything; return the photons that did not stop."""
        self.reporter.is_stopping = True
        close = asyncio.create_task(self._finalize())
        if not await _first(close, self._force):
            close.cancel()
            await asyncio.wait({close}, timeout=EXIT_TIMEOUT)
        elif close.exception() is None:
            return []
        self._control.halt()
        if self.server is not None:
            self.server.halt()
        for task in self._reloads:
            task.cancel()
        if self.watches is not None:
            stop = asyncio.create_task(self.watches.stop(True))
            await asyncio.wait({stop}, timeout=EXIT_TIMEOUT)
        for handler in reversed(self.loader.photons.values()):
            if handler.name not in self.loader.photons:
                continue  # it was unloaded together with another one of its file
            with contextlib.suppress(LuminalError):  # `_unstopped` names it
                await self.loader.unload_photon(handler, force_stop=True)
        return self._unstopped()

    async def _finalize(self) -> None:
        if self.watches is not None:
            await self.watches.stop()
        await self.loader.close()

    def _code(self, is_incomplete: bool) -> Exit:
        if len(self._signals) > 1 or signal.SIGINT in self._signals:
            return Exit.INTERRUPTED
        return Exit.FAILED if self.failures or is_incomplete else Exit.FINE


async def _first(task: asyncio.Task[Any], event: asyncio.Event) -> bool:
    """Wait for *task* or for *event*; return whether the task is done."""
    waiter = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    return task.done()
