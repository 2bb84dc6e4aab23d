"""``luminal fleet``: asks the coordinator of a fleet, and shows what it answers."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

import click

from luminal.cli._options import command
from luminal.cli._output import (
    Exit,
    clean,
    print_json,
    print_message,
    print_table,
    run_async,
)
from luminal.errors import HostNotRunningError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from luminal.fleet import FleetStatus, MemberStatus, SwapReport
    from luminal.fleet._client import Fleet

__all__ = ["fleet_command"]

_T = TypeVar("_T")

_ACTIONS = ("status", "swap", "roll-back", "history", "recover")

_INTERVAL = 0.2
"""Seconds between looks at the members while a swap goes on."""


@command("fleet")
@click.argument("action", type=click.Choice(_ACTIONS))
@click.argument("what", required=False, metavar="[SOURCE|UNIT]")
@click.option(
    "--name",
    metavar="NAME",
    help="Of the fleet; not needed where one local fleet runs.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Ask the fleet of this Dask scheduler, such as tcp://10.0.0.5:8786.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Ask a fleet of this Ray cluster, such as auto.",
)
@click.option(
    "--mode",
    type=click.Choice(["immediate", "barrier", "canary"]),
    default="immediate",
    show_default=True,
    help="How a swap goes on once it is decided.",
)
@click.option(
    "--first",
    metavar="NUMBER|NAMES",
    help="With canary: how many members are first, or their names, with commas.",
)
@click.option(
    "--watch",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="With canary: how long the first are watched before the others follow.",
)
def fleet_command(
    action: str,
    what: str | None,
    name: str | None,
    dask: str | None,
    ray: str | None,
    mode: str,
    first: str | None,
    watch: float | None,
    as_json: bool,
) -> Exit:
    """Show and change what all processes of a fleet run.

    ACTION is status, swap, roll-back, history or recover. `luminal fleet swap SOURCE`
    lets all members run a photon's file or directory, a bundle, a wheel or an installed
    distribution, or none of them. `roll-back UNIT` returns to what was decided before.
    `recover` lets a coordinator decide again whose journal is older than what members
    know; look at `status` first.

    The fleet is the only one of this machine, or that of --name; with --dask or --ray
    that of a cluster. Exit codes of this command: 1 where a member does not run what is
    decided, or nothing can be decided, 3 where there is no history, 4 where a swap was
    rejected, 5 where no coordinator answers.
    """
    if dask is not None and ray is not None:
        raise click.UsageError("--dask and --ray exclude each other.")
    needs = {"swap": "SOURCE", "roll-back": "UNIT"}.get(action)
    if needs is not None and what is None:
        raise click.UsageError(f"{action} needs {needs}.")
    if action in ("status", "history") and what is not None:
        raise click.UsageError(f"{action} takes no argument: {what!r}")
    options = _swap_options(action, mode, first, watch)
    found = name or ("" if dask or ray else _only_fleet())

    async def run() -> Exit:
        from luminal.fleet._client import connect
        from luminal.fleet._sources import who_asks

        async with connect(found, dask=dask or "", ray=ray or "") as fleet:
            if action == "status":
                return _print_status(await fleet.status(), as_json)
            if action == "history":
                return _print_history(await fleet.history(), as_json)
            work: Coroutine[Any, Any, Sequence[SwapReport]]
            if action == "recover":
                work = fleet.recover([what] if what else (), by=who_asks())
            elif action == "roll-back":
                work = _one(fleet.roll_back(str(what), by=who_asks()))
            else:
                work = _one(fleet.swap(str(what), by=who_asks(), **options))
            return _print_reports(await _with_progress(fleet, work), as_json)

    return run_async(run())


async def _one(work: Coroutine[Any, Any, SwapReport]) -> list[SwapReport]:
    return [await work]


def _only_fleet() -> str:
    """Return the name of the only local fleet.

    Raises:
        HostNotRunningError: There is none.
        click.UsageError: There are several.
    """
    from luminal.fleet.local import local_fleets
    from luminal.managers import socket_directory

    names = local_fleets()
    if not names:
        raise HostNotRunningError(
            "no running fleet found",
            why=f"no socket of a fleet in {socket_directory()}",
            hint="start a server whose workers join one, or name a cluster: --dask, "
            "--ray",
        )
    if len(names) > 1:
        raise click.UsageError(
            f"Several fleets run ({', '.join(names)}); choose one with --name."
        )
    return names[0]


def _swap_options(
    action: str, mode: str, first: str | None, watch: float | None
) -> dict[str, Any]:
    """Return the options of a swap.

    Raises:
        click.UsageError: They do not fit together.
    """
    if action != "swap" and (mode != "immediate" or first or watch is not None):
        raise click.UsageError("--mode, --first and --watch are options of swap.")
    if mode != "canary":
        if first or watch is not None:
            raise click.UsageError("--first and --watch need --mode canary.")
        return {"mode": mode}
    options: dict[str, Any] = {"mode": mode}
    if first:
        names = tuple(filter(None, first.split(",")))
        options["first"] = int(first) if first.isdecimal() else names
    if watch is not None:
        from luminal.model import Probation

        options["health"] = Probation(seconds=watch)
    return options


# --- Progress ------------------------------------------------------------------------


async def _with_progress(fleet: Fleet, work: Coroutine[Any, Any, _T]) -> _T:
    """Await *work*; on a terminal, show meanwhile how far the members are."""
    if not sys.stderr.isatty():
        return await work
    task = asyncio.ensure_future(work)
    began = time.monotonic()
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_INTERVAL)
            if task.done():
                break
            try:
                line = _progress(await fleet.status())
            except Exception:  # noqa: BLE001 - what fails is told by the swap itself
                line = ""
            line = line or "waiting for the coordinator"
            _show(f"{line} ({time.monotonic() - began:.1f} s)")
        return await task
    finally:
        task.cancel()
        _show("")


def _show(line: str) -> None:
    """Replace the last line of the terminal."""
    sys.stderr.write(f"\r{clean(line)}\x1b[K")
    sys.stderr.flush()


def _progress(status: FleetStatus) -> str:
    """Return how far a swap is; empty where none is under way."""
    if not status.under_way:
        return ""
    members, unit = status.members, status.under_way
    ready = sum(bool(member.prepared) for member in members)
    behind = sum(map(_is_behind, members))
    if behind and not ready:
        return f"{unit}: {len(members) - behind} of {len(members)} members run it"
    return f"{unit}: {ready} of {len(members)} members are ready"


def _is_behind(member: MemberStatus) -> bool:
    """Whether it does not run what is decided; one that only waits for that does."""
    return member.is_behind and not member.prepared


# --- Output --------------------------------------------------------------------------


def _print_status(status: FleetStatus, as_json: bool) -> Exit:
    is_well = not status.blocked_by and not any(map(_is_behind, status.members))
    code = Exit.FINE if is_well else Exit.FAILED
    if as_json:
        print_json("fleet", code, fleet=status)
        return code
    by = f", coordinated by {clean(status.coordinator)}" if status.coordinator else ""
    click.echo(f"fleet {clean(status.name)}{by}; decision {status.number}")
    if status.under_way:
        click.echo(_progress(status))
    rows = []
    for unit, (number, digest) in sorted(status.units.items()):
        there = sum(member.runs.get(unit) == number for member in status.members)
        first = ", ".join(status.canaries.get(unit, ()))
        members = f"{there} of {len(status.members)}"
        rows.append((unit, f"#{number}", digest[:12], members, first))
    if rows:
        click.echo()
        print_table(("UNIT", "DECISION", "DIGEST", "MEMBERS", "CANARIES"), rows)
    click.echo()
    if status.members:
        print_table(
            ("MEMBER", "MACHINE", "PID", "PYTHON", "LUMINAL", "RUNS", "STATE"),
            [
                (
                    member.info.name,
                    member.info.host,
                    str(member.info.pid or ""),
                    member.info.python,
                    member.info.luminal,
                    " ".join(f"{u}#{n}" for u, n in sorted(member.runs.items())),
                    _state_of(member),
                )
                for member in status.members
            ],
        )
    else:
        click.echo("no members")
    if status.blocked_by:
        print_message(
            f"nothing is decided: member {clean(status.blocked_by)!r} knows a later "
            "decision than the journal",
            fg="red",
        )
        print_message(
            "  try: put the latest journal back and start the coordinator again, or "
            "luminal fleet recover"
        )
    return code


def _state_of(member: MemberStatus) -> str:
    if member.prepared:
        return f"ready for #{member.prepared}"
    if member.is_behind:
        return f"behind: {member.why}" if member.why else "behind"
    return "ok"


def _print_history(reports: Sequence[SwapReport], as_json: bool) -> Exit:
    code = Exit.FINE if reports else Exit.NOTHING
    if as_json:
        print_json("fleet", code, history=list(reports))
        return code
    if not reports:
        print_message("nothing was decided yet")
        return code
    print_table(
        ("DECISION", "AT", "UNIT", "RESULT", "MODE", "BY", "SECONDS", "MIXED", "WHY"),
        [
            (
                f"#{report.number}",
                time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report.began)),
                report.unit,
                "swapped" if report.is_committed else "rejected",
                report.mode,
                report.by,
                f"{report.seconds:.3f}",
                f"{report.mixed_seconds:.3f}" if report.is_committed else "",
                report.why,
            )
            for report in reports
        ],
    )
    return code


def _print_reports(reports: Sequence[SwapReport], as_json: bool) -> Exit:
    is_committed = all(report.is_committed for report in reports)
    code = Exit.FINE if is_committed else Exit.REFUSED
    if as_json:
        print_json("fleet", code, swaps=list(reports))
        return code
    for report in reports:
        _print_report(report)
    return code


def _print_report(report: SwapReport) -> None:
    unit = clean(report.unit)
    if not report.number:
        click.echo(f"{unit}: {clean(report.why) or 'nothing to do'}")
        return
    if report.is_committed and not report.votes:
        click.echo(f"{unit}: decision {report.number}; {clean(report.why)}")
    elif report.is_committed:
        agreed = sum(not why for why in report.votes.values())
        click.echo(
            f"{unit}: swapped by decision {report.number}; "
            f"{agreed} member{'s' * (agreed != 1)}, "
            f"{report.seconds:.3f} s, two versions answered for "
            f"{report.mixed_seconds * 1000:.0f} ms"
        )
    else:
        print_message(f"{unit}: rejected, all members go on as before", fg="red")
        if report.why:
            print_message(f"  because: {clean(report.why)}")
    if report.returned:
        print_message(f"  the first members were returned: #{report.returned}")
    if report.undrained:
        calls = [f"{name} ({count})" for name, count in report.undrained.items()]
        print_message(
            f"  calls that went on when the drain limit was over: "
            f"{clean(', '.join(calls))}"
        )
    if report.behind:
        print_message(f"  behind, and will follow: {clean(', '.join(report.behind))}")
