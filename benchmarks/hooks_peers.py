"""The same hook in each system that `benchmarks.hooks` compares."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pluggy

from luminal.hooks import PluginManager

if TYPE_CHECKING:
    from pathlib import Path

spec = pluggy.HookspecMarker("bench")
impl = pluggy.HookimplMarker("bench")

Call = Callable[[], Any]
AsyncCall = Callable[[], Awaitable[Any]]


def present(name: str) -> bool:
    """Return whether the peer *name* is installed; print a line if it is not."""
    found = importlib.util.find_spec(name) is not None
    if not found:
        print(f"{name} is not installed: skipped")
    return found


def plugin(*, awaits: bool = False, quiet: bool = False) -> Any:
    """Return a plugin, whose class is its own."""
    answer = None if quiet else 1
    if awaits:

        class Awaited:
            @impl
            async def work(self, a: int, b: int) -> Any:
                return answer

        return Awaited()

    class Plain:
        @impl
        def work(self, a: int, b: int) -> Any:
            return answer

    return Plain()


class Wrapper:
    """A wrapper that changes nothing."""

    @impl(wrapper=True)
    def work(self, a: int, b: int) -> Any:
        """Return the result unchanged."""
        return (yield)


def manager(
    cls: Any,
    count: int,
    *,
    wrappers: int = 0,
    first: bool = False,
    awaits: bool = False,
) -> Any:
    """Return a manager of class *cls* and *count* plugins; the first is called last."""

    class Specs:
        @spec(firstresult=first)
        def work(self, a: int, b: int) -> Any: ...

    made = cls("bench")
    made.add_hookspecs(Specs)
    for number in range(count):
        made.register(plugin(awaits=awaits, quiet=first and number > 0))
    for _ in range(wrappers):
        made.register(Wrapper())
    return made


def functions(count: int, *, awaits: bool = False) -> list[Any]:
    return [plugin(awaits=awaits).work for _ in range(count)]


def loop(count: int) -> Call:
    """Return a function that loops over the functions, as a host might."""
    chosen = functions(count)

    def work(a: int, b: int) -> list[Any]:
        results = []
        for function in chosen:
            value = function(a=a, b=b)
            if value is not None:
                results.append(value)
        return results

    return lambda: work(a=1, b=2)


def simplug(count: int, *, awaits: bool = False) -> Any:
    """Return the hook of a simplug host with *count* plugins."""
    from simplug import Simplug

    host = Simplug(f"bench-{count}-{awaits}-{id(object())}")
    if awaits:

        class AsyncSpecs:
            @host.spec
            async def work(self, a: int, b: int) -> Any: ...

    else:

        class Specs:
            @host.spec
            def work(self, a: int, b: int) -> Any: ...

    for number in range(count):
        if awaits:

            class Awaited:
                @host.impl
                async def work(self, a: int, b: int) -> Any:
                    return 1

            member: Any = Awaited
        else:

            class Plain:
                @host.impl
                def work(self, a: int, b: int) -> Any:
                    return 1

            member = Plain
        made = member()
        made.name = f"plugin{number}"
        host.register(made)
    return host.hooks.work


def apluggy(count: int) -> Any:
    """Return the async hook of an apluggy manager with *count* plugins."""
    import apluggy as other

    theirs, mark = other.HookspecMarker("bench"), other.HookimplMarker("bench")

    class Specs:
        @theirs
        async def work(self, a: int, b: int) -> Any: ...

    made = other.PluginManager("bench")
    made.add_hookspecs(Specs)
    for _ in range(count):

        class Member:
            @mark
            async def work(self, a: int, b: int) -> Any:
                return 1

        made.register(Member())
    return made.ahook.work


def ours(count: int, **options: Any) -> Any:
    return manager(PluginManager, count, **options)


def theirs(count: int, **options: Any) -> Any:
    return manager(pluggy.PluginManager, count, **options)


def modules(directory: Path) -> Iterator[Any]:
    """Import the photons of *directory*; skip those that fail."""
    for path in sorted(directory.iterdir()):
        name, file = path.stem, path / "__init__.py" if path.is_dir() else path
        if file.suffix != ".py" or not file.exists():
            continue
        where = [str(path)] if path.is_dir() else None
        found = importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=where
        )
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        before = sys.modules.get(name)
        sys.modules[name] = module
        try:
            found.loader.exec_module(module)
        except ImportError as error:
            print(f"{name}: skipped, {error}")
            continue
        finally:
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before
        yield module
