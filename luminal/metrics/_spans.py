"""One span of OpenTelemetry for each swap, with its phases as events.

Only its API is used. A queue takes the events of the host, so an exporter that is slow
or hangs holds up no swap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from luminal.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.managers import Loader
    from luminal.model import Event

__all__ = ["trace_opentelemetry"]

_QUEUE: Final = 1000
"""Events that wait for an exporter at most."""

_MOST_OPEN: Final = 100
"""Spans that wait for the end of old generations at most; the oldest is ended."""

_MOST_NAMES: Final = 100
"""Photons that are named in a span at most."""

_LONGEST: Final = 200
"""Characters of a text at most."""


def trace_opentelemetry(
    loader: Loader, tracer_provider: Any = None, *, host: str = ""
) -> Callable[[], None]:
    """Make a span for each swap, and for each that is rejected.

    It is called ``luminal.swap`` and begins with the reload. Its events are the phases,
    each with the attribute ``luminal.phase.seconds``, one after the other in the order
    in which they are listed. It ends when the old generation has been finalized, or is
    rejected. Its attribute ``luminal.outcome`` is ``swapped``, ``confirmed``,
    ``rejected`` or ``rolled_back``; a swap that failed, also on probation, has the
    status of an error.

    Args:
        loader: The host.
        tracer_provider: By default the one of the process, which may be set later.
        host: Its name, where several hosts are traced.

    Returns:
        A function without arguments that ends this. What still waits is dropped.

    Raises:
        MissingExtraError: The API of OpenTelemetry is not installed.
    """
    from luminal.metrics._opentelemetry import requires_otel

    with requires_otel():
        from opentelemetry import trace
    tracer = trace.get_tracer("luminal", tracer_provider=tracer_provider)
    spans = _Spans(trace, tracer, host)
    unsubscribe = loader.events.subscribe(spans.note, queue=_QUEUE)

    def end() -> None:
        unsubscribe()
        spans.end_all()

    return end


class _Open:
    """A span, and the photons whose old generations have not ended yet."""

    def __init__(self, span: Any, began: int, photons: tuple[str, ...]) -> None:
        self.span = span
        self.began = began
        self.last = began
        self.waiting = set(photons)

    def add(self, name: str, seconds: float, at: int) -> None:
        """Add that the phase *name* was over *at* that time in ns."""
        self.last = max(self.last, at)
        self.span.add_event(name, {"luminal.phase.seconds": seconds}, at)


class _Spans:
    def __init__(self, trace: Any, tracer: Any, host: str) -> None:
        self._trace = trace
        self._tracer = tracer
        self._host = host
        # Photon → the span of its latest swap.
        self._open: dict[str, _Open] = {}

    def note(self, event: Event) -> None:
        """Begin, complete or end a span."""
        at = int(event.at * 1e9)
        is_first = event.photons[:1] == (event.photon,)
        if event.kind in (EventKind.SWAPPED, EventKind.REJECTED):
            if is_first:
                self._begin(event, at)
            return
        known = self._open.get(event.photon)
        if known is None:
            return
        if event.kind in (EventKind.DRAINED, EventKind.FINALIZED):
            for name, seconds in event.phases.items():
                known.add(name, seconds, at)
        elif event.kind is EventKind.CONFIRMED:
            known.span.set_attribute("luminal.outcome", "confirmed")
        elif event.kind is EventKind.ROLLED_BACK:
            known.span.set_attribute("luminal.outcome", "rolled_back")
            self._fail(known.span, event)
        if event.kind in _ENDS:
            self._end(event.photon, at)

    def _begin(self, event: Event, at: int) -> None:
        began = at - int(event.seconds * 1e9)
        names = event.photons[:_MOST_NAMES]
        span = self._tracer.start_span(
            "luminal.swap",
            start_time=began,
            attributes={
                "luminal.host": self._host,
                "luminal.photons": [name[:_LONGEST] for name in names],
                "luminal.generation": event.generation,
                "luminal.outcome": str(event.kind),
                "luminal.swap.seconds": event.seconds,
            },
        )
        new = _Open(span, began, event.photons)
        until = began
        for name, seconds in event.phases.items():
            until += int(seconds * 1e9)
            new.add(name, seconds, min(until, at))
        if event.kind is EventKind.REJECTED:
            self._fail(span, event)
            span.end(max(at, began))
            return
        for name in event.photons:
            self._end(name, at)
            self._open[name] = new
        while len({*map(id, self._open.values())}) > _MOST_OPEN:
            self._end(next(iter(self._open)), at)

    def _fail(self, span: Any, event: Event) -> None:
        problem = event.problem
        if problem is not None:
            status = self._trace.Status(
                self._trace.StatusCode.ERROR, problem.what[:_LONGEST]
            )
            span.set_status(status)
            span.set_attribute("luminal.error.code", problem.code)
            span.set_attribute("luminal.error.phase", problem.phase)

    def _end(self, photon: str, at: int) -> None:
        """Note that the old generation of *photon* has ended."""
        known = self._open.pop(photon, None)
        if known is not None:
            known.waiting.discard(photon)
            if not known.waiting:
                known.span.end(max(known.last, at))

    def end_all(self) -> None:
        """End all spans."""
        for photon, known in tuple(self._open.items()):
            self._end(photon, known.last)


_ENDS: Final = (EventKind.FINALIZED, EventKind.RETIRED, EventKind.UNLOADED)
"""Events with which an old generation has ended, whichever comes first."""
