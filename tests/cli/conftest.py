"""A terminal of its own for each test: an empty directory and a clean environment."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Said, Terminal

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def sockets() -> Iterator[Path]:
    """Where hosts listen; the path of a Unix socket must be short."""
    with tempfile.TemporaryDirectory(prefix="lum-") as directory:
        yield Path(directory)


@pytest.fixture
def terminal(tmp_path: Path, sockets: Path) -> Terminal:
    place = tmp_path / "here"
    place.mkdir()
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    program = bin_directory / "luminal"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m luminal "$@"\n')
    program.chmod(0o755)
    env = {
        "PATH": f"{bin_directory}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
        "HOME": str(tmp_path),
        "LUMINAL_CACHE_DIR": str(tmp_path / "cache"),
        "LUMINAL_RUNTIME_DIR": str(sockets),
        "LANG": "C.UTF-8",
    }
    return Terminal(place, env)


@pytest.fixture
def record(terminal: Terminal) -> Callable[[str, str], None]:
    """Compare a text with what is on record, without what differs from run to run.

    With ``LUMINAL_WRITE_GOLDEN`` in the environment the record is written instead;
    look at the difference before you commit it.
    """

    def compare(name: str, found: str) -> None:
        found = terminal.normal(found)
        file = GOLDEN / f"{name}.txt"
        if "LUMINAL_WRITE_GOLDEN" in os.environ:
            file.write_text(found, encoding="utf-8")
        assert found == file.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def golden(
    terminal: Terminal, record: Callable[[str, str], None]
) -> Callable[..., Said]:
    """Run a command, and compare what it says with what is on record."""

    def compare(name: str, *arguments: str) -> Said:
        said = terminal.luminal(*arguments)
        record(name, said.as_text(*arguments))
        return said

    return compare
