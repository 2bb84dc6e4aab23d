"""Releases by several people, and versions that are killed while they run."""

from __future__ import annotations

import json
import shutil

import pytest

from luminal import discover
from luminal.discovery import pack
from luminal.errors import LuminalError
from luminal.managers import Loader
from luminal.model import EventKind
from luminal.reload import KillWatch, Reloader
from luminal.trust import Kill, KillList, SecretKey, installed_kill_list, sign
from tests.trust import release
from tests.waiting import async_wait_until

ANNA, BEN = SecretKey.new(), SecretKey.new()

TEXT = """\
from luminal import IPhoton, hookimpl

class Weather(IPhoton):
    photon_version = "<V>"

    def start(self):
        self.context.data.setdefault("seen", []).append("<V>")

    @hookimpl
    def who(self):
        return "<V>", list(self.context.data["seen"])
"""


def test_a_release_by_two_people():
    release.main()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "luminal.lock").write_text(
        f'version = 1\nmode = "signed"\nthreshold = 2\n\n[keys]\n'
        f'anna = "{ANNA.public}"\nben = "{BEN.public}"\n'
    )
    (tmp_path / "photons").mkdir()
    return tmp_path


def put(place, version, name="weather", signers=(ANNA, BEN)):
    folder = place / "source" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = TEXT.replace("<V>", version).replace("Weather", name.title())
    (folder / "__init__.py").write_text(text)
    bundle = pack(folder)
    for secret in signers:
        bundle = sign(bundle, secret)
    write(place / "photons" / f"{name}.photon", bundle.data())


def write(path, data):
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(data)
    beside.replace(path)


def kill(place, *kills, after=None, signers=(ANNA, BEN)):
    found = after or KillList()
    for name, versions in kills:
        found = found.adding(Kill(name, versions, why="it leaks"))
    for secret in signers:
        found = found.signed(secret)
    write(place / "kill-list.json", found.data())
    return found


def answers(loader):
    who = getattr(loader.hook, "who", list)  # there is no such hook without a photon
    return sorted(version for version, _ in who())


async def test_what_is_killed_goes_back_to_the_newest_version_that_is_not(place):
    put(place, "1.0")
    put(place, "5.0", "tides")
    loader = Loader(lock=place / "luminal.lock")
    events = []
    loader.events.subscribe(events.append)
    try:
        await loader.watch_photons(place / "photons")
        for version in ("2.0", "3.0"):
            put(place, version)
            await async_wait_until(lambda v=version: v in answers(loader))
        first = kill(place, ("weather", "==3.0"), ("weather", "==2.0"))
        await async_wait_until(lambda: "1.0" in answers(loader))
        handler = loader.photons["Weather"]
        assert handler.candidate.version == "1.0"
        [_, seen] = next(a for a in loader.hook.who() if a[0] == "1.0")
        assert seen == ["1.0", "2.0", "3.0", "1.0"]  # its state was handed over
        await async_wait_until(
            lambda: any(e.kind is EventKind.ROLLED_BACK for e in events)
        )
        [event] = [e for e in events if e.kind is EventKind.ROLLED_BACK]
        assert "it leaks" in event.problem.why
        # A list that is not good leaves the last good one in force.
        kill(place, ("tides", ""), signers=(ANNA,), after=first)
        put(place, "4.0")
        await async_wait_until(lambda: "4.0" in answers(loader))
        assert answers(loader) == ["4.0", "5.0"]
        assert installed_kill_list().number == first.number
        # What nothing can replace is unloaded.
        kill(place, ("tides", ">=5"), after=first)
        await async_wait_until(lambda: answers(loader) == ["4.0"])
        assert "Tides" not in loader.photons
    finally:
        await loader.close()


async def test_what_a_watch_loads_later_is_killed_as_well(place):
    """There was no photon when it began, and there was none in between."""
    loader = Loader(lock=place / "luminal.lock")
    last = None
    try:
        await loader.watch_photons(place / "photons")
        for name in ("weather", "tides"):
            put(place, "1.0", name)
            await async_wait_until(lambda: answers(loader) == ["1.0"])
            last = kill(place, (name, ""), after=last)
            await async_wait_until(lambda: answers(loader) == [])
    finally:
        await loader.close()


