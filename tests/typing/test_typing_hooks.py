"""Hook calls and implementations are known to mypy and to pyright."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def mypy(program: Path, tmp_path: Path) -> set[int]:
    """Return the lines of *program* that mypy refuses."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *("--follow-imports=silent", "--hide-error-context"),
            *("--config-file", os.devnull, "--cache-dir", str(tmp_path)),
            str(program),
        ],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = re.findall(rf"^.*{program.name}:(\d+): error:", done.stdout, re.MULTILINE)
    return {int(line) for line in found}


def pyright(program: Path, tmp_path: Path) -> set[int]:
    """Return the lines of *program* that pyright refuses."""
    settings = {
        "extraPaths": [str(ROOT)],
        "include": [program.name],
        "typeCheckingMode": "standard",
        "enableTypeIgnoreComments": True,
    }
    shutil.copy(program, tmp_path)
    project = tmp_path / "pyrightconfig.json"
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
    assert report["summary"]["filesAnalyzed"] == 1, report
    return {
        item["range"]["start"]["line"] + 1
        for item in report["generalDiagnostics"]
        if item["severity"] == "error"
    }


def marked(program: Path) -> set[int]:
    """Return the lines of *program* that are marked as refused."""
    lines = program.read_text().splitlines()
    return {n for n, line in enumerate(lines, 1) if line.endswith("# refused")}


@pytest.mark.slow
@pytest.mark.parametrize("check", [mypy, pyright])
def test_a_right_program_is_accepted(check: object, tmp_path: Path) -> None:
    """Arguments and results of hooks are known; nothing needs a cast."""
    assert callable(check)
    assert check(HERE / "accepted_hooks.py", tmp_path) == set()


@pytest.mark.slow
@pytest.mark.parametrize("check", [mypy, pyright])
def test_every_wrong_line_is_refused(check: object, tmp_path: Path) -> None:
    """Wrong arguments, results, names and signatures are errors, each on its line."""
    program = HERE / "refused_hooks.py"
    expected = marked(program)
    assert len(expected) >= 11
    assert callable(check)
    # A decorator's error may be told at the decorator or at the function under it.
    lines = check(program, tmp_path)
    told = {n if n in expected else n - 1 for n in lines}
    assert told == expected
