"""Hook calls and implementations are known to mypy and to pyright."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


ACCEPTED, REFUSED = "accepted_hooks.py", "refused_hooks.py"


def mypy(place: Path) -> set[tuple[str, int]]:
    """Return the files and lines in *place* that mypy refuses."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *("--follow-imports=silent", "--hide-error-context"),
            *("--config-file", os.devnull, "--cache-dir", str(place / "cache")),
            *(str(place / ACCEPTED), str(place / REFUSED)),
        ],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = re.findall(r"^.*?(\w+\.py):(\d+): error:", done.stdout, re.MULTILINE)
    return {(name, int(line)) for name, line in found}


def pyright(place: Path) -> set[tuple[str, int]]:
    """Return the files and lines in *place* that pyright refuses."""
    settings = {
        "extraPaths": [str(ROOT)],
        "include": [ACCEPTED, REFUSED],
        "typeCheckingMode": "standard",
        "enableTypeIgnoreComments": True,
    }
    project = place / "pyrightconfig.json"
    project.write_text(json.dumps(settings))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pyright", "--outputjson"),
            *("--pythonpath", sys.executable, "-p", str(project)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 2, report
    return {
        (Path(item["file"]).name, item["range"]["start"]["line"] + 1)
        for item in report["generalDiagnostics"]
        if item["severity"] == "error"
    }


@pytest.mark.slow
@pytest.mark.parametrize("check", [mypy, pyright])
def test_hooks_are_known_to_a_type_checker(
    check: Callable[[Path], set[tuple[str, int]]], tmp_path: Path
) -> None:
    """A right program needs no cast; wrong arguments, results, names are errors."""
    for name in (ACCEPTED, REFUSED):
        shutil.copy(HERE / name, tmp_path)
    lines = (HERE / REFUSED).read_text().splitlines()
    expected = {
        (REFUSED, n) for n, line in enumerate(lines, 1) if line.endswith("# refused")
    }
    assert len(expected) >= 11
    # A decorator's error may be told at the decorator or at the function under it.
    found = check(tmp_path)
    assert {
        (name, n) if (name, n) in expected else (name, n - 1) for name, n in found
    } == expected
