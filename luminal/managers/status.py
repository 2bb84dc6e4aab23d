"""The state of a running host as values of JSON: its photons and its process."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs

from luminal.model import FailureKind

if TYPE_CHECKING:
    from luminal.lifecycle import Handler
    from luminal.managers.loader import Loader

__all__ = ["report_of", "status_of"]


def status_of(loader: Loader) -> dict[str, Any]:
    """Return the present state of the photons and of the process.

    Args:
        loader: Of the host. Calls are not held up.
    """
    counts: dict[str, dict[str, float]] = {}
    for row in loader.plugins.statistics():
        of_one = counts.setdefault(
            row.photon, {"calls": 0, "errors": 0, "seconds": 0.0, "in_flight": 0}
        )
        of_one["calls"] += row.calls
        of_one["errors"] += row.errors
        of_one["seconds"] += row.seconds
        of_one["in_flight"] += row.in_flight
    none = {"calls": 0, "errors": 0, "seconds": 0.0, "in_flight": 0}
    return {
        "pid": os.getpid(),
        "command": _command(),
        "at": time.time(),
        "memory": _memory(),
        "threads": threading.active_count(),
        "photons": [
            _with_failures(
                {**_photon(handler), **counts.get(name, none)},
                loader.failures_of(name),
            )
            for name, handler in loader.photons.items()
        ],
    }


def _with_failures(row: dict[str, Any], failures: dict[str, int]) -> dict[str, Any]:
    """Add to *row* the exceptions that were contained; those of hooks are there."""
    elsewhere = sum(n for kind, n in failures.items() if kind != FailureKind.HOOK)
    return {**row, "errors": row["errors"] + elsewhere, "failures": failures}


def report_of(loader: Loader) -> dict[str, Any]:
    """Return what `status_of` does, and what has happened before.

    Args:
        loader: Of the host.

    Returns:
        The status, and ``events`` (the journal, oldest first), ``hooks`` (the
        statistics of each photon in each hook) and ``outcomes`` (the latest one of each
        photon, those that are not loaded included).
    """
    return {
        **status_of(loader),
        "events": [attrs.asdict(event) for event in tuple(loader.events.journal)],
        "hooks": [attrs.asdict(row) for row in loader.plugins.statistics()],
        "outcomes": [attrs.asdict(outcome) for outcome in loader.report],
    }


def _photon(handler: Handler) -> dict[str, Any]:
    scope = handler.context.scope
    kinds = [belonging.kind for belonging in scope.living()] if scope else []
    return {
        "name": handler.name,
        "state": str(handler.state),
        "generation": handler.number,
        "file": handler.filepath,
        "since": handler.since,
        "threads": kinds.count("thread") + kinds.count("loop"),
        "tasks": kinds.count("task"),
        "processes": kinds.count("process"),
        "problem": attrs.asdict(handler.problem) if handler.problem else None,
        "quarantined": list(handler.quarantined),
    }


def _command() -> list[str]:
    program, *words = sys.argv or [""]
    folder, file = os.path.split(program)
    name = os.path.basename(folder) if file == "__main__.py" else file
    return [name, *words]


def _memory() -> int:
    """Return the bytes of memory that the process has resident; 0: unknown."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
