"""A bundle that is prepared for a fleet: it waits, ready, for a decision."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from luminal.discovery import pack
from luminal.errors import (
    LuminalError,
    PhotonReloadError,
    PhotonStateError,
    PhotonVerificationError,
)
from luminal.lifecycle._batch import BatchLoader
from luminal.model import Deadlines, EventKind
from luminal.reload import Prepared, fleet_path
from luminal.trust import Bundle, SecretKey, open_bundle, sign
from tests.reload.conftest import Host, text
from tests.waiting import DEADLINE, async_wait_until, brief


def bundle_of(directory: Path, name: str = "geo") -> Bundle:
    """Return what a fleet would send of the photon in *directory*."""
    packed = pack(directory / f"{name}.py", version="1.0")
    return open_bundle(packed.data(), fleet_path(packed.name))


def write(directory: Path, number: int, **more: str) -> Bundle:
    """Write a photon that answers with *number*, and pack it."""
    directory.mkdir(exist_ok=True)
    (directory / "geo.py").write_text(text("geo", number, **more))
    return bundle_of(directory)


async def commit(host: Host, bundle: Bundle) -> None:
    prepared = await host._prepare_for_fleet(bundle)
    await prepared.commit()


async def test_hooks_answer_as_before_until_the_decision(tmp_path: Path) -> None:
    async with Host() as host:
        first = await host._prepare_for_fleet(write(tmp_path / "a", 1))
        assert host.answers() == []
        await first.commit()
        assert host.answers() == [("geo", 1)]
        assert [e.photon for e in host.happened(EventKind.STARTED)] == ["geo"]
        second = await host._prepare_for_fleet(write(tmp_path / "b", 2))
        for _ in range(100):
            assert host.answers() == [("geo", 1)]
        await second.commit()
        assert host.answers() == [("geo", 2)]
        assert host.photons["geo"].fleet == "geo"


async def test_it_is_committed_before_what_it_replaces_is_retired(
    tmp_path: Path,
) -> None:
    """A fleet waits for the slowest member: it is to hear first that calls reach it."""
    async with Host() as host:
        await commit(host, write(tmp_path / "a", 1))
        await commit(host, write(tmp_path / "b", 2))
        assert host.answers() == [("geo", 2)]
        assert host.happened(EventKind.DRAINED) == []
        await async_wait_until(lambda: host.happened(EventKind.DRAINED))
        third = await host._prepare_for_fleet(write(tmp_path / "c", 3))
        committing = asyncio.ensure_future(third.commit())
        await asyncio.sleep(0)
        committing.cancel()  # what is decided is done all the same
        await async_wait_until(lambda: len(host.happened(EventKind.DRAINED)) == 2)
        assert host.answers() == [("geo", 3)]


async def test_no_thread_is_started_to_read_what_was_handed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    async with Host() as host:
        await commit(host, write(tmp_path / "a", 1))
        started.clear()
        await commit(host, write(tmp_path / "b", 2))
        assert host.answers() == [("geo", 2)]
    assert "luminal-read" not in started


async def test_what_was_decided_against_leaves_no_trace(tmp_path: Path) -> None:
    async with Host() as host:
        first = await host._prepare_for_fleet(write(tmp_path / "a", 1))
        await first.undo()
        assert host.photons == {}
        assert "geo" not in sys.modules
        await commit(host, write(tmp_path / "a", 1))
        before = host.photons["geo"].generation
        second = await host._prepare_for_fleet(write(tmp_path / "b", 2))
        await second.undo()
        assert host.answers() == [("geo", 1)]
        assert host.photons["geo"].generation is before
        await commit(host, write(tmp_path / "b", 3))
        assert host.answers() == [("geo", 3)]


BROKEN = {
    "syntax": "def",
    "import": "import not_there_at_all",
    "start raises": "async def start(self): raise ValueError('no')",
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("is_first", [True, False], ids=["load", "swap"])
async def test_what_cannot_run_is_refused(
    tmp_path: Path, how: str, is_first: bool
) -> None:
    async with Host() as host:
        if not is_first:
            await commit(host, write(tmp_path / "a", 1))
        head = BROKEN[how] if how == "import" else ""
        body = BROKEN[how] if how == "start raises" else "pass"
        bundle = write(tmp_path / "b", 2, head=head, body=body)
        if how == "syntax":
            files = {**bundle.files, "geo.py": b"def"}
            from luminal.trust import build_bundle

            bundle = build_bundle(
                files,
                name="geo",
                version="1.0",
                root="geo",
                photons=bundle.manifest.photons,
            )
            bundle = open_bundle(bundle.data(), fleet_path("geo"))
        with pytest.raises(LuminalError):
            await host._prepare_for_fleet(bundle)
        assert host.answers() == ([] if is_first else [("geo", 1)])
        await commit(host, write(tmp_path / "c", 3))
        assert host.answers() == [("geo", 3)]


async def test_a_start_that_hangs_is_refused_at_its_deadline(tmp_path: Path) -> None:
    limits = Deadlines(DEADLINE, brief(0.1), DEADLINE, DEADLINE, DEADLINE)
    async with Host(deadlines=limits) as host:
        await commit(host, write(tmp_path / "a", 1))
        body = "async def start(self): await asyncio.sleep(1000)"
        with pytest.raises(LuminalError):
            await host._prepare_for_fleet(write(tmp_path / "b", 2, body=body))
        assert host.answers() == [("geo", 1)]


async def test_it_can_be_undone_at_the_end_of_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load saves compiled code when the photons are there already."""
    load_batch = BatchLoader.load_batch
    loaded = asyncio.Event()

    async def and_save(*args: Any, **options: Any) -> Any:
        batch = await load_batch(*args, **options)
        loaded.set()
        await asyncio.sleep(DEADLINE)
        return batch

    async with Host() as host:
        with monkeypatch.context() as patch:
            patch.setattr(BatchLoader, "load_batch", and_save)
            preparing = asyncio.ensure_future(
                host._prepare_for_fleet(write(tmp_path / "a", 1))
            )
            await loaded.wait()
            preparing.cancel()
            await asyncio.wait({preparing})
        assert host.photons == {}
        await commit(host, write(tmp_path / "b", 2))
        assert host.answers() == [("geo", 2)]


