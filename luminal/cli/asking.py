"""Which running host is asked, and how: what `reload` and `top` share."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from luminal.errors import HostNotRunningError
from luminal.managers.control import socket_of, sockets, speak

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.cli.exits import Exit

__all__ = ["answer_of", "asking", "complete_running"]


def asking(function: Callable[..., Exit]) -> Callable[..., Exit]:
    """Give a verb the option ``--host PID``, as ``host``."""
    option: Any = click.option(
        "--host",
        type=int,
        metavar="PID",
        help="The process to ask, where several hosts run.",
    )

    @functools.wraps(function)
    def asked(host: int | None, **others: Any) -> Exit:
        return function(host=host, **others)

    made: Callable[..., Exit] = option(asked)
    return made


def answer_of(
    host: int | None, request: dict[str, Any], deadline: float | None = 5.0
) -> dict[str, Any]:
    """Ask the running host, and return what it answers.

    Args:
        host: Its process; None for the only one that runs.
        request: What to ask; a host of an earlier version may refuse a ``report``.
        deadline: Seconds to wait, None without a limit.

    Raises:
        HostNotRunningError: None runs, or it does not answer.
        click.UsageError: Several run, and none was chosen.
    """
    if host is None:
        host = _only_one()
    try:
        answer = speak(socket_of(host), request, deadline)
    except TimeoutError:
        raise HostNotRunningError(
            f"the host {host} does not answer",
            why=f"it was silent for {deadline} s",
            hint="look what it does; perhaps its process is stopped",
        ) from None
    if answer is None:
        raise HostNotRunningError(
            f"no host listens in process {host}",
            file=socket_of(host),
            hint="start one with luminal run or luminal watch",
        )
    if "refused" in answer and request["ask"] != "report":
        raise HostNotRunningError(
            f"the host {host} does not understand",
            why=str(answer["refused"]),
            hint="ask with the luminal of the host's own version",
        )
    return answer


def _only_one() -> int:
    running = [pid for pid, path in sockets().items() if _is_there(path)]
    if not running:
        raise HostNotRunningError(
            "no host runs here",
            why="nobody listens in the directory of sockets",
            hint="start one with luminal run or luminal watch",
        )
    if len(running) > 1:
        pids = ", ".join(map(str, running))
        raise click.UsageError(f"Several hosts run ({pids}); choose one with --host.")
    return running[0]


def _is_there(path: str) -> bool:
    """Whether somebody listens; who is too busy to answer is there."""
    try:
        return speak(path, {"ask": "ping"}) is not None
    except TimeoutError:
        return True


def complete_running(
    ctx: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's
    incomplete: str,
) -> list[str]:
    """Complete the names of photons that run in the host."""
    try:
        answer = answer_of(ctx.params.get("host"), {"ask": "status"}, 1.0)
    except (HostNotRunningError, click.UsageError):
        return []
    names = [str(photon["name"]) for photon in answer.get("photons", ())]
    return [name for name in names if name.startswith(incomplete)]
