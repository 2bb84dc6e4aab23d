"""What the README and the pages show is what happens."""

from __future__ import annotations

import doctest
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_document.py")
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if "generated" not in path.parts and "_build" not in path.parts
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "luminal").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def tools_in(place: Path) -> str:
    """Return what to put on ``PATH``: this Python, and ``luminal`` of this tree."""
    place.mkdir()
    script = place / "luminal"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m luminal "$@"\n')
    script.chmod(0o755)
    return f"{place}{os.pathsep}{os.path.dirname(sys.executable)}"


def run_document(document: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the examples of *document* in *directory*, as a fresh process."""
    tools = tools_in(directory / ".tools")
    environ = {
        **os.environ,
        "PATH": tools + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(directory / ".cache"),
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }
    return subprocess.run(
        [sys.executable, str(RUNNER), str(document)],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_of_a_document_do_what_it_says(document: str, tmp_path: Path) -> None:
    done = run_document(ROOT / document, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_do_what_they_say(module: str) -> None:
    failed, tried = doctest.testmod(
        importlib.import_module(module), optionflags=doctest.ELLIPSIS
    )
    assert failed == 0
    assert tried


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("```python\nprint(1 + 1)\n```\n\n```output\n2\n```\n", True),
        ("```python\nprint(1 + 1)\n```\n\n```output\n3\n```\n", False),
        ("```python\nraise ValueError\n```\n", False),
        ("<!-- not run: it fails -->\n```python\nraise ValueError\n```\n", True),
        ("<!-- needs: nobody_has_it -->\n```python\nraise ValueError\n```\n", True),
        ("<!-- needs: json -->\n```python\nraise ValueError\n```\n", False),
        ("<!-- not run: 1 -->\n<!-- needs: json -->\n```python\n1 / 0\n```\n", False),
        ("```console\n$ echo one; echo two\none\n...\n```\n", True),
        ("```console\n$ echo one\ntwo\n```\n", False),
        ("```console\n$ false\n```\n", False),
        ("```pycon\n>>> 2 * 3\n6\n```\n", True),
        ("```pycon\n>>> 2 * 3\n7\n```\n", False),
        (
            "```python\n# a/b.py\nN = 5\n```\n```console\n$ cat a/b.py\n...5\n```\n",
            True,
        ),
    ],
)
def test_runner_tells_a_right_document_from_a_wrong_one(
    text: str, is_right: bool, tmp_path: Path
) -> None:
    document = tmp_path / "document.md"
    document.write_text(text)
    assert (run_document(document, tmp_path).returncode == 0) is is_right
