"""From files to what serves: a host that watches, and files that are hard to follow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import tarfile
import threading
import time

import pytest

from luminal.model import EventKind
from tests.waiting import async_wait_until

TEXT = """from luminal import IPhoton, hookimpl
{head}
class Photon(IPhoton):
    photon_name = {name!r}

    @hookimpl
    def who(self):
        return ({name!r}, {value})
"""


def text(name, value, head=""):
    return TEXT.format(name=name, value=value, head=head)


def package(folder, name, value, depth=4):
    """Write a photon whose value lies *depth* packages down; return that file."""
    inner = [f"p{number}" for number in range(depth)]
    leaf = folder.joinpath(*inner, "leaf.py")
    leaf.parent.mkdir(parents=True)
    for parent in leaf.parents[:depth]:
        (parent / "__init__.py").touch()
    leaf.write_text(f"VALUE = {value}\n")
    head = f"from .{'.'.join(inner)}.leaf import VALUE\n"
    (folder / "__init__.py").write_text(text(name, "VALUE", head))
    return leaf


class Live:
    """A host that watches, and the means to wait for what it answers."""

    def __init__(self, host, root):
        self.host, self.root = host, root

    async def show(self, **expected):
        def is_so():
            return dict(self.host.hook.who()) == expected

        try:
            await self.host.until(is_so)
        except AssertionError as error:
            answers = dict(self.host.hook.who())
            raise AssertionError(f"{answers} is not {expected}") from error

    async def begin(self, **values):
        for name, value in values.items():
            (self.root / f"{name}.py").write_text(text(name, value))
        await self.host.watch_photons(self.root)
        await self.show(**values)


@contextlib.asynccontextmanager
async def watching(make_host, photons):
    async with make_host() as host:
        yield Live(host, photons.path)


@pytest.mark.slow
@pytest.mark.fault(29)
async def test_a_thousand_saves_while_staging_is_slow(make_host, photons):
    """Few swaps, the last text serves, and calls are answered all the time."""
    async with watching(make_host, photons) as live:
        await live.begin(a=0)
        file, spare = live.root / "a.py", live.root / "spare.tmp"

        def save():
            for number in range(1, 1001):
                content = text("a", number, "import time\ntime.sleep(0.05)\n")
                if number % 2:
                    file.write_text(content)
                else:
                    spare.write_text(content)
                    os.replace(spare, file)

        saving = asyncio.create_task(asyncio.to_thread(save))
        while not saving.done():
            assert len(live.host.hook.who()) == 1
            await asyncio.sleep(0)
        await saving
        await live.show(a=1000)
        assert len(live.host.happened(EventKind.SWAPPED)) < 500
        assert not live.host.happened(EventKind.UNLOADED)


@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("is_renamed", [False, True], ids=["in place", "renamed over"])
async def test_saves_without_a_pause_are_live_before_they_end(
    make_host, photons, count, is_renamed
):
    """A storm is cut into batches: its first saves do not wait for its end."""
    async with watching(make_host, photons) as live:
        names = [f"p{number}" for number in range(count)]
        await live.begin(**dict.fromkeys(names, 0))
        spare, seen_during = live.root / "spare.tmp", []

        def save():
            for number in range(1, 1001):
                name = names[number % count]
                target = live.root / f"{name}.py"
                (spare if is_renamed else target).write_text(text(name, number))
                if is_renamed:
                    os.replace(spare, target)
                time.sleep(0.001)  # the pace of the storm
            seen_during.extend(live.host.happened(EventKind.SWAPPED))

        await asyncio.to_thread(save)
        assert seen_during
        last = {names[number % count]: number for number in range(1001 - count, 1001)}
        await live.show(**last)
        assert not live.host.happened(EventKind.REJECTED)


async def test_the_copies_that_an_editor_checks_are_no_photons(make_host, photons):
    """Flycheck and Flymake of Emacs write them beside the text."""
    async with watching(make_host, photons) as live:
        (live.root / "flycheck_old.py").write_text(text("old", 1))
        await live.begin(a=1)
        for copy in ("flycheck_a.py", "a_flymake.py"):
            (live.root / copy).write_text(text("copy", 1))
        (live.root / "a.py").write_text(text("a", 2))
        (live.root / "b.py").write_text(text("b", 2))
        await live.show(a=2, b=2)
        assert set(live.host.photons) == {"a", "b"}


async def test_two_who_write_one_file_leave_no_gap(make_host, photons):
    """Renamed over by two processes' worth of threads, as fast as they can."""
    async with watching(make_host, photons) as live:
        await live.begin(a=0)
        file, go_on = live.root / "a.py", threading.Event()

        def write(number):
            spare = live.root / f".{number % 2}"
            while not go_on.is_set():
                spare.write_text(text("a", number))
                os.replace(spare, file)
                number += 2

        writers = [threading.Thread(target=write, args=(number,)) for number in (4, 5)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(3):
                before = len(live.host.happened(EventKind.SWAPPED))
                await live.host.until(
                    lambda before=before: (
                        len(live.host.happened(EventKind.SWAPPED)) > before
                    )
                )
                assert len(live.host.hook.who()) == 1
        finally:
            go_on.set()
            for writer in writers:
                writer.join()
        file.write_text(text("a", 3))
        await live.show(a=3)
        assert not live.host.happened(EventKind.UNLOADED)


async def test_what_is_saved_while_another_text_is_staged_is_not_lost(
    make_host, photons
):
    async with watching(make_host, photons) as live:
        await live.begin(a=0, b=0)
        file = live.root / "a.py"
        for number in range(1, 6):
            entered = live.root.parent / f"entered_{number}"
            head = (
                "import pathlib, time\n"
                f"pathlib.Path({str(entered)!r}).touch()\n"
                "time.sleep(0.1)\n"
            )
            file.write_text(text("a", -number, head))
            await live.host.until(entered.exists)
            if number % 2:
                file.unlink()
            file.write_text(text("a", number))
            (live.root / "b.py").write_text(text("b", number))
            await live.show(a=number, b=number)


async def test_a_deep_package_made_removed_and_renamed_over(make_host, photons):
    async with watching(make_host, photons) as live:
        await live.begin()
        folder, leaf = live.root / "deep", None
        for number in range(3):
            if folder.exists():
                shutil.rmtree(folder)
            leaf = package(folder, "deep", number)
            await live.show(deep=number)
        leaf.write_text("VALUE = 30\n")
        await live.show(deep=30)
        for number in (40, 50):
            fresh = live.root.parent / f"fresh_{number}"
            package(fresh, "deep", number)
            folder.rename(live.root.parent / f"old_{number}")
            fresh.rename(folder)
            await live.show(deep=number)
        leaf.write_text("VALUE = 60\n")
        await live.show(deep=60)


async def test_a_package_that_moves_is_edited_where_it_is_now(make_host, photons):
    async with watching(make_host, photons) as live:
        await live.begin()
        leaf = package(live.root / "one", "one", 1)
        await live.show(one=1)
        (live.root / "one").rename(live.root / "two")
        moved = live.root / "two" / leaf.relative_to(live.root / "one")
        moved.write_text("VALUE = 2\n")
        await live.show(one=2)
        archive = live.root.parent / "two.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(live.root / "two", "two")
        shutil.rmtree(live.root / "two")
        await live.show()
        with tarfile.open(archive) as tar:
            # Python 3.11.2 has no filters.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(live.root, **safe)
        moved.write_text("VALUE = 3\n")
        await live.show(one=3)


async def test_a_file_becomes_a_package_and_a_file_again(make_host, photons):
    async with watching(make_host, photons) as live:
        await live.begin(a=0)
        file, folder = live.root / "a.py", live.root / "a"
        file.unlink()
        leaf = package(folder, "a", 1, depth=1)
        await live.show(a=1)
        leaf.write_text("VALUE = 2\n")
        await live.show(a=2)
        leaf.rename(leaf.with_name("stem.py"))
        init = folder / "__init__.py"
        init.write_text(init.read_text().replace("leaf", "stem"))
        leaf.with_name("stem.py").write_text("VALUE = 3\n")
        await live.show(a=3)
        shutil.rmtree(folder)
        file.write_text(text("a", 4))
        await live.show(a=4)


@pytest.mark.skipif(sys.platform != "linux", reason="the order of events is Linux's")
async def test_forty_flips_of_a_deployments_link(make_host, photons):
    """The last one serves, and only what it leads to is watched."""
    async with watching(make_host, photons) as live:
        for number in (1, 2, 3):
            release = live.root.parent / f"release_{number}"
            release.mkdir()
            (release / "a.py").write_text(text("a", number))
        current, fresh = live.root / "current", live.root / "fresh"
        current.symlink_to(live.root.parent / "release_1")
        live.root = current
        await live.host.watch_photons(current)
        await live.show(a=1)
        for number in range(2, 42):
            fresh.symlink_to(current.parent.parent / f"release_{number % 3 + 1}")
            os.replace(fresh, current)
        await live.show(a=41 % 3 + 1)
        (current.parent.parent / "release_1" / "a.py").write_text(text("a", 70))
        (current / "a.py").write_text(text("a", 80))
        await live.show(a=80)
        assert not live.host.happened(EventKind.UNLOADED)


async def test_a_name_that_is_not_utf8_hinders_nobody(make_host, photons, caplog):
    """It is told in a way that every log file can take."""
    caplog.set_level(logging.INFO, logger="luminal.watch")
    async with watching(make_host, photons) as live:
        await live.begin(a=0)
        odd = live.root / os.fsdecode(b"caf\xe9.py")
        for number in (1, 2):
            odd.write_text(text("odd", number))
            (live.root / "a.py").write_text(text("a", number))
            await live.show(a=number)
        await async_wait_until(lambda: "caf\\udce9.py" in "".join(caplog.messages))
        odd.unlink()
        (live.root / "a.py").write_text(text("a", 3))
        await live.show(a=3)
    assert "\n".join(caplog.messages).encode()
