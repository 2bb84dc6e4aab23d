"""Small helpers around the running system."""

from __future__ import annotations

import os
import platform
import sys

__all__ = ["SystemUtils"]


class SystemUtils:
    """A named place for helpers; nothing to instantiate."""

    @staticmethod
    async def continue_async(seconds: float = 0.0) -> None:
        """Let everything else on the event loop run for *seconds*, then go on."""
        import asyncio

        await asyncio.sleep(seconds)

    @staticmethod
    def describe() -> dict[str, str]:
        """Return interpreter, platform and process, as texts for a report.

        Example:
            >>> sorted(SystemUtils.describe())
            ['implementation', 'pid', 'platform', 'python']
        """
        return {
            "python": platform.python_version(),
            "implementation": sys.implementation.name,
            "platform": sys.platform,
            "pid": str(os.getpid()),
        }
