"""The house stays as ARCHITECTURE.md says: floors, sizes, names, words."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES = 300
FUNCTION_LINES = 50
LONG_FILES: dict[str, str] = {
    "luminal/errors.py": "the whole catalogue of errors; it can only grow",
}
LONG_FUNCTIONS: dict[str, str] = {}
FILES = sorted(
    path
    for folder in ("luminal", "plugins_example", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
    if "_build" not in path.parts
)
FILES.append(ROOT / "dev.py")
SOURCES = [path for path in FILES if path.parts[len(ROOT.parts)] == "luminal"]
REFUSED_NAMES = {"utils", "helpers", "common", "base", "misc", "core"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_texts() -> list[Path]:
    """Return the repository's text files, as git knows them or as they lie there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    found = [ROOT / name for name in names if name] or [*FILES, *ROOT.glob("*.md")]
    return [path for path in found if path.is_file()]


def test_every_import_keeps_to_the_floors() -> None:
    """`lint-imports` holds the contract in ``setup.cfg``, exhaustively."""
    tool = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [str(tool), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_run_in_no_circle() -> None:
    """Module by module, imports for type checkers included."""
    graph = grimp.build_graph("luminal", cache_dir=None)
    imports = {
        module: graph.find_modules_directly_imported_by(module)
        for module in graph.modules
    }
    assert len(list(TopologicalSorter(imports).static_order())) == len(imports)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_stays_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES or name_of(path) in LONG_FILES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_stay_short(path: Path) -> None:
    """Counted from ``def`` to the last line, without the docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node):
                said = node.body[0]
                length -= (said.end_lineno or 0) - said.lineno + 1
            if length > FUNCTION_LINES:
                long.append(f"{name_of(path)}::{node.name}")
    assert [each for each in long if each not in LONG_FUNCTIONS] == []


def test_exceptions_are_still_needed() -> None:
    """A listed exception exists; one that has been mended leaves the list."""
    for name in LONG_FILES:
        assert (ROOT / name).is_file()
    for name in LONG_FUNCTIONS:
        assert (ROOT / name.partition("::")[0]).is_file()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_named_for_what_it_holds(path: Path) -> None:
    assert path.stem not in REFUSED_NAMES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_source_postpones_annotations(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or "from __future__ import annotations" in text


FORBIDDEN = [
    "py" + "pi",
    "python" + "hosted",
    "ana" + "conda.org",
    "hack" + "y",
    "blazing" + "ly",
    "cutting" + "-edge",
    "seam" + "less",
    "power" + "ful",
    "effort" + "less",
    "/ro" + "ot/",
    "/wo" + "rk/",
]
"""Package registries, advertising, and one machine's paths."""
UNFINISHED = ["TO" + "DO", "FIX" + "ME", "X" + "XX"]
WORD = re.compile(
    "|".join(rf"\b{word}\b" for word in UNFINISHED)
    + "|(?i:"
    + "|".join(rf"(?<![\w-]){re.escape(word)}(?![\w-])" for word in FORBIDDEN)
    + ")"
)


@pytest.mark.parametrize("path", tracked_texts(), ids=name_of)
def test_text_has_no_word_of_a_forbidden_kind(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return  # not text: a fixture of bytes
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if WORD.search(line)
    ]
    assert found == []


def test_development_door_opens_for_an_old_python_to_say_no() -> None:
    """``dev.py`` compiles for 3.6, so that such a Python can print what is missing."""
    text = (ROOT / "dev.py").read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 6))
    assert "from __future__ import annotations\n" not in text


def test_ci_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert "dev.py test" in script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
