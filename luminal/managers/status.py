"""The state of a running host as values of JSON: its photons and its process."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from luminal._plain import may_be_secret
from luminal.errors import LuminalError
from luminal.hooks.records import by_photon
from luminal.model import FailureKind
from luminal.supervise import unowned

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from luminal.hooks import HookTotal
    from luminal.lifecycle import Handler
    from luminal.managers.loader import Loader
    from luminal.model import FileChange

__all__ = [
    "changes_of",
    "keep_records",
    "log_of",
    "report_of",
    "status_of",
]


class _Records(logging.Handler):
    """Keeps the latest records of the photons' own loggers, as values of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: deque[dict[str, Any]] = deque(maxlen=500)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*; what photons' code raises for it is the record's text."""
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - an argument's own `__str__`
            text = f"{record.msg!r}: {type(error).__name__}"
        if not _has_handlers(logging.getLogger(record.name), self):
            # Without this handler Python would have printed it.
            last = logging.lastResort
            if last is not None and record.levelno >= last.level:
                last.handle(record)
        self.latest.append(
            {
                "at": record.created,
                "photon": record.name.removeprefix(f"{_LOGGER}."),
                "level": record.levelname.lower(),
                "text": text[:2000],
            }
        )


def _has_handlers(logger: logging.Logger | None, but: logging.Handler) -> bool:
    """Whether a record of *logger* reaches any handler but that one."""
    while logger is not None:
        if any(handler is not but for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


_LOGGER = "luminal.photon"

_records: list[_Records] = []


def keep_records() -> None:
    """Keep the latest 500 records of the photons' loggers from now on.

    Levels stay as the host has set them. The loggers are the process's, so all hosts
    of a process share the records.
    """
    if not _records:
        _records.append(_Records())
        with unowned():  # also where a photon serves the page
            logging.getLogger(_LOGGER).addHandler(_records[0])


def log_of(loader: Loader, photon: str = "") -> dict[str, Any]:
    """Return what has happened to photons, and what they have logged.

    Args:
        loader: Of the host.
        photon: Name of the only photon that is wanted; empty for all.

    Returns:
        ``events`` and ``records``, both oldest first, and ``known``: the names of the
        photons that any of them is about.
    """
    events = tuple(loader.events.journal)
    records = [*_records[0].latest] if _records else []
    known = {event.photon for event in events} | {*loader.photons}
    records = [{**r, "photon": _owner_of(r["photon"], known)} for r in records]
    return {
        "pid": os.getpid(),
        "events": [attrs.asdict(e) for e in events if photon in ("", e.photon)],
        "records": [r for r in records if photon in ("", r["photon"])],
        "known": sorted(known),
    }


def _owner_of(logger: str, known: Collection[str]) -> str:
    """Return the photon of a logger, which may be a child of the photon's own."""
    name = logger
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or logger


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
    totals = by_photon(loader.plugins.totals())
    return {
        "pid": os.getpid(),
        "command": _command(),
        "at": time.time(),
        "memory": _memory(),
        "threads": threading.active_count(),
        "disabled": list(loader.disabled),
        **_lock(loader),
        **_fleet(loader),
        "photons": [
            _with_failures(
                {
                    **_photon(handler),
                    **counts.get(name, none),
                    **_totals(totals.get(name)),
                    "settings": _settings(loader.settings.get(name, {})),
                },
                loader.failures_of(name),
            )
            for name, handler in loader.photons.items()
        ],
    }


def _fleet(loader: Loader) -> dict[str, Any]:
    """Return ``fleet``: what is known here of the fleet, if this host is a member."""
    view = loader._fleet_view  # noqa: SLF001 - its own package
    return {} if view is None else {"fleet": view()}


def _lock(loader: Loader) -> dict[str, Any]:
    """Return ``lock``: path and mode of the one that is in force, if one is."""
    judge = loader.judge
    if judge is None:
        return {}
    try:
        mode = str(judge.present_mode)
    except LuminalError as error:
        mode = f"unreadable: {error.what}"
    return {"lock": {"path": os.path.realpath(judge.path), "mode": mode}}


def _totals(total: HookTotal | None) -> dict[str, Any]:
    """Return what all generations of a photon did in its hooks; see `HookTotal`.

    The calls and errors since the latest swap have the same names without ``total``.
    """
    return {
        "total_calls": total.calls if total else 0,
        "total_errors": total.errors if total else 0,
        "timed": total.timed if total else 0,
        "p50": total.quantile(0.5) if total else 0.0,
        "p95": total.quantile(0.95) if total else 0.0,
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
        statistics of each photon in each hook), ``outcomes`` (the latest one of each
        photon, those that are not loaded included), ``records`` (see `log_of`),
        ``changes`` (the files that the latest swaps have changed, as unified diffs),
        ``metrics`` (a `luminal.metrics.MetricsSnapshot`), ``began`` (the wall-clock
        time from which on it counts), ``errors`` (see `luminal.metrics.errors_of`),
        ``cpu`` (the latest `luminal.metrics.CpuSample`, or None) and ``history`` (the
        file of its history; empty if it keeps none).
    """
    from luminal.metrics import cpu_totals, errors_of, snapshot

    cpu = cpu_totals(loader)
    latest = cpu.latest if cpu is not None else None
    return {
        **status_of(loader),
        "events": [attrs.asdict(event) for event in tuple(loader.events.journal)],
        "hooks": [attrs.asdict(row) for row in loader.plugins.statistics()],
        "outcomes": [attrs.asdict(outcome) for outcome in loader.report],
        "records": log_of(loader)["records"],
        "changes": changes_of(loader),
        "metrics": attrs.asdict(snapshot(loader)),
        "began": loader.events.began,
        "errors": errors_of(loader),
        "cpu": attrs.asdict(latest) if latest is not None else None,
        "history": loader.history,
    }


def changes_of(loader: Loader) -> list[dict[str, Any]]:
    """Return what the latest swaps have changed, oldest first.

    Args:
        loader: Of the host.

    Returns:
        For each ``at``, ``generations`` (photon → its new one) and ``files``, each with
        ``path`` and ``diff`` (lines of a unified diff; none for data files).
    """
    return [
        {
            "at": change.at,
            "generations": change.generations,
            "files": [
                {"path": f.path, "diff": list(_diff_of(f))} for f in change.files
            ],
        }
        for change in loader.changes
    ]


@lru_cache(maxsize=64)
def _diff_of(change: FileChange) -> tuple[str, ...]:
    """Return its diff; a page that is open asks for it every second."""
    return tuple(change.diff()) if change.is_text else ()


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
        "kept": sum(len(kept) for kept in _kept(handler)),
        **_trust(handler),
        "phases": dict(handler.phases),
        **_facts(handler),
    }


def _kept(handler: Handler) -> list[dict[str, Any]]:
    """Return the state of a photon that reloads hand over."""
    context = handler.context
    return [d for d in (context.data, context.shared) if type(d) is dict]


def _trust(handler: Handler) -> dict[str, Any]:
    """Return what the lock says of a photon, where one is in force."""
    verdict = handler.verdict
    if verdict is None:
        return {}
    return {"trust": verdict.text, "trust_why": verdict.why}


def _facts(handler: Handler) -> dict[str, Any]:
    """Return what discovery, or the class, says of a photon."""
    candidate = handler.candidate
    if candidate is None:
        return {}
    return {
        "version": candidate.version,
        "description": candidate.description,
        "source": str(candidate.source),
        "origin": candidate.origin,
        "requirements": list(candidate.requirements),
        "line": candidate.line,
    }


def _settings(table: Mapping[str, Any]) -> dict[str, str]:
    """Return key → value as text; values that may be secret are not shown."""
    return {str(key): _setting(str(key), value) for key, value in table.items()}


_USERINFO = re.compile(r"://[^/\s]*@")
"""In a URL: who logs in, and with which password."""


def _setting(key: str, value: Any) -> str:
    if may_be_secret(key):
        return "(not shown)"
    if type(value) is dict:
        inside = [f"{k}: {_setting(str(k), v)}" for k, v in value.items()]
        return "{" + ", ".join(inside)[:200] + "}"
    if type(value) in (list, tuple):
        return "[" + ", ".join(_setting(key, each) for each in value)[:200] + "]"
    if type(value) in (str, int, float, bool, type(None)):
        return _USERINFO.sub("://(not shown)@", str(value)[:2000])[:200]
    return type(value).__name__


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
