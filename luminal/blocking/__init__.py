"""The front desk for programs without an event loop: every order is a plain call.

In come the orders that `luminal.Loader` takes, out come their answers. A loop on a
thread of its own carries them out, and goes on between them, so that what photons
start there lives.
"""

from __future__ import annotations

from luminal.blocking.handler import PlainHandler, PlainHandlers
from luminal.blocking.loader import Loader

__all__ = ["Loader", "PlainHandler", "PlainHandlers"]
