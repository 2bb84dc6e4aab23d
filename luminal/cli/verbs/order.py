"""``luminal order``: who loads when, and who answers a hook first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from luminal.cli.declared import call_order, hooks_of
from luminal.cli.exits import Exit
from luminal.cli.looking import looking, state_of
from luminal.cli.nearness import near
from luminal.cli.paper import print_json, print_table, say, short
from luminal.cli.relations import edges_between
from luminal.cli.verb import verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.cli.looking import Look
    from luminal.model import Candidate

__all__ = ["command"]


@verb("order")
@click.option("--hook", metavar="NAME", help="Show the order of calls of this hook.")
@looking
def command(look: Look, hook: str | None, as_json: bool) -> Exit:
    """Show the order of loading, or of a hook's calls.

    Nothing is imported. With --hook, the photons that implement it, the one that is
    called first at the top.
    """
    found = look.find()
    if hook is not None:
        return _hook(found, hook, as_json)
    code = Exit.FINE if found else Exit.NOTHING
    edges = edges_between(found)
    rows = []
    for at, candidate in enumerate(found, 1):
        reasons = [
            f"{edge.kind} {edge.text}"
            if edge.kind != "before"
            else f"{edge.text} comes before"
            for edge in edges
            if edge.later == candidate.name
        ]
        rows.append((str(at), candidate.name, state_of(candidate), "; ".join(reasons)))
    if as_json:
        keys = ("position", "name", "state", "because")
        order = [
            {**dict(zip(keys, row, strict=True)), "position": int(row[0])}
            for row in rows
        ]
        print_json("order", code, order=order)
    elif found:
        print_table(("#", "NAME", "STATE", "BECAUSE"), rows)
    else:
        say("no photon found; name a directory, or install a distribution with some")
    return code


def _hook(found: Sequence[Candidate], name: str, as_json: bool) -> Exit:
    known: set[str] = set()
    declared = []
    for candidate in found:
        for hook in hooks_of(candidate):
            known.add(hook.hook)
            if hook.hook == name and state_of(candidate) == "ok":
                declared.append((candidate.name, hook))
    order = call_order(declared)
    code = Exit.FINE if order else Exit.NOTHING
    if as_json:
        calls = [
            {"position": at, "name": photon, **_fields(hook)}
            for at, (photon, hook) in enumerate(order, 1)
        ]
        print_json("order", code, hook=name, calls=calls)
    elif order:
        rows = [
            (
                str(at),
                photon,
                f"{short(hook.file)}:{hook.line}",
                " ".join(f"{k}={v!r}" for k, v in hook.options.items()),
            )
            for at, (photon, hook) in enumerate(order, 1)
        ]
        print_table(("#", "NAME", "WHERE", "OPTIONS"), rows)
    else:
        say(f"no photon implements the hook {name!r}{near(name, known)}")
    return code


def _fields(hook: object) -> dict[str, object]:
    import attrs

    return attrs.asdict(hook)  # type: ignore[arg-type]
