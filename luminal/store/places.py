"""Where Luminal keeps what it may lose: the cache directory of this user."""

from __future__ import annotations

import os
import sys

__all__ = ["cache_directory"]


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
    own = os.environ.get("LUMINAL_CACHE_DIR", "")
    if os.path.isabs(own):
        return own
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):
        return os.path.join(shared, "luminal")
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return os.path.join(local, "luminal", "Cache") if local else None
    caches = "Library/Caches" if sys.platform == "darwin" else ".cache"
    home = os.path.expanduser("~")
    return os.path.join(home, caches, "luminal") if os.path.isabs(home) else None
