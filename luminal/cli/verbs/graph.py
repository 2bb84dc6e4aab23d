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


def _text(
    found: Sequence[Candidate], states: Mapping[str, str], edges: Sequence[Edge]
) -> Iterator[str]:
    """Yield a tree for each photon that none waits for; circles are cut."""
    awaited = {edge.earlier for edge in edges}
    shown: set[str] = set()

    def lines(
        name: str, said: str, before: str, path: tuple[str, ...]
    ) -> Iterator[str]:
        state = "" if states[name] == "ok" else f"  [{states[name]}]"
        again = name in path
        yield f"{said}{clean(name)}{state}{'  (again: a circle)' if again else ''}"
        shown.add(name)
        below = [] if again else [edge for edge in edges if edge.later == name]
        for at, edge in enumerate(below):
            is_last = at == len(below) - 1
            kind = edge.text if edge.kind == "requires" else f"{edge.kind} {edge.text}"
            branch = f"{before}{'└─ ' if is_last else '├─ '}"
            label = "" if kind == edge.earlier else f"({clean(kind)}) "
            onward = before + ("   " if is_last else "│  ")
            yield from lines(edge.earlier, branch + label, onward, (*path, name))

    for candidate in found:
        if candidate.name not in awaited:
            yield from lines(candidate.name, "", "", ())
    for candidate in found:  # what is left stands in circles
        if candidate.name not in shown:
            yield from lines(candidate.name, "", "", ())


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
