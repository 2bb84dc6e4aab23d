"""Each way of saving leaves the new bytes and nothing else, by its own steps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminal.testing import Folder, Save, save


@given(steps=st.lists(st.tuples(st.sampled_from(Save), st.binary(max_size=40))))
def test_any_row_of_saves_ends_with_the_last_bytes_alone(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Save, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("saves")
    path = folder / "photon.py"
    for how, data in steps:
        save(path, data, how)
        assert path.read_bytes() == data
        assert os.listdir(folder) == ["photon.py"]


@pytest.mark.parametrize(
    ("how", "is_same_file"),
    [
        (Save.IN_PLACE, True),
        (Save.TWICE, True),
        (Save.RENAME, False),
        (Save.BACKUP, False),
        (Save.DELETE, False),
    ],
)
def test_ways_differ_in_whether_the_file_stays_the_same(
    tmp_path: Path, how: Save, is_same_file: bool
) -> None:
    path = tmp_path / "photon.py"
    path.write_bytes(b"old")
    with path.open("rb") as opened:  # keeps the old file's number from being reused
        before = os.fstat(opened.fileno()).st_ino
        save(path, b"new", how)
        assert (path.stat().st_ino == before) is is_same_file


def test_text_is_dedented_and_its_first_line_is_line_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "photons")
    path = folder.write(
        "deep/down.py",
        """
        one = 1
        if one:
            two = 2
        """,
    )
    assert path.read_text() == "one = 1\nif one:\n    two = 2\n"
    assert folder.write("raw.py", b"  \xff").read_bytes() == b"  \xff"


def test_edit_wants_a_file_that_is_there(tmp_path: Path) -> None:
    """And where there is none, it says which there are."""
    folder = Folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="there are: none"):
        folder.edit("absent.py", "")
    assert list(tmp_path.iterdir()) == []
    folder.write("present.py", "")
    with pytest.raises(FileNotFoundError, match=r"there are: present\.py"):
        folder.edit("absent.py", "")


@pytest.mark.parametrize("name", ["../photon.py", "a/../../photon.py", "/photon.py"])
def test_nothing_outside_is_touched(tmp_path: Path, name: str) -> None:
    folder = Folder(tmp_path / "photons")
    outside = tmp_path / "photon.py"
    outside.touch()
    name = name.replace("/photon.py", str(outside)) if name[0] == "/" else name
    for change in (
        lambda: folder.write(name, "x"),
        lambda: folder.edit(name, "x"),
        lambda: folder.delete(name),
    ):
        with pytest.raises(ValueError, match="is outside of"):
            change()
    assert outside.read_text() == ""


def test_delete_takes_files_and_directories_and_links_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "photons")
    folder.write("pack/__init__.py", "")
    folder.write("solo.py", "")
    (folder.path / "link").symlink_to(tmp_path)
    folder.delete("pack")
    folder.delete("solo.py")
    folder.delete("link")
    assert list(folder.path.iterdir()) == []
    assert tmp_path.is_dir()
