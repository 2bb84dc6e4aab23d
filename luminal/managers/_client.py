"""How a program of the same user finds running hosts, and asks them.

A host that offers a `luminal.managers.Control` has a Unix socket in one directory. A
command line that only asks does not import what a host needs.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from typing import Any

__all__ = ["socket_directory", "socket_of", "sockets", "speak"]


def socket_directory() -> str:
    """Return the directory of sockets, whether it exists or not.

    The first that is set of ``$LUMINAL_RUNTIME_DIR``, ``$XDG_RUNTIME_DIR/luminal``,
    and ``luminal-<uid>`` in the directory for temporary files.
    """
    own = os.environ.get("LUMINAL_RUNTIME_DIR", "")
    if os.path.isabs(own):
        return own
    shared = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(shared):
        return os.path.join(shared, "luminal")
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return os.path.join(tempfile.gettempdir(), f"luminal-{user}")


def socket_of(pid: int) -> str:
    """Return the path of the socket of the process *pid*."""
    return os.path.join(socket_directory(), f"{pid}.sock")


def sockets() -> dict[int, str]:
    """Return pid → path of the sockets in the directory, stale ones included."""
    try:
        names = os.listdir(socket_directory())
    except OSError:
        return {}
    stems = sorted(
        int(name[:-5])
        for name in names
        if name.endswith(".sock") and name[:-5].isdecimal()
    )
    return {pid: socket_of(pid) for pid in stems}


def speak(
    path: str, request: dict[str, Any], deadline: float | None = 5.0
) -> dict[str, Any] | None:
    """Send *request*, and return the answer; None where no host is listening.

    Args:
        path: Path of the socket.
        request: Values of JSON.
        deadline: Seconds to wait for each part of the answer; None for no limit.

    Raises:
        TimeoutError: A host is listening, and does not answer.
    """
    if not hasattr(socket, "AF_UNIX"):
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(deadline)
        try:
            connection.connect(path)
        except TimeoutError:
            raise
        except OSError:
            return None
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as file:
                answer = json.loads(file.readline())
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return None  # the host ended before it had answered
        return answer if isinstance(answer, dict) else None
