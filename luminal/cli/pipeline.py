"""The pipeline of ``luminal demo``: a thread that never stops feeding a hook.

Comes in: a host whose photons answer ``on_record``. Goes out: how many records were
fed, and what became of each of them.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from luminal.managers import Loader

__all__ = ["Count", "Pipeline"]


@attrs.frozen
class Count:
    """What became of the records.

    Attributes:
        fed: How many were handed to the hook.
        lost: How many no photon has stored.
        doubled: How many were stored more than once.
        failed: How many calls raised.
        by_scale: Scale → how many were stored in it.
    """

    fed: int
    lost: int
    doubled: int
    failed: int
    by_scale: dict[str, int]


@attrs.define(eq=False)
class Pipeline:
    """Feeds one record after the other, without a pause, on a thread of its own.

    Args:
        loader: The host that is fed.
    """

    loader: Loader
    # Written by the feeding thread, read by others when they hold the condition.
    _stored: list[tuple[int, str]] = attrs.field(init=False, factory=list)
    _fed: int = attrs.field(init=False, default=0)
    _failed: int = attrs.field(init=False, default=0)
    _is_over: bool = attrs.field(init=False, default=False)
    _news: Any = attrs.field(init=False, factory=threading.Condition)
    _thread: threading.Thread | None = attrs.field(init=False, default=None)

    def start(self) -> None:
        """Begin to feed."""
        self._thread = threading.Thread(target=self._feed, name="demo-pipeline")
        self._thread.start()

    def _feed(self) -> None:
        while not self._is_over:
            number = self._fed
            answer = None
            try:
                answer = self.loader.hook.on_record(
                    number=number, celsius=number % 40 / 1.0
                )
            except Exception:  # noqa: BLE001 - whatever fails is counted
                self._failed += 1
            with self._news:
                self._fed += 1
                if answer is not None:
                    self._stored.append(answer)
                self._news.notify_all()

    def wait_for(self, more: int, deadline: float = 30.0) -> bool:
        """Wait until *more* records have been fed; return whether they were.

        Args:
            more: How many, from now on.
            deadline: Seconds to wait at most.
        """
        with self._news:
            goal = self._fed + more
            return bool(self._news.wait_for(lambda: self._fed >= goal, deadline))

    def stop(self) -> Count:
        """End the feeding, and count."""
        self._is_over = True
        if self._thread is not None:
            self._thread.join()
        times = Counter(number for number, _ in self._stored)
        return Count(
            fed=self._fed,
            lost=self._fed - len(times),
            doubled=sum(1 for count in times.values() if count > 1),
            failed=self._failed,
            by_scale=dict(Counter(scale for _, scale in self._stored)),
        )
