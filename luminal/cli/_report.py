"""The command ``report``: what a host has done, for people and to be compared."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
import click

from luminal.cli._options import (
    DiscoveryOptions,
    ask_cpu,
    ask_host,
    command,
    discovery_options,
    host_option,
    lock_setting,
)
from luminal.cli._output import (
    Exit,
    clean,
    print_json,
    print_message,
    run_async,
    short,
    table_lines,
)
from luminal.errors import HostNotRunningError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from luminal.web import HookChange, HostReport, HostSnapshot

__all__ = ["report_command"]

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

_FILE = "luminal-report.html"

_MOST = 20
"""Rows of a table as text; the JSON has all."""


class _NoHistoryError(click.ClickException):
    """What was asked for is right, but there is nothing to report."""

    exit_code = Exit.NOTHING


class _Since(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A span such as ``7d``, or a date; the value is wall-clock time in seconds."""

    name = "since"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"(\d{1,6})([mhdw])", value.strip())
        if found is not None:
            return time.time() - int(found[1]) * _UNITS[found[2]]
        from datetime import datetime

        try:
            return datetime.fromisoformat(value.strip()).timestamp()
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is neither a span such as 30m, 12h, 7d or 2w nor a date "
                "such as 2026-11-21",
                param,
                ctx,
            )


@command("report")
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "text", "json"]),
    default="html",
    show_default=True,
    help="HTML for a browser, text to read here, JSON to compare with later.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help=f"Where to write it; - for standard output. Of HTML by default {_FILE}, of "
    "text and JSON standard output.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False),
    metavar="OLD.json",
    help="Compare with this report, which --format json has written.",
)
@click.option(
    "--since",
    type=_Since(),
    metavar="SPAN",
    help="Report the history since 30m, 12h, 7d, 2w or a date, over all processes.",
)
@click.option(
    "--history", "name", metavar="NAME", help="The history to read, by its name."
)
@click.option(
    "--cpu",
    type=click.FloatRange(min=0.1, max=600),
    metavar="SECONDS",
    help="First look for so many seconds whose code uses the CPU.",
)
@host_option
@discovery_options
def report_command(
    options: DiscoveryOptions,
    host: int | None,
    form: str,
    output: str | None,
    against: str | None,
    since: float | None,
    name: str | None,
    cpu: float | None,
    as_json: bool,
) -> Exit:
    """Write what a host has done: one HTML file, text or JSON.

    The file needs no other file. With PATH, the photons there are loaded and started,
    shown, and unloaded. Without PATH, a running host is asked; where none runs, the
    directories in $LUMINAL_PATHS are used.

    --against compares each photon's hooks with an earlier report. --since reads the
    history, which a host keeps with --history or the setting `history`; the host need
    not run any more.
    """
    output = output or (_FILE if form == "html" else "-")
    if as_json and output == "-":
        raise click.UsageError("--json and --output - exclude each other")
    old = _read_old(against, output) if against is not None else None
    if since is not None or name is not None:
        page, report = _from_history(options, host, since or 0.0, name, cpu)
    else:
        page, report = _of_host(options, host, cpu)
    try:
        text = _text(form, report, page, old)
    except ValueError as error:
        raise click.UsageError(f"--against {against}: {error}") from None
    _write(output, text)
    failures = page.failures if page is not None else ()
    failing = sorted({f.photon for f in failures if f.is_current})
    code = Exit.FAILED if failing else Exit.FINE
    if page is not None and not page.photons:
        code = Exit.NOTHING
    if as_json:
        count = len(report.photons)
        print_json("report", code, output=output, photons=count, failing=failing)
    elif output != "-":
        click.echo(short(output))
        if failing:
            print_message(f"failing: {', '.join(map(short, failing))}", fg="red")
    return code


def _read_old(file: str, output: str) -> HostReport:
    from luminal.web import read_report

    with contextlib.suppress(OSError):
        if os.path.samefile(file, output):
            raise click.UsageError(f"--against and --output are the same file: {file}")
    try:
        with open(file, encoding="utf-8") as stream:
            return read_report(stream.read())
    except ValueError as error:
        hint = "luminal report --format json -o OLD.json writes one"
        raise click.UsageError(f"--against {file}: {error}; {hint}") from None
    except OSError as error:
        raise click.FileError(file, error.strerror) from error


