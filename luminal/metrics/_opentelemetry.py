"""Observable instruments of OpenTelemetry: they read a host when they are asked.

Only its API is used. Without an SDK nothing is ever asked.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from luminal._forks import begin_anew_in_forks
from luminal.errors import MissingExtraError
from luminal.metrics._families import STEPS, Family, Histogram, families
from luminal.metrics._snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from luminal.managers import Loader

__all__ = ["observe_opentelemetry"]

# Name of the metric → name of the instrument, its unit.
_COUNTERS: Final = {
    "luminal_hook_calls_total": ("luminal.hook.calls", "{call}"),
    "luminal_hook_errors_total": ("luminal.hook.errors", "{error}"),
    "luminal_hook_skipped_total": ("luminal.hook.skipped", "{call}"),
    "luminal_hook_timed_calls_total": ("luminal.hook.timed_calls", "{call}"),
    "luminal_hook_loop_seconds_total": ("luminal.hook.loop_time", "s"),
    "luminal_swaps_total": ("luminal.swaps", "{swap}"),
    "luminal_events_total": ("luminal.events", "{event}"),
    "luminal_event_seconds_total": ("luminal.event_time", "s"),
    "luminal_shared_state_changes_total": ("luminal.shared_state_changes", "{change}"),
    "luminal_events_dropped_total": ("luminal.events_dropped", "{event}"),
    "luminal_photon_cpu_samples_total": ("luminal.photon.cpu_samples", "{sample}"),
    "luminal_cpu_ticks_total": ("luminal.cpu.ticks", "{tick}"),
    "luminal_cpu_late_ticks_total": ("luminal.cpu.late_ticks", "{tick}"),
    "luminal_subscriber_failures_total": ("luminal.subscriber_failures", "{error}"),
}
_GAUGES: Final = {
    "luminal_hook_calls_estimated": ("luminal.hook.calls_estimated", "{call}"),
    "luminal_hook_in_flight": ("luminal.hook.in_flight", "{call}"),
    "luminal_photon_generation": ("luminal.photon.generation", "1"),
    "luminal_old_generations": ("luminal.old_generations", "{generation}"),
    "luminal_photon_state": ("luminal.photon.state", "1"),
}
# The API has no observable histogram: of each there are the sum and the count.
_HISTOGRAMS: Final = {
    "luminal_hook_duration_seconds": ("luminal.hook.duration", "{call}"),
    "luminal_drain_seconds": ("luminal.drain", "{photon}"),
    **{
        f"luminal_{step}_phase_seconds": (f"luminal.{step}.phase", "{phase}")
        for step in STEPS
    },
}


class _Reader:
    """Reads a host once for all instruments that are asked together."""

    def __init__(self, loader: Loader, host: str) -> None:
        self._loader = weakref.ref(loader)
        self._host = host
        self.begin_anew()
        begin_anew_in_forks(self)

    def begin_anew(self) -> None:
        """Read the host anew, also in a process that was just forked."""
        self._lock = threading.Lock()  # a thread may have held it that is not there
        self._families: dict[str, Family] = {}
        self._asked: set[str] = set()

    def family(self, name: str, instrument: str) -> Family | None:
        """Return the family *name*, for *instrument*; None: it has no samples.

        Whoever asks a second time begins another collection.
        """
        with self._lock:
            if not self._asked or instrument in self._asked:
                loader = self._loader()
                found = () if loader is None else (snapshot(loader, self._host),)
                self._families = {f.name: f for f in families(found)}
                self._asked.clear()
            self._asked.add(instrument)
            return self._families.get(name)


@contextlib.contextmanager
def requires_otel() -> Iterator[None]:
    """Name the extra where the API of OpenTelemetry cannot be imported in the block.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            "this needs the library of the extra 'otel'",
            why=str(error),
            hint="install it: pip install 'luminal-photons[otel]'",
        ) from error


def observe_opentelemetry(
    loader: Loader, meter_provider: Any = None, *, host: str = ""
) -> None:
    """Make instruments that observe *loader*'s host.

    Args:
        loader: The host; it is referred to weakly.
        meter_provider: By default the one of the process, which may be set later.
        host: Its name, where several hosts are observed.

    Raises:
        MissingExtraError: The API of OpenTelemetry is not installed.
    """
    with requires_otel():
        from opentelemetry import metrics
    meter = metrics.get_meter("luminal", meter_provider=meter_provider)
    reader = _Reader(loader, host)

    def observing(
        name: str, instrument: str, read: Callable[[Any], float]
    ) -> list[Callable[[Any], Iterable[Any]]]:
        def observe(options: object) -> Iterator[Any]:
            del options
            family = reader.family(name, instrument)
            if family is None:
                return
            for values, value in family.samples.items():
                attributes = dict(zip(family.labels, values, strict=True))
                yield metrics.Observation(read(value), attributes)

        return [observe]

    for name, (instrument, unit) in _COUNTERS.items():
        callbacks = observing(name, instrument, _same)
        meter.create_observable_counter(instrument, callbacks, unit=unit)
    for name, (instrument, unit) in _GAUGES.items():
        callbacks = observing(name, instrument, _same)
        meter.create_observable_gauge(instrument, callbacks, unit=unit)
    for name, (instrument, counted) in _HISTOGRAMS.items():
        for part, unit, read in (("sum", "s", _sum), ("count", counted, _count)):
            callbacks = observing(name, f"{instrument}.{part}", read)
            meter.create_observable_counter(f"{instrument}.{part}", callbacks, unit)


def _same(value: float) -> float:
    return value


def _sum(value: Histogram) -> float:
    return value.seconds


def _count(value: Histogram) -> float:
    return value.cumulative[-1]
