"""How often a watch reloads: storms of saves, and photons that write their files."""

from __future__ import annotations

import linecache
import logging
import os
import sys
import textwrap
import threading
import time

import pytest

from luminal.loading import record_writes
from luminal.model import EventKind
from luminal.reload import _pace
from tests.waiting import DEADLINE

PHOTON = """
import itertools, os, pathlib, time
from luminal import IPhoton, hookimpl
{head}
HERE = pathlib.Path(__file__)

def write(path):
    \"\"\"Write another text each time.\"\"\"
    text = path.read_text() if path.exists() else ""
    mark = "AT" + " = "
    text = text.partition(mark)[0] + f"{{mark}}{{time.time_ns()}}\\n"
    {way}

class Photon(IPhoton):
    photon_name = "p"

    def start(self):
        {start}

    @hookimpl
    def who(self):
        return {number}

    @hookimpl
    def visit(self, go):
        {hook}

{tail}
"""

WAYS = {
    "in place": "path.write_text(text)",
    "renamed over": "spare = path.with_suffix('.tmp'); spare.write_text(text); "
    "os.replace(spare, path)",
    "descriptor": "fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CREAT); "
    "os.write(fd, text.encode()); os.close(fd)",
}


def text(number, way="in place", head="", tail="", start="pass", hook="pass"):
    return textwrap.dedent(PHOTON).format(
        number=number, way=WAYS[way], head=head, tail=tail, start=start, hook=hook
    )


WHEN = {
    "import": {"tail": "write(HERE)"},
    "start": {"start": "write(HERE)"},
    "hook": {"hook": "write(HERE)"},
    "helper": {"head": "from . import gen", "tail": "write(HERE.with_name('gen.py'))"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", WHEN)
async def test_a_photon_that_writes_its_own_files_is_followed_once(
    make_host, photons, when, way, caplog
):
    """Then it waits, it is said who writes, and saves of others count at once."""
    (photons.path / "p").mkdir()
    (photons.path / "p" / "gen.py").write_text("")
    file = photons.path / "p" / "__init__.py"
    file.write_text(text(1))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [1])
        for number in (2, 3):
            host.heard.clear()
            caplog.clear()
            file.write_text(text(number, way, **WHEN[when]))
            await host.until(lambda number=number: host.answers() == [number])
            while when == "hook" and not host.happened(EventKind.THROTTLED):
                swaps = len(host.happened(EventKind.SWAPPED))
                host.hook.visit(go=None)
                await host.until(
                    lambda swaps=swaps: (
                        len(host.happened(EventKind.SWAPPED)) > swaps
                        or host.happened(EventKind.THROTTLED)
                    )
                )
            (told,) = await host.until(lambda: host.happened(EventKind.THROTTLED, "p"))
            assert len(host.happened(EventKind.SWAPPED)) <= 2
            assert told.problem.file == str(file)
            assert "path" in file.read_text().splitlines()[told.problem.line - 1]
            await host.until(lambda: "writes its own files" in caplog.text)
            said = [r for r in caplog.records if r.levelno >= logging.WARNING]
            assert len(said) == 1
        file.write_text(text(4))
        await host.until(lambda: host.answers() == [4])


CHILD = """
import subprocess
command = 'echo AT = $(date +%s%N) > "$0"'
subprocess.run(["sh", "-c", command, str(HERE.parent / {target!r})], check=True)
"""
OTHER = """
(HERE.parent / {target!r}).write_text(f"AT = {{time.time_ns()}}")
"""
HELPER = "from . import gen"
DATA = """
from importlib import resources
(resources.files(__name__) / "d.txt").read_text()
"""
BY_CHILD = {
    "a helper": (CHILD, HELPER, {"p": "gen.py"}),
    "data": (CHILD, DATA, {"p": "d.txt"}),
    "each other's": (CHILD, HELPER, {"p": "../q/gen.py", "q": "../p/gen.py"}),
    "each other's, by themselves": (
        OTHER,
        HELPER,
        {"p": "../q/gen.py", "q": "../p/gen.py"},
    ),
}


@pytest.mark.parametrize("written", BY_CHILD)
async def test_what_child_processes_of_photons_write_is_not_followed_for_ever(
    make_host, photons, written
):
    """Nobody sees who writes. But it is after each reload, and at no other time."""
    code, head, targets = BY_CHILD[written]
    async with make_host() as host:
        await host.watch_photons(photons.path)
        for name in targets:
            photons.write(f"{name}/gen.py", "")
            photons.write(f"{name}/d.txt", "")
        for name, target in targets.items():
            whole = text(1, head=head, tail=code.format(target=target))
            photons.write(f"{name}/__init__.py", whole.replace('"p"', repr(name)))
        (told, *_) = await host.until(lambda: host.happened(EventKind.THROTTLED))
        assert "only then" in told.problem.why
        line = linecache.getline(told.problem.file, told.problem.line)
        assert ("subprocess.run" if code == CHILD else "write_text") in line
        assert len(host.happened(EventKind.SWAPPED)) < 50
        photons.write("p/__init__.py", text(2, head=head))
        await host.until(lambda: 2 in host.answers())


async def test_saves_right_after_each_reload_are_followed(make_host, photons):
    """As by a program that waits until a save is live, and then makes the next one."""
    file = photons.path / "p.py"
    async with make_host() as host:
        await host.watch_photons(photons.path)
        for number in range(50):
            if number % 3:
                file.write_text(text(number))
            else:
                file.unlink(missing_ok=True)
            wanted = [number] if number % 3 else []
            await host.until(lambda w=wanted: host.answers() == w)
        assert not host.happened(EventKind.THROTTLED)


async def test_what_waits_is_followed_later(make_host, photons, monkeypatch):
    """And less and less often."""
    monkeypatch.setattr(_pace, "_FIRST", 0.5)
    file = photons.path / "p.py"
    file.write_text(text(1))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [1])
        file.write_text(text(2, **WHEN["import"]))
        turns = host._directory_watch._self_writers._turns
        await host.until(lambda: any(t.wait > 0.5 for t in list(turns.values())))
        await host.until(lambda: len(host.happened(EventKind.SWAPPED)) >= 3)
        told = len(host.happened(EventKind.THROTTLED))
        assert 1 <= told < len(host.happened(EventKind.SWAPPED))  # once a state

        def is_mended():
            if "return 3" not in file.read_text():  # the photon has written last
                file.write_text(text(3))
            return host.answers() == [3]

        await host.until(is_mended)


