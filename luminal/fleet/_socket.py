"""The socket of a local fleet: where it is, and what is said over it.

One line of JSON is one message. The first line tells who speaks:

- ``{"member": {...}, "life": ...}``: a worker; messages of the fleet follow in both
  directions, and ``{"figures": ...}`` for canaries. ``{"refused": {...}}`` tells it
  why it cannot be a member.
- ``{"ask": "status" | "history" | "swap" | "roll-back" | "recover", ...}``: anybody of
  the same user; ``swap`` has ``source`` and ``options``, ``roll-back`` has ``unit``,
  ``recover`` has ``sources``, and each may say ``by``. The answer is
  ``{"answer": ...}`` or ``{"error": {...}}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

import attrs

from luminal._forks import begin_anew_in_forks
from luminal.errors import FleetError, LuminalError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LIMIT",
    "PathLike",
    "Peer",
    "absolute",
    "as_fleet_error",
    "check_private",
    "fleet_directory",
    "leave_to_parent",
    "local_fleets",
    "make_private",
    "plain_error",
    "socket_path",
]

PathLike = str | os.PathLike[str]

LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one line at most; a line of a fleet has some hundred."""

_BUFFER: Final = 1024 * 1024
"""Bytes that wait for a process which does not read; what comes then is lost."""


# --- Where things are ----------------------------------------------------------------


def _check(name: Any) -> None:
    is_text = isinstance(name, str) and bool(name)
    if not is_text or name in (".", "..") or any(c in name for c in "/\\\0"):
        raise FleetError(f"{name!r} is no name of a fleet", why="it is no file's name")


def fleet_directory(name: str) -> str:
    """Return where a local fleet keeps its journal and its bundles.

    Args:
        name: Of the fleet.

    Raises:
        FleetError: There is no directory for state, or the name is none.
    """
    from luminal.store import state_directory

    _check(name)
    state = state_directory()
    if state is None:
        raise FleetError(
            f"the fleet {name!r} has no place for its journal",
            why="this user has no home directory",
            hint="set LUMINAL_STATE_DIR, or name a journal",
        )
    return os.path.join(state, "fleet", name)


_PREFIX: Final = "fleet-"


def socket_path(name: str) -> str:
    """Return the path of a fleet's socket, which is short enough for the system.

    Args:
        name: Of the fleet.

    Raises:
        FleetError: The name is none.
    """
    from luminal.managers._client import socket_directory

    _check(name)
    path = os.path.join(socket_directory(), f"{_PREFIX}{name}.sock")
    if len(os.fsencode(path)) < 100:  # the system allows 104 to 108 bytes
        return path
    short = hashlib.sha256(os.fsencode(name)).hexdigest()[:24]
    path = os.path.join(socket_directory(), f"{_PREFIX}{short}.sock")
    if len(os.fsencode(path)) > 104:
        raise FleetError(
            "the socket of the fleet cannot be used",
            file=path,
            why="the system allows no path of this length for a socket",
            hint="set LUMINAL_RUNTIME_DIR to a shorter path",
        )
    return path


def local_fleets() -> list[str]:
    """Return the names of local fleets that have a socket, which may be stale."""
    from luminal.managers._client import socket_directory

    try:
        names = os.listdir(socket_directory())
    except OSError:
        return []
    return sorted(
        name[len(_PREFIX) : -5]
        for name in names
        if name.startswith(_PREFIX) and name.endswith(".sock")
    )


def make_private(directory: str) -> None:
    """Make a directory for sockets, and check it.

    Raises:
        FleetError: It is open to others.
        OSError: It cannot be made.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    check_private(directory)


def check_private(directory: str) -> None:
    """Trust a socket's directory only where no other user can put a socket.

    Raises:
        FleetError: It is open to others.
        OSError: It does not exist.
    """
    about = os.lstat(directory)
    if about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise FleetError(
            "the socket of the fleet cannot be used",
            file=directory,
            why="that directory is open to other users",
            hint=f"chmod 700 {directory}",
        )


def absolute(source: PathLike) -> str:
    """Return a source as it is called in every directory."""
    path = os.path.abspath(os.fspath(source))
    return path if os.path.exists(path) else os.fspath(source)


# --- Lines ---------------------------------------------------------------------------


def leave_to_parent(descriptor: int) -> None:
    """Let a forked child not keep a socket open: others see when the parent ends.

    The number stays in use, as an object of the parent's loop is to close it.
    """
    if descriptor >= 0:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, descriptor, inheritable=False)
        os.close(null)


@attrs.define(eq=False)
class Peer:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    has_ended: asyncio.Event = attrs.Factory(asyncio.Event)

    def __attrs_post_init__(self) -> None:
        begin_anew_in_forks(self)

    def send(self, data: bytes) -> None:
        """Send a line, without waiting; what its buffer has no room for is lost."""
        transport = self.writer.transport
        if not transport.is_closing() and transport.get_write_buffer_size() < _BUFFER:
            self.writer.write(data + b"\n")

    def say(self, values: Mapping[str, Any]) -> None:
        """Send values of JSON."""
        self.send(json.dumps(values).encode())

    async def line(self) -> bytes:
        """Return the next line, without its end; empty at the end of them."""
        try:
            line = await self.reader.readline()
        except (OSError, ValueError):  # it is gone, or says too much
            return b""
        return line.removesuffix(b"\n") if line.endswith(b"\n") else b""

    async def heard(self) -> dict[str, Any]:
        """Return the values of the next line; empty at the end, or of no sense."""
        with contextlib.suppress(ValueError):
            values = json.loads(await self.line() or b"{}")
            if isinstance(values, dict):
                return values
        return {}

    def begin_anew(self) -> None:
        """Leave the connection to the parent, in a process that was forked."""
        leave_to_parent(self.writer.get_extra_info("socket").fileno())

    def close(self) -> None:
        """End the connection."""
        self.writer.close()


def plain_error(error: BaseException) -> dict[str, Any]:
    """Return *error* as values of JSON, of which `FleetError` can be made again."""
    if type(error) is ValueError:  # of a wrong argument
        return {"what": str(error)}
    if not isinstance(error, LuminalError):
        return {"what": f"{type(error).__name__}: {error}"}
    keys = ("what", "photon", "file", "line", "why", "hint")
    return {key: getattr(error, key) for key in keys if getattr(error, key) is not None}


def as_fleet_error(error: LuminalError) -> FleetError:
    """Return *error* as whoever asks gets it."""
    return error if isinstance(error, FleetError) else FleetError(**plain_error(error))
