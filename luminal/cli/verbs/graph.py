"""``luminal graph``: photons and what they wait for, as text, DOT or SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from luminal.cli.exits import Exit
from luminal.cli.looking import looking, state_of
from luminal.cli.paper import clean, print_json, say
from luminal.cli.relations import Edge, edges_between
from luminal.cli.verb import verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from luminal.cli.looking import Look
    from luminal.model import Candidate

__all__ = ["command"]


@verb("graph")
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "dot", "svg")),
    default="text",
    show_default=True,
    help="Text for people, DOT for Graphviz, SVG for browsers.",
)
@looking
def command(look: Look, form: str, as_json: bool) -> Exit:
    """Show photons and what they wait for.

    Nothing is imported. Each photon stands above what it requires, or comes after.
    """
    found = look.find()
    edges = edges_between(found)
    states = {candidate.name: state_of(candidate) for candidate in found}
    for edge in edges:
        states.setdefault(edge.earlier, "missing")
    code = Exit.FINE if found else Exit.NOTHING
    if as_json:
        nodes = [{"name": name, "state": state} for name, state in states.items()]
        print_json("graph", code, nodes=nodes, edges=edges)
    elif not found:
        say("no photon found; name a directory, or install a distribution with some")
    elif form == "dot":
        click.echo(_dot(states, edges))
    elif form == "svg":
        from luminal.cli.drawing import draw

        click.echo(draw(states, edges))
    else:
        for line in _text(found, states, edges):
            click.echo(line)
    return code


_LABELS = {"after": "(after) ", "before": "(wants to be earlier) "}


def _text(
    found: Sequence[Candidate], states: Mapping[str, str], edges: Sequence[Edge]
) -> Iterator[str]:
    """Yield a tree for each photon that none waits for; what was shown is cut short."""
    below: dict[str, list[Edge]] = {}
    for edge in edges:
        below.setdefault(edge.later, []).append(edge)
    awaited = {edge.earlier for edge in edges}
    names = [candidate.name for candidate in found]
    shown: set[str] = set()
    # The rest stands in circles, and is reached only if it is begun with.
    for root in [*(name for name in names if name not in awaited), *names]:
        todo = [] if root in shown else [(root, "", "")]
        while todo:
            name, lead, margin = todo.pop()
            state = "" if states[name] == "ok" else f"  [{states[name]}]"
            is_again = name in shown and name in below
            yield f"{lead}{clean(name)}{state}{'  (see above)' if is_again else ''}"
            if name not in shown:
                todo += reversed([*_branches(below.get(name, []), margin)])
            shown.add(name)


def _branches(edges: Sequence[Edge], margin: str) -> Iterator[tuple[str, str, str]]:
    """Yield for each edge the name below it, what leads there, and its own margin."""
    for at, edge in enumerate(edges, 1):
        is_last = at == len(edges)
        label = _LABELS.get(edge.kind, f"({clean(edge.text)}) ")
        lead = f"{margin}{'└─ ' if is_last else '├─ '}{label}"
        yield edge.earlier, lead, margin + ("   " if is_last else "│  ")


def _dot(states: Mapping[str, str], edges: Sequence[Edge]) -> str:
    lines = ["digraph photons {", "  rankdir=LR;", "  node [shape=box];"]
    for name, state in states.items():
        style = "" if state == "ok" else f" [style=dashed, xlabel={_quoted(state)}]"
        lines.append(f"  {_quoted(name)}{style};")
    for edge in edges:
        style = "solid" if edge.kind == "requires" else "dashed"
        ends = f"{_quoted(edge.later)} -> {_quoted(edge.earlier)}"
        lines.append(f"  {ends} [style={style}, label={_quoted(edge.text)}];")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = clean(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
