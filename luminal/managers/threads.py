"""Front desk: threads that can be halted, and their manager."""

from __future__ import annotations

from luminal.supervise import ThreadManager, TracedThread

__all__ = ["ThreadManager", "TracedThread"]
