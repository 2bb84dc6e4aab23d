"""The numbers of a host, as they leave it: exporters agree and survive odd photons."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luminal import Loader, hookspec
from luminal.errors import MissingExtraError
from luminal.hooks import PluginManager
from luminal.interfaces import hookimpl
from luminal.metrics import (
    TextWriter,
    create_app,
    observe_opentelemetry,
    register_prometheus,
    snapshot,
    to_text,
)
from luminal.model import Event, EventKind
from luminal.testing import Host
from tests.waiting import DEADLINE

GEO = """
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    @hookimpl
    def locate(self, place):
        if place == "nowhere":
            raise ValueError(place)
        return place
"""


class Specification:
    @hookspec
    def locate(self, place: str) -> Any: ...


class Plugin:
    @hookimpl
    def locate(self, place: str) -> Any:
        return place


@pytest.fixture
def host() -> Iterator[Host]:
    with Host(hookspecs=[Specification]) as host:
        host.write("geo.py", GEO)
        host.run()
        yield host


def work(host: Host) -> Loader:
    """Make eleven calls over two swaps, of which one raises."""
    for number in range(2):
        for _ in range(5):
            host.hook.locate(place="here")
        host.write("geo.py", GEO + f"# {number}\n")
        host.reload("geo")
    with pytest.raises(ValueError, match="nowhere"):
        host.hook.locate(place="nowhere")
    return host.loader


def parsed(text: str) -> dict[tuple[str, str], float]:
    """Return (name, sorted labels without host) → value, by prometheus-client."""
    parser = pytest.importorskip("prometheus_client.parser")
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k != "host"}
            key = (sample.name, repr(sorted(labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def without_events(found: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Leave out what changes at any time: Python collects old generations."""
    changing = ("luminal_event", "luminal_old_generations")
    return {k: v for k, v in found.items() if not k[0].startswith(changing)}


def test_counters_outlive_swaps_and_all_exporters_agree(host: Host) -> None:
    client = pytest.importorskip("prometheus_client")
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    loader = work(host)
    registry = client.CollectorRegistry()
    register_prometheus(loader, registry)
    reader = export.InMemoryMetricReader()
    # The SDK is set up after the photons were loaded.
    provider = sdk.MeterProvider([reader], shutdown_on_exit=False)
    observe_opentelemetry(loader, provider)

    [row] = [r for r in snapshot(loader).hooks if r.photon == "geo"]
    assert (row.calls, row.errors, row.timed, row.is_exact) == (11, 1, 10, True)
    text = parsed(to_text(snapshot(loader)))
    of_geo = "[('hook', 'locate'), ('photon', 'geo')]"
    assert text["luminal_hook_calls_total", of_geo] == 11
    assert text["luminal_hook_errors_total", of_geo] == 1
    assert text["luminal_hook_duration_seconds_count", of_geo] == 10
    assert text["luminal_photon_generation", "[('photon', 'geo')]"] == 3
    swapped = "[('photon', 'geo'), ('result', 'swapped')]"
    assert text["luminal_swaps_total", swapped] == 2
    running = "[('photon', 'geo'), ('state', 'running')]"
    assert text["luminal_photon_state", running] == 1
    theirs = parsed(client.generate_latest(registry).decode())
    assert without_events(theirs) == without_events(text)
    data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    points = {m.name: m.data.data_points for m in data}
    assert [p.value for p in points["luminal.hook.calls"]] == [11]
    assert [p.value for p in points["luminal.hook.duration.count"]] == [10]
    host.hook.locate(place="more")
    data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    points = {m.name: m.data.data_points for m in data}
    assert [p.value for p in points["luminal.hook.calls"]] == [12]
    provider.shutdown()