# --- What is reported ----------------------------------------------------------------


def _is_typed(options: DiscoveryOptions) -> bool:
    source = click.get_current_context().get_parameter_source("paths")
    return bool(options.paths) and source is click.core.ParameterSource.COMMANDLINE


def _of_host(
    options: DiscoveryOptions, host: int | None, cpu: float | None
) -> tuple[HostSnapshot, HostReport]:
    """Return the state of the photons at paths that were typed, else of a host."""
    if _is_typed(options):
        if host is not None:
            raise click.UsageError("--host and PATH exclude each other")
        return _started(options, cpu)
    try:
        return _made(_asked(host, cpu))
    except HostNotRunningError:
        if host is not None or not options.paths:
            raise
        return _started(options, cpu)


def _asked(host: int | None, cpu: float | None) -> dict[str, Any]:
    if cpu is not None:
        ask_cpu(host, cpu)
    answer = ask_host(host, {"ask": "report"}, 30.0)
    if "metrics" not in answer:
        raise HostNotRunningError(
            "the host sent no numbers",
            why="it runs an earlier version of luminal",
            hint="use the version of luminal that the host runs",
        )
    return answer


def _made(status: Mapping[str, Any]) -> tuple[HostSnapshot, HostReport]:
    """Return the page and the report of what a host has sent."""
    from luminal.metrics import snapshot_of_status
    from luminal.web import report_of
    from luminal.web import snapshot_of_status as page_of_status

    page = page_of_status(status)
    report = report_of(
        page,
        snapshot_of_status(status),
        began=status["began"],
        errors=status["errors"],
        cpu=status["cpu"],
        keeps_history=bool(status["history"]),
    )
    return page, report


def _started(
    options: DiscoveryOptions, cpu: float | None
) -> tuple[HostSnapshot, HostReport]:
    """Load and start what is found, look at it, and unload it."""
    import asyncio

    from luminal.managers import Loader
    from luminal.managers.status import report_of as status_of
    from luminal.metrics import sample_cpu

    async def run() -> dict[str, Any]:
        async with Loader(suppress_errors=True, lock=lock_setting()) as loader:
            await loader.load(options.find())
            await loader.start()
            if cpu is not None:
                await asyncio.to_thread(sample_cpu, loader, cpu)
            return status_of(loader)

    with contextlib.redirect_stdout(sys.stderr):  # data of ours only goes to stdout
        return _made(run_async(run()))


def _from_history(
    options: DiscoveryOptions,
    host: int | None,
    since: float,
    name: str | None,
    cpu: float | None,
) -> tuple[HostSnapshot | None, HostReport]:
    """Return what a history has, beside the state of the host if it runs."""
    from luminal.metrics import read_history
    from luminal.web import report_of, snapshot_of_status

    if _is_typed(options):
        raise click.UsageError("--since and PATH exclude each other")
    status: dict[str, Any] | None = None
    if name is None:
        try:
            status = _asked(host, cpu)
        except HostNotRunningError:
            if host is not None:
                raise
    if status is None:
        file = _history_of(name)
    elif not status["history"]:
        raise _NoHistoryError(
            f"The host {status['pid']} keeps no history; start it with --history, "
            "Loader(history=True), or history = true in [tool.luminal]. What it has "
            "done since it began is shown without --since."
        )
    else:
        file = status["history"]
        ask_host(status["pid"], {"ask": "history"}, 30.0)
    record = read_history(file, since)
    page = snapshot_of_status(status) if status is not None else None
    report = report_of(
        page,
        record.numbers,
        began=record.began,
        errors=record.errors,
        load=record.load,
        cpu=status["cpu"] if status is not None else None,
        runs=max(record.runs, 1),
        keeps_history=True,
    )
    if page is None:
        report = attrs.evolve(report, command=record.command)
    return page, report


