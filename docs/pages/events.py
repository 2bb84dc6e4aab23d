"""The page of events: each kind, and what it means."""

from __future__ import annotations

from luminal.model import EventKind

__all__ = ["anchor", "events_page"]


def events_page() -> str:
    """Return the page of events."""
    lines = [
        "# Events",
        "",
        "Generated from `luminal.model.EventKind`. The loader passes each",
        "{py:obj}`luminal.model.Event` to the subscribers of `loader.events`, and",
        "keeps it in its journal: {doc}`../../how-to/events`. `event.kind` is equal to",
        "the word in the first column. `luminal watch` prints the same word, and",
        "`until` of the test kit waits for it.",
        "",
        "| kind | what has happened to the photon |",
        "|---|---|",
    ]
    bare = [each.value for each in EventKind if not getattr(each, "meaning", "")]
    if bare:
        raise LookupError(f"EventKind says nothing about {bare}")
    lines += [f"| [`{k}`]{{#{anchor(k)}}} | {k.meaning} |" for k in EventKind]
    return "\n".join([*lines, ""])


def anchor(kind: EventKind) -> str:
    """Return the anchor of *kind* on the page, as docutils spells it."""
    return f"event-{kind.value.replace('_', '-')}"