async def test_it_can_be_undone_while_it_is_staged(tmp_path: Path) -> None:
    async with Host() as host:
        await commit(host, write(tmp_path / "a", 1))
        body = "async def start(self): await asyncio.sleep(1000)"
        task = asyncio.create_task(
            host._prepare_for_fleet(write(tmp_path / "b", 2, body=body))
        )
        await host.until(lambda: host.happened(EventKind.STAGED))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert host.answers() == [("geo", 1)]
        await commit(host, write(tmp_path / "c", 3))
        assert host.answers() == [("geo", 3)]


LOCAL: dict[str, Callable[[Host], Awaitable[Any]]] = {
    "stop": lambda host: host.photons["geo"].stop(),
    "reload": lambda host: host.reload_photon("geo"),
    "unload": lambda host: host.unload_photon("geo"),
    "roll back": lambda host: host.roll_back("geo"),
    "disable": lambda host: host.disable_photons(["geo"]),
}


@pytest.mark.parametrize("what", LOCAL)
@pytest.mark.parametrize("is_prepared", [True, False], ids=["prepared", "idle"])
async def test_a_process_does_not_change_it_alone(
    tmp_path: Path, what: str, is_prepared: bool
) -> None:
    async with Host() as host:
        await commit(host, write(tmp_path / "a", 1))
        prepared: Prepared | None = None
        if is_prepared:
            prepared = await host._prepare_for_fleet(write(tmp_path / "b", 2))
        with pytest.raises(PhotonStateError) as caught:
            await LOCAL[what](host)
        assert caught.value.photon == "geo"
        assert "luminal fleet" in str(caught.value)
        assert host.answers() == [("geo", 1)]
        assert host.disabled == ()
        if prepared is not None:
            await prepared.commit()
            assert host.answers() == [("geo", 2)]


