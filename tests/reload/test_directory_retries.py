"""Files that need each other and are saved one after the other, and what comes late."""

from __future__ import annotations

import builtins
import logging
import os
import sys

import pytest

from luminal.model import EventKind, State
from luminal.reload import _directory_watch
from tests.waiting import DEADLINE

TRIES = "import builtins; builtins.TRIES.append(__name__)"


def text(name, value, head="", body="pass"):
    return f"""
        from luminal import IPhoton, hookimpl
        {TRIES}
        {head}

        class Photon(IPhoton):
            photon_name = {name!r}

            def start(self):
                {body}

            @hookimpl
            def who(self):
                return {name!r}, {value}
        """


@pytest.fixture(autouse=True)
def tries():
    """The modules that were executed, each as often as that has begun."""
    builtins.TRIES = []
    yield builtins.TRIES
    del builtins.TRIES


@pytest.fixture
def patient(monkeypatch):
    """Failures are held as long as any test takes."""
    monkeypatch.setattr(_directory_watch, "_HELD_FOR", DEADLINE)


def failures(host):
    kinds = (EventKind.REJECTED, EventKind.FAILED)
    return [event for kind in kinds for event in host.happened(kind)]


NEW_IMPORT = text("p", "g()", "from .h import g")
NEW_ATTRIBUTE = text("p", "V", "from . import h; V = h.g()")
NEW_START = text("p", "2", body="from .h import g")
NEEDS = {"import": NEW_IMPORT, "attribute": NEW_ATTRIBUTE, "start": NEW_START}
OLD = {"h": f"{TRIES}\ndef f(): return 1\n", "p": text("p", "f()", "from .h import f")}


@pytest.mark.parametrize("order", ["hp", "ph"])
@pytest.mark.parametrize("need", NEEDS.values(), ids=NEEDS)
async def test_two_files_that_need_each_other_are_one_reload(
    make_host, photons, order, need, tries, patient, caplog
):
    """Whichever is saved first: no error, no log of one, and one swap."""
    new = {"h": f"{TRIES}\ndef g(): return 2\n", "p": need}
    async with make_host() as host:
        for name, content in OLD.items():
            photons.write(f"{name}.py", content)
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [("p", 1)])
        tries.clear()
        first, second = order
        photons.write(f"{first}.py", new[first])
        await host.until(lambda: tries)
        async with host._lock:
            pass
        assert host.answers() == [("p", 1)]
        photons.write(f"{second}.py", new[second])
        await host.until(lambda: host.answers() == [("p", 2)])
        assert host.photons["p"].number == 2
        await host.stop_watching_photons()
        assert not failures(host)
        assert len(host.happened(EventKind.SWAPPED)) == 1
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "need",
    [
        text("new", 1, "from .late import V"),
        text("new", 1, body="from .late import V"),
        text("new", 1, "import late; late.V"),
    ],
    ids=["import", "start", "beside"],
)
@pytest.mark.parametrize("is_package", [False, True])
async def test_a_new_file_whose_helper_comes_later(
    make_host, photons, need, is_package, tries, patient, caplog
):
    async with make_host() as host:
        photons.write("a.py", text("a", 1))
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [("a", 1)])
        tries.clear()
        photons.write("new.py", need)
        await host.until(lambda: tries)
        async with host._lock:
            pass
        photons.write("late/__init__.py" if is_package else "late.py", "V = 1\n")
        await host.until(lambda: host.answers() == [("a", 1), ("new", 1)])
        assert host.photons["new"].state is State.RUNNING
        await host.stop_watching_photons()
        assert not failures(host)
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_what_is_taken_back_in_time_is_not_reported(
    make_host, photons, tries, patient
):
    """The old text, a file that goes again, and one that is no photon any more."""
    async with make_host() as host:
        photons.write("p.py", text("p", 1))
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [("p", 1)])
        tries.clear()
        photons.write("p.py", text("p", 2, "1 / 0"))
        photons.write("q.py", text("q", 2, "1 / 0"))
        photons.write("r.py", text("r", 2, "1 / 0"))
        await host.until(lambda: len(set(tries)) == 3)
        photons.write("p.py", text("p", 1))
        (photons.path / "q.py").unlink()
        photons.write("r.py", "")
        photons.write("s.py", text("s", 1))
        await host.until(lambda: len(host.answers()) == 2)
        await host.stop_watching_photons()
        assert not failures(host)


async def test_what_stays_broken_is_reported_with_its_latest_cause(
    make_host, photons, caplog
):
    """Once, by event and log, whatever good saves come meanwhile."""
    async with make_host() as host:
        for name in "pq":
            photons.write(f"{name}.py", text(name, 1))
        await host.watch_photons(photons.path)
        await host.until(lambda: len(host.answers()) == 2)
        photons.write("p.py", text("p", 2, "1 / 0"))
        photons.write("p.py", text("p", 2, "raise ValueError('second')"))
        photons.write("q.py", text("q", 2))
        await host.until(lambda: host.happened(EventKind.REJECTED, "p"))
        assert host.happened(EventKind.REJECTED)[-1].problem.why.endswith("second")
        await host.until(lambda: dict(host.answers()) == {"p": 1, "q": 2})

        def said():
            return [r for r in caplog.records if r.levelno >= logging.ERROR]

        await host.until(said)  # it is logged after the event
        assert len(said()) == 1


@pytest.mark.parametrize("is_loaded", [True, False])
@pytest.mark.parametrize("way", ["distribution", "module"])
async def test_a_missing_module_that_is_installed_later(
    make_host, photons, tmp_path, monkeypatch, way, is_loaded
):
    """The photon is tried again, without a save."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    name = f"brought_{way}_{is_loaded}".lower()
    async with make_host() as host:
        photons.write("p.py" if is_loaded else "a.py", text("p", 1))
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [("p", 1)])
        if not is_loaded:
            (photons.path / "a.py").unlink()
            await host.until(lambda: not host.answers())
        photons.write("p.py", text("p", 2, f"import {name}"))
        await host.until(lambda: host.happened(EventKind.REJECTED, "p"))
        if way == "module":
            (site / f"{name}.py").write_text("")
        else:
            install(site, name)
        await host.until(lambda: host.answers() == [("p", 2)])
        await host.until(lambda: host.photons["p"].state is State.RUNNING)
    sys.modules.pop(name, None)


def install(site, name):
    """Do as pip does, without what is read only."""
    (site / name).mkdir()
    (site / name / "__init__.py").write_text("")
    metadata = site / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    temporary = metadata / "RECORD.tmp"
    temporary.write_text("")
    os.replace(temporary, metadata / "RECORD")
