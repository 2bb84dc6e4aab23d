"""Whatever was saved before, and however quickly: what was saved last is live."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time

import pytest

from luminal.model import EventKind
from luminal.reload import DirectoryWatch
from luminal.reload._reloader import Reloader
from luminal.testing import Save, save

LONE = """
from luminal import IPhoton, hookimpl
class Photon(IPhoton):
    photon_name = "{name}"
    {way}def start(self):
        pass
    {way}def finalize(self):
        pass
    @hookimpl
    def who(self):
        return ("{name}", {number})
"""
PACKAGE = "from .edition import NUMBER\n" + LONE.format(
    name="c", way="", number="NUMBER"
)
FILES = {"a.py": LONE, "b.py": LONE, "c/edition.py": "NUMBER = {number}\n"}
BROKEN = ["def (", "", "1 / 0\n", "{text}raise SystemExit\n", "import nowhere_at_all\n"]


def text_of(file, number):
    name, way = file[0], "async " if file == "b.py" else ""
    return FILES[file].format(name=name, way=way, number=number)


def storm(root, seed, last):
    """Save files, good and broken ones, by many ways; the last of each is good."""
    chosen = random.Random(seed)
    pauses = chosen.choice([(0,), (0, 0.002), (0.01, 0.03), (0, 0.01, 0.06, 0.26)])
    files = chosen.sample([*FILES], chosen.randint(1, 3))
    ways = [way for way in Save if way is not Save.DELETE or chosen.random() < 0.3]
    for _ in range(chosen.randint(1, 12)):
        file = chosen.choice(files)
        last[file] += 1
        text = text_of(file, last[file])
        if chosen.random() < 0.2:
            text = chosen.choice(BROKEN).format(text=text)
        save(root / file, text.encode(), chosen.choice(ways))
        time.sleep(chosen.choice(pauses))  # the pace of the storm
    for file in files:
        last[file] += 1
        save(root / file, text_of(file, last[file]).encode(), chosen.choice(ways))


@pytest.mark.fault(29)
async def test_what_was_saved_last_is_live(make_host, photons):
    """Under load, on the loop and beside it; batches come while others are applied."""
    root = photons.path
    last = dict.fromkeys(FILES, 1)
    (root / "c").mkdir()
    (root / "c" / "__init__.py").write_text(PACKAGE)
    for file in FILES:
        (root / file).write_text(text_of(file, 1))
    rounds = int(os.environ.get("LUMINAL_ROUNDS", "8"))
    first = int(os.environ.get("LUMINAL_SEED", "0"))
    is_over = threading.Event()

    def compute():
        while not is_over.is_set():
            sum(range(10_000))

    async def ask(host):
        while not is_over.is_set():
            host.hook.who()
            await asyncio.sleep(0)

    async with make_host() as host:
        await host.watch_photons(root)
        load = threading.Thread(target=compute)
        load.start()
        asking = asyncio.create_task(ask(host))
        try:
            for seed in range(first, first + rounds):
                host.heard.clear()
                await asyncio.to_thread(storm, root, seed, last)
                expected = [(file[0], number) for file, number in last.items()]
                try:
                    await host.until(lambda e=expected: sorted(host.hook.who()) == e)
                except AssertionError as error:
                    found = sorted(host.hook.who())
                    raise AssertionError(f"{seed}: {found}, not {expected}") from error
            assert not host.happened(EventKind.THROTTLED)
        finally:
            is_over.set()
            await asking
            load.join()


@pytest.mark.parametrize("times", [1, 3])
async def test_a_change_that_could_not_be_applied_is_tried_again(
    make_host, photons, monkeypatch, times
):
    """Whatever has failed: at once by itself, and with the next change."""
    for file in ("a.py", "b.py"):
        photons.write(file, text_of(file, 1))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        replace, failed = Reloader.replace, []

        async def fail(self, *arguments, **options):
            if len(failed) < times:
                failed.append(arguments)
                raise MemoryError
            return await replace(self, *arguments, **options)

        monkeypatch.setattr(Reloader, "replace", fail)
        photons.write("a.py", text_of("a.py", 2))
        await host.until(lambda: len(failed) >= min(times, 2))
        if times > 2:
            photons.write("b.py", text_of("b.py", 2))
            await host.until(lambda: len(failed) == times)
            photons.write("b.py", text_of("b.py", 3))
            await host.until(lambda: ("b", 3) in host.hook.who())
        await host.until(lambda: ("a", 2) in host.hook.who())


async def test_what_was_replaced_before_a_failure_is_retired(
    make_host, photons, monkeypatch
):
    """To try the rest again finds nothing to replace."""
    text = text_of("a.py", 1).replace("finalize", "unused")
    photons.write("a.py", text)
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.start()
        take_texts, failed = DirectoryWatch._take_texts, []

        def fail(self, *arguments):
            if not failed:
                failed.append(arguments)
                raise MemoryError
            take_texts(self, *arguments)

        monkeypatch.setattr(DirectoryWatch, "_take_texts", fail)
        photons.write("a.py", text.replace("1)", "2)"))
        await host.until(lambda: failed)
        await host.until(lambda: host.happened(EventKind.DRAINED, "a"))
        assert ("a", 2) in host.hook.who()
