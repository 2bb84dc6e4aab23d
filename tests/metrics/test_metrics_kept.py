"""Scrapes write what has changed since the last one, and keep the rest."""

from __future__ import annotations

import gc
import random
import sys
import weakref
from typing import Any

import attrs
import pytest

from luminal import Loader, hookspec
from luminal.hooks import HookTotal, PluginManager
from luminal.interfaces import hookimpl
from luminal.metrics import (
    EventTotal,
    MetricsSnapshot,
    PhaseTotal,
    PhotonMetrics,
    TextWriter,
    register_prometheus,
    snapshot,
    to_text,
)

ODD = ('a"b', "c\nd", "e\\", "%s%%{}", "\U0001f600", "x" * 10_000, "\ud800", "(others)")


class Specification:
    @hookspec
    def locate(self, place: int) -> Any: ...

    @hookspec(firstresult=True)
    def best(self, place: int) -> Any: ...


class Plugin:
    @hookimpl
    def locate(self, place: int) -> Any:
        return place

    @hookimpl
    def best(self, place: int) -> Any:
        return place


def host(*names: str) -> tuple[PluginManager, Loader]:
    manager = PluginManager("luminal")
    manager.add_hookspecs(Specification)
    for name in names:
        manager.register(Plugin(), name)
    manager.hook.locate(place=1)
    return manager, Loader(plugins=manager)


def changed(row: HookTotal, by: int) -> HookTotal:
    """Return *row* after *by* more calls; of some nothing is timed."""
    if by % 2:
        return attrs.evolve(row, calls=row.calls + by, in_flight=by)
    return attrs.evolve(
        row,
        calls=row.calls + by,
        errors=row.errors + by // 2,
        skipped=row.skipped + by // 3,
        timed=row.timed + by,
        seconds=row.seconds + by * 1.7e-7,
        seconds_on_loop=row.seconds_on_loop + by // 4 / 8,
        buckets=tuple([calls + n % by for n, calls in enumerate(row.buckets, 1)]),
    )


def test_what_is_kept_is_written_as_if_it_were_new() -> None:
    """Whatever changes, comes and goes between two texts, of two hosts."""
    _, loader = host(*ODD, *[f"p{number}" for number in range(20)])
    given = [snapshot(loader, "a"), snapshot(loader, 'b"%')]
    writer, chance = TextWriter(), random.Random(7)
    for turn in range(30):
        for at, one in enumerate(given):
            rows = [
                changed(row, chance.randint(1, 9)) if chance.random() < 0.2 else row
                for row in one.hooks
            ]
            if turn % 5 == 4:
                del rows[chance.randrange(len(rows))]
            names = [name for name in ODD if chance.random() < 0.8]
            given[at] = attrs.evolve(
                one,
                hooks=tuple(rows),
                photons=tuple(
                    PhotonMetrics(n, chance.choice(("running", "failed")), turn // 9)
                    for n in names
                ),
                events=tuple(EventTotal("swapped", n, turn, turn / 8) for n in names),
                phases=(PhaseTotal("swap", "drain", turn, turn / 8, (turn,) * 32),),
                old_generations=turn // 7,
            )
        assert writer.write(*given) == to_text(*given)
    back = [snapshot(loader, "b"), snapshot(loader)]
    assert writer.write(*back) == to_text(*back)


def test_rows_that_did_not_change_cost_next_to_nothing() -> None:
    """Counted in calls of Python functions."""
    manager, loader = host(*[f"p{number}" for number in range(100)])
    writer = TextWriter()
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        del frame, argument
        calls += event == "call"

    def cost_of(given: MetricsSnapshot) -> int:
        nonlocal calls
        calls = 0
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            writer.write(given)
        finally:
            sys.setprofile(before)
        return calls

    first = cost_of(snapshot(loader))
    unchanged = cost_of(snapshot(loader))
    manager.hook.locate(place=1)
    half = cost_of(snapshot(loader))
    assert unchanged < first / 4
    assert unchanged < half < first * 3 / 4


@pytest.mark.parametrize("exporter", ["text", "prometheus-client"])
def test_what_belongs_to_photons_that_are_gone_is_dropped(exporter: str) -> None:
    manager, loader = host(*[f"p{number}" for number in range(300)])
    if exporter == "text":
        writer = TextWriter()

        def scrape() -> None:
            writer.write(snapshot(loader))
    else:
        client = pytest.importorskip("prometheus_client")
        registry = client.CollectorRegistry()
        register_prometheus(loader, registry)

        def scrape() -> None:
            client.generate_latest(registry)

    scrape()
    gc.collect()
    kept = [weakref.ref(o) for o in gc.get_objects() if type(o) is HookTotal]
    assert len(kept) >= 600
    for number in range(300):
        manager.unregister(name=f"p{number}")
    manager.register(Plugin(), "new")
    scrape()
    gc.collect()
    alive = [row for reference in kept if (row := reference()) is not None]
    # The totals of the last photons that ended are kept; what is older is not.
    assert "p0" not in {row.photon for row in alive}


async def test_an_application_keeps_what_did_not_change() -> None:
    from luminal.metrics import create_app

    manager, loader = host("geo", 'a"b')
    app = create_app(loader)

    async def ask() -> str:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await app({"type": "http", "method": "GET"}, None, send)
        return bytes(sent[1]["body"]).decode()

    for _ in range(3):
        assert await ask() == to_text(snapshot(loader))
        manager.hook.locate(place=1)
