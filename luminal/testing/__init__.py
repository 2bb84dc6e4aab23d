"""The test kit: what a photon's author needs to test a photon.

In come a photon's files, out come answers: what it does in a host of its own, what
becomes of it when it is edited, and what it leaves behind. It is part of nobody's test
run who does not ask for it: ``pytest_plugins = ["luminal.testing.plugin"]``.
"""

from __future__ import annotations

from luminal.testing.clock import FakeClock
from luminal.testing.folder import Folder
from luminal.testing.host import AsyncHost
from luminal.testing.leaks import Leak
from luminal.testing.saving import Save, save
from luminal.testing.sync import Host

__all__ = ["AsyncHost", "FakeClock", "Folder", "Host", "Leak", "Save", "save"]
