"""Files of a judged unit that are none, have two names, or change without a trace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from luminal.errors import LockFileError, PhotonVerificationError
from luminal.store import _stamps
from luminal.trust import KillList, Mode, open_judge
from luminal.trust import _kill_list as kill_list
from tests.distributions import photon_text, put
from tests.trust.test_trust_gate import Case, who
from tests.trust.test_trust_ways import lock_all

pytestmark = pytest.mark.anyio


@pytest.fixture
def case(tmp_path, monkeypatch):
    case = Case(tmp_path)
    monkeypatch.syspath_prepend(case.site)
    return case


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has none")
async def test_a_data_file_that_became_a_fifo_is_named_and_not_waited_for(case):
    text = photon_text("geo", "1.0")
    put(case.site, "geo", "1.0", files={"geo/__init__.py": text, "geo/a.csv": "a"})
    (case.site / "geo" / "a.csv").unlink()
    os.mkfifo(case.site / "geo" / "a.csv")
    async with case.host() as loader:
        report = await case.load(loader)
        problem = report.failed[0].problem
        assert str(problem.file).endswith("a.csv")
        assert "FIFO" in problem.why


async def test_links_in_a_judged_directory_are_files_or_nothing(case):
    text = "import pkgutil\n" + photon_text("calc", "1").replace(
        "'calc', '1'", "pkgutil.get_data(__name__, 'table.csv')"
    )
    root = case.write("pack/__init__.py", text)
    (case.root / "table.csv").write_text("whole")
    os.symlink(case.root / "table.csv", root.parent / "table.csv")
    os.symlink(root.parent / "me", root.parent / "me")
    os.symlink(root.parent, root.parent / "again")
    lock_all(case)
    async with case.host() as loader:
        await case.load(loader, case.photons)
        (case.root / "table.csv").write_text("other")
        assert who(loader) == [b"whole"]


async def test_two_files_that_a_tree_would_list_under_one_name_are_refused(
    case, monkeypatch
):
    put(
        case.site,
        "geo",
        "1.0",
        files={
            "geo/__init__.py": photon_text("geo", "1.0")
            + "    photon_owns = ['bridgelib']\n",
            "_owned/bridgelib/__init__.py": "VALUE = 'listed'\n",
        },
    )
    elsewhere = case.root / "elsewhere"
    put(
        elsewhere,
        "bridgelib",
        "1.0",
        files={"bridgelib/__init__.py": "VALUE = 'not listed'\n"},
        entries="",
    )
    monkeypatch.syspath_prepend(elsewhere)
    async with case.host() as loader:
        report = await case.load(loader)
        assert "_owned" in report.failed[0].problem.hint
    assert not case.units


def test_a_lock_that_changes_within_its_size_and_time_is_read_again(tmp_path: Path):
    lock = tmp_path / "luminal.lock"
    lock.write_text('version = 1\nmode = "frozen"\n')
    before = os.stat(lock)
    judge = open_judge(lock)
    assert judge is not None
    assert judge.present_mode is Mode.FROZEN
    with lock.open("r+") as file:
        file.write('version = 1\nmode = "signed"\n')
    os.utime(lock, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(lock).st_ino == before.st_ino
    assert judge.present_mode is Mode.SIGNED


def test_what_has_not_changed_is_read_once(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path))
    path = tmp_path / "kill-list.json"
    rows = [{"name": f"name-{number}"} for number in range(3)]
    path.write_text('{"list": {"number": 1, "kills": []}, "signatures": []}')
    path.chmod(0o600)
    done = []
    read = KillList.read

    def counted(*arguments):
        done.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(kill_list.KillList, "read", staticmethod(counted))
    loaded = []
    load = kill_list._installed._load

    def counted_load(path):
        loaded.append(path)
        return load(path)

    monkeypatch.setattr(kill_list._installed, "_load", counted_load)
    for _ in range(3):  # it was written within a tick of the clock, perhaps
        assert kill_list.installed_kill_list().number == 1
    assert (len(done), len(loaded)) == (1, 3)
    monkeypatch.setattr(_stamps, "MARGIN", 0)
    for _ in range(3):
        assert kill_list.installed_kill_list().number == 1
    assert (len(done), len(loaded)) == (1, 4 if os.name != "nt" else 6)
    listed = KillList(2, (), (), {"number": 2, "kills": rows})
    new = tmp_path / "new"
    new.write_bytes(listed.data())
    new.chmod(0o600)
    new.replace(path)
    assert kill_list.installed_kill_list().find("Name_2", "1.0") is not None
    assert kill_list.installed_kill_list().find("name-3", "1.0") is None
    path.unlink()
    assert kill_list.installed_kill_list().number == 0


def test_a_lock_is_read_anew_in_another_process(tmp_path: Path):
    import pickle

    lock = tmp_path / "luminal.lock"
    lock.write_text('version = 1\nmode = "pin"\n')
    judge = open_judge(lock)
    assert judge is not None
    sent = pickle.dumps(judge)
    lock.write_text('version = 1\nmode = "signed"\n')
    assert pickle.loads(sent).present_mode is Mode.SIGNED


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has none")
def test_a_lock_and_a_kill_list_that_are_pipes_are_not_waited_for(tmp_path: Path):
    lock, kills = tmp_path / "luminal.lock", tmp_path / "kill-list.json"
    for path in (lock, kills):
        os.mkfifo(path)
    with pytest.raises(LockFileError, match="not a regular file") as refused:
        open_judge(lock)
    assert str(refused.value.file) == str(lock)
    with pytest.raises(PhotonVerificationError, match="not a regular file"):
        kill_list.update_kill_list(str(kills), (), 1)
