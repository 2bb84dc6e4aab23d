"""Faults that the numbers survive: each has a test of its own, here or beside.

Odd and many names, two scrapers, swaps and unloads, two Loaders in one registry and an
SDK that is set up late are in ``test_metrics_export``, exporters that hang or raise in
``test_metrics_spans`` too, clocks that jump back in ``test_metrics_phases``.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import attrs
import pytest

from luminal import Loader, hookspec
from luminal.hooks import PluginManager
from luminal.interfaces import hookimpl
from luminal.metrics import observe_opentelemetry, snapshot, to_text
from luminal.model import Deadlines, EventKind
from luminal.testing import Host
from tests.waiting import DEADLINE, wait_until

GEO = """
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = "geo"

    def start(self):
        pass

    @hookimpl
    def locate(self, place):
        place()
"""


class Specification:
    @hookspec
    def locate(self, place: Any) -> Any: ...


class Plugin:
    @hookimpl
    def locate(self, place: Any) -> Any:
        return place


def number(text: str, series: str) -> float:
    [line] = [line for line in text.splitlines() if line.startswith(series)]
    return float(line.rpartition(" ")[2])


def test_ten_thousand_photons_with_odd_names_are_a_bounded_number_of_series() -> None:
    manager = PluginManager("luminal")
    manager.add_hookspecs(Specification)
    for at in range(10_000):
        manager.register(Plugin(), f'a"b\n{at}')
    manager.hook.locate(place=1)
    text = to_text(snapshot(Loader(plugins=manager)))
    calls = [x for x in text.splitlines() if x.startswith("luminal_hook_calls_total")]
    assert len(calls) == 1001
    assert sum(float(line.rpartition(" ")[2]) for line in calls) == 10_000
    assert 'photon="a\\"b\\n0"' in text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # threads of the test run
def test_a_scrape_in_a_process_that_was_forked_begins_at_zero() -> None:
    """Even while another thread of the parent scrapes, and holds what it needs."""
    with Host(hookspecs=[Specification]) as host:
        host.write("geo.py", GEO)
        host.run()
        host.hook.locate(place=int)
        is_over = threading.Event()

        def scrape() -> None:
            while not is_over.is_set():
                to_text(snapshot(host.loader))

        thread = threading.Thread(target=scrape)
        thread.start()
        try:
            for _ in range(5):
                pid = os.fork()
                if not pid:
                    status = 1
                    try:
                        threading.Timer(DEADLINE, os._exit, (3,)).start()
                        found = snapshot(host.loader)
                        calls = [row.calls for row in found.hooks]
                        told = (calls, found.phases, found.pid == os.getpid())
                        status = 0 if told == ([0], (), True) else 2
                    finally:
                        os._exit(status)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        finally:
            is_over.set()
            thread.join()
        assert snapshot(host.loader).hooks[0].calls == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # threads of the test run
def test_instruments_are_read_in_a_process_that_was_forked_while_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that read them is not there, and holds nothing."""
    pytest.importorskip("opentelemetry.metrics")
    callbacks: list[Any] = []

    class Provider:
        """Both a provider and its meter."""

        def get_meter(self, *_: object, **__: object) -> Any:
            return self

        def create_observable_counter(
            self, name: str, called: Any, *_: object, **__: object
        ) -> None:
            callbacks.extend(called if name == "luminal.hook.calls" else ())

        create_observable_gauge = create_observable_counter

    manager = PluginManager("luminal")
    manager.add_hookspecs(Specification)
    manager.register(Plugin(), "geo")
    loader = Loader(plugins=manager)
    observe_opentelemetry(loader, Provider())
    manager.hook.locate(place=1)
    parent, totals = os.getpid(), manager.totals
    is_in, may_go = threading.Event(), threading.Event()

    def slowly() -> Any:
        if os.getpid() == parent:
            is_in.set()
            may_go.wait(DEADLINE)
        return totals()

    monkeypatch.setattr(manager, "totals", slowly)

    def calls() -> list[float]:
        return [seen.value for each in callbacks for seen in each(None)]

    thread = threading.Thread(target=calls)
    thread.start()
    assert is_in.wait(DEADLINE)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            threading.Timer(DEADLINE, os._exit, (3,)).start()
            status = 0 if calls() == [0] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    may_go.set()
    thread.join(DEADLINE)
    assert calls() == [1]


def test_a_generation_that_never_drains_is_told() -> None:
    """It is in flight and in memory, its wait is counted, and swaps go on."""
    is_in, may_go = threading.Event(), threading.Event()

    def hang() -> None:
        is_in.set()
        may_go.wait(DEADLINE)

    with Host(hookspecs=[Specification], deadlines=Deadlines(drain=0.2)) as host:
        host.write("geo.py", GEO)
        host.run()
        thread = threading.Thread(target=host.hook.locate, kwargs={"place": hang})
        thread.start()
        assert is_in.wait(DEADLINE)
        host.write("geo.py", GEO + "    A = 1\n")
        host.reload("geo")
        event = host.until(EventKind.DRAINED)
        assert event.problem is not None
        host.write("geo.py", GEO + "    A = 2\n")
        host.reload("geo")
        wait_until(
            lambda: (
                number(to_text(snapshot(host.loader)), "luminal_drain_seconds_c") == 2
            )
        )
        text = to_text(snapshot(host.loader))
        assert number(text, "luminal_drain_seconds_sum") > 0
        assert number(text, "luminal_hook_in_flight") == 1
        assert number(text, "luminal_old_generations") >= 1
        assert number(text, "luminal_photon_generation") == 3
        may_go.set()
        thread.join()
        assert number(to_text(snapshot(host.loader)), "luminal_hook_in_flight") == 0


def test_counters_over_2_to_the_53_stay_exact() -> None:
    client = pytest.importorskip("prometheus_client.parser")
    with Host(hookspecs=[Specification]) as host:
        host.write("geo.py", GEO)
        host.run()
        host.hook.locate(place=int)
        found = snapshot(host.loader)
    many = attrs.evolve(found.hooks[0], calls=2**53 + 1, buckets=(2**60,) * 32)
    text = to_text(attrs.evolve(found, hooks=(many,)))
    assert f'hook="locate"}} {2**53 + 1}\n' in text
    assert f'le="+Inf"}} {32 * 2**60}\n' in text
    assert list(client.text_string_to_metric_families(text))


@pytest.mark.parametrize("is_hanging", [True, False])
def test_an_exporter_of_metrics_that_hangs_or_raises_stops_nobody(
    is_hanging: bool,
) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    is_in, may_go = threading.Event(), threading.Event()

    class Exporter(export.MetricExporter):  # type: ignore[misc, name-defined]
        def export(self, *_: object, **__: object) -> Any:
            is_in.set()
            if is_hanging:
                may_go.wait(DEADLINE)
            raise OSError("no route")

        def force_flush(self, timeout_millis: float = 0) -> bool:
            return True

        def shutdown(self, *_: object, **__: object) -> None:
            pass

    with Host(hookspecs=[Specification]) as host:
        host.write("geo.py", GEO)
        host.run()
        reader = export.PeriodicExportingMetricReader(Exporter(), 1)
        provider = sdk.MeterProvider([reader], shutdown_on_exit=False)
        observe_opentelemetry(host.loader, provider)
        assert is_in.wait(DEADLINE)
        host.hook.locate(place=int)
        host.write("geo.py", GEO + "    A = 1\n")
        host.reload("geo")
        host.hook.locate(place=int)
        assert snapshot(host.loader).hooks[0].calls == 2
        may_go.set()
        provider.shutdown()