async def test_a_new_file_that_writes_itself_and_cannot_be_loaded(
    make_host, photons, caplog
):
    async with make_host() as host:
        (photons.path / "a.py").write_text(text(1))
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [1])
        late = text(2, tail="write(HERE); 1 / 0").replace('"p"', '"q"')
        (photons.path / "q.py").write_text(late)
        await host.until(lambda: "writes its own files" in caplog.text)
        (photons.path / "q.py").write_text(late.replace("1 / 0", "pass"))
        await host.until(lambda: sorted(host.answers()) == [1, 2])


async def test_a_photon_may_write_another_ones_file(make_host, photons):
    """As an editor does that is a photon: each save is live, and nothing is said."""
    editor = text(0, hook="HERE.with_name('p.py').write_text(go)").replace('"p"', '"e"')
    (photons.path / "e.py").write_text(editor)
    (photons.path / "p.py").write_text(text(1))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: sorted(host.answers()) == [0, 1])
        for number in range(2, 8):
            host.hook.visit(go=text(number))
            await host.until(lambda n=number: sorted(host.answers()) == [0, n])
        assert not host.happened(EventKind.THROTTLED)


@pytest.mark.fault(29)
@pytest.mark.parametrize("pause", [0, 0.001, 0.01])
async def test_a_storm_is_live_while_it_goes_on_at_20_swaps_a_second(
    make_host, photons, pause
):
    """It does not have to end before something of it is live, and its last save is."""
    file, spare = photons.path / "p.py", photons.path / "spare.tmp"
    file.write_text(text(0))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [0])
        is_over, last = threading.Event(), 0

        def save():
            nonlocal last
            end = time.monotonic() + DEADLINE
            while not is_over.is_set() and time.monotonic() < end:
                last += 1
                spare.write_text(text(last))
                os.replace(spare, file)
                time.sleep(pause)  # the pace of the storm

        began = time.monotonic()
        thread = threading.Thread(target=save)
        thread.start()
        try:
            await host.until(lambda: len(host.happened(EventKind.SWAPPED)) > 20)
        finally:
            passed = time.monotonic() - began
            is_over.set()
            thread.join()
        swaps = len(host.happened(EventKind.SWAPPED))
        assert swaps <= 20 * passed + 3
        await host.until(lambda: host.answers() == [last])
        assert not host.happened(EventKind.THROTTLED)
        assert not host.happened(EventKind.REJECTED)


async def test_a_save_soon_after_the_photon_has_written_the_file_counts_at_once(
    make_host, photons
):
    """What the photon wrote is known by its stamp, however soon another save comes."""
    again = "gen = HERE.with_name('gen.py'); gen.write_text(gen.read_text())"
    photons.write("p/gen.py", "V = 1\n")
    head = "from .gen import V"
    file = photons.write("p/__init__.py", text("V", head=head, start=again, hook=again))
    file.with_name("link").symlink_to("gen.py")
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [1])
        for number in range(2, 9):
            if number % 2:
                host.hook.visit(go=None)
            gen = file.with_name("gen.py" if number % 3 else "link")
            gen.write_text(f"V = {number}\n")
            await host.until(lambda n=number: host.answers() == [n])
        assert not host.happened(EventKind.THROTTLED)


def test_what_others_audit_is_left_alone():
    """Whatever the arguments are, the hook raises nothing into the host's calls."""
    record_writes()
    for arguments in [
        (),
        ("file",),
        ("file", "w", None),
        ("file", None, "w"),
        (None, None, os.O_WRONLY),
        (b"\0", "w", os.O_WRONLY),
        (object(), "w", os.O_WRONLY),
    ]:
        sys.audit("open", *arguments)
        sys.audit("os.rename", *arguments)
