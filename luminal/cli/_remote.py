"""The commands that act on a running host: reload, unload, disable, enable, log."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import click

from luminal.cli._options import ask_host, command, complete_running, host_option
from luminal.cli._output import (
    Exit,
    clean,
    clock,
    print_json,
    print_message,
    print_problem,
    print_table,
    short,
    step_line,
)
from luminal.errors import HostNotRunningError, PhotonNotFoundError, did_you_mean
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.shell_completion import CompletionItem

__all__ = [
    "disable_command",
    "enable_command",
    "log_command",
    "log_lines",
    "reload_command",
    "unload_command",
]

_FOLLOW_INTERVAL = 0.5
"""Seconds between looks of ``log --follow``."""


def _asked(
    host: int | None, ask: str, photons: tuple[str, ...]
) -> tuple[list[dict[str, Any]], list[tuple[str, Problem]]]:
    """Ask a host to do something with photons.

    Returns:
        Its rows, and the failures with the photon's name; empty where it has none.

    Raises:
        PhotonNotFoundError: It has none of that name.
        LuminalError: It could do nothing.
    """
    request: dict[str, Any] = {"ask": ask, "photons": list(photons)}
    answer = ask_host(host, request, None)
    if "challenge" in answer:
        from luminal.cli._factor import answer_challenge

        request["answer"] = answer_challenge(answer["challenge"])
        answer = ask_host(host, request, None)
    if answer.get("unknown"):
        known = answer["known"]
        name = next((name for name in photons if name not in known), "")
        nearest = did_you_mean(name, known, "; ")
        state = "is disabled" if ask == "enable" else "runs"
        negated = "is not disabled" if ask == "enable" else "does not run"
        raise PhotonNotFoundError(
            f"{negated} in this host",
            photon=name,
            hint=f"luminal top shows what {state}{nearest}",
        )
    rows: list[dict[str, Any]] = answer.get("photons", [])
    failures = [
        (each["photon"], Problem(**each["problem"])) for each in answer["failures"]
    ]
    if len(failures) == 1 and not rows:
        ((name, problem),) = failures
        raise problem.error(name)
    return rows, failures


# --- reload --------------------------------------------------------------------------


@command("reload")
@click.argument(
    "photons", nargs=-1, metavar="[PHOTON]...", shell_complete=complete_running
)
@host_option
def reload_command(photons: tuple[str, ...], host: int | None, as_json: bool) -> Exit:
    """Reload photons of a running host, and print the result.

    Named photons are swapped all or none; without a name, each that can be. Exit codes
    of this command: 1 where a photon does not run afterwards, 4 where one was rejected
    and still runs its old generation, 5 where no host runs.
    """
    rows, _ = _asked(host, "reload", photons)
    rejected = [row for row in rows if row["problem"]]
    code = Exit.REFUSED if rejected else Exit.FINE
    if any(row["state"] != "running" for row in rejected):
        code = Exit.FAILED
    if as_json:
        print_json("reload", code, photons=rows)
        return code
    _print_rows(rows, lambda row: "rejected" if row["problem"] else "reloaded")
    for row in rows:
        for warning in row.get("warnings", ()):
            print_message()
            print_problem(row["photon"], Problem(**warning))
    for row in rejected:
        consequence = f"still running generation {row['generation']}"
        if row["state"] != "running":
            consequence = f"its state is {row['state']!r}"
        problem = Problem(**{**row["problem"], "consequence": consequence})
        print_message()
        print_problem(row["photon"], problem)
    return code


def _print_rows(
    rows: list[dict[str, Any]], result: Callable[[dict[str, Any]], str]
) -> None:
    print_table(
        ("NAME", "FILE", "GENERATION", "RESULT"),
        [
            (row["photon"], short(row["file"]), str(row["generation"]), result(row))
            for row in rows
        ],
    )


# --- unload, disable, enable ---------------------------------------------------------

_photons = click.argument(
    "photons",
    nargs=-1,
    required=True,
    metavar="PHOTON...",
    shell_complete=complete_running,
)


@command("unload")
@_photons
@host_option
def unload_command(photons: tuple[str, ...], host: int | None, as_json: bool) -> Exit:
    """Unload photons of a running host.

    All photons of the file of each are unloaded. Their calls are waited for, then they
    are finalized. A host that watches the file loads it again when it is saved;
    `luminal disable` prevents that.
    """
    return _switch("unload", photons, host, as_json)


@command("disable")
@_photons
@host_option
def disable_command(photons: tuple[str, ...], host: int | None, as_json: bool) -> Exit:
    """Unload photons of a running host, and keep them unloaded.

    As `luminal unload`; and no save loads them again, until `luminal enable` or the end
    of the host. To disable a photon at each start, use --without or its setting.
    """
    return _switch("disable", photons, host, as_json)


def _complete_disabled(
    ctx: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's
    incomplete: str,
) -> list[CompletionItem]:
    """Complete the names of photons that are disabled in the host."""
    from click.shell_completion import CompletionItem

    try:
        status = ask_host(ctx.params.get("host"), {"ask": "status"}, 1.0)
    except (HostNotRunningError, click.UsageError):
        return []
    names = map(str, status.get("disabled", ()))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@command("enable")
@click.argument(
    "photons", nargs=-1, metavar="[PHOTON]...", shell_complete=_complete_disabled
)
@host_option
def enable_command(photons: tuple[str, ...], host: int | None, as_json: bool) -> Exit:
    """Load and start disabled photons of a running host again.

    Those that `luminal disable` has unloaded; without a name, all of them. The exit
    code is 1 where a photon does not run afterwards.
    """
    return _switch("enable", photons, host, as_json)


_RESULTS = {"unload": "unloaded", "disable": "disabled", "enable": "enabled"}


def _switch(ask: str, photons: tuple[str, ...], host: int | None, json: bool) -> Exit:
    rows, failures = _asked(host, ask, photons)
    failed = [row for row in rows if ask == "enable" and row["state"] != "running"]
    code = Exit.FAILED if failed or failures else Exit.FINE
    if json:
        more = [{"photon": name, "problem": each} for name, each in failures]
        print_json(ask, code, photons=rows, failures=more)
        return code
    if not rows and not failures:
        print_message("nothing to do: no photon is disabled")
        return code
    if rows:
        _print_rows(rows, lambda row: "failed" if row in failed else _RESULTS[ask])
    told = [(r["photon"], Problem(**r["problem"])) for r in failed if r["problem"]]
    with_row = {name for name, _ in told}
    told += [(name, each) for name, each in failures if name not in with_row]
    for name, each in told:
        print_message()
        print_problem(name, each)
    return code


# --- log -----------------------------------------------------------------------------


@command("log")
@click.argument(
    "photon", required=False, metavar="[PHOTON]", shell_complete=complete_running
)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    metavar="NUMBER",
    help="How many of the latest lines to print.",
)
@click.option(
    "-f", "--follow", is_flag=True, help="Print what comes as well, until Ctrl-C."
)
@host_option
def log_command(
    photon: str | None, lines: int, follow: bool, host: int | None, as_json: bool
) -> Exit:
    """Show what photons of a running host did, and what they logged.

    Without PHOTON, of all. The host keeps the latest 1,000 events, and the latest 500
    records of the loggers of its photons, of the levels that it has enabled. --follow
    ends when the host does.
    """
    if follow and as_json:
        raise click.UsageError("--follow and --json exclude each other")
    request = {"ask": "log", "photon": photon or ""}
    answer = ask_host(host, request)
    known = answer["known"]
    if photon is not None and photon not in known:
        raise PhotonNotFoundError(
            "does not run in this host",
            photon=photon,
            hint=f"luminal top shows what runs{did_you_mean(photon, known, '; ')}",
        )
    if as_json:
        events, records = answer["events"], answer["records"]
        print_json("log", Exit.FINE, events=events, records=records)
        return Exit.FINE
    found = [*log_lines(answer)]
    for line in found[len(found) - min(lines, len(found)) :]:
        click.echo(line)
    with contextlib.suppress(HostNotRunningError):  # the end of the host is the end
        while follow:
            time.sleep(_FOLLOW_INTERVAL)
            answer = ask_host(answer["pid"], request)
            now = [*log_lines(answer)]
            for line in _later(found, now):
                click.echo(line)
            found = now
    return Exit.FINE


def log_lines(answer: dict[str, Any]) -> Iterator[str]:
    """Yield events and records of a host as lines, oldest first."""
    entries = [(event["at"], step_line(event)) for event in answer["events"]]
    for record in answer["records"]:
        words = (f"{record['level']:<11}", record["photon"], record["text"])
        entries.append((record["at"], "  ".join(map(clean, words))))
    for at, text in sorted(entries, key=lambda entry: entry[0]):
        yield f"{clock(at)}  {text}"


def _later(before: list[str], now: list[str]) -> list[str]:
    """Return the lines of *now* that are not in *before*, which has the same end."""
    from collections import Counter

    seen = Counter(before)
    new = []
    for line in now:
        if seen[line]:
            seen[line] -= 1
        else:
            new.append(line)
    return new