def _history_of(name: str | None) -> str:
    """Return the file of a history: by its name, or that of the current directory."""
    from luminal.metrics import histories, read_history

    known = histories()
    if name is not None:
        if name not in known:
            nearest = did_you_mean(name, known, "; ")
            listed = ", ".join(map(clean, known)) or "none"
            raise _NoHistoryError(f"No history {name!r}{nearest}; there are: {listed}")
        return known[name]
    here = os.path.realpath(os.curdir)
    found = {}
    for each, file in known.items():
        with contextlib.suppress(OSError):
            if read_history(file).directory == here:
                found[each] = file
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        listed = ", ".join(map(clean, found))
        raise click.UsageError(
            f"Several hosts have a history here: {listed}; choose one with --history."
        )
    listed = f" Others: {', '.join(map(clean, known))}." if known else ""
    raise _NoHistoryError(
        "No host runs, and none has kept a history in this directory; a host keeps one "
        f"with --history, Loader(history=True), or history = true.{listed}"
    )


# --- Forms ---------------------------------------------------------------------------


def _text(
    form: str, report: HostReport, page: HostSnapshot | None, old: HostReport | None
) -> str:
    """Return the report in one of its forms.

    Raises:
        ValueError: *old* is the same report.
    """
    from luminal.web import compare, render_report

    if form == "html":
        return render_report(report, page, old)
    changes = compare(old, report) if old is not None else None
    if form == "json":
        if changes is None:
            return report.to_json() + "\n"
        import json

        from luminal._plain import to_json

        compared = [attrs.asdict(change) for change in changes]
        document = {**json.loads(report.to_json()), "compared": compared}
        return to_json(document, indent=1) + "\n"
    return "\n".join(_lines(report, old, changes or ())) + "\n"


def _lines(
    report: HostReport, old: HostReport | None, changes: Sequence[HookChange]
) -> Iterator[str]:
    """Yield the report as lines of text."""
    host = f"host {report.pid}" if report.pid else "history"
    yield f"{host}  {clean(report.command)}".rstrip()
    processes = "process" if report.runs == 1 else "processes"
    runs = f", {report.runs} {processes}" if report.has_history else ""
    yield f"from {_when(report.began)} to {_when(report.at)}{runs}"
    if old is not None:
        other = f", of another command: {clean(old.command)}"
        is_other = old.command != report.command
        yield f"compared with {_when(old.at)}{other if is_other else ''}"
        yield from _compared(changes)
    rows = [
        (
            *(clean(p.name), p.state, str(p.generation), _when(p.since)),
            *(clean(p.version), clean(p.problem)),
        )
        for p in report.photons
    ]
    heads: tuple[str, ...] = ("NAME", "STATE", "GEN", "SINCE", "VERSION", "PROBLEM")
    yield from _table("photons", heads, rows)
    yield ""
    counts = [f"{n} {name.replace('_', ' ')}" for name, n in report.swaps.items()]
    yield f"swaps: {', '.join(counts)}"
    phases = [
        (p.step, p.phase, str(p.count), *map(_span, (p.seconds, p.p50, p.p95)))
        for p in report.phases
    ]
    heads = ("STEP", "PHASE", "NUMBER", "TOTAL", "P50", "P95")
    yield from _table("phases", heads, phases)
    yield from _load(report)
    yield from _table("hooks by time", _HOOK, [*map(_hook, report.hooks)])
    slowest = [*map(_hook, report.slowest_by_p99)]
    yield from _table("hooks by p99", _HOOK, slowest)
    errors = [
        (
            *(str(e.count), short(e.where), clean(e.photon), clean(e.what)),
            *(clean(e.error), _when(e.at)),
        )
        for e in report.errors
    ]
    heads = ("COUNT", "WHERE", "PHOTON", "WHAT", "ERROR", "LATEST")
    yield from _table("errors by place", heads, errors)
    leaks = [(clean(x.photon), str(x.generation), clean(x.why)) for x in report.leaks]
    yield from _table("leaks", ("PHOTON", "GEN", "HELD BY"), leaks)
    losses = [(clean(x.photon), clean(x.what), clean(x.why)) for x in report.losses]
    yield from _table("lost at a restart", ("PHOTON", "WHAT", "WHY"), losses)
    if report.cpu is not None:
        yield from _cpu(report.cpu)


