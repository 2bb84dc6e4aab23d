"""Events as records of the standard `logging` module."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from luminal.model import Happening

if TYPE_CHECKING:
    from luminal.lifecycle import Events
    from luminal.model import Event

__all__ = ["log_events"]

_LEVELS = {
    Happening.SKIPPED: logging.WARNING,
    Happening.REFUSED: logging.ERROR,
    Happening.FAILED: logging.ERROR,
}
_logger = logging.getLogger("luminal.loader")


def log_events(events: Events) -> None:
    """Log each of *events* from now on, by the logger ``luminal.loader``."""

    def log(event: Event) -> None:
        level = _LEVELS.get(event.happening, logging.INFO)
        _logger.log(level, "%s", event)

    events.subscribe(log)
