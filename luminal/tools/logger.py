"""Standard logging with two more words: `Logger.note` and `Logger.success`."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["NOTE", "SUCCESS", "Logger"]

NOTE = 22
"""Level of what is worth reading, between INFO and WARNING."""
SUCCESS = 25
"""Level of what went well, between NOTE and WARNING."""


class Logger(logging.LoggerAdapter[logging.Logger]):
    """The standard logger of that name, with `note` and `success`.

    Everything else is that of `logging`: levels, handlers, filters, propagation.

    Args:
        name: Name of the logger.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})
        logging.addLevelName(NOTE, "NOTE")
        logging.addLevelName(SUCCESS, "SUCCESS")

    def note(self, message: object, *args: object, **kwargs: Any) -> None:
        """Log *message* at the level `NOTE`."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        self.log(NOTE, message, *args, **kwargs)

    def success(self, message: object, *args: object, **kwargs: Any) -> None:
        """Log *message* at the level `SUCCESS`."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        self.log(SUCCESS, message, *args, **kwargs)
