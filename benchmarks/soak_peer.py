"""The peer of `benchmarks.soak`: the same host with `importlib.reload`."""

from __future__ import annotations

import asyncio
import importlib
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import banner
from benchmarks.soak_callers import NAMES, Counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.soak_callers import Answers

__all__ = ["with_importlib"]

MODULE = """
from . import shared
def version():
    return ({number}, shared.NUMBER)
async def aversion(pause):
    before = shared.NUMBER
    await pause()
    return ({number}, before, shared.NUMBER)
"""
BREATH = 0.005
"""Seconds between two reloads."""


@contextmanager
def _package(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        root = Path(folder) / name
        root.mkdir()
        (root / "__init__.py").touch()
        sys.path.insert(0, folder)
        was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            yield root
        finally:
            sys.dont_write_bytecode = was
            sys.path.remove(folder)
            for found in [n for n in sys.modules if n.partition(".")[0] == name]:
                del sys.modules[found]


async def with_importlib(swaps: int, threads: int, tasks: int) -> None:
    """Reload the same three modules in place, one after the other."""
    banner(f"importlib.reload: {threads} threads and {tasks} tasks call")
    with _package("soak_peer") as root:

        def write(number: int) -> None:
            (root / "shared.py").write_text(f"NUMBER = {number}\n")
            for name in NAMES:
                (root / f"{name}.py").write_text(MODULE.format(number=number))

        write(0)
        shared = importlib.import_module("soak_peer.shared")
        modules = [importlib.import_module(f"soak_peer.{name}") for name in NAMES]

        def call() -> Answers:
            return [module.version() for module in modules]

        async def acall(pause: Any) -> Answers:
            return [await module.aversion(pause) for module in modules]

        async def work() -> int:
            for number in range(1, swaps + 1):
                write(number)
                for module in (shared, *modules):
                    importlib.reload(module)
                await asyncio.sleep(BREATH)
            return swaps

        await Counts().during(work, call, acall, threads, tasks)
