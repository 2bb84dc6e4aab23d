"""The page of a photon's states and steps, and the drawing of `luminal.model.TABLE`."""

from __future__ import annotations

from luminal.model import TABLE, State, Step

from .drawing import arrow, box, figure, label
from .words import meanings

__all__ = ["states_drawing", "states_page"]

NAME = "state-table"
SIZE = (132.0, 44.0)
PLACES = {
    State.STAGED: (10.0, 14.0),
    State.STARTING: (254.0, 14.0),
    State.RUNNING: (498.0, 14.0),
    State.STOPPED: (10.0, 172.0),
    State.FAILED: (254.0, 172.0),
    State.STOPPING: (498.0, 172.0),
}
"""Where each state is drawn; a state without a place is an error of the build."""


def states_page() -> str:
    """Return the page of the state table."""
    lines = [
        "# The states of a photon",
        "",
        "Generated from `luminal.model.TABLE`. A step that is not listed raises",
        "`PhotonStateError` and changes nothing. `Handler.state` is the state of a",
        "photon.",
        "",
        "```{raw} html",
        ":file: states.svg",
        "```",
        "",
        "| state | meaning |",
        "|---|---|",
    ]
    states = meanings("states", [state.value for state in State])
    lines += [f"| [`{s}`]{{#state-{s}}} | {text} |" for s, text in states.items()]
    lines += ["", "| step | when |", "|---|---|"]
    steps = meanings("steps", [step.value for step in Step])
    lines += [f"| [`{s}`]{{#step-{s}}} | {text} |" for s, text in steps.items()]
    lines += ["", "| in state | step | leads to |", "|---|---|---|"]
    lines += [f"| {at} | {step} | {to} |" for (at, step), to in TABLE.items()]
    return "\n".join([*lines, ""])


def states_drawing() -> str:
    """Return the table as a drawing."""
    parts = []
    for (at, step), to in TABLE.items():
        parts += _step(at, step, to)
    parts += [box(PLACES[s], SIZE, str(s), f"drawn-{s}") for s in State]
    return figure(NAME, "The states of a photon, and its steps", (640.0, 276.0), parts)


def _step(at: State, step: Step, to: State) -> list[str]:
    """Return an arrow from one state to another, and its name."""
    (x1, y1), (x2, y2) = _middle(at), _middle(to)
    half_width, half_height = SIZE[0] / 2, SIZE[1] / 2
    text = str(step)
    if y1 == y2 and abs(x1 - x2) > 300:  # past the one between them, below it
        low = y1 + half_height
        path = f"M{x1:g} {low:g}v30q0 12 -12 12H{x2 + 12:g}q-12 0 -12 -12V{low:g}"
        return [arrow(path, NAME), label(((x1 + x2) / 2, low + 58), text)]
    if y1 == y2:
        side = 1 if x2 > x1 else -1
        path = f"M{x1 + side * half_width:g} {y1:g}H{x2 - side * half_width:g}"
        return [arrow(path, NAME), label(((x1 + x2) / 2, y1 - 7), text)]
    down = 1 if y2 > y1 else -1
    if x1 != x2:
        path = f"M{x1 + half_width - 20:g} {y1 + down * half_height:g}"
        path += f"L{x2 - half_width + 20:g} {y2 - down * half_height:g}"
        beside = ((x1 + x2) / 2 - 14, (y1 + y2) / 2 - 4)
        return [arrow(path, NAME), label(beside, text, "end")]
    # Two arrows between the same two states go side by side, their names outside.
    has_twin = at in {TABLE.get((to, each)) for each in Step}
    x = x1 + (14 * down if has_twin else 0)
    path = f"M{x:g} {y1 + down * half_height:g}V{y2 - down * half_height:g}"
    side = -1 if has_twin and down < 0 else 1
    beside = (x + 7 * side, (y1 + y2) / 2 + 5)
    return [arrow(path, NAME), label(beside, text, "start" if side > 0 else "end")]


def _middle(state: State) -> tuple[float, float]:
    x, y = PLACES[state]
    return x + SIZE[0] / 2, y + SIZE[1] / 2
