"""Tools for tests of photons: a host of their own, edits of files, a fake clock.

The fixtures for pytest are in `luminal.testing.pytest_plugin`. They are active only
where a ``conftest.py`` says ``pytest_plugins = ["luminal.testing.pytest_plugin"]``.
"""

from __future__ import annotations

from luminal.testing.clock import FakeClock
from luminal.testing.files import Folder, Save, save
from luminal.testing.host import AsyncHost, Host
from luminal.testing.leaks import Leak

__all__ = ["AsyncHost", "FakeClock", "Folder", "Host", "Leak", "Save", "save"]
