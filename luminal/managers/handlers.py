"""The list of Handlers that loading returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.errors import LuminalError, PhotonBatchError
from luminal.model import Outcome, Problem, Report, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.lifecycle import Handler

__all__ = ["Handlers", "start_all"]


class Handlers(list["Handler"]):
    """Handlers of photons that were loaded together.

    Args:
        handlers: In load order.
        suppress_errors: Whether `start` logs failures instead of raising them.
    """

    def __init__(
        self, handlers: Iterable[Handler] = (), *, suppress_errors: bool = False
    ) -> None:
        super().__init__(handlers)
        self._suppress_errors = suppress_errors

    async def start(self) -> None:
        """Start all of them in order; a failure keeps no other from being started.

        Raises:
            PhotonStartError: One could not be started; it has been finalized.
            PhotonTimeoutError: One passed its deadline; likewise.
            PhotonBatchError: Several failed.
        """
        errors = await _start_each(self)
        if not errors:
            return
        if self._suppress_errors:
            import logging

            for error in errors.values():
                logging.getLogger("luminal.loader").error("%s", error)
        elif len(errors) == 1:
            raise next(iter(errors.values()))
        else:
            raise PhotonBatchError(
                "several photons could not be started", [*errors.values()]
            )


async def _start_each(handlers: Iterable[Handler]) -> dict[str, LuminalError]:
    errors: dict[str, LuminalError] = {}
    for handler in handlers:
        try:
            await handler.start()
        except LuminalError as error:
            errors[handler.name] = error
    return errors


async def start_all(handlers: Iterable[Handler]) -> Report:
    """Start *handlers* in order, and report what became of each."""
    handlers = list(handlers)
    errors = await _start_each(handlers)
    outcomes = []
    for handler in handlers:
        error = errors.get(handler.name)
        outcomes.append(
            Outcome(
                handler.name,
                Verdict.LOADED if error is None else Verdict.FAILED,
                handler.candidate.origin if handler.candidate is not None else "",
                handler.filepath,
                handler.number,
                Problem.of(error, "start") if error is not None else None,
            )
        )
    return Report(tuple(outcomes))