_HOOK = (
    *("HOOK", "PHOTON", "CALLS", "ERRORS", "TOTAL", "MEAN"),
    *("P50", "P95", "P99", "TIMED"),
)


def _hook(row: Any) -> tuple[str, ...]:
    every = f" (1 in {row.interval:.0f})" if row.interval > 1.5 else ""
    about = "" if row.is_exact else "~"
    return (
        *(clean(row.hook), clean(row.photon), f"{about}{row.calls}", str(row.errors)),
        *map(_span, (row.seconds, row.mean, row.p50, row.p95, row.p99)),
        f"{row.timed}{every}",
    )


def _compared(changes: Sequence[HookChange]) -> Iterator[str]:
    rows = []
    for change in changes:
        old, new = change.old, change.new

        def pair(name: str, old: Any = old, new: Any = new) -> str:
            values = [getattr(row, name) if row else None for row in (old, new)]
            is_time = name in ("mean", "p50", "p95", "p99")
            texts = [
                "-" if v is None else _span(v) if is_time else str(v) for v in values
            ]
            return " > ".join(texts)

        ratio = f" x {change.ratio:.2f}" if change.ratio is not None else ""
        names = ("calls", "errors", "mean", "p50", "p95", "p99", "timed")
        rows.append(
            (
                *(clean(change.hook), clean(change.photon)),
                *map(pair, names),
                f"{change.verdict}{ratio}",
            )
        )
    heads = (
        *("HOOK", "PHOTON", "CALLS", "ERRORS", "MEAN", "P50", "P95", "P99"),
        *("TIMED", "RESULT"),
    )
    yield from _table("compared, before > now", heads, rows)


def _load(report: HostReport) -> Iterator[str]:
    rows = [
        (
            *(_when(row.at), _span(row.seconds), str(row.calls), str(row.errors)),
            f"{row.calls / row.seconds:.3g}" if row.seconds else "",
            *(_span(row.busy), _span(row.p95)),
        )
        for row in report.load
    ]
    heads = ("FROM", "SPAN", "CALLS", "ERRORS", "CALLS/S", "IN HOOKS", "P95")
    yield from _table("load over time", heads, rows[-_MOST:])


def _cpu(cpu: Mapping[str, Any]) -> Iterator[str]:
    late = cpu["late"] / max(cpu["ticks"], cpu["late"], 1)
    shares = [*cpu["photons"].items(), ("(the host)", cpu["host"])]
    whole = sum(samples for _, samples in shares) or 1
    rows = [
        (clean(name), f"{samples / whole:.0%}", str(samples))
        for name, samples in sorted(shares, key=lambda pair: -pair[1])
    ]
    title = f"cpu: {cpu['ticks']} looks, {late:.0%} of them late"
    yield from _table(title, ("PHOTON", "PART", "SAMPLES"), rows)
    lines = [
        (short(x["where"]), clean(x["function"]), clean(x["photon"]), str(x["samples"]))
        for x in cpu["lines"]
    ]
    heads = ("WHERE", "FUNCTION", "PHOTON", "SAMPLES")
    yield from _table("lines seen most often", heads, lines)


def _table(
    title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]]
) -> Iterator[str]:
    yield ""
    if not rows:
        yield f"{title}: none"
        return
    yield title
    filled = [[cell or "-" for cell in row] for row in rows[:_MOST]]
    yield from table_lines(heads, filled)
    if len(rows) > _MOST:
        yield f"({len(rows) - _MOST} more; --format json has all)"


def _span(seconds: float) -> str:
    from luminal.web import span

    return span(seconds).replace("µ", "u")


def _when(at: float) -> str:
    if not at:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _write(output: str, text: str) -> None:
    if output == "-":
        click.echo(text, nl=False)
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise click.FileError(output, error.strerror) from error
