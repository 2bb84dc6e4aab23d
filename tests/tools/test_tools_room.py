"""Logger, Sentinel and SystemUtils."""

from __future__ import annotations

import asyncio
import logging
import os
import py_compile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import luminal.blocking
from luminal.tools import Logger, Sentinel, SystemUtils
from tests.waiting import wait_until


def compiled(folder, name="one", text="a = 1\n"):
    source = folder / f"{name}.py"
    source.write_text(text)
    return source, py_compile.compile(str(source))


def test_sentinel_is_idle_until_authorized_and_started(tmp_path):
    """Neither `start` nor `sweep` touches anything before."""
    source, pyc = compiled(tmp_path)
    source.unlink()
    sentinel = Sentinel(tmp_path)
    assert sentinel.start() is False
    assert sentinel.sweep() == []
    assert os.path.exists(pyc)
    sentinel.authorized = True
    assert os.path.exists(pyc)
    assert sentinel.start() is True
    wait_until(lambda: not os.path.exists(os.path.dirname(pyc)))
    sentinel.stop()
    assert not sentinel.is_running
    assert pyc in sentinel.removed


def test_sentinel_without_directories_cleans_those_of_the_host(tmp_path):
    """Those that photons are loaded from, also later ones; no other."""
    sentinel = Sentinel()
    sentinel.authorized = True
    stale = []
    with luminal.blocking.Loader() as loader:
        for name in ("first", "second"):
            folder = tmp_path / name
            (folder / "__pycache__").mkdir(parents=True)
            (folder / "a.py").write_text(
                f"import luminal\nclass {name.title()}(luminal.IPhoton): pass\n"
            )
            stale.append(str(folder / "__pycache__" / "gone.cpython-311.pyc"))
            Path(stale[-1]).write_bytes(b"")
            loader.load_photons(folder)
            removed = sentinel.sweep()
            assert stale[-1] in removed
            assert str(folder) in sentinel.directories
        other = tmp_path / "gone.pyc"
        other.write_bytes(b"")
        sentinel.sweep()
        assert other.exists()


def test_sentinel_removes_the_stale_and_nothing_else(tmp_path):
    """Orphans and outdated files go; current ones, sources and data stay."""
    gone, orphan = compiled(tmp_path, "gone")
    changed, outdated = compiled(tmp_path, "changed")
    _, current = compiled(tmp_path, "current")
    gone.unlink()
    changed.write_text("a = 12345\n")
    legacy = tmp_path / "legacy.pyc"
    legacy.write_bytes(b"anything")
    data = tmp_path / "__pycache__" / "notes.txt"
    data.write_text("mine")
    sentinel = Sentinel(tmp_path)
    sentinel.authorized = True
    assert sorted(sentinel.sweep()) == sorted([orphan, outdated, str(legacy)])
    assert os.path.exists(current)
    assert data.exists()
    assert changed.exists()
    assert sentinel.sweep() == []


def test_sentinel_does_not_follow_links(tmp_path):
    """What a link leads to is not the host's."""
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    source, pyc = compiled(outside)
    source.unlink()
    (inside / "link").symlink_to(outside)
    sentinel = Sentinel(inside)
    sentinel.authorized = True
    assert sentinel.sweep() == []
    assert os.path.exists(pyc)


def test_logger_has_note_and_success(caplog):
    """Both log through the standard logger of that name, with the caller's line."""
    logger = Logger("test.tools")
    with caplog.at_level(logging.DEBUG, "test.tools"):
        logger.note("seen %d", 1)
        logger.success("done")
        logger.warning("usual")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("NOTE", "seen 1"),
        ("SUCCESS", "done"),
        ("WARNING", "usual"),
    ]
    assert {record.funcName for record in caplog.records} == {
        "test_logger_has_note_and_success"
    }


@given(st.floats(0, 0.002))
async def test_continue_async_lets_others_run(seconds):
    """Another task makes progress while one continues later."""
    ran = []

    async def other():
        ran.append(1)

    task = asyncio.create_task(other())
    await SystemUtils.continue_async(seconds)
    await task
    assert ran == [1]


def test_describe_is_all_text():
    described = SystemUtils.describe()
    assert described["pid"] == str(os.getpid())
    assert all(isinstance(value, str) for value in described.values())
