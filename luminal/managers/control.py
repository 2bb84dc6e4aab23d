"""`Control`: commands of the user reach a running host through a Unix socket.

Each connection carries one request and one answer, each of them a line of JSON. The
requests are ``status``, ``report``, ``history``, ``cpu``, ``log``, ``reload``,
``unload``, ``disable`` and ``enable``. Only the user who runs the host can connect: the
directory has mode 0700, the socket 0600. A request names photons; nothing of it is ever
executed. Where the host asks for a second factor, the answer to a request that changes
something is a ``challenge``; the request is repeated with its ``answer``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import attrs

from luminal._plain import to_json
from luminal.errors import LuminalError, PhotonBatchError, PhotonNotFoundError
from luminal.managers._client import socket_directory, socket_of, speak
from luminal.managers._guard import OPERATIONS, OperationGuard
from luminal.managers.status import keep_records, log_of, report_of, status_of
from luminal.model import Outcome, Problem
from luminal.reload import LoopRunner
from luminal.supervise import unowned

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from luminal.managers._guard import Permit
    from luminal.managers.loader import Loader

__all__ = ["Control"]

_LIMIT = 2**16
"""Bytes that a request may have."""

_DEADLINE = 10.0
"""Seconds within which a client has to send its request."""


@attrs.define(eq=False)
class Control:
    """Answers ``luminal top``, ``reload``, ``unload``, ``log`` and others.

    As soon as it exists, the latest records of photons' loggers are kept for ``log``.

    Args:
        loader: Of the host.
    """

    loader: Loader
    _guard: OperationGuard = attrs.field(init=False)
    # None while it does not listen.
    _socket: socket.socket | None = attrs.field(init=False, default=None)
    _path: str = attrs.field(init=False, default="")
    _runner: LoopRunner = attrs.field(init=False, factory=LoopRunner)
    _thread: threading.Thread | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        keep_records()
        self._guard = OperationGuard(self.loader, "socket")

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> str:
        """Listen, on a background thread.

        Args:
            loop: The running loop, for reloads as long as it runs.

        Returns:
            The path of the socket.

        Raises:
            OSError: The socket cannot be made.
        """
        path = socket_of(os.getpid())
        os.makedirs(socket_directory(), mode=0o700, exist_ok=True)
        about = os.lstat(socket_directory())
        if about.st_uid != os.getuid() or about.st_mode & 0o077:
            raise PermissionError(f"{socket_directory()!r} is open to other users")
        if speak(path, {"ask": "ping"}) is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # of an earlier process with the same number
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen()
        except BaseException:
            listener.close()
            raise
        self._socket, self._path = listener, path
        self._runner.use(loop)
        self._thread = threading.Thread(
            target=self._serve, args=(listener,), name="luminal-control", daemon=True
        )
        with unowned():
            self._thread.start()
        return path

    def halt(self) -> None:
        """Cancel what was asked for and is under way."""
        self._runner.halt()

    def stop(self) -> None:
        """Stop listening; a reload under way is finished."""
        listener, self._socket = self._socket, None
        if listener is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as wakeup:
            # The thread returns from `accept`, and finds that it has to end. It may
            # have found that already, so nothing is sent and no answer awaited.
            wakeup.settimeout(1.0)
            wakeup.connect(self._path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        listener.close()
        self._runner.close()

    def _serve(self, listener: socket.socket) -> None:
        while self._socket is listener:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            if self._socket is not listener:
                connection.close()
                return
            threading.Thread(
                target=self._talk,
                args=(connection,),
                name="luminal-control-talk",
                daemon=True,
            ).start()

    def _talk(self, connection: socket.socket) -> None:
        """Answer one request. No request can harm the host."""
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_DEADLINE)
            with connection.makefile("rb") as file:
                line = file.readline(_LIMIT)
            connection.settimeout(None)
            try:
                answer = self._answer(json.loads(line))
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                answer = {"refused": f"not understood: {error}"}
            except CancelledError:
                answer = {"refused": "the host is being stopped"}
            connection.sendall(to_json(answer).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        ask = request.get("ask")
        if ask == "status":
            return status_of(self.loader)
        if ask == "report":
            return report_of(self.loader)
        if ask == "history":
            history = self.loader._history  # noqa: SLF001 - its own package
            if history is not None:
                history.write()
            return {"history": self.loader.history}
        if ask == "cpu":
            from luminal.metrics import sample_cpu

            seconds, hertz = request.get("seconds", 1), request.get("hertz", 50)
            return attrs.asdict(sample_cpu(self.loader, float(seconds), float(hertz)))
        names = [str(name) for name in request.get("photons", ())]
        if ask == "reload" and "files" in request:  # and those that use them
            found = [self.loader.photons_using(str(f)) for f in request["files"]]
            names = [*dict.fromkeys([*names, *(n for of in found for n in of)])]
            if not names:
                return {"photons": []}
        approved: Mapping[str, str] | None = None
        if ask in OPERATIONS:
            held = self._hold(str(ask), names, request)
            if isinstance(held, dict):
                return held
            approved = held.files
            if ask == "reload":
                answer: dict[str, Any] = self._runner.run(
                    lambda: self._reload(names, approved)
                )
                return answer
        if ask == "log":
            return log_of(self.loader, str(request.get("photon") or ""))
        if ask in ("unload", "disable", "enable"):
            changed: dict[str, Any] = self._runner.run(
                lambda: self._switch(str(ask), names, approved)
            )
            return changed
        return {"pid": os.getpid()} if ask == "ping" else {"refused": "unknown request"}

    def _hold(
        self, ask: str, names: list[str], request: dict[str, Any]
    ) -> dict[str, Any] | Permit:
        """Return what to answer to who may not do this yet, or what he may do."""
        answer = request.get("answer")
        try:
            permit = self._guard.hold(
                ask, names, answer if isinstance(answer, dict) else None
            )
        except LuminalError as error:
            return {"photons": [], "failures": _failures(error, ask)}
        if permit.challenge is not None:
            return {"photons": [], "challenge": permit.challenge}
        return permit

    async def _switch(
        self, ask: str, names: list[str], approved: Mapping[str, str] | None
    ) -> dict[str, Any]:
        """Unload, disable or enable photons, and report."""
        loader = self.loader
        known = list(loader.disabled if ask == "enable" else loader.photons)
        before = loader.photons
        numbers = {name: handler.number for name, handler in before.items()}
        failures: list[dict[str, Any]] = []
        try:
            if ask == "enable":
                await loader._enable(names or known, approved)  # noqa: SLF001 - likewise
            elif ask == "disable":
                await loader.disable_photons(names)
            else:
                await loader.unload_photons(names)
        except LuminalError as error:
            if isinstance(error, PhotonNotFoundError) and not {*names} <= {*known}:
                return {"photons": [], "unknown": True, "known": known}
            failures = _failures(error, ask)
        after = loader.photons
        changed = {n: h for n, h in {**before, **after}.items() if n not in before}
        changed |= {name: h for name, h in before.items() if name not in after}
        rows = [
            {
                "photon": name,
                "file": handler.filepath,
                "generation": numbers.get(name, handler.number),
                "state": str(handler.state) if name in after else "unloaded",
                "problem": _plain(handler.problem),
            }
            for name, handler in changed.items()
        ]
        return {"photons": rows, "failures": failures}

    async def _reload(
        self, names: list[str], approved: Mapping[str, str] | None
    ) -> dict[str, Any]:
        """Reload photons, or without names all of them, and report."""
        before = self.loader.report
        policy = "all" if names else "component"
        failures: list[dict[str, Any]] = []
        known = list(self.loader.photons)
        try:
            await self.loader._reload(  # noqa: SLF001 - its own package
                names or known,
                policy,  # type: ignore[arg-type]
                approved,
            )
        except PhotonNotFoundError:
            return {"photons": [], "unknown": True, "known": known}
        except LuminalError as error:
            failures = _failures(error, "reload")
        old = set(map(id, before))
        new = [outcome for outcome in self.loader.report if id(outcome) not in old]
        return {"photons": list(map(self._row, new)), "failures": failures}

    def _row(self, outcome: Outcome) -> dict[str, Any]:
        handler = self.loader.photons.get(outcome.photon)
        state = str(handler.state) if handler is not None else "unloaded"
        return {**attrs.asdict(outcome), "state": state}


def _failures(error: LuminalError, phase: str) -> list[dict[str, Any]]:
    """Return what *error* says of each photon; a group has an error for each."""
    errors = error.exceptions if isinstance(error, PhotonBatchError) else (error,)
    return [
        {"photon": each.photon, "problem": attrs.asdict(Problem.of(each, phase))}
        for each in errors
        if isinstance(each, LuminalError)
    ]


def _plain(problem: Problem | None) -> dict[str, Any] | None:
    return attrs.asdict(problem) if problem is not None else None
