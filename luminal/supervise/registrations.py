"""Registrations that outlive their photon unless somebody takes them back.

Wrappers around `atexit.register`, `logging.Logger.addHandler` and `signal.signal`,
and the belongings they leave with their owner.
"""

from __future__ import annotations

import atexit
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import attrs

from luminal.supervise.belongings import Belonging
from luminal.supervise.owners import find_owner

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

__all__ = ["add_handler", "atexit_register", "set_signal"]


@attrs.define(eq=False)
class OwnedExitFunction(Belonging):
    """A function that was registered with `atexit`."""

    kind = "atexit"
    _is_there: bool = True

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.thing, "__qualname__", repr(self.thing))

    def is_alive(self) -> bool:
        """Whether it would be called at exit, as far as we know."""
        return self._is_there

    def ask(self) -> None:
        """Take it back."""
        atexit.unregister(self.thing)
        self._is_there = False


@attrs.define(eq=False)
class OwnedLogHandler(Belonging):
    """A handler that was added to a logger."""

    kind = "logging"
    logger: logging.Logger = attrs.field(kw_only=True)

    @property
    def name(self) -> str:
        """The handler and its logger."""
        return f"{self.thing!r} of {self.logger.name!r}"

    def is_alive(self) -> bool:
        """Whether it is still there."""
        return self.thing in self.logger.handlers

    def ask(self) -> None:
        """Remove and close it."""
        self.logger.removeHandler(self.thing)
        self.thing.close()


@attrs.define(eq=False)
class OwnedSignal(Belonging):
    """A handler of a signal."""

    kind = "signal"
    why = "only the main thread may put the old handler back"
    number: int = attrs.field(kw_only=True)
    before: Any = attrs.field(kw_only=True)
    # The record of the handler that this one replaced, where a photon had set it.
    previous: OwnedSignal | None = attrs.field(kw_only=True)

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.number).name

    def is_alive(self) -> bool:
        """Whether it is the present handler, or what a later one would put back."""
        return self._is_present() or self._later() is not None

    def _is_present(self) -> bool:
        return signal.getsignal(self.number) is self.thing

    def _later(self) -> OwnedSignal | None:
        """Return the record that was made after this one, if that one holds it."""
        later = _latest.get(self.number)
        while later is not None and later.previous is not self:
            later = later.previous
        return later

    def ask(self) -> None:
        """Put the handler back that was there before, now or when a later one goes."""
        later = self._later()
        if later is not None:
            later.before, later.previous = self.before, self.previous
        elif self._is_present():
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(self.number, self.before)
                _latest.pop(self.number, None)
                if self.previous is not None:
                    _latest[self.number] = self.previous


# Signal → the record of the handler that a photon set last.
_latest: dict[int, OwnedSignal] = {}


def atexit_register(register: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `atexit.register`."""

    def wrapper(function: Any, /, *args: Any, **kwargs: Any) -> Any:
        result = register(function, *args, **kwargs)
        owner = find_owner()
        # The standard library's own outlive any photon, and must.
        if owner is not None and not _is_of_library(function):
            owner.adopt(OwnedExitFunction(function))
        return result

    return wrapper


def _is_of_library(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in {
        "concurrent",
        "logging",
        "luminal",
        "multiprocessing",
        "weakref",
    }


def add_handler(add: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `logging.Logger.addHandler`."""

    def wrapper(self: logging.Logger, hdlr: logging.Handler) -> None:
        add(self, hdlr)
        owner = find_owner()
        if owner is not None:
            owner.adopt(OwnedLogHandler(hdlr, logger=self))

    return wrapper


def set_signal(set_: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `signal.signal`."""

    def wrapper(signalnum: int, handler: Any) -> Any:
        before = set_(signalnum, handler)
        owner = find_owner()
        if owner is not None:
            known = _latest.get(signalnum)
            previous = known if known is not None and known.thing is before else None
            owned = _latest[signalnum] = OwnedSignal(
                handler, number=signalnum, before=before, previous=previous
            )
            owner.adopt(owned)
        return before

    return wrapper
