"""``luminal report``: the page as one file, from photons or from a running host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luminal.managers import Loader
from luminal.managers.control import Control
from tests.waiting import DEADLINE


def report(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.run(
        [sys.executable, "-m", "luminal", "report", *words],
        cwd=place,
        env=env,
        capture_output=True,
        check=False,
        text=True,
        timeout=DEADLINE,
    )


def test_photons_of_a_path_are_shown(tmp_path: Path, photons: Any) -> None:
    """They are loaded, started and unloaded; the file and the exit code show it."""
    photons.photon("geo", "def start(self):\n    print('begun')")
    said = report(tmp_path, str(photons.path), "--no-installed", "-o", "page.html")
    assert (said.returncode, said.stdout.splitlines()[-1]) == (0, "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert '<td class="tag good">running' in page
    assert 'data-events=""' in page


def test_a_failure_is_an_exit_code(tmp_path: Path, photons: Any) -> None:
    """A photon that fails is named, in JSON too, and the file is written."""
    photons.photon("broken", "def start(self):\n    raise OSError('no')")
    said = report(tmp_path, str(photons.path), "--no-installed", "--json")
    assert said.returncode == 1
    document = json.loads(said.stdout)
    assert document["failing"] == ["broken"]
    assert (tmp_path / document["output"]).is_file()


@pytest.mark.skipif(os.name != "posix", reason="hosts are asked on Unix sockets")
def test_a_running_host_is_asked(
    tmp_path: Path,
    loader: Loader,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: Any,
) -> None:
    """Without a path, what runs is shown; nothing is loaded by the command."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="lum-") as sockets:
        monkeypatch.setenv("LUMINAL_RUNTIME_DIR", sockets)
        control = Control(loader)
        control.start()
        try:
            monkeypatch.setenv("LUMINAL_PATHS", str(tmp_path / "not-asked"))
            said = report(tmp_path, "--output", "-")
        finally:
            control.stop()
    assert said.returncode == 1, said.stderr
    assert f"host {os.getpid()}" in said.stdout
    assert "reason: could not be started [LUM110]" in said.stdout


def test_no_host_has_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If none runs, the exit code is 5 and no file is written."""
    monkeypatch.setenv("LUMINAL_RUNTIME_DIR", str(tmp_path / "none"))
    said = report(tmp_path)
    assert said.returncode == 5
    assert list(tmp_path.glob("*.html")) == []


def test_paths_that_were_set_are_taken_where_no_host_runs(
    tmp_path: Path, photons: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$LUMINAL_PATHS stands in, after the running host."""
    photons.photon("geo")
    monkeypatch.setenv("LUMINAL_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("LUMINAL_PATHS", str(photons.path))
    said = report(tmp_path, "--no-installed", "--json")
    assert (said.returncode, json.loads(said.stdout)["photons"]) == (0, 1)
