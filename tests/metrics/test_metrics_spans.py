"""Spans of OpenTelemetry: one a swap, as the SDK reads them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from luminal.errors import LuminalError
from luminal.metrics import trace_opentelemetry
from luminal.model import EventKind, Probation
from luminal.testing import Host
from tests.waiting import DEADLINE, wait_until

sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

GEO = """
from luminal import IPhoton

class Photon(IPhoton):
    photon_name = "geo"
    VALUE = {}

    def start(self):
        pass

    def finalize(self):
        pass

    def is_healthy(self):
        return self.VALUE != 3
"""


def traced(exporter: Any) -> Any:
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    return provider


def swap(host: Host, value: object) -> None:
    host.write("geo.py", GEO.format(value))
    host.reload("geo")


def test_each_swap_is_one_span_with_its_phases_and_outcome() -> None:
    exporter = memory.InMemorySpanExporter()
    with Host() as host:
        host.write("geo.py", GEO.format(1))
        host.run()
        # The SDK is set up after the photons were loaded.
        end = trace_opentelemetry(host.loader, traced(exporter), host="a")
        swap(host, 2)
        with pytest.raises(LuminalError):
            swap(host, "1 / 0")
        swap(host, 4)
        host.until(EventKind.FINALIZED)
        wait_until(lambda: len(exporter.get_finished_spans()) == 3)
        end()
    [first, *_] = sorted(exporter.get_finished_spans(), key=lambda s: s.start_time)
    assert first.name == "luminal.swap"
    assert first.attributes["luminal.photons"] == ("geo",)
    assert first.attributes["luminal.host"] == "a"
    assert first.attributes["luminal.outcome"] == "swapped"
    names = [event.name for event in first.events]
    assert names[:2] == ["read", "hash"]
    assert names[-3:] == ["commit", "drain", "finalize"]
    times = [event.timestamp for event in first.events]
    assert [first.start_time, *times, first.end_time] == sorted(
        [first.start_time, *times, first.end_time]
    )
    assert all(event.attributes["luminal.phase.seconds"] >= 0 for event in first.events)
    assert first.status.is_ok
    [bad] = [s for s in exporter.get_finished_spans() if not s.status.is_ok]
    assert bad.attributes["luminal.outcome"] == "rejected"
    assert bad.attributes["luminal.error.phase"] == "import"
    assert [event.name for event in bad.events][-1] == "execute"


def test_a_swap_that_fails_on_probation_is_an_error() -> None:
    exporter = memory.InMemorySpanExporter()
    with Host(probation=Probation(seconds=30, interval=0.01)) as host:
        host.write("geo.py", GEO.format(1))
        host.run()
        end = trace_opentelemetry(host.loader, traced(exporter))
        swap(host, 3)
        wait_until(exporter.get_finished_spans)
        end()
    [span] = exporter.get_finished_spans()
    assert span.attributes["luminal.outcome"] == "rolled_back"
    assert not span.status.is_ok


@pytest.mark.parametrize("is_hanging", [True, False])
def test_an_exporter_that_hangs_or_raises_holds_up_no_swap(is_hanging: bool) -> None:
    is_in, may_go = threading.Event(), threading.Event()

    class Exporter(export.SpanExporter):  # type: ignore[misc, name-defined]
        def export(self, spans: object) -> Any:
            is_in.set()
            if is_hanging:
                may_go.wait(DEADLINE)
            raise OSError("no route")

    with Host() as host:
        host.write("geo.py", GEO.format(1))
        host.run()
        trace_opentelemetry(host.loader, traced(Exporter()))
        swap(host, 2)
        assert is_in.wait(DEADLINE)
        for number in range(4, 8):
            swap(host, number)
        assert host["geo"].VALUE == 7
        may_go.set()


def test_spans_of_generations_that_never_end_are_bounded() -> None:
    """The old generation of a photon has a call that does not return."""
    from luminal.metrics import _spans
    from luminal.model import Event

    exporter = memory.InMemorySpanExporter()
    with Host() as host:
        end = trace_opentelemetry(host.loader, traced(exporter))
        for number in range(_spans._MOST_OPEN + 20):
            name = f"photon{number}"
            event = Event(EventKind.SWAPPED, name, 2, seconds=0.1, photons=(name,))
            host.loader.events.emit(event)
        wait_until(lambda: len(exporter.get_finished_spans()) == 20)
        end()
        assert len(exporter.get_finished_spans()) == _spans._MOST_OPEN + 20
