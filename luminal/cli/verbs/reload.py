"""``luminal reload``: ask a running host to reload photons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from luminal.cli.asking import answer_of, asking, complete_running
from luminal.cli.blaming import tell_problem
from luminal.cli.exits import Exit
from luminal.cli.nearness import near
from luminal.cli.paper import print_json, print_table, say, short
from luminal.cli.verb import verb
from luminal.errors import PhotonNotFoundError
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["command"]


@verb("reload")
@click.argument(
    "photons", nargs=-1, metavar="[PHOTON]...", shell_complete=complete_running
)
@asking
def command(photons: tuple[str, ...], host: int | None, as_json: bool) -> Exit:
    """Ask a running host to reload photons, and show its report.

    Named photons are replaced all or none; without a name, each that can be. Exit codes
    of this verb: 1 where a photon does not run afterwards, 4 where one was refused and
    the generation before goes on, 5 where no host runs.
    """
    request = {"ask": "reload", "photons": list(photons)}
    answer = answer_of(host, request, None)
    if answer.get("unknown"):
        raise _unknown(answer, photons)
    rows = answer.get("photons", [])
    if answer.get("problem") and not rows:
        raise Problem(**answer["problem"]).error("")
    code = _code(rows)
    if as_json:
        print_json("reload", code, photons=rows)
        return code
    print_table(
        ("NAME", "FILE", "GENERATION", "REPORT"),
        [
            (
                row["photon"],
                short(row["file"]),
                str(row["generation"]),
                "refused" if row["problem"] else "reloaded",
            )
            for row in rows
        ],
    )
    for row in rows:
        if row["problem"]:
            say()
            problem = Problem(**row["problem"])
            tell_problem(row["photon"], problem, so=_consequence(row))
    return code


def _consequence(row: dict[str, Any]) -> str:
    if row["state"] == "running":
        return f"generation {row['generation']} goes on unchanged"
    return f"it is {row['state']}"


def _code(rows: list[dict[str, Any]]) -> Exit:
    refused = [row for row in rows if row["problem"]]
    if any(row["state"] != "running" for row in refused):
        return Exit.FAILED
    return Exit.REFUSED if refused else Exit.FINE


def _unknown(answer: dict[str, Any], asked: Sequence[str]) -> PhotonNotFoundError:
    known = answer["known"]
    name = next((name for name in asked if name not in known), "")
    return PhotonNotFoundError(
        "does not run in this host",
        photon=name,
        hint=f"luminal top shows what runs{near(name, known)}",
    )
