"""Pages that are made from the code, so that they cannot disagree with it.

Comes in: `luminal`'s public rooms, its state table, its error catalogue, the tests'
``fault`` marks and the result of the last test run. Goes out: Markdown, written only
where it differs. Needs no Sphinx, so the tests can call it.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from luminal.errors import ERROR_CODES
from luminal.model import TABLE, State

if TYPE_CHECKING:
    from types import ModuleType

Results = dict[tuple[str, str], bool]
"""(test file, test name) → whether all its cases passed in the last run."""

LAST_RUN = Path(".dev") / "last-run.xml"


def write_all(target: Path, root: Path) -> None:
    """Write every generated page below *target*; forget pages of former rooms.

    Args:
        target: Directory of generated pages; made anew.
        root: Root of the repository.
    """
    shutil.rmtree(target, ignore_errors=True)
    (target / "api").mkdir(parents=True)
    (target / "states.md").write_text(states_page(), encoding="utf-8")
    (target / "errors.md").write_text(errors_page(), encoding="utf-8")
    faults = faults_table(root)
    (target / "faults-table.txt").write_text(faults, encoding="utf-8")
    for room in rooms(root):
        page = target / "api" / f"{room}.md"
        page.write_text(api_page(room), encoding="utf-8")


# --- states ----------------------------------------------------------------


def states_page() -> str:
    """Return the page of the state table."""
    lines = [
        "# The states of a photon",
        "",
        "Generated from `luminal.model.TABLE`. A step that is not listed is refused",
        "with `PhotonStateError`, and changes nothing.",
        "",
        "| in state | step | leads to |",
        "|---|---|---|",
    ]
    lines += [f"| {at} | {step} | {to} |" for (at, step), to in TABLE.items()]
    lines += ["", "As a drawing, with the steps on the arrows:", "", "```text"]
    return "\n".join([*lines, *drawing(), "```", ""])


def drawing() -> list[str]:
    """Return the table as arrows, one group of lines a state."""
    lines = []
    for state in State:
        leaving = [(step, to) for (at, step), to in TABLE.items() if at is state]
        for place, (step, to) in enumerate(leaving):
            head = f"{state!s:<9}" if place == 0 else " " * 9
            corner = "─┬" if place == 0 and len(leaving) > 1 else "──"
            if place > 0:
                corner = " └" if place == len(leaving) - 1 else " ├"
            lines.append(f"{head}{corner}─ {step!s:─<9}─▶ {to}")
    return lines


# --- errors ----------------------------------------------------------------


def errors_page() -> str:
    """Return the catalogue of errors, ordered by code."""
    lines = [
        "# Errors",
        "",
        "Generated from `luminal.errors.ERROR_CODES`. A code is stable: it never means",
        "something else in a later version. Every error is a `luminal.LuminalError`;",
        "where a built-in error fits, it is that too.",
        "",
        "| code | error | is also | meaning |",
        "|---|---|---|---|",
    ]
    for code, error in sorted(ERROR_CODES.items()):
        meaning = first_sentence(error.__doc__)
        also = ", ".join(f"`{base.__name__}`" for base in builtin_bases(error))
        lines.append(f"| {code} | `{error.__name__}` | {also} | {meaning} |")
    return "\n".join([*lines, ""])


def builtin_bases(error: type[BaseException]) -> list[type]:
    """Return the built-in classes other than the roots that *error* derives from."""
    direct = [base for base in error.__mro__ if base.__module__ == "builtins"]
    roots = (Exception, BaseException, object)
    return [base for base in direct if base not in roots][:1]


def first_sentence(docstring: str | None) -> str:
    """Return the first paragraph of *docstring* on one line, fit for a table."""
    paragraph = inspect.cleandoc(docstring or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`").replace("|", "\\|")


# --- faults ----------------------------------------------------------------


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
        lines.append(f"| {number} | {fault} | {expected} | {verdict(tests, results)} |")
    return "\n".join([*lines, ""])


def verdict(tests: list[tuple[str, str]], results: Results) -> str:
    """Say in a few words what is known about *tests*, and name them."""
    if not tests:
        return "planned"
    known = [results.get(test) for test in tests]
    word = "not run"
    if False in known:
        word = "failed"
    elif all(known):
        word = "passed"
    return f"{word}: " + ", ".join(f"`{file}::{name}`" for file, name in tests)


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
            continue  # it says nothing, neither good nor bad
        module = case.get("classname", "").split(".Test")[0]
        name = case.get("name", "").split("[")[0]
        key = (module.replace(".", "/") + ".py", name)
        good = case.find("failure") is None and case.find("error") is None
        results[key] = results.get(key, True) and good
    return results


# --- the programming interface ---------------------------------------------


def rooms(root: Path) -> list[str]:
    """Return the dotted names of the public modules, as far as they exist.

    A room that is a package speaks through its ``__init__``; modules directly below
    ``luminal`` speak for themselves. What ``setup.cfg`` does not know is no room.
    """
    contract = (root / "setup.cfg").read_text(encoding="utf-8")
    floors = re.search(r"^layers =\n((?: +.+\n)+)", contract, re.MULTILINE)
    words = re.findall(r"\w+", floors[1]) if floors else []
    house = root / "luminal"
    return [
        f"luminal.{word}"
        for word in words
        if (house / f"{word}.py").is_file() or (house / word / "__init__.py").is_file()
    ]


def api_page(room: str) -> str:
    """Return the page of *room*: its docstring, and every name in its ``__all__``."""
    module = import_module(room)
    names = [name for name in module.__all__ if not name.startswith("_")]
    own = []
    lines = [f"# `{room}`", ""]
    for name in names:
        value = vars(module)[name] = getattr(module, name)  # wakes a lazy name up
        home = getattr(value, "__module__", None) or room
        if home == room or home.startswith(f"{room}."):
            own.append(name)
    lines += ["```{eval-rst}", f".. automodule:: {room}"]
    if own:
        lines += [f"   :members: {', '.join(own)}", "   :show-inheritance:"]
    lines += ["```", ""]
    others = [name for name in names if name not in own]
    if others:
        lines += ["Also to be had here, and described where they are made:", ""]
        lines += [
            f"- {{py:obj}}`{name} <{canonical(module, name)}>`" for name in others
        ]
    return "\n".join([*lines, ""])


def canonical(module: ModuleType, name: str) -> str:
    """Return the dotted name under which the pages describe *name* of *module*."""
    value = getattr(module, name)
    home = str(value.__module__).split(".")
    return ".".join([*home[:2], getattr(value, "__name__", name)])


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    write_all(here / "reference" / "generated", here.parent)
    print(f"wrote {os.path.relpath(here / 'reference' / 'generated')}")  # noqa: T201
