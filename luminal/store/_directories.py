"""The directory for what must last: what was accepted, what was measured."""

from __future__ import annotations

import os
import sys

__all__ = ["state_directory"]


def state_directory() -> str | None:
    r"""Return the directory for state that outlives the process, existing or not.

    The first that is set of ``$LUMINAL_STATE_DIR``, ``$XDG_STATE_HOME/luminal`` and
    the platform's own place (``~/.local/state/luminal``, on macOS
    ``~/Library/Application Support/luminal``, on Windows
    ``%LOCALAPPDATA%\luminal\State``). A relative path in a variable is ignored, as the
    XDG base directory specification asks for.

    Returns:
        An absolute path, or None for a user without a home directory.
    """
    own = os.environ.get("LUMINAL_STATE_DIR", "")
    if os.path.isabs(own):
        return own
    shared = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(shared):
        return os.path.join(shared, "luminal")
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return os.path.join(local, "luminal", "State") if local else None
    mac = sys.platform == "darwin"
    place = "Library/Application Support" if mac else ".local/state"
    home = os.path.expanduser("~")
    return os.path.join(home, place, "luminal") if os.path.isabs(home) else None
