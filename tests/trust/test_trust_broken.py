"""A lock whose surroundings fail: full disks, no state directory, killed hosts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import luminal
from luminal.errors import LockFileError
from luminal.trust import LockFile, Vault, tree_of, updating
from tests.distributions import put
from tests.trust.test_trust_gate import Case, who

pytestmark = pytest.mark.anyio


@pytest.fixture
def case(tmp_path, monkeypatch):
    case = Case(tmp_path)
    monkeypatch.syspath_prepend(case.site)
    return case


async def test_without_a_vault_nothing_becomes_less_strict(case, monkeypatch, caplog):
    monkeypatch.setenv("LUMINAL_STATE_DIR", "/proc/nothing/here")
    put(case.site, "geo", "1.0")
    async with case.host() as loader:
        await case.load(loader)
        assert who(loader) == [("geo", "1.0")]
    assert "the files of 'geo' cannot be kept" in caplog.text
    put(case.site, "geo", "2.0")
    async with case.host() as loader:
        report = await case.load(loader)
        assert "not those that were accepted" in report.failed[0].problem.why


async def test_a_full_disk_refuses_a_first_use_and_loses_nothing(case, monkeypatch):
    before = case.lock.read_text()
    put(case.site, "geo", "1.0")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        async with case.host() as loader:
            report = await case.load(loader)
            assert "No space left" in report.failed[0].problem.why
    assert case.lock.read_text() == before
    assert sorted(p.name for p in case.root.glob("luminal.lock*")) == ["luminal.lock"]


async def test_what_a_killed_host_has_left_is_removed(case):
    litter = case.root / "luminal.lock.1-abc.tmp"
    litter.write_text("half")
    put(case.site, "geo", "1.0")
    async with case.host() as loader:
        await case.load(loader)
    assert not litter.exists()


def test_a_name_that_is_no_text_is_refused(case):
    from luminal.managers import accept_units, find_units
    from luminal.trust import open_judge

    case.write("b\udce4d.py", "VALUE = 1\n")
    judge = open_judge(case.lock)
    units = [f.unit for f in find_units(judge, (), [str(case.photons)])]
    with pytest.raises(LockFileError, match="rename"):
        accept_units(judge, units)


def test_a_vault_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    files = {"a.py": b""}
    assert not Vault(None).keep(files, tree_of(files))
    assert not Vault("/proc/nothing/here").keep(files, tree_of(files))
    assert Vault("/proc/nothing/here").read(tree_of(files).digest) is None


def test_a_lock_in_a_directory_that_is_gone(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="gone"),
        updating(str(tmp_path / "gone" / "luminal.lock")) as update,
    ):
        update(lambda file: file)
    with pytest.raises(FileNotFoundError):
        LockFile.read(str(tmp_path / "gone" / "luminal.lock"))
    assert luminal.Loader().judge is None