async def test_events_are_counted_though_nobody_subscribes(tmp_path: Path) -> None:
    (tmp_path / "geo.py").write_text(GEO)
    async with Loader() as loader:
        await loader.load_photons(tmp_path)
        await loader.start()
        counts = {(e.kind, e.photon): e.count for e in snapshot(loader).events}
        assert sum(counts.values()) == len(loader.events.journal)
    assert counts["started", "geo"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # threads of the test run
def test_events_of_a_process_that_was_forked_begin_at_zero() -> None:
    """Even if threads of the parent were about to count one, or to queue it."""
    events = Loader().events
    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    events.subscribe(told.put, queue=9)
    event = Event(EventKind.SWAPPED, "geo", 2, "geo.py")
    events.emit(event)
    told.get(timeout=DEADLINE)
    is_held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with events._lock, events._subscribers[-1]._changed:  # type: ignore[attr-defined]
            is_held.set()
            go_on.wait(DEADLINE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(DEADLINE)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            threading.Timer(DEADLINE, os._exit, (3,)).start()
            events.emit(event)
            told.get(timeout=DEADLINE)
            status = 0 if [c for c, _ in events.counts.values()] == [1] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    go_on.set()
    thread.join(DEADLINE)
    assert [count for count, _ in events.counts.values()] == [1]


def test_odd_and_many_names_are_bounded_labels() -> None:
    manager = PluginManager("luminal")
    manager.add_hookspecs(Specification)
    loader = Loader(plugins=manager)
    odd = ['a"b\n', "back\\slash", "x" * 5000, "x" * 5000 + "y", "\ud800", "}{", ""]
    for name in odd:
        manager.register(Plugin(), name)
    for number in range(1200):
        manager.register(Plugin(), f"many{number}")
    assert len(manager.hook.locate(place=1)) == 1200 + len(odd)
    text = to_text(snapshot(loader, host='h"\n'))
    text.encode()
    calls = {k: v for k, v in parsed(text).items() if k[0].endswith("hook_calls_total")}
    assert sum(calls.values()) == 1200 + len(odd)
    assert len(calls) <= 1001
    assert max(len(labels) for _, labels in calls) < 300
    promtool = shutil.which("promtool")
    if promtool is not None:
        done = subprocess.run(
            [promtool, "check", "metrics"],
            check=False,
            input=text.encode(),
            capture_output=True,
        )
        assert b"error" not in done.stderr.lower(), done.stderr


def test_two_hosts_in_one_registry_do_not_clash(host: Host) -> None:
    client = pytest.importorskip("prometheus_client")
    registry = client.CollectorRegistry()
    other = Loader()
    undo = register_prometheus(host.loader, registry, host="a")
    register_prometheus(other, registry, host="b")
    with pytest.raises(ValueError, match="'a'"):
        register_prometheus(other, registry, host="a")
    text = client.generate_latest(registry).decode()
    assert {*re.findall(r'host="(.)"', text)} == {"a", "b"}
    assert text.count("# TYPE luminal_subscriber_failures_total ") == 1
    undo()
    text = client.generate_latest(registry).decode()
    assert {*re.findall(r'host="(.)"', text)} == {"b"}


def test_calls_of_two_hosts_are_counted_by_one_registry_over_swaps() -> None:
    """All calls of eight threads, each of the right host, at every scrape no fewer."""
    client = pytest.importorskip("prometheus_client")
    registry = client.CollectorRegistry()
    managers = {}
    loaders = []
    for name in ("a", "b"):
        managers[name] = manager = PluginManager("luminal")
        manager.add_hookspecs(Specification)
        manager.register(Plugin(), "geo")
        loaders.append(Loader(plugins=manager))
        register_prometheus(loaders[-1], registry, host=name)
    is_over, made = threading.Event(), {"a": [0] * 4, "b": [0] * 4}

    def call(name: str, number: int) -> None:
        while not is_over.is_set():
            managers[name].hook.locate(place=1)
            made[name][number] += 1

    def counted(name: str) -> float:
        labels = {"host": name, "photon": "geo", "hook": "locate"}
        value = registry.get_sample_value("luminal_hook_calls_total", labels)
        return float(value or 0)

    threads = [
        threading.Thread(target=call, args=(name, number))
        for name in made
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    seen = {"a": 0.0, "b": 0.0}
    try:
        for _ in range(30):
            for name, manager in managers.items():
                manager.swap("geo", Plugin())
                now = counted(name)
                assert now >= seen[name]
                seen[name] = now
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert {name: counted(name) for name in made} == {
        name: sum(calls) for name, calls in made.items()
    }


def test_scrapes_during_swaps_and_unloads_never_fall(host: Host) -> None:
    """Two scrapers look while the photon is swapped, unloaded and loaded again."""
    is_over, writer = threading.Event(), TextWriter()
    wrong: list[object] = []

    def scrape() -> None:
        seen: dict[str, float] = {}
        while not is_over.is_set():
            for line in writer.write(snapshot(host.loader)).splitlines():
                series, _, value = line.rpartition(" ")
                if "_total{" in series or "_bucket{" in series:
                    if float(value) < seen.get(series, 0):
                        wrong.append((line, seen[series]))
                    seen[series] = float(value)

    threads = [threading.Thread(target=scrape) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(6):
            for _ in range(10):
                host.hook.locate(place="here")
            host.write("geo.py", GEO + f"# {number}\n")
            host.reload("geo")
        host.unload("geo")
        host.hook.locate(place="here")
        host.run()
        host.hook.locate(place="here")
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert not wrong
    [row] = [r for r in snapshot(host.loader).hooks if r.photon == "geo"]
    assert row.calls == 61


async def test_an_application_to_mount() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    loader = Loader()
    app = Starlette(routes=[Mount("/numbers", create_app(loader, "a"))])

    async def ask(method: str) -> tuple[int, bytes]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": "/numbers/",
            "headers": [],
            "query_string": b"",
        }
        await app(scope, receive, send)
        return sent[0]["status"], sent[1]["body"]

    status, body = await ask("GET")
    assert status == 200
    assert b'luminal_subscriber_failures_total{host="a"} 0' in body
    assert await ask("HEAD") == (200, b"")
    assert (await ask("POST"))[0] == 405
    await asyncio.sleep(0)


def test_the_page_has_them_behind_its_guard(host: Host) -> None:
    from luminal.web import serve

    work(host)
    with serve(host.loader, port=0) as served:
        with urllib.request.urlopen(served.url + "metrics") as answer:
            assert answer.headers["content-type"].startswith("text/plain; version=")
            text = answer.read().decode()
        request = urllib.request.Request(
            served.url + "metrics", headers={"Host": "evil.example"}
        )
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(request)
        refused.value.close()
    assert 'luminal_hook_calls_total{host="",photon="geo",hook="locate"} 11' in text


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match="prometheus"):
        register_prometheus(Loader())
    with pytest.raises(MissingExtraError, match="otel"):
        observe_opentelemetry(Loader())


def test_the_dashboard_asks_for_metrics_that_exist(host: Host) -> None:
    text = to_text(snapshot(work(host)))
    exposed = {line.split("{")[0] for line in text.splitlines() if line[:1] != "#"}
    root = Path(__file__).parents[2]
    dashboard = json.loads((root / "docs/_static/luminal-grafana.json").read_text())
    asked = {*re.findall(r"luminal_\w+", json.dumps(dashboard["panels"]))}
    asked |= {*re.findall(r"luminal_\w+", json.dumps(dashboard["templating"]))}
    assert len(asked) > 5
    assert asked <= exposed