@pytest.mark.parametrize("step", ["_apply", "return_to"])
async def test_what_is_killed_ends_though_something_fails(place, monkeypatch, step):
    """It is tried again; and what cannot be rolled back is unloaded."""
    of = {"_apply": KillWatch, "return_to": Reloader}[step]
    call, calls = getattr(of, step), []

    async def fail_once(*arguments):
        calls.append(step)
        if len(calls) == 1:
            raise OSError("the disk is full")
        return await call(*arguments)

    monkeypatch.setattr(of, step, fail_once)
    loader = Loader(lock=place / "luminal.lock")
    try:
        await loader.watch_photons(place / "photons")
        for version in ("1.0", "2.0"):
            put(place, version)
            await async_wait_until(lambda v=version: v in answers(loader))
        kill(place, ("weather", "==2.0"))
        left = ["1.0"] if step == "_apply" else []
        await async_wait_until(lambda: answers(loader) == left)
    finally:
        await loader.close()


async def test_what_is_killed_is_not_loaded(place):
    put(place, "1.0")
    kill(place, ("weather", ""))
    async with Loader(lock=place / "luminal.lock") as loader:
        with pytest.raises(LuminalError, match="killed"):
            await loader.load_photons(place / "photons")
        (place / "kill-list.json").unlink()  # a host does not forget
        with pytest.raises(LuminalError, match="killed"):
            await loader.load_photons(place / "photons")
        # Where it is not known what was killed, nothing is let run.
        (place / "state" / "kill-list.json").write_text("{")
        with pytest.raises(LuminalError, match="not known"):
            await loader.load_photons(place / "photons")


@pytest.mark.parametrize("member", ["weather/__init__.py", "PHOTON/signatures.json"])
async def test_a_changed_bundle_is_not_loaded(place, member):
    put(place, "1.0")
    path = place / "photons" / "weather.photon"
    data = path.read_bytes()
    at = data.index(member.encode()) + len(member) + 40
    write(path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    async with Loader(lock=place / "luminal.lock") as loader:
        with pytest.raises(LuminalError, match="not a sound bundle"):
            await loader.load_photons(place / "photons")


async def test_a_lock_pins_bundles_at_first_use(place):
    (place / "luminal.lock").write_text('version = 1\nmode = "pin"\n')
    put(place, "1.0", signers=())
    async with Loader(lock=place / "luminal.lock") as loader:
        await (await loader.load_photons(place / "photons")).start()
        assert answers(loader) == ["1.0"]
    put(place, "2.0", signers=())
    async with Loader(lock=place / "luminal.lock") as loader:
        await (await loader.load_photons(place / "photons")).start()
        assert answers(loader) == ["1.0"]  # from the vault
        [warning] = loader.report.outcomes[0].warnings
        assert "luminal lock accept weather" in warning.hint + warning.why


def test_a_kill_list_is_whole_json(place):
    found = kill(place, ("weather", "==2.0"))
    assert json.loads((place / "kill-list.json").read_bytes())["list"]["number"] == 1
    assert KillList.read(found.data()).kills == found.kills


def a_directory(path):
    path.mkdir()


def open_to_all(path):
    path.write_text("{}")
    path.chmod(0o666)


@pytest.mark.parametrize("file", ["versions.json", "rotations.json", "kill-list.json"])
@pytest.mark.parametrize(
    "damage", ["", "{", "null", "5", '[[["weather"]]]', "\0", a_directory, open_to_all]
)
async def test_damaged_state_lets_nothing_run_and_is_named(place, file, damage):
    put(place, "1.0")
    path = place / "state" / file
    path.parent.mkdir(mode=0o700)
    if callable(damage):
        damage(path)
    else:
        path.write_text(damage)
        path.chmod(0o600)
    async with Loader(lock=place / "luminal.lock") as loader:
        report = await loader.load(discover(place / "photons", group=None))
    [failed] = report.failed
    assert failed.problem.code == "LUM109"
    assert str(path) in failed.problem.why
    assert failed.problem.hint


async def test_a_version_that_cannot_be_written_down_does_not_run(place):
    put(place, "1.0")
    (place / "state").mkdir(mode=0o700)
    (place / "state" / "versions.json.lock").mkdir()
    async with Loader(lock=place / "luminal.lock") as loader:
        report = await loader.load(discover(place / "photons", group=None))
    [failed] = report.failed
    assert failed.problem.code == "LUM109"
    assert "cannot be written down" in failed.problem.why
