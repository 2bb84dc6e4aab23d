"""``dev.py`` installs once, again when something changed, and nowhere else."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Installs:
    """Stands in for uv and pip: notes what it was asked for."""

    def __init__(self, door: ModuleType) -> None:
        self.door = door
        self.batches: list[list[list[object]]] = []
        self.is_broken = False

    def __call__(self, environment: Path, batches: list[list[object]]) -> None:
        self.batches.append(batches)
        python = self.door.python_of(environment)
        python.parent.mkdir(parents=True)
        python.touch()
        if self.is_broken:
            sys.exit("cannot install")


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``dev.py`` as a module, at home in a directory of its own."""
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    example = tmp_path / "plugins_example" / "distribution"
    example.mkdir(parents=True)
    for directory in (tmp_path, example):
        (directory / "pyproject.toml").write_text('[dependency-groups]\ntest = ["x"]\n')
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PLACE", tmp_path / ".dev")
    monkeypatch.setattr(module, "DISTRIBUTION", example)
    for name in module.FOREIGN:
        monkeypatch.delenv(name, raising=False)
    return module


@pytest.fixture
def installs(door: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Installs:
    fake = Installs(door)
    monkeypatch.setattr(door, "with_uv", lambda *_: False)
    monkeypatch.setattr(door, "with_pip", fake)
    return fake


def test_second_time_installs_nothing(door: ModuleType, installs: Installs) -> None:
    assert door.work_environment() == door.work_environment()
    assert len(installs.batches) == 1


def test_users_and_workers_have_environments_of_their_own(
    door: ModuleType, installs: Installs
) -> None:
    """The example's photons are installed in one of them only."""
    assert door.work_environment() != door.user_environment()
    work, user = installs.batches
    assert door.DISTRIBUTION not in work[0]
    assert "x" in work[0]
    assert user[1] == [door.DISTRIBUTION]


@pytest.mark.parametrize("project", [".", "plugins_example/distribution"])
def test_changed_project_is_installed_again(
    door: ModuleType, installs: Installs, project: str
) -> None:
    door.user_environment()
    with (door.ROOT / project / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    door.user_environment()
    assert len(installs.batches) == 2


def test_installation_that_broke_off_is_done_again(
    door: ModuleType, installs: Installs
) -> None:
    installs.is_broken = True
    with pytest.raises(SystemExit):
        door.work_environment()
    installs.is_broken = False
    door.work_environment()
    assert len(installs.batches) == 2


def test_interpreter_that_has_gone_is_installed_again(
    door: ModuleType, installs: Installs
) -> None:
    door.work_environment().unlink()
    door.work_environment()
    assert len(installs.batches) == 2


def test_foreign_variables_are_named_and_kept_from_children(
    door: ModuleType,
    installs: Installs,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "elsewhere")
    door.work_environment()
    program = (
        "import os; print([n for n in os.environ if os.environ[n] == 'elsewhere'])"
    )
    assert door.call([sys.executable, "-c", program]) == 0
    said = capfd.readouterr().out
    assert "ignoring PYTHONPATH" in said
    assert "ignoring VIRTUAL_ENV" in said
    assert said.endswith("[]\n")


def test_quiet_call_speaks_when_it_fails(
    door: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    program = "print('here is why'); raise SystemExit(3)"
    assert door.call([sys.executable, "-c", program], quiet=True) == 3
    assert door.call([sys.executable, "-c", "print('hush')"], quiet=True) == 0
    assert capfd.readouterr().out == "here is why\n"


def test_the_example_reads_a_log_beside_the_user(
    door: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A path counts from the working directory, and nothing there is imported."""
    monkeypatch.setattr(door, "ROOT", ROOT)
    monkeypatch.setattr(door, "user_environment", lambda: Path(sys.executable))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.log").write_text("a line of no known format\n")
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    assert door.run(["my.log"]) == 0
    assert "1 lines read" in capfd.readouterr().out


def test_unknown_verb_names_those_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "dev.py"), "fly"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    for verb in ("run", "test", "bench", "docs"):
        assert verb in done.stderr


def test_failing_check_fails_the_whole_and_is_named(
    door: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every check runs, whatever became of those before it."""
    seen: list[str] = []

    def call(command: list[object]) -> int:
        seen.append(" ".join(map(os.fspath, command)))  # type: ignore[call-overload]
        return int("sphinx" in seen[-1])

    monkeypatch.setattr(door, "work_environment", lambda: Path("python"))
    monkeypatch.setattr(door, "call", call)
    assert door.test(["tests/one"], quick=False) == 1
    said = capsys.readouterr().out
    assert "failed: docs\n" in said
    assert len(seen) == said.count("--- ") - 1
    assert sum("pytest -n 2 tests/one" in command for command in seen) == 1


def test_quick_runs_pytest_alone_without_what_is_slow(
    door: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[object]] = []
    monkeypatch.setattr(door, "work_environment", lambda: Path("python"))
    monkeypatch.setattr(door, "call", lambda command: bool(seen.append(command)))
    assert door.test([], quick=True) == 0
    assert [command[-2:] for command in seen] == [["-m", "not slow"]]


def test_two_doors_at_once_install_once(
    door: ModuleType, installs: Installs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, and takes what that one has made."""
    began, go_on = threading.Event(), threading.Event()

    def slowly(environment: Path, batches: list[list[object]]) -> None:
        began.set()
        assert go_on.wait(10)
        installs(environment, batches)

    monkeypatch.setattr(door, "with_pip", slowly)
    threads = [threading.Thread(target=door.work_environment) for _ in range(2)]
    threads[0].start()
    assert began.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(installs.batches) == 1


def test_what_a_kill_leaves_of_an_environment_is_installed_again(
    door: ModuleType, installs: Installs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was killed while it removed one that is wanted again now."""
    door.work_environment()
    project = door.ROOT / "pyproject.toml"
    wanted = project.read_text()
    project.write_text(wanted.replace("x", "y"))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(door.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            door.work_environment()
    project.write_text(wanted)
    door.work_environment()
    assert len(installs.batches) == 2


def test_a_place_that_cannot_be_written_is_named(
    door: ModuleType, installs: Installs
) -> None:
    door.PLACE.write_text("a file, so that no directory can be made here")
    with pytest.raises(SystemExit, match=re.escape(str(door.PLACE))):
        door.work_environment()
    assert not installs.batches
