"""The peers of `benchmarks.reloading`."""

from __future__ import annotations

import gc
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


class Clock:
    """Measures the time of several pieces of work.

    Args:
        is_cold: Whether a full garbage collection precedes each piece, and none runs
            within: it evicts the processor's caches. Otherwise the collector runs as in
            any program.
    """

    def __init__(self, *, is_cold: bool) -> None:
        self.is_cold = is_cold
        self.times: list[float] = []

    def __enter__(self) -> None:
        if self.is_cold:
            gc.collect()
            gc.disable()
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.times.append(time.perf_counter() - self._began)
        gc.enable()


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="reloading_") as path:
        yield Path(path)


Reload = Callable[[str], None]
"""Gives a module another text, and reloads it."""


@contextmanager
def with_importlib(clock: Clock) -> Iterator[Reload]:
    with imported("reloading_peer") as (file, module):

        def reload(text: str) -> None:
            file.write_text(text)
            with clock:
                importlib.reload(module)

        yield reload


@contextmanager
def with_jurigged(clock: Clock) -> Iterator[Reload]:
    from jurigged.register import Registry

    with imported("reloading_jurigged") as (file, _):
        registry = Registry()
        registry.prepare("reloading_jurigged", str(file))
        code = registry.get(str(file))

        def reload(text: str) -> None:
            file.write_text(text)
            with clock:
                code.refresh()

        yield reload


@contextmanager
def with_hmr(clock: Clock) -> Iterator[Reload]:
    from reactivity.hmr.core import ReactiveModule, patch_meta_path

    def patch(root: Path) -> None:
        patch_meta_path([str(root)])

    with imported("reloading_hmr", patch) as (file, module):
        assert isinstance(module, ReactiveModule)
        load = vars(ReactiveModule)["_ReactiveModule__load"].__get__(
            module, ReactiveModule
        )

        def reload(text: str) -> None:
            file.write_text(text)
            with clock:
                load.invalidate()
                load()

        yield reload


@contextmanager
def imported(
    name: str, prepare: Callable[[Path], None] = lambda _: None
) -> Iterator[tuple[Path, ModuleType]]:
    """Import an empty module from a directory of its own."""
    with folder() as root:
        file = root / f"{name}.py"
        file.write_text("")
        sys.path.insert(0, str(root))
        was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            prepare(root)
            yield file, importlib.import_module(name)
        finally:
            sys.dont_write_bytecode = was
            sys.path.remove(str(root))
            sys.modules.pop(name, None)


PEERS = {
    "importlib.reload": ("importlib", with_importlib),
    "hmr": ("reactivity", with_hmr),
    "jurigged": ("jurigged", with_jurigged),
}
