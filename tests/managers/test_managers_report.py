"""What a running host tells of itself over its socket is what it knows."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import tempfile
from pathlib import Path

import attrs
import pytest

import luminal
from luminal.managers import socket_of, speak
from luminal.managers.control import Control
from luminal.managers.status import report_of
from luminal.web import snapshot_of, snapshot_of_status

GEO = """\
import luminal


class Geo(luminal.IPhoton):
    photon_name = "geo"

    @luminal.hookimpl
    def locate(self):
        {does}
"""


class Specs:
    @luminal.hookspec
    def locate(self) -> None: ...


async def lived(directory: Path) -> luminal.Loader:
    """Return a host that has swapped once, refused once, and seen an error."""
    file = directory / "geo.py"
    file.write_text(GEO.format(does="return 1"))
    bad = GEO.format(does="return 2").replace('"geo"', '"bad"')
    (directory / "bad.py").write_text(f"import a_library_that_nobody_has\n{bad}")
    loader = luminal.Loader(suppress_errors=True, cache=False)
    loader.plugins.add_hookspecs(Specs)
    await loader.load(luminal.discover(directory, group=None))
    await loader.start()
    file.write_text(GEO.format(does="raise OSError('no')"))
    await loader.reload_photon("geo")
    for _ in range(3):
        with pytest.raises(OSError, match="no"):
            loader.hook.locate()
    file.write_text(GEO.format(does="return ("))
    await loader.reload_photons(["geo"])
    async with asyncio.timeout(60):  # the first generation's end is an event of its own
        while not any(e.kind == "retired" for e in loader.events.journal):
            gc.collect()
            await asyncio.sleep(0.01)
    return loader


async def test_the_report_draws_the_snapshot_that_the_host_draws(
    tmp_path: Path,
) -> None:
    """Journal, statistics, failures with their frames: nothing is lost in JSON."""
    loader = await lived(tmp_path)
    here = snapshot_of(loader)
    there = snapshot_of_status(json.loads(json.dumps(report_of(loader))))
    await loader.close()
    assert attrs.evolve(there, at=here.at) == here
    assert there.events is not None
    swapped = {e.kind for e in there.events if e.photon == "geo"}
    assert {"loaded", "started", "swapped", "rejected"} <= swapped
    frames = [f.problem.frames for f in there.failures if f.photon == "bad"]
    assert [frame.function for frame in frames[0] if frame.is_own] == ["<module>"]
    assert there.hooks is not None
    (hook,) = there.hooks
    assert (hook.hook, hook.generation, hook.errors) == ("locate", 2, 3)


async def test_what_a_newer_host_says_beyond_is_passed_over(tmp_path: Path) -> None:
    loader = await lived(tmp_path)
    report = json.loads(json.dumps(report_of(loader)))
    report["events"].append({**report["events"][0], "kind": "ascended"})
    report["more"] = {"of": "this"}
    snapshot = snapshot_of_status(report)
    await loader.close()
    assert snapshot.events is not None
    assert len(snapshot.events) == len(report["events"]) - 1


@pytest.mark.skipif(os.name != "posix", reason="hosts are asked on Unix sockets")
async def test_the_socket_answers_with_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="lum-") as sockets:
        monkeypatch.setenv("LUMINAL_RUNTIME_DIR", sockets)
        loader = await lived(tmp_path)
        control = Control(loader)
        control.start(asyncio.get_running_loop())
        ask = {"ask": "report"}
        answer = await asyncio.to_thread(speak, socket_of(os.getpid()), ask)
        control.stop()
        expected = json.loads(json.dumps(report_of(loader)))
        await loader.close()
        assert answer is not None
        for changing in ("at", "memory", "threads"):
            del answer[changing], expected[changing]
        del answer["metrics"]["at"], expected["metrics"]["at"]
        assert answer == expected
