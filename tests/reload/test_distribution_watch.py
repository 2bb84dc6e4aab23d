"""The watch of distributions: which are watched, which wait, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import types
import weakref

import pytest

from luminal.errors import PhotonStateError
from luminal.model import Deadlines, EventKind
from luminal.reload import _distribution_watch, _plan
from luminal.reload._distribution_watch import DistributionWatch
from tests.distributions import photon_text, put, take_away
from tests.waiting import DEADLINE, async_wait_until


class Shelf:
    """A directory on the path, where this writes distributions."""

    def __init__(self, path):
        self.path = path

    def put(self, name, version):
        """Write a distribution of one photon; return its module."""
        put(self.path, name, version)
        return self.path / name / "__init__.py"

    def take_away(self, name):
        take_away(self.path, name)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    return Shelf(path)


async def load(host):
    await host.load()
    await host.start()


async def test_what_is_loaded_after_the_watch_began_is_watched(make_host, shelf):
    """Before anything was loaded, and beside what was."""
    async with make_host() as host:
        await host.watch_distributions()
        shelf.put("blue", "1.0")
        await load(host)
        shelf.put("blue", "2.0")
        await host.until(lambda: host.answers() == [("blue", "2.0")])
        shelf.put("green", "1.0")
        with pytest.warns(match="is loaded already"):
            await load(host)
        shelf.put("green", "2.0")
        await host.until(
            lambda: sorted(host.answers()) == [("blue", "2.0"), ("green", "2.0")]
        )


async def test_one_that_is_not_complete_holds_up_no_other_for_long(
    make_host, shelf, monkeypatch
):
    """And is swapped in when it is complete."""
    monkeypatch.setattr(_distribution_watch, "_HELD_FOR", 0.3)
    async with make_host() as host:
        module = shelf.put("blue", "1.0")
        shelf.put("green", "1.0")
        await load(host)
        await host.watch_distributions()
        module.write_text("this is not what RECORD says")
        shelf.put("green", "2.0")
        await host.until(lambda: ("green", "2.0") in host.answers())
        assert not host.happened(EventKind.REJECTED)
        shelf.put("blue", "2.0")
        await host.until(lambda: ("blue", "2.0") in host.answers())


@pytest.mark.fault(40)
async def test_one_that_comes_back_as_it_was(make_host, shelf):
    """Its photon's problem goes with its absence, though there is nothing to swap."""
    async with make_host() as host:
        shelf.put("blue", "1.0")
        await load(host)
        await host.watch_distributions()
        shelf.take_away("blue")
        await host.until(lambda: host.happened(EventKind.ORPHANED))
        assert host.photons["blue"].problem is not None
        shelf.put("blue", "1.0")
        await host.until(lambda: host.photons["blue"].problem is None)
        assert not host.happened(EventKind.SWAPPED)


@pytest.mark.parametrize("way", ["a new version", "an edit that RECORD does not list"])
async def test_what_was_rejected_and_is_put_back_has_recovered(make_host, shelf, way):
    """An event says so, and there is nothing to swap."""
    async with make_host() as host:
        module = shelf.put("blue", "1.0")
        await load(host)
        await host.watch_distributions()
        for _ in range(2):
            if way == "a new version":
                text = photon_text("blue", "2.0") + "1 / 0\n"
                put(shelf.path, "blue", "2.0", files={"blue/__init__.py": text})
            else:
                host._distribution_watch.patience = 0.1
                module.write_text("this is not what RECORD says")
            await host.until(lambda: host.happened(EventKind.REJECTED, "blue"))
            assert host.photons["blue"].problem is not None
            shelf.put("blue", "1.0")
            (event,) = await host.until(lambda: host.happened(EventKind.RECOVERED))
            assert (event.photon, event.generation) == ("blue", 1)
            assert host.photons["blue"].problem is None
            assert not host.happened(EventKind.SWAPPED)
            host.heard.clear()
        shelf.put("blue", "3.0")
        await host.until(lambda: host.answers() == [("blue", "3.0")])


async def test_a_distribution_whose_package_has_another_name(make_host, shelf):
    """It runs on; the error says what to do, and that works."""
    async with make_host() as host:
        text = photon_text("blue", "1.0")
        entry = "blue = alpha:Blue"
        put(shelf.path, "blue", "1.0", files={"alpha.py": text}, entries=entry)
        await load(host)
        await host.watch_distributions()
        (shelf.path / "alpha.py").unlink()
        text, entry = photon_text("blue", "2.0"), "blue = beta:Blue"
        put(shelf.path, "blue", "2.0", files={"beta.py": text}, entries=entry)
        (event,) = await host.until(lambda: host.happened(EventKind.REJECTED))
        assert "'alpha' is called 'beta' now" in event.problem.why
        assert "unload the photons" in event.problem.hint
        assert host.answers() == [("blue", "1.0")]
        await host.unload_photon("blue")
        await load(host)
        assert host.answers() == [("blue", "2.0")]


