"""Nothing that was not judged is executed, whatever an attacker does to the files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import DEADLINE

SECONDS = float(os.environ.get("LUMINAL_ATTACK_SECONDS", "5"))
"""How long the attacker goes on; ten minutes were tried by hand."""


def attacked(directory: Path, seconds: float, *more: str) -> dict[str, Any]:
    directory.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.trust.attack", directory, str(seconds), *more],
        capture_output=True,
        text=True,
        timeout=seconds + DEADLINE,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return counts


@pytest.mark.slow
def test_an_attacker_that_exchanges_all_files_gets_nothing_executed(
    tmp_path: Path,
) -> None:
    counts = attacked(tmp_path / "locked", SECONDS)
    seen = "\n".join([str(counts), *counts["notes"]])
    assert (counts["unjudged"], counts["wrong"], counts["evil"]) == (0, 0, 0), seen
    assert counts["refused"], counts
    assert counts["digests"] >= 5, counts  # it was not that nothing ran
    # The same attacker is let in where there is no lock: this ends when it is.
    counts = attacked(tmp_path / "open", DEADLINE, "off")
    assert counts["unjudged"], counts
