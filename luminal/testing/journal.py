"""All that happens in a host, and the wait for what a test expects of it.

In come events, from whatever thread; out comes the one that was waited for, or an
error: the one that it tells of, or that nothing of the kind happened in time.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from luminal.errors import PhotonTimeoutError
from luminal.model import EventKind
from luminal.testing.patience import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from luminal.model import Event

__all__ = ["Journal"]

_BAD = frozenset({EventKind.REJECTED, EventKind.FAILED, EventKind.ROLLED_BACK})
_SETTLED = frozenset({EventKind.STARTED, EventKind.SKIPPED, *_BAD})


class Journal:
    """Every event of a host, and those who wait for the next one.

    Attributes:
        events: From the first to the latest.
        mark: Events before this position are old news.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.mark = 0
        # Replaced as a whole: events come from several threads.
        self._wakes: tuple[Callable[[], object], ...] = ()

    def hear(self, event: Event) -> None:
        """Take *event* in, and wake who waits."""
        self.events.append(event)
        for wake in self._wakes:
            wake()

    def _news(self) -> list[tuple[int, Event]]:
        """Return the events since the mark, each with its position."""
        return list(enumerate(self.events))[self.mark :]

    @contextlib.contextmanager
    def _waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Call *wake* at each event, in the event's thread."""
        self._wakes = (*self._wakes, wake)
        try:
            yield
        finally:
            self._wakes = tuple(each for each in self._wakes if each is not wake)

    async def take(
        self,
        wanted: EventKind,
        photon: str,
        deadline: float,
        is_enough: Callable[[], bool] = lambda: True,
    ) -> Event:
        """Wait for an event since the mark, and set the mark behind it.

        Args:
            wanted: Which kind.
            photon: Name of the photon; empty for any.
            deadline: Seconds to wait.
            is_enough: Whether this one is the one, asked at each that fits.

        Raises:
            LuminalError: The photon has failed instead.
            PhotonTimeoutError: It did not happen in time.
        """

        def look() -> tuple[int, Event] | None:
            for position, event in self._news():
                if photon not in ("", event.photon):
                    continue
                if event.kind is wanted and is_enough():
                    return position, event
                if event.kind in _BAD and event.problem is not None:
                    return position, event
            return None

        found = await until(look, deadline, waking=self._waking)
        if found is None:
            subject = f"photon {photon!r}" if photon else "a photon"
            raise self._late(f"{subject} was not {wanted}", deadline)
        position, event = found
        self.mark = position + 1
        if event.kind is not wanted and event.problem is not None:
            raise event.problem.error(event.photon)
        return event

    async def all_settled(self, photons: Collection[str], deadline: float) -> None:
        """Wait until each of *photons* has been started, refused or left out.

        Raises:
            PhotonTimeoutError: That took too long.
        """
        awaited = set(photons)

        def look() -> bool | None:
            awaited.difference_update(
                event.photon for _, event in self._news() if event.kind in _SETTLED
            )
            return None if awaited else True

        if not await until(look, deadline, waking=self._waking):
            raise self._late(f"not all were started: {sorted(awaited)}", deadline)

    def _late(self, what: str, deadline: float) -> PhotonTimeoutError:
        news = "; ".join(str(event).splitlines()[0] for _, event in self._news())
        return PhotonTimeoutError(
            f"{what} within {deadline:g} seconds",
            why=f"since the latest edit: {news or 'nothing has happened'}",
            hint="is the new text another one, and does the host watch?",
        )