async def test_an_incomplete_distribution_is_waited_for_by_the_others(
    make_host, shelf, monkeypatch
):
    """The installer that works on it has brought them too: one swap for all."""
    monkeypatch.setattr(_distribution_watch, "_HELD_FOR", DEADLINE)
    async with make_host() as host:
        for name in ("blue", "green"):
            shelf.put(name, "1.0")
        await load(host)
        seen = []

        def look(event):
            if event.kind is EventKind.SWAPPED:
                seen.append({version for _, version in host.answers()})

        host.events.subscribe(look)
        await host.watch_distributions()
        (shelf.path / "green-1.0.dist-info" / "RECORD").unlink()
        shelf.put("blue", "2.0")
        watch = host._distribution_watch
        await host.until(lambda: "green" in watch._incomplete)
        looked = watch._looked
        await host.until(lambda: watch._looked > looked)
        assert not host.happened(EventKind.SWAPPED)
        shelf.put("green", "2.0")
        await host.until(lambda: len(host.happened(EventKind.SWAPPED)) == 2)
        assert seen == [{"2.0"}, {"2.0"}]


@pytest.mark.parametrize(
    ("spans", "end"),
    [
        ([(0.0, 0.0)], 0.1),
        ([(0.0, 0.05), (0.12, 0.12)], 0.22),
        ([(0.0, 1.2), (1.6, 1.6)], 2.4),  # an installer that waits for the processor
        ([(0.0, 1.2), (2.0, 2.0)], 1.8),  # the last one is another installer's
        ([(0.0, 10.0)], 11.0),  # one with much to do
        ([(n / 20, n / 20) for n in range(2000)], 30.0),  # changes without end
    ],
)
def test_when_an_installer_has_ended(monkeypatch, spans, end):
    """There was no change for a share of the time for which there were some."""
    clock = types.SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(_distribution_watch, "time", clock)
    watch = DistributionWatch(reloader=None, lock=None)

    def read_marks(_):
        now = clock.now - 100.0
        seen = sum((begin <= now) + (end <= now) for begin, end in spans)
        is_at_work = any(begin <= now < end for begin, end in spans)
        return {"site": _distribution_watch._Mark((seen,), is_at_work)}

    monkeypatch.setattr(DistributionWatch, "_read_marks", read_marks)
    watch._wait_for_installers(100.0)
    assert clock.now - 100.0 == pytest.approx(end, abs=0.05)


async def test_a_watch_that_has_ended_swaps_nothing(make_host, shelf):
    """Not even what it was waiting for, and it does not wait for that to end."""
    async with make_host() as host:
        module = shelf.put("blue", "1.0")
        await load(host)
        await host.watch_distributions()
        module.write_text("this is not what RECORD says")
        watch = host._distribution_watch
        await host.until(lambda: watch._incomplete)
        await host.stop_watching_distributions()
        shelf.put("blue", "2.0")
        shelf.put("green", "1.0")
        with pytest.warns(match="is loaded already"):
            await load(host)
        assert ("blue", "1.0") in host.answers()
        await host.watch_distributions()
        shelf.put("blue", "3.0")
        await host.until(lambda: host.happened(EventKind.SWAPPED))
        assert ("blue", "3.0") in host.answers()
        assert len(host.happened(EventKind.SWAPPED)) == 1


async def test_several_in_one_upgrade_are_one_discovery_and_one_transaction(
    make_host, shelf, monkeypatch
):
    """Installed one after the other: one report, one commit for all of them."""
    names = ("blue", "green", "red")
    discoveries = []
    find = _plan.discover
    monkeypatch.setattr(
        _plan, "discover", lambda **k: discoveries.append(k) or find(**k)
    )
    async with make_host() as host:
        for name in names:
            shelf.put(name, "1.0")
        await load(host)
        await host.watch_distributions()
        seen = set()
        host.events.subscribe(lambda event: seen.add(tuple(sorted(host.answers()))))
        for name in names:
            shelf.put(name, "2.0")
        await host.until(lambda: len(host.happened(EventKind.SWAPPED)) == 3)
        old = tuple((name, "1.0") for name in names)
        new = tuple((name, "2.0") for name in names)
        assert seen <= {old, new}
        assert len(discoveries) == 1