async def test_a_process_may_end_while_something_is_prepared(tmp_path: Path) -> None:
    host = Host()
    await commit(host, write(tmp_path / "a", 1))
    await host._prepare_for_fleet(write(tmp_path / "b", 2))
    await host.close()
    assert host.photons == {}
    host = Host()
    await host._prepare_for_fleet(write(tmp_path / "b", 2))
    await host.close()
    assert host.photons == {}


async def test_an_exclusive_photon_is_refused(tmp_path: Path) -> None:
    async with Host() as host:
        await commit(host, write(tmp_path / "a", 1, body="photon_exclusive = True"))
        with pytest.raises(PhotonReloadError, match="exclusive"):
            await host._prepare_for_fleet(write(tmp_path / "b", 2))
        assert host.answers() == [("geo", 1)]


async def test_what_the_process_has_loaded_itself_is_not_replaced(
    tmp_path: Path,
) -> None:
    async with Host() as host:
        path = tmp_path / "geo.photon"
        bundle = write(tmp_path / "a", 1)
        path.write_bytes(bundle.data())
        handlers = await host.load_photon(path)
        await handlers.start()
        with pytest.raises(PhotonReloadError, match="by itself"):
            await host._prepare_for_fleet(write(tmp_path / "b", 2))
        assert host.answers() == [("geo", 1)]


async def test_there_is_no_probation_of_what_was_decided(tmp_path: Path) -> None:
    from luminal import Probation

    async with Host(probation=Probation(seconds=1000)) as host:
        for number in (1, 2):
            await commit(host, write(tmp_path / f"v{number}", number))
        handler = host.photons["geo"]
        with pytest.raises(PhotonStateError):
            await handler.stop()
        assert host.answers() == [("geo", 2)]
        await commit(host, write(tmp_path / "v3", 3))
        assert host.answers() == [("geo", 3)]


async def test_new_photons_come_and_old_ones_go_with_the_decision(
    tmp_path: Path,
) -> None:
    async with Host() as host:
        one, two = text("one", 1), text("two", 2)
        for directory, files in {"a": {"one": one}, "b": {"two": two}}.items():
            folder = tmp_path / directory
            folder.mkdir()
            for name, content in files.items():
                (folder / f"{name}.py").write_text(content)
            packed = pack(folder, name="geo", version="1.0")
            bundle = open_bundle(packed.data(), fleet_path("geo"))
            prepared = await host._prepare_for_fleet(bundle)
            assert [n for n, _ in host.answers()] == (
                [] if directory == "a" else ["one"]
            )
            await prepared.commit()
        assert host.answers() == [("two", 2)]
        assert host.photons["two"].fleet == "geo"


async def test_a_lock_that_pins_is_asked(tmp_path: Path) -> None:
    lock = tmp_path / "luminal.lock"
    lock.write_text('version = 1\nmode = "pin"\n')
    async with Host(lock=lock) as host:
        await commit(host, write(tmp_path / "a", 1))
        assert host.answers() == [("geo", 1)]
        with pytest.raises(PhotonVerificationError, match="luminal lock accept"):
            await host._prepare_for_fleet(write(tmp_path / "b", 2))
        assert host.answers() == [("geo", 1)]


