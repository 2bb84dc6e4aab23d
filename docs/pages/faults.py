"""The fault matrix: which tests cover a row, and how their last run ended.

The rows are in ``docs/reference/faults.txt``. The tests name a row by a ``fault`` mark.
"""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET
from pathlib import Path

__all__ = ["LAST_RUN", "faults_table", "marked_tests"]

Results = dict[tuple[str, str], bool]
"""(test file, test name) → whether all its cases passed in the last run."""

LAST_RUN = Path(".dev") / "last-run.xml"


def faults_table(root: Path) -> str:
    """Return the fault matrix with the tests that cover it and their last result.

    Args:
        root: Root of the repository; rows come from ``docs/reference/faults.txt``.
    """
    rows = (root / "docs" / "reference" / "faults.txt").read_text(encoding="utf-8")
    covered = marked_tests(root / "tests")
    results = last_results(root / LAST_RUN)
    lines = ["| # | fault | expected | result of the last run |", "|---|---|---|---|"]
    for row in rows.splitlines():
        number, fault, expected = (cell.strip() for cell in row.split("|"))
        tests = covered.get(int(number), [])
        lines.append(
            f"| {number} | {fault} | {expected} | {result_of(tests, results)} |"
        )
    return "\n".join([*lines, ""])


def result_of(tests: list[tuple[str, str]], results: Results) -> str:
    """Return the result of *tests* in a word or two, and their names."""
    if not tests:
        return "planned"
    known = [results.get(test) for test in tests]
    result = "not run"
    if False in known:
        result = "failed"
    elif all(known):
        result = "passed"
    return f"{result}: " + ", ".join(f"`{file}::{name}`" for file, name in tests)


def marked_tests(tests: Path) -> dict[int, list[tuple[str, str]]]:
    """Return fault number → (file, test name) of each ``@pytest.mark.fault(n, …)``."""
    found: dict[int, list[tuple[str, str]]] = {}
    for file in sorted(tests.rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.fault(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            where = (file.relative_to(tests.parent).as_posix(), node.name)
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith(
                    "mark.fault"
                ):
                    for number in mark.args:
                        found.setdefault(ast.literal_eval(number), []).append(where)
    return found


def last_results(path: Path) -> Results:
    """Read the file that ``pytest --junitxml`` left at *path*; empty without one."""
    try:
        tree = ET.parse(path)  # noqa: S314 - written by our own test run
    except (OSError, ET.ParseError):
        return {}
    results: Results = {}
    for case in tree.iter("testcase"):
        if case.find("skipped") is not None:
            continue  # neither passed nor failed
        module = case.get("classname", "").split(".Test")[0]
        name = case.get("name", "").split("[")[0]
        key = (module.replace(".", "/") + ".py", name)
        passed = case.find("failure") is None and case.find("error") is None
        results[key] = results.get(key, True) and passed
    return results
