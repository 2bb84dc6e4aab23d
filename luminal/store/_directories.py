"""Where a user's files of Luminal are: what may be lost, and what may not."""

from __future__ import annotations

import os
import sys

__all__ = ["cache_directory", "state_directory"]


def cache_directory() -> str | None:
    r"""Return the directory for caches, whether it exists or not.

    The first that is set of ``$LUMINAL_CACHE_DIR``, ``$XDG_CACHE_HOME/luminal`` and
    the platform's own place (``~/.cache/luminal``, on macOS
    ``~/Library/Caches/luminal``, on Windows ``%LOCALAPPDATA%\luminal\Cache``). A
    relative path in a variable is ignored, as the XDG base directory
    specification asks for.

    Returns:
        An absolute path, or None for a user without a home directory.
    """
    return _directory("CACHE", ".cache", "Library/Caches")


def state_directory() -> str | None:
    r"""Return the directory for state that outlives the process, existing or not.

    The first that is set of ``$LUMINAL_STATE_DIR``, ``$XDG_STATE_HOME/luminal`` and
    the platform's own place (``~/.local/state/luminal``, on macOS
    ``~/Library/Application Support/luminal``, on Windows
    ``%LOCALAPPDATA%\luminal\State``). Otherwise it is as for `cache_directory`.

    Returns:
        An absolute path, or None for a user without a home directory.
    """
    return _directory("STATE", ".local/state", "Library/Application Support")


def _directory(kind: str, place: str, mac_place: str) -> str | None:
    own = os.environ.get(f"LUMINAL_{kind}_DIR", "")
    if os.path.isabs(own):
        return own
    shared = os.environ.get(f"XDG_{kind}_HOME", "")
    if os.path.isabs(shared):
        return os.path.join(shared, "luminal")
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return os.path.join(local, "luminal", kind.title()) if local else None
    home = os.path.expanduser("~")
    place = mac_place if sys.platform == "darwin" else place
    return os.path.join(home, place, "luminal") if os.path.isabs(home) else None