async def test_a_lock_that_wants_signatures_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    lock, anna = tmp_path / "luminal.lock", SecretKey.new()
    lock.write_text(
        'version = 1\nmode = "signed"\nthreshold = 1\n\n[keys]\n'
        f'anna = "{anna.public}"\n'
    )

    def signed(number: int) -> Bundle:
        data = sign(write(tmp_path / f"v{number}", number), anna).data()
        return open_bundle(data, fleet_path("geo"))

    async with Host(lock=lock) as host:
        with pytest.raises(PhotonVerificationError, match="sign"):
            await host._prepare_for_fleet(write(tmp_path / "a", 0))
        for number in (1, 2):
            await commit(host, signed(number))
            assert host.answers() == [("geo", number)]
        with pytest.raises(PhotonVerificationError, match="sign"):
            await host._prepare_for_fleet(write(tmp_path / "b", 3))
        assert host.answers() == [("geo", 2)]


async def test_watches_and_reloads_of_others_keep_its_bytes(tmp_path: Path) -> None:
    """What it uses is replaced; it is not read from a disk meanwhile."""
    site = tmp_path / "plugins"
    site.mkdir()
    (site / "other.py").write_text(text("other", 1))
    settings = tmp_path / "settings.toml"
    settings.write_text("[geo]\nvalue = 1\n")
    async with Host(settings=settings) as host:
        bundle = write(tmp_path / "a", 1)
        await commit(host, bundle)
        await host.watch_photons(site)
        (site / "other.py").write_text(text("other", 2))
        (site / "geo.py").write_text(text("geo", 7))
        await host.until(lambda: host.happened(EventKind.SWAPPED, "other"))
        await host.until(lambda: host.happened(EventKind.REJECTED, "geo"))
        assert host.answers() == [("geo", 1), ("other", 2)]
        settings.write_text("[geo]\nvalue = 2\n")
        await host.until(lambda: host.happened(EventKind.SWAPPED, "geo"))
        assert host.answers() == [("geo", 1), ("other", 2)]
        assert host.photons["geo"].fleet == "geo"
        generation = host.photons["geo"].generation
        assert generation is not None
        assert generation.bundle is not None
        assert generation.bundle.checksum == bundle.checksum


async def test_a_save_waits_while_something_is_prepared(tmp_path: Path) -> None:
    site = tmp_path / "plugins"
    site.mkdir()
    (site / "other.py").write_text(text("other", 1))
    async with Host() as host:
        await host.watch_photons(site)
        await commit(host, write(tmp_path / "a", 1))
        prepared = await host._prepare_for_fleet(write(tmp_path / "b", 2))
        (site / "other.py").write_text(text("other", 2))
        (tmp_path / "third.py").write_text(text("third", 1))
        running = asyncio.create_task(host.run(tmp_path / "third.py"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(running), 0.05)
        assert not running.done()
        assert host.answers() == [("other", 1), ("geo", 1)]
        await prepared.commit()
        await running
        await host.until(lambda: host.happened(EventKind.SWAPPED, "other"))
        assert host.answers() == [("other", 2), ("geo", 2), ("third", 1)]


PROGRAM = """
import asyncio, pickle, sys
from luminal import Loader
from luminal.reload import fleet_path
from luminal.trust import open_bundle

async def main():
    async with Loader() as loader:
        data = open(sys.argv[1], "rb").read()
        prepared = await loader._prepare_for_fleet(open_bundle(data, fleet_path("geo")))
        await prepared.commit()
        instance = pickle.loads(bytes.fromhex(sys.argv[2]))
        known = type(loader.photons["geo"].instance).Point
        print(instance.number, type(instance) is known)

asyncio.run(main())
"""


async def test_instances_of_its_classes_pickle_to_another_process(
    tmp_path: Path,
) -> None:
    head = "class Point:\n    def __init__(self, number): self.number = number\n"
    bundle = write(tmp_path / "a", 1, head=head, body="Point = Point")
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "any"
    path.write_bytes(bundle.data())
    async with Host() as host:
        await commit(host, bundle)
        point = type(host.photons["geo"].instance).Point(7)
        data = pickle.dumps(point).hex()
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", PROGRAM, str(path), data],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert ended.stdout.split() == ["7", "True"], ended.stderr
