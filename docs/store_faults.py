"""Run the tests of the fault matrix, and store their results for its page.

``python docs/store_faults.py [TEST ...]`` writes ``docs/reference/faults-run.json``:
date, machine, and whether each test passed. It takes some minutes. With names of tests,
only these run, and the other results stay.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from pages import STORED_RUN, marked_tests, results_of, stored_run

ROOT = Path(__file__).resolve().parents[1]


def machine() -> str:
    """Return the system, the processors and the Python that runs this."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    return f"{system}, {os.cpu_count()} processors, {python}"


def main() -> int:
    """Run the tests that have a ``fault`` mark; return pytest's exit code."""
    marked = marked_tests(ROOT / "tests")
    tests = sys.argv[1:] or [*{test: 0 for row in marked.values() for test in row}]
    results = stored_run(ROOT)["results"] if sys.argv[1:] else {}
    with tempfile.TemporaryDirectory() as place:
        report = Path(place, "report.xml")
        options = ["-q", "-n", "2", "--junitxml", str(report), "-m", "not peers"]
        pytest = [sys.executable, "-m", "pytest", *options, *tests]
        done = subprocess.run(pytest, cwd=ROOT, check=False)  # noqa: S603
        results |= results_of(report)
    run = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": machine(),
        "results": dict(sorted(results.items())),
    }
    (ROOT / STORED_RUN).write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
