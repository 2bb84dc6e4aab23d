"""The fault matrix: which tests cover a row, and how their stored run ended.

The rows are in ``docs/reference/faults.txt``. The tests name a row by a ``fault`` mark.
``python docs/store_faults.py`` runs these tests and stores their results, with date and
machine.
"""

from __future__ import annotations

import ast
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

__all__ = ["STORED_RUN", "faults_run", "faults_table", "marked_tests", "results_of"]

Results = dict[str, bool]
"""``file::test`` → whether all its cases passed."""

STORED_RUN = Path("docs") / "reference" / "faults-run.json"


def faults_table(root: Path) -> str:
    """Return the fault matrix with the stored results of the tests that cover it.

    Args:
        root: Root of the repository; rows come from ``docs/reference/faults.txt``.
    """
    rows = (root / "docs" / "reference" / "faults.txt").read_text(encoding="utf-8")
    covered = marked_tests(root / "tests")
    results = stored_run(root)["results"]
    lines = ["| # | fault | expected | result |", "|---|---|---|---|"]
    for row in rows.splitlines():
        number, fault, expected = (cell.strip() for cell in row.split("|"))
        tests = covered.get(int(number), [])
        lines.append(
            f"| {number} | {fault} | {expected} | {result_of(tests, results)} |"
        )
    return "\n".join([*lines, ""])


def faults_run(root: Path) -> str:
    """Return the sentence that says when and where the stored run was."""
    run = stored_run(root)
    if not run["results"]:
        return "No run is stored.\n"
    return f"The stored run is of {run['date']}, on {run['machine']}.\n"


def stored_run(root: Path) -> dict[str, Any]:
    """Read what ``store_faults.py`` has written: date, machine, results."""
    file = root / STORED_RUN
    if not file.exists():
        return {"results": {}}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def result_of(tests: list[str], results: Results) -> str:
    """Return the result of *tests* in a few words."""
    if not tests:
        return "planned"
    known = [results.get(test) for test in tests]
    if False in known:
        return f"failed: {known.count(False)} of {_count(len(known))}"
    if True not in known:
        return f"not run: {_count(len(known))}"
    left_out = f"; not run: {known.count(None)}" if None in known else ""
    return f"passed: {_count(known.count(True))}{left_out}"


def _count(tests: int) -> str:
    return f"{tests} test{'s' if tests > 1 else ''}"


def faults_tests(root: Path) -> str:
    """Return a list of the tests of each row, with their numbers."""
    covered = marked_tests(root / "tests")
    lines = ["| # | tests |", "|---|---|"]
    for number, tests in sorted(covered.items()):
        lines.append(f"| {number} | {', '.join(f'`{test}`' for test in tests)} |")
    return "\n".join([*lines, ""])


def marked_tests(tests: Path) -> dict[int, list[str]]:
    """Return fault number → ``file::test`` of each ``@pytest.mark.fault(n, …)``."""
    found: dict[int, list[str]] = {}
    for file in sorted(tests.rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.fault(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            where = f"{file.relative_to(tests.parent).as_posix()}::{node.name}"
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith(
                    "mark.fault"
                ):
                    for number in mark.args:
                        found.setdefault(ast.literal_eval(number), []).append(where)
    return found


def results_of(path: Path) -> Results:
    """Read what ``pytest --junitxml`` left at *path*; skipped tests are left out."""
    tree = ET.parse(path)  # noqa: S314 - written by our own test run
    results: Results = {}
    for case in tree.iter("testcase"):
        if case.find("skipped") is not None:
            continue  # neither passed nor failed
        module = case.get("classname", "").split(".Test")[0]
        name = case.get("name", "").split("[")[0]
        key = f"{module.replace('.', '/')}.py::{name}"
        passed = case.find("failure") is None and case.find("error") is None
        results[key] = results.get(key, True) and passed
    return results
