"""`luminal lock` among links, names and disks as people and machines leave them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.distributions import photon_text

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="asks for links")

LOCK = ("lock", "plugins", "--no-installed")


@pytest.fixture
def project(terminal: Terminal) -> Terminal:
    terminal.write({"plugins/calc.py": photon_text("calc", "1")})
    terminal.env["LUMINAL_PATHS"] = "plugins"
    terminal.env["LUMINAL_STATE_DIR"] = str(terminal.place / "state")
    return terminal


def test_a_lock_behind_a_link_is_written_where_it_is(project: Terminal) -> None:
    (project.place / "shared").mkdir()
    lock = project.place / "luminal.lock"
    lock.symlink_to(Path("shared") / "luminal.lock")  # not there yet
    assert project.luminal(*LOCK).code == 0
    assert lock.is_symlink()
    first = (project.place / "shared" / "luminal.lock").read_text()
    project.write({"plugins/calc.py": photon_text("calc", "2")})
    assert project.luminal("lock", "accept", "calc", "--no-installed").code == 0
    assert lock.is_symlink()
    assert (project.place / "shared" / "luminal.lock").read_text() != first
    assert sorted(os.listdir(project.place / "shared")) == ["luminal.lock"]


def to_itself(place: Path) -> Path:
    lock = place / "luminal.lock"
    lock.symlink_to(lock)
    return lock


def a_directory(place: Path) -> Path:
    lock = place / "luminal.lock"
    lock.mkdir()
    return lock


def a_pipe(place: Path) -> Path:
    lock = place / "luminal.lock"
    os.mkfifo(lock)
    return lock


@pytest.mark.parametrize("make", [to_itself, a_directory, a_pipe])
@pytest.mark.parametrize(
    "words", [LOCK, ("lock", "check"), ("run", "--once", "plugins")]
)
def test_what_is_no_file_is_no_lock(
    project: Terminal, make: object, words: tuple[str, ...]
) -> None:
    lock = make(project.place)  # type: ignore[operator]
    before = lock.lstat().st_mode, lock.lstat().st_ino
    said = project.luminal(*words)
    assert said.code == 1
    assert "LUM131" in said.err
    assert "at: luminal.lock" in said.err
    assert "cannot be read" in said.err
    assert (lock.lstat().st_mode, lock.lstat().st_ino) == before


def test_a_directory_that_leads_back_is_listed_once(project: Terminal) -> None:
    (project.place / "plugins" / "again").symlink_to(project.place / "plugins")
    said = project.luminal(*LOCK, "--json")
    assert [row["unit"] for row in json.loads(said.out)["units"]] == ["plugins/calc.py"]


def test_nothing_is_written_where_one_name_cannot_be(project: Terminal) -> None:
    project.write({"plugins/b\n.py": "VALUE = 1\n", "plugins/a.py": "VALUE = 1\n"})
    said = project.luminal(*LOCK)
    assert said.code == 1
    assert "rename the file" in said.err
    assert not (project.place / "luminal.lock").exists()


def test_a_file_that_cannot_be_read_is_told_with_the_reason(project: Terminal) -> None:
    assert project.luminal(*LOCK).code == 0
    file = project.place / "plugins" / "calc.py"
    file.unlink()
    file.symlink_to("gone.py")
    said = project.luminal("lock", "check", "--no-installed")
    assert said.code == 4
    assert "No such file" in said.out
    assert "its target is gone" in said.err


def test_a_state_directory_that_is_none_is_named(project: Terminal) -> None:
    assert project.luminal(*LOCK).code == 0
    project.env["LUMINAL_STATE_DIR"] = str(project.place / "file")
    project.write({"file": ""})
    said = project.luminal("run", "--once", "--no-installed", "plugins")
    assert said.code == 1
    assert "file/kill-list.json" in said.out + said.err
    assert "LUM109" in said.out + said.err
    assert "could not be imported" not in said.out + said.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has none")
def test_a_full_disk_names_the_file(project: Terminal) -> None:
    """`/dev/full` takes no byte, as a full disk does."""
    project.write({"weather/__init__.py": photon_text("weather", "1")})
    # What is written beside a file goes through this.
    site = "import os\nopened = os.open\nfull = opened('/dev/full', os.O_WRONLY)\n"
    site += "def write(path, *rest):\n    made = opened(path, *rest)\n"
    site += "    if str(path).endswith('.tmp'): os.dup2(full, made)\n    return made\n"
    site += "os.open = write\n"
    project.write({"full/sitecustomize.py": site})
    before = {**project.env}
    assert project.luminal(*LOCK).code == 0
    text = (project.place / "luminal.lock").read_text()
    project.write({"plugins/calc.py": photon_text("calc", "2")})
    project.env["PYTHONPATH"] += f":{project.place / 'full'}"
    pack = ("pack", "weather", "--version", "1", "-o", "w.photon")
    accept = ("lock", "accept", "calc", "--no-installed")
    for words, file in ((pack, "w.photon"), (accept, "luminal.lock")):
        said = project.luminal(*words)
        assert (said.code, "No space left" in said.err) == (1, True), said
        assert f"{file}'" in said.err
        assert "Traceback" not in said.err
    assert (project.place / "luminal.lock").read_text() == text
    assert not [*project.place.glob("*.tmp"), *project.place.glob("w.photon*")]
    project.env.update(before)
    assert project.luminal(*accept).code == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("lock plugins/notes.txt", 2, "is no module and no bundle"),
        ("lock luminal.lock", 2, "is no module and no bundle"),
        ("lock chek", 2, "did you mean 'check'"),
        ("lock check calc", 2, "takes no names"),
        ("lock accept", 2, "needs the name"),
        ("lock diff clac", 3, "did you mean 'calc'"),
        ("lock --mode frosen", 2, "is not one of"),
        ("lock nowhere", 3, "does not exist"),
        ("audit", 1, "not a regular file"),
        ("audit --verify", 1, "not a regular file"),
        ("pack plugins --name x --version 1 -o none/x.photon", 1, "none/x.photon"),
        ("unpack small.photon --to none/below", 1, "none'"),
    ],
)
def test_wrong_words_change_nothing(
    project: Terminal, words: str, code: int, text: str
) -> None:
    project.write({"plugins/notes.txt": ""})
    assert project.luminal(*LOCK).code == 0
    pack = ("pack", "plugins", "--name", "x", "--version", "1", "-o", "small.photon")
    assert project.luminal(*pack).code == 0
    os.mkfifo(project.place / "state" / "audit.jsonl")
    before = project.shell("ls -lR --time-style=+ . ; md5sum luminal.lock").out
    said = project.luminal(*words.split())
    assert said.code == code, said
    assert text in said.err
    assert "Traceback" not in said.err
    assert project.shell("ls -lR --time-style=+ . ; md5sum luminal.lock").out == before


@pytest.mark.parametrize("start", ["", "./", "plugins/../", "{place}/"])
def test_a_unit_is_known_by_each_path_that_leads_to_it(
    project: Terminal, start: str
) -> None:
    assert project.luminal(*LOCK).code == 0
    project.write({"plugins/calc.py": photon_text("calc", "2")})
    path = start.format(place=project.place) + "plugins/calc.py"
    said = project.luminal("lock", "accept", path, path, "calc", "--no-installed")
    assert said.code == 0
    assert said.err.count("accepted plugins/calc.py") == 1
    assert project.luminal("lock", "check", "--no-installed").code == 0


def test_a_lock_without_units_is_said_to_have_none(project: Terminal) -> None:
    project.env["LUMINAL_PATHS"] = ""
    project.write({"luminal.lock": 'version = 1\nmode = "pin"\n'})
    said = project.luminal("lock", "list", "--no-installed")
    assert (said.code, said.err) == (3, "luminal.lock: mode pin, no units\n")
