"""A program that type-checks: what hooks answer is known without a cast."""

from __future__ import annotations

from luminal.hooks import PluginManager
from luminal.interfaces import hookimpl, hookspec


class Specs:
    @hookspec
    def parse(self, line: str, number: int) -> dict[str, str]: ...  # type: ignore[empty-body]

    @hookspec(firstresult=True)
    def choose(self, names: list[str]) -> str: ...  # type: ignore[empty-body]

    @hookspec
    async def fetch(self, url: str) -> bytes: ...  # type: ignore[empty-body]

    @hookspec(firstresult=True)
    async def resolve(self, name: str) -> int: ...  # type: ignore[empty-body]

    @hookspec(isolate=True)
    def finish(self) -> None: ...


class Photon:
    @hookimpl(spec=Specs.parse)
    def read(self, line: str, number: int) -> dict[str, str]:
        return {line: str(number)}

    @hookimpl(spec=Specs.choose, tryfirst=True)
    def choose(self, names: list[str]) -> str | None:
        return names[0] if names else None

    @hookimpl(spec=Specs.fetch, deadline=2.0)
    async def fetch(self, url: str) -> bytes:
        return url.encode()

    @hookimpl(before="other")
    def finish(self) -> None: ...


async def use(manager: PluginManager) -> object:
    hooks = manager.hooks(Specs)
    rows: list[dict[str, str]] = hooks.parse(line="a", number=1)
    chosen: str | None = hooks.choose(names=["a"])
    pages: list[bytes] = await hooks.fetch(url="x")
    found: int | None = await hooks.resolve(name="x")
    hooks.finish()
    return rows, chosen, pages, found
