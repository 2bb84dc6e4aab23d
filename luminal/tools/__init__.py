"""Front desk: the small tools that come with the host's side."""

from __future__ import annotations

from luminal.tools.logger import Logger
from luminal.tools.sentinel import Sentinel
from luminal.tools.system import SystemUtils

__all__ = ["Logger", "Sentinel", "SystemUtils"]
