"""What keeps an ended generation in memory is found and reported, by default.

A generation is garbage once nothing outside of it refers to it, and stays in memory
until Python's garbage collector comes by. So it is looked at some time after its end.
If a full collection has not freed it, something refers to it, and that is reported by
a ``leaked`` event, with file and line.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from luminal._running_loop import running_loop
from luminal.errors import PhotonStateError
from luminal.loading import namespaces_of
from luminal.model import Event, EventKind, Problem
from luminal.supervise import unowned

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from luminal.lifecycle._runtime import Events
    from luminal.loading import Generation
    from luminal.supervise import Leftover

__all__ = ["Survivors"]

PATIENCE = 1.0
"""Seconds after the end of a generation until it is looked at. Where one after another
ends, it is looked at all of them after the last one."""
_LONGEST = 60.0
"""Seconds until it is looked at in any case; and between two looks, at most, while
Python's own collection is waited for."""
_SMALL = 500_000
"""Memory blocks in use up to which we collect garbage ourselves: for 20 to 100 ms no
other thread runs then. A larger program waits for Python's own collections."""


def _full_collections() -> int:
    return int(gc.get_stats()[2]["collections"])


class _Ended:
    """A generation that has ended.

    Attributes:
        generation: A weak reference.
        photon, number, file: For the event.
        at: When it has ended, of the monotonic clock.
        collections: Number of full collections until its end.
    """

    def __init__(
        self, generation: weakref.ref[Generation], photon: str, number: int, file: str
    ) -> None:
        self.generation = generation
        self.photon = photon
        self.number = number
        self.file = file
        self.at: float = time.monotonic()
        self.collections: int = _full_collections()


class Survivors:
    """Looks after ended generations of one host until they are gone or reported.

    Args:
        events: Where it is reported.
    """

    def __init__(self, events: Events) -> None:
        self.events = events
        # Key → a weak reference to a generation that was replaced or has ended.
        self._replaced: dict[object, weakref.ref[Generation]] = {}
        self._ended: list[_Ended] = []
        self._is_due: bool = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: threading.Lock = threading.Lock()

    def note_replaced(self, generations: Iterable[Generation]) -> None:
        """Note that others serve instead; see `replaced`."""
        known = self._replaced
        for each in generations:
            forget = functools.partial(_forget, known, each.key)
            known[each.key] = weakref.ref(each, forget)

    def replaced(self) -> list[Generation]:
        """Return what was replaced or has ended, and is still in memory."""
        # Other threads add meanwhile, and the garbage collector removes.
        found = [reference() for reference in tuple(self._replaced.values())]
        return [generation for generation in found if generation is not None]

    def watch(self, generation: Generation, photon: str, file: str) -> None:
        """Look at *generation* later; nothing of it is kept.

        Args:
            generation: It has ended.
            photon: Name of the photon.
            file: Its file.
        """
        self.note_replaced([generation])
        one = _Ended(weakref.ref(generation), photon, generation.number, file)
        with self._lock:
            self._ended.append(one)
            is_lost = self._loop is not None and self._loop.is_closed()
            if self._is_due and not is_lost:
                return
            self._is_due = True
        self._loop = running_loop()
        if self._loop is None:
            self._begin(PATIENCE)
        else:
            with unowned():
                self._loop.call_later(PATIENCE, self._begin)

    def _begin(self, wait: float = 0.0, delay: float = PATIENCE) -> None:
        left = self._seconds_to_rest()
        if left > 0 and self._loop is not None:
            self._loop.call_later(left, self._begin, 0.0, delay)
            return
        # Not on the loop: it looks at every object of the program.
        with unowned():
            thread = threading.Thread(
                target=self._look, args=(wait, delay), name="luminal-leaks", daemon=True
            )
            thread.start()

    def _seconds_to_rest(self) -> float:
        """Return how long to wait, as the next generation may end in a moment."""
        with self._lock:
            if not self._ended:
                return 0.0
            first, last = self._ended[0].at, self._ended[-1].at
        return min(last + PATIENCE, first + _LONGEST) - time.monotonic()

    def _look(self, wait: float, delay: float) -> None:
        while wait > 0:
            time.sleep(wait)
            wait = self._seconds_to_rest()
        if not self._look_once(is_last=delay >= _LONGEST):
            return
        # It is looked at again: from the loop, or at the next end of a generation.
        again = functools.partial(self._begin, 0.0, min(2 * delay, _LONGEST))
        try:
            if self._loop is None:
                self._is_due = False
            else:
                self._loop.call_soon_threadsafe(self._loop.call_later, delay, again)
        except RuntimeError:  # the loop was closed
            self._is_due = False

    def _look_once(self, *, is_last: bool = False) -> bool:
        """Report what a full collection has left; return whether to look again.

        Args:
            is_last: Report also that of which nothing is found that refers to it.
        """
        until = time.monotonic() - PATIENCE  # what came later may still be letting go
        with self._lock:
            ended = [one for one in self._ended if one.at <= until]
            self._ended = [one for one in self._ended if one.at > until]
        alive = _alive(ended)
        if alive and sys.getallocatedblocks() < _SMALL:
            gc.collect()
            alive = _alive(alive)
            if alive:
                gc.collect()  # the first did nothing if another was under way
                alive = _alive(alive)
        # One that was under way at the end of a generation does not count.
        count = _full_collections() - 1
        by_photon: dict[str, list[_Ended]] = {}
        for one in alive:
            if one.collections < count:
                by_photon.setdefault(one.photon, []).append(one)
            else:
                with self._lock:
                    self._ended.append(one)
        for of_one in by_photon.values():
            referrers = _referrers_of(of_one)
            if referrers or is_last:
                self._report(of_one, referrers)
            else:  # code of it may just be running
                with self._lock:
                    self._ended += of_one
        with self._lock:
            self._is_due = bool(self._ended)
            return self._is_due

    def _report(self, alive: list[_Ended], referrers: tuple[Leftover, ...]) -> None:
        if all(one.generation() is None for one in alive):
            return
        import logging

        first = alive[0]
        what = "; ".join(map(str, referrers)) or "what refers to it was not found"
        where = referrers[0].where if referrers else ""
        file, _, line = where.rpartition(":")
        logging.getLogger("luminal.footprint").warning(
            "photon %r: code of generation %s is kept alive: %s",
            first.photon,
            ", ".join(str(one.number) for one in alive),
            what,
        )
        for one in alive:
            error = PhotonStateError(
                "its code is kept alive after the end",
                file=file or one.file,
                line=int(line) if line.isdigit() else None,
                why=what,
                hint="let the holder go in `finalize`, or hold a weak reference",
            )
            problem = Problem.of(error, "unload")
            self.events.emit(
                Event(
                    EventKind.LEAKED, one.photon, one.number, one.file, problem=problem
                )
            )


def _forget(known: dict[object, Any], key: object, _: object) -> None:
    known.pop(key, None)


def _alive(ended: list[_Ended]) -> list[_Ended]:
    return [one for one in ended if one.generation() is not None]


def _referrers_of(alive: list[_Ended]) -> tuple[Leftover, ...]:
    """Return what keeps the generations in *alive*; nothing here refers to them."""

    def namespaces() -> list[dict[str, Any]]:
        found = [one.generation() for one in alive]
        return namespaces_of([generation for generation in found if generation])

    from luminal.supervise import find_referrers

    return find_referrers(namespaces(), photon=alive[0].photon, is_thorough=True)
