"""Run the examples of one Markdown document, in order, in this directory.

``python run_document.py DOCUMENT``, in an empty directory. What the fences mean:

- ``python``: runs; all such blocks of a document share their names. One whose first
  line is a comment that is a path (``# photons/hello.py``) is written there instead.
- ``pycon``: a session, compared with what it prints.
- ``console``: lines that begin with ``$`` run in a shell; lines below are what they
  print. ``toml``, ``csv``, ``text`` with a path as first line are written like Python.
- ``output``: what the ``python`` block before it printed.

In expected output ``...`` stands for anything. A block below a comment
``<!-- not run: reason -->`` is left alone; so is every other fence, and one below
``<!-- needs: NAME -->`` where that module or distribution is not installed.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.waiting import DEADLINE

FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<kind>\w+)\n"
    r"(?P<body>.*?)^(?P=indent)(?P=ticks) *$",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN = re.compile(r"<!-- not run: (?:(?!-->).)+-->\s*\Z", re.DOTALL)
NEEDS = re.compile(r"<!-- needs: (?P<name>[\w-]+) -->\s*\Z")
PATH = re.compile(r"# (?P<path>[\w./-]+\.(?:py|toml|csv|log|txt))\n")
_PIP = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    # What a reader's pip downloads for a build is installed here. 0 means without.
    "PIP_NO_BUILD_ISOLATION": os.environ.get("PIP_NO_BUILD_ISOLATION", "0"),
}
WRITTEN = ("python", "toml", "csv", "text")


class Mismatch(AssertionError):
    """A document promises something that does not happen."""


def compare(expected: str, found: str, where: str) -> None:
    """Raise `Mismatch` unless *found* is what *expected* says, ``...`` being free."""
    if not doctest.OutputChecker().check_output(
        expected.rstrip() + "\n",
        found.rstrip() + "\n",
        doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    ):
        raise Mismatch(f"{where}: expected\n{expected}\nbut found\n{found}")


def is_left_out(before: str) -> bool:
    """Whether the text *before* a block says that it does not run here."""
    needs = NEEDS.search(before)
    is_missing = needs is not None and not is_installed(needs["name"])
    return is_missing or NOT_RUN.search(before) is not None


def is_installed(name: str) -> bool:
    """Whether there is a module or a distribution of this *name*."""
    try:
        return find_spec(name) is not None or metadata.version(name) != ""
    except metadata.PackageNotFoundError:
        return False


def run_console(body: str, where: str) -> None:
    """Run each ``$`` line of *body* and compare what it prints."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        done = subprocess.run(
            command,
            shell=True,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
            env={**os.environ, **_PIP},
        )
        printed = done.stdout + done.stderr
        if os.environ.get("LUMINAL_TRANSCRIPT"):
            sys.__stdout__.write(f"$ {command}\n{printed}")
        if done.returncode:
            raise Mismatch(f"{where}: {command!r} ended {done.returncode}:\n{printed}")
        compare(expected, printed, f"{where}: {command!r}")


def run_session(body: str, names: dict[str, Any], where: str) -> None:
    """Run the prompts in *body* and compare what each prints."""
    test = doctest.DocTestParser().get_doctest(body, names, where, where, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said = io.StringIO()
    if runner.run(test, out=said.write, clear_globs=False).failed:
        raise Mismatch(said.getvalue())
    names.update(test.globs)


def run_document(path: Path) -> int:
    """Run every example of the document at *path*; return how many there were."""
    text = path.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    printed, count = "", 0
    for fence in FENCE.finditer(text):
        if is_left_out(text[: fence.start()]):
            continue
        kind, body = fence["kind"], fence["body"]
        if fence["indent"]:
            body = re.sub(f"^{fence['indent']}", "", body, flags=re.MULTILINE)
        line = text.count("\n", 0, fence.start()) + 1
        where = f"{path}:{line}"
        target = PATH.match(body)
        if kind in WRITTEN and target:
            file = Path(target["path"])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(body, encoding="utf-8")
        elif kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                # The blank lines make a traceback name the document's own line.
                exec(compile("\n" * line + body, str(path), "exec"), names)
            printed = out.getvalue()
        elif kind == "output":
            compare(body, printed, where)
        elif kind == "pycon":
            run_session(body, names, where)
        elif kind == "console":
            run_console(body, where)
        else:
            continue
        count += 1
    return count


if __name__ == "__main__":
    sys.path.insert(0, "")
    sys.stderr.write(f"{run_document(Path(sys.argv[1]))} examples\n")