async def test_a_swap_waits_for_what_pip_keeps_of_the_earlier_version(make_host, shelf):
    """pip deletes it after the final RECORD; what a killed pip has left is nothing."""
    async with make_host() as host:
        shelf.put("blue", "1.0")
        shelf.put("green", "1.0")
        await load(host)
        await host.watch_distributions()
        watch = host._distribution_watch
        backup = shelf.path / "~reen-1.0.dist-info"
        backup.mkdir()
        shelf.put("blue", "2.0")
        await host.until(watch._looking.locked)
        assert not host.happened(EventKind.SWAPPED)
        shelf.put("green", "2.0")
        backup.rmdir()
        await host.until(lambda: len(host.happened(EventKind.SWAPPED)) == 2)
        assert sorted(host.answers()) == [("blue", "2.0"), ("green", "2.0")]


async def test_an_upgrade_waits_for_what_it_requires(make_host, shelf):
    """pip installs that next; if nothing comes, the upgrade is rejected."""
    async with make_host() as host:
        shelf.put("blue", "1.0")
        shelf.put("green", "1.0")
        await load(host)
        await host.watch_distributions()
        put(shelf.path, "blue", "2.0", metadata="Requires-Dist: green>=2\n")
        await host.until(lambda: host.happened(EventKind.REJECTED, "blue"))
        assert ("blue", "1.0") in host.answers()
        assert host.photons["blue"].problem.code == "LUM106"
        shelf.put("green", "2.0")
        await host.until(
            lambda: sorted(host.answers()) == [("blue", "2.0"), ("green", "2.0")]
        )
        assert host.photons["blue"].problem is None


async def test_one_that_is_rejected_holds_up_no_later_upgrade(make_host, shelf):
    """And what was rejected only because of it follows."""
    async with make_host() as host:
        for name in ("blue", "green", "red"):
            shelf.put(name, "1.0")
        await load(host)
        await host.watch_distributions()
        broken = {"blue/__init__.py": "raise ValueError\nclass Blue: ...\n"}
        put(shelf.path, "blue", "2.0", files=broken)
        shelf.put("green", "2.0")
        await host.until(lambda: host.happened(EventKind.REJECTED, "green"))
        assert ("green", "1.0") in host.answers()
        shelf.put("red", "2.0")
        await host.until(lambda: ("red", "2.0") in host.answers())
        assert ("blue", "1.0") in host.answers()
        shelf.put("blue", "3.0")
        await host.until(
            lambda: (
                sorted(host.answers())
                == [("blue", "3.0"), ("green", "2.0"), ("red", "2.0")]
            )
        )


@pytest.mark.parametrize("is_beside", [True, False])
async def test_an_upgrade_that_misses_a_module_follows_when_that_is_installed(
    make_host, shelf, tmp_path, monkeypatch, is_beside
):
    """Into the same directory or another one; no metadata names it."""
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.syspath_prepend(other)
    missing = f"missed_{is_beside}".lower()
    async with make_host() as host:
        shelf.put("blue", "1.0")
        await load(host)
        await host.watch_distributions()
        text = photon_text("blue", "2.0")
        put(
            shelf.path,
            "blue",
            "2.0",
            files={"blue/__init__.py": f"import {missing}\n{text}"},
        )
        await host.until(lambda: host.happened(EventKind.REJECTED, "blue"))
        assert host.answers() == [("blue", "1.0")]
        site = shelf.path if is_beside else other
        put(site, missing, "1.0", files={f"{missing}.py": ""}, entries="", group="x")
        await host.until(lambda: host.answers() == [("blue", "2.0")])
    sys.modules.pop(missing, None)


async def test_a_pause_keeps_upgrades_for_later(make_host, shelf):
    """Also of what is loaded during the pause."""
    async with make_host() as host:
        shelf.put("blue", "1.0")
        await load(host)
        await host.watch_distributions()
        await host.pause_watching()
        shelf.put("blue", "2.0")
        (watcher,) = host._distribution_watch._watchers.values()
        await async_wait_until(lambda: watcher._loop.tracker.settle.is_pending)
        shelf.put("green", "1.0")
        with pytest.warns(match="is loaded already"):
            await load(host)
        shelf.put("green", "2.0")
        assert sorted(host.answers()) == [("blue", "1.0"), ("green", "1.0")]
        assert not host.happened(EventKind.SWAPPED)
        await host.resume_watching()
        await host.until(
            lambda: sorted(host.answers()) == [("blue", "2.0"), ("green", "2.0")]
        )
        await host.pause_watching()
        await host.stop_watching_distributions()


