"""What a watch says in the log: one line for each change.

In come outcomes of what the keeper ordered; out go lines for people, with paths as
they are called below the watched directory. Decides nothing.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.lifecycle import Handler
    from luminal.model import Outcome, Problem

__all__ = ["LogLines"]

_log = logging.getLogger("luminal.watch")


@attrs.define(eq=False)
class LogLines:
    """Words for what happens in one watched directory.

    Args:
        directory: Its path.
    """

    directory: str
    # Photon → what was last said against it.
    _told: dict[str, Problem] = attrs.Factory(dict)

    def started(self, handler: Handler, seconds: float) -> None:
        """Say that a photon has appeared and runs."""
        path = self._short(handler.filepath)
        _log.info("%s: %r started, %.1f ms", path, handler.name, seconds * 1e3)

    def failed(self, handler: Handler, error: Exception) -> None:
        """Say that a photon has appeared and does not start."""
        _log.error("%s: %s", self._short(handler.filepath), error)

    def unloaded(self, path: str, handlers: Iterable[Handler]) -> None:
        """Say that the photons of a file are taken away."""
        names = ", ".join(repr(handler.name) for handler in handlers)
        _log.info("%s: %s unloaded", self._short(path), names)

    def settled(self, outcome: Outcome, before: int, seconds: float) -> None:
        """Say how a load or a reload has ended.

        Args:
            outcome: What became of one photon.
            before: The generation that served; 0 where there was none.
            seconds: How long it took.
        """
        problem = outcome.problem
        told = self._told.pop(outcome.photon, None)
        if problem is None:
            line = "%s: %r generation %d -> %d, %.1f ms"
            path, number = self._short(outcome.file), outcome.generation
            _log.info(line, path, outcome.photon, before, number, seconds * 1e3)
            return
        self._told[outcome.photon] = problem
        path = self._short(problem.file or outcome.file)
        place = f"{path}:{problem.line}" if problem.line else path
        serving = f"generation {before} goes on" if before else "not loaded"
        # Refused photons are tried again with every change; that is said once.
        level = logging.DEBUG if told == problem else logging.ERROR
        line = "%s: %r %s: %s; %s"
        _log.log(level, line, place, outcome.photon, problem.what, problem.why, serving)

    def _short(self, path: str) -> str:
        short = os.path.relpath(path, self.directory)
        # A name that is not UTF-8 must not end a log file.
        return short.encode(errors="backslashreplace").decode()
