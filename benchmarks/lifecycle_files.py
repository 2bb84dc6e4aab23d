"""Which files and functions of Luminal one photon's life enters.

Loads, starts, calls, reloads and unloads a photon of one file, in a fresh process, and
prints what was entered on any thread. Functions that run while a module is imported do
not count. Run ``python -m benchmarks.lifecycle_files --names`` for functions' names.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import textwrap
import threading
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import luminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# Python 3.11 enters these as functions, later versions do not.
_INLINED = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
ROOT = os.path.dirname(os.path.realpath(luminal.__file__))

_PHOTON = """\
import luminal


class Hello(luminal.IPhoton):
    photon_name = "hello"

    @luminal.hookimpl
    def greet(self, name):
        return f"{greeting} {{name}}"
"""


class Specs:
    """The hook of the traced host."""

    @luminal.hookspec
    def greet(self, name: str) -> str:
        """Greet somebody."""


class Trace:
    """Records the functions of Luminal that are entered, by step."""

    def __init__(self) -> None:
        # Step → file below `luminal` → names of functions.
        self.entered: dict[str, dict[str, set[str]]] = {}
        self._functions: dict[str, set[str]] | None = None
        self._paths: dict[str, str] = {}
        self._importing = threading.local()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Record what is entered within a ``with`` block, as that step."""
        self._functions = self.entered[name] = defaultdict(set)
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            self._functions = None

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        # Threads of an earlier step keep this function; they record into the latest.
        functions = self._functions
        if functions is None or event not in ("call", "return"):
            return
        code = frame.f_code
        path = self._paths.get(code.co_filename)
        if path is None:
            full = os.path.realpath(code.co_filename)
            is_own = full.startswith(ROOT + os.sep)
            path = os.path.relpath(full, ROOT) if is_own else ""
            self._paths[code.co_filename] = path
        if not path:
            return
        depth = getattr(self._importing, "depth", 0)
        if code.co_name == "<module>":
            self._importing.depth = depth + (1 if event == "call" else -1)
        elif event == "call" and not depth and code.co_name not in _INLINED:
            functions[path].add(code.co_qualname)

    def total(self) -> dict[str, set[str]]:
        """Return what was entered in any step."""
        total: dict[str, set[str]] = defaultdict(set)
        for functions in self.entered.values():
            for path, names in functions.items():
                total[path] |= names
        return total


async def live(directory: str, trace: Trace) -> None:
    """Take one photon through its life."""
    file = Path(directory) / "hello.py"
    file.write_text(_PHOTON.format(greeting="hello"))
    loader = luminal.Loader(hookspecs=[Specs])
    with trace.step("load"):
        handlers = await loader.load_photons(directory)
    with trace.step("start"):
        await handlers.start()
    with trace.step("call"):
        assert loader.hook.greet(name="you") == ["hello you"]
    file.write_text(_PHOTON.format(greeting="good morning"))
    with trace.step("reload"):
        await loader.reload_photon("hello")
    assert loader.hook.greet(name="you") == ["good morning you"]
    with trace.step("unload"):
        await loader.unload_photon("hello")
        await loader.close()


def show(title: str, functions: dict[str, set[str]]) -> None:
    """Print one row: how many files and functions."""
    count = sum(map(len, functions.values()))
    print(f"{title:<8} {len(functions):5} {count:10}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--names", action="store_true", help="print functions' names")
    names = parser.parse_args().names
    trace = Trace()
    with tempfile.TemporaryDirectory() as directory:
        os.environ["LUMINAL_CACHE_DIR"] = os.path.join(directory, "cache")
        photons = os.path.join(directory, "photons")
        os.mkdir(photons)
        asyncio.run(live(photons, trace))
    total = trace.total()
    print("\n## files and functions of Luminal that one photon's life enters")
    print(f"{'step':<8} {'files':>5} {'functions':>10}")
    for step, functions in trace.entered.items():
        show(step, functions)
    show("all", total)
    print()
    for path, functions in sorted(total.items()):
        print(f"{len(functions):4}  {path}")
        if names:
            text = ", ".join(sorted(functions))
            print(textwrap.indent(textwrap.fill(text, 80), " " * 8))


if __name__ == "__main__":
    main()