async def test_a_photon_cannot_pause_the_load_that_it_is_part_of(make_host, shelf):
    host = make_host()
    async with host:
        await host.watch_distributions()
        async with host._lock:
            with pytest.raises(PhotonStateError):
                await host.pause_watching()


async def test_distributions_are_polled_where_asked_for(make_host, shelf, caplog):
    async with make_host() as host:
        shelf.put("blue", "1.0")
        await load(host)
        await host.watch_distributions(polling=True)
        assert "polling was asked for" in caplog.text


FORKED = """
import asyncio, os, sys, warnings
import luminal
from tests.distributions import put
from tests.reload.conftest import PATIENT, Specs
from tests.waiting import wait_until

warnings.filterwarnings("ignore", "This process", DeprecationWarning)
sys.path.insert(0, SITE)
put(SITE, "blue", "1.0")
loader = luminal.blocking.Loader(hookspecs=[Specs], deadlines=PATIENT)
loader.load(luminal.discover())
loader.start()
loader.watch_distributions()
loader.pause_watching()
child = os.fork()
if not child:
    put(SITE, "blue", "2.0")
    loader.resume_watching()
    wait_until(lambda: loader.hook.who() == [("blue", "2.0")])
    loader.close()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
loader.resume_watching()
wait_until(lambda: loader.hook.who() == [("blue", "2.0")])
loader.close()
"""


@pytest.mark.fault(45)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_watches_distributions_when_it_resumes(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import pathlib\nSITE = pathlib.Path({str(site)!r})\n"
            + FORKED.replace("insert(0, SITE)", "insert(0, str(SITE))"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("was forked") == 1


async def test_the_version_before_is_let_go_once_it_is_replaced(make_host, shelf):
    """Also where it has no end of its own: nothing else happens afterwards."""
    async with make_host() as host:
        shelf.put("blue", "1.0")
        await load(host)
        await host.watch_distributions()
        before = weakref.ref(host.photons["blue"].generation)
        shelf.put("blue", "2.0")
        await host.until(lambda: host.answers() == [("blue", "2.0")])

        def is_gone():
            gc.collect()
            return before() is None

        await host.until(is_gone)
        await host.until(lambda: host.happened(EventKind.RETIRED, "blue"))


async def test_a_rejected_upgrade_is_reported_once(make_host, shelf, caplog):
    """However often it is tried again, and whatever is installed with it."""
    broken = photon_text("blue", "2.0") + "1 / 0\n"
    async with make_host() as host:
        shelf.put("blue", "1.0")
        shelf.put("green", "1.0")
        await load(host)
        await host.watch_distributions()
        put(shelf.path, "blue", "2.0", files={"blue/__init__.py": broken})
        tried = host._distribution_watch
        await host.until(lambda: tried._installed and not tried._installed._is_recent)
        shelf.put("green", "2.0")
        await host.until(lambda: ("green", "2.0") in host.answers())
        put(shelf.path, "green", "3.0", files={"green/__init__.py": "1 / 0\n"})
        await host.until(lambda: host.happened(EventKind.REJECTED, "green"))
        shelf.put("blue", "4.0")
        await host.until(lambda: ("blue", "4.0") in host.answers())
        assert len(host.happened(EventKind.REJECTED, "blue")) == 1
        assert len(host.happened(EventKind.REJECTED, "green")) == 1
    said = [r.getMessage() for r in caplog.records if "rejected" in r.getMessage()]
    assert sorted(text.split(":")[0] for text in said) == ["blue 2.0", "photon 'green'"]


async def test_a_forced_stop_does_not_wait_for_a_swap_that_hangs(
    make_host, shelf, monkeypatch
):
    """The version before keeps running."""
    events = types.ModuleType("host_events")
    events.begun, events.over = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "host_events", events)
    hang = "import host_events\nhost_events.begun.set()\nhost_events.over.wait()\n"
    host = make_host(deadlines=Deadlines(load=3600))
    try:
        shelf.put("blue", "1.0")
        await load(host)
        await host.watch_distributions()
        text = hang + photon_text("blue", "2.0")
        put(shelf.path, "blue", "2.0", files={"blue/__init__.py": text})
        assert await asyncio.to_thread(events.begun.wait, DEADLINE)
        async with asyncio.timeout(DEADLINE):
            await host.stop_watching_distributions(halt_threads=True)
            await host.unload_photon("blue", force_stop=True)
    finally:
        events.over.set()
    await host.close()
