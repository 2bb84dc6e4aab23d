"""The example on a Dask cluster, as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("distributed")


@pytest.mark.slow
def test_a_swap_in_the_middle_loses_and_doubles_nothing() -> None:
    command = "-m plugins_example.cluster --records 12000 --workers 2"
    ended = subprocess.run(
        [sys.executable, *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "12,000 lines" in ended.stdout
    assert "0 lost, 0 counted twice" in ended.stdout
    assert "decision 2" in ended.stderr
