"""Whose code computes: samples by photon, and what does not count."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from luminal import hookspec
from luminal.metrics import CpuSample, sample_cpu, snapshot, to_text
from luminal.testing import Host
from tests.waiting import DEADLINE, wait_until

PHOTON = """
import time
from luminal import IPhoton, hookimpl

def compute(until):
    while not until():
        sum(range(500))

class {name}(IPhoton):
    photon_name = {name!r}

    @hookimpl
    def {hook}(self, until):
        {body}
"""


class Specification:
    @hookspec
    def compute(self, until: Callable[[], bool]) -> Any: ...

    @hookspec
    def nap(self, until: Callable[[], bool]) -> Any: ...


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host(hookspecs=[Specification]) as host:
        busy = PHOTON.format(name="Busy", hook="compute", body="compute(until)")
        nap = "while not until(): time.sleep(0.01)"
        lazy = PHOTON.format(name="Lazy", hook="nap", body=nap)
        host.write(
            "two.py",
            busy + lazy.partition("\n\nclass")[1] + lazy.partition("\n\nclass")[2],
        )
        host.run()
        yield host


@pytest.fixture
def working(host: Host) -> Iterator[Host]:
    """One photon computes, another one of the same file sleeps, threads wait."""
    is_over = threading.Event()
    targets = (
        lambda: host.hook.compute(until=is_over.is_set),
        lambda: host.hook.nap(until=is_over.is_set),
        lambda: is_over.wait(DEADLINE),
    )
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    yield host
    is_over.set()
    for thread in threads:
        thread.join()


def test_the_innermost_photon_has_the_sample(working: Host) -> None:
    """It is a statistic: on a busy machine, one sample says little."""

    def seen() -> CpuSample | None:
        sample = sample_cpu(working.loader, 0.3, 100)
        busy = sample.photons.get("Busy", 0)
        others = sample.host + sample.photons.get("Lazy", 0)
        return sample if busy > others and sample.waiting else None

    sample = wait_until(seen)
    assert 0 < sample.ticks <= 30
    assert sample.ticks + sample.late >= 30
    assert 0 <= sample.late_share <= 1
    assert sample.lines[0].photon == "Busy"
    assert sample.lines[0].function in ("compute", "Busy.compute")
    assert ":" in sample.lines[0].where


def test_samples_are_exported_and_never_fall(working: Host) -> None:
    loader = working.loader
    first = sample_cpu(loader, 0.1, 100)
    before = snapshot(loader).cpu
    assert before is not None
    assert before.photons["Busy"] >= first.photons.get("Busy", 0)
    sample_cpu(loader, 0.1, 100)
    after = snapshot(loader).cpu
    assert after is not None
    assert after.ticks > before.ticks
    assert after.photons["Busy"] >= before.photons["Busy"]
    text = to_text(snapshot(loader))
    labels = '{host="",photon="Busy"}'
    wanted = f"luminal_photon_cpu_samples_total{labels} {after.photons['Busy']}"
    assert wanted in text.splitlines()
    assert f'luminal_cpu_ticks_total{{host=""}} {after.ticks}' in text


@pytest.mark.parametrize(
    ("seconds", "hertz"), [(0, 50), (-1, 50), (1e9, 50), (1, 0), (1, 1000)]
)
def test_limits_are_named(host: Host, seconds: float, hertz: float) -> None:
    with pytest.raises(ValueError, match="is not within"):
        sample_cpu(host.loader, seconds, hertz)


def test_it_runs_where_gevent_has_patched_threads(host: Host) -> None:
    """The sampler is a real thread; the host's greenlets go on meanwhile."""
    pytest.importorskip("gevent")
    program = """
from gevent import monkey; monkey.patch_all()
import gevent
from luminal import Loader
from luminal.metrics import sample_cpu
turns = []
def work():
    while not over:
        for number in range(300_000):
            turns.append(number)
        turns.clear()
        turns.append(1)
        gevent.sleep(0)
over = []
greenlet = gevent.spawn(work)
for _ in range(50):
    sample = sample_cpu(Loader(), 0.2, 100)
    if sample.host:
        break
over.append(1)
greenlet.join()
assert turns
assert sample.ticks > 0 and sample.host > 0, sample
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
