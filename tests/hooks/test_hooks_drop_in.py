"""What hosts do with pluggy's manager besides calling hooks works with ours."""

from __future__ import annotations

import asyncio
import gc
import os
import traceback
import weakref
from typing import Any

import attrs
import pluggy
import pytest

from luminal.hooks import PluginManager

spec = pluggy.HookspecMarker("demo")
impl = pluggy.HookimplMarker("demo")

MANAGERS = [pluggy.PluginManager, PluginManager]


class Specs:
    @spec
    def work(self, x: Any) -> Any: ...

    @spec(historic=True)
    def setup(self, config: Any) -> Any: ...

    @spec(firstresult=True)
    def first(self, x: Any) -> Any: ...


class Works:
    @impl
    def work(self, x: Any) -> Any:
        return x() if callable(x) else x


def make(cls: Any = PluginManager, *plugins: Any) -> Any:
    manager = cls("demo")
    manager.add_hookspecs(Specs)
    for number, plugin in enumerate(plugins):
        manager.register(plugin, f"p{number}")
    return manager


# Names of pluggy that are private, or not documented, and that hosts use. They were
# found in the sources of pytest 9.2, pytest-xdist 3.8, tox 4.67, datasette 0.65 and
# 1.0a41, llm 0.36, sqlite-utils 4.2, kedro 1.7, hatch 1.18 and npe2's napari adapter.
USED = {
    "pytest": [
        ("hook.setup", "_call_history"),  # set to [] when a run ends
        ("hook.work", "spec"),  # read and passed on by its own callers
        ("hook.work", "name"),
        ("", "_name2plugin"),
        ("", "trace"),
    ],
    "datasette": [("", "_plugin_distinfo"), ("hook.work", "get_hookimpls")],
    "llm": [("", "_plugin_distinfo"), ("hook.work", "get_hookimpls")],
    "pluggy itself": [
        *((("hook.work", name)) for name in pluggy.HookCaller.__slots__),
        *(
            ("hook.work", name)
            for name in vars(pluggy.HookCaller)
            if not name.startswith("__")
        ),
        ("", "_hookexec"),
        ("", "_inner_hookexec"),
        ("", "_verify_hook"),
    ],
}


@pytest.mark.parametrize(
    ("where", "name"),
    sorted({use for uses in USED.values() for use in uses}),
)
def test_names_that_hosts_touch_are_there_and_can_be_set(where: str, name: str) -> None:
    """The list above is what is known; ours has it, before and after a call."""
    manager = make(PluginManager, Works())
    manager.register(Works(), "another")
    target = manager
    for part in where.split("."):
        target = getattr(target, part) if part else target
    for _ in range(12):
        manager.hook.work(x=1)
        value = getattr(target, name)
        setattr(target, name, value)
        assert getattr(target, name) is value
    assert manager.hook.work(x=2) == [2, 2]


@pytest.mark.parametrize("cls", MANAGERS)
def test_a_host_empties_the_history_of_a_hook(cls: Any) -> None:
    """As pytest does: who is registered later is not called any more."""
    manager, seen = make(cls), []

    class Late:
        @impl
        def setup(self, config: Any) -> Any:
            seen.append(config)

    manager.hook.setup.call_historic(kwargs={"config": 1})
    assert [kwargs for kwargs, _ in manager.hook.setup._call_history] == [{"config": 1}]
    manager.register(Late())
    manager.hook.setup._call_history = []
    manager.register(Late())
    assert seen == [1]
    manager.hook.setup.call_historic(kwargs={"config": 2})
    manager.register(Late())
    assert seen == [1, 2, 2, 2]


@pytest.mark.parametrize("cls", MANAGERS)
def test_a_host_looks_at_implementations_and_hooks(cls: Any) -> None:
    """The private list is what ``get_hookimpls`` returns, now and later."""
    manager = make(cls, Works(), Works())
    listed = manager.hook.work._hookimpls
    assert [i.plugin_name for i in listed] == ["p0", "p1"]
    manager.register(Works(), "p2")
    assert [i.plugin_name for i in reversed(listed)] == ["p2", "p1", "p0"]
    assert len(listed) == 3
    assert listed[0] in listed.copy()
    assert listed[-1].plugin is manager.get_plugin("p2")
    subset = manager.subset_hook_caller("work", [manager.get_plugin("p1")])
    assert [i.plugin_name for i in subset._hookimpls] == ["p0", "p2"]
    assert (subset.name, subset._call_history) == ("work", None)


@pytest.mark.parametrize("cls", MANAGERS)
def test_hook_callers_of_a_plugin_are_in_the_order_of_the_hooks(cls: Any) -> None:
    """The order of the specifications, not of names."""

    class Both:
        @impl
        def zebra(self) -> Any: ...

        @impl
        def first(self, x: Any) -> Any: ...

        @impl
        def work(self, x: Any) -> Any: ...

    manager = make(cls, Both())
    found = manager.get_hookcallers(manager.get_plugin("p0"))
    # ``first`` before ``work``: the order in which ``dir`` has them.
    assert [h.name for h in found] == ["first", "work", "zebra"]


def handed_over(manager: Any, name: str) -> Any:
    """Call hook *name* as datasette does: await what was handed over."""

    async def once() -> Any:
        found = getattr(manager.hook, name)(x=1)
        listed = found if isinstance(found, list) else [found]
        return [await one if asyncio.iscoroutine(one) else one for one in listed]

    async def several() -> list[Any]:
        return [await once() for _ in range(300)]

    return asyncio.run(several())


@pytest.mark.parametrize("cls", MANAGERS)
@pytest.mark.parametrize("name", ["work", "first", "unspecified"])
def test_a_plain_call_hands_over_the_coroutine(cls: Any, name: str) -> None:
    """On a loop and without one; cold, compiled and sampled; with wrappers too."""

    class Later:
        @impl
        async def work(self, x: Any) -> Any:
            await asyncio.sleep(0)
            return ("later", x)

        @impl
        async def first(self, x: Any) -> Any:
            return ("later", x)

        @impl
        async def unspecified(self, x: Any) -> Any:
            return ("later", x)

    class Around:
        @impl(wrapper=True)
        def work(self, x: Any) -> Any:
            return (yield)

    manager = make(cls, Works(), Later(), Around())
    expected: list[Any] = [("later", 1)]
    if name == "work":
        expected.append(1)
    assert handed_over(manager, name) == [expected] * 300
    for _ in range(300):
        found = getattr(manager.hook, name)(x=1)
        coroutine = found[0] if isinstance(found, list) else found
        assert asyncio.iscoroutine(coroutine)
        coroutine.close()


def test_an_awaited_call_awaits_it() -> None:
    """``ahook`` of the same hook has the answers."""

    class Later:
        @impl
        async def work(self, x: Any) -> Any:
            await asyncio.sleep(0)
            return ("later", x)

    manager = make(PluginManager, Works(), Later())

    async def several() -> list[Any]:
        return [await manager.ahook.work(x=1) for _ in range(300)]

    assert asyncio.run(several()) == [[("later", 1), 1]] * 300


class Fails:
    @impl
    def work(self, x: Any) -> Any:
        raise LookupError("no such thing")


class Around:
    @impl(wrapper=True)
    def work(self, x: Any) -> Any:
        return (yield)


@pytest.mark.parametrize("plugins", [[Fails()], [Works(), Around(), Fails()]])
@pytest.mark.parametrize("monitored", [False, True])
def test_errors_of_plain_plugins_are_as_in_pluggy(
    plugins: list[Any], monitored: bool
) -> None:
    """No note; every frame of the engine hides itself from tracebacks.

    It has the name of generated code, which pytest leaves out as it does pluggy's.
    """
    manager = make(PluginManager, *plugins)
    if monitored:
        manager.add_hookcall_monitoring(lambda *a: None, lambda *a: None)

    def hello() -> None:
        manager.hook.work(x=1)

    def extra() -> None:
        manager.hook.work.call_extra([Works().work], {"x": 1})

    def subset() -> None:
        manager.subset_hook_caller("work", [Works()])(x=1)
        others = [p for p in manager.get_plugins() if type(p) is Works]
        manager.subset_hook_caller("work", others)(x=1)

    def detailed() -> None:
        manager.hook.work.detailed(x=1)

    def awaited() -> None:
        asyncio.run(manager.ahook.work(x=1))

    for call in (hello, extra, subset, detailed, awaited):
        for _ in range(300 if call is hello else 12):
            with pytest.raises(LookupError) as caught:
                call()
            assert not hasattr(caught.value, "__notes__")
            for frame, _ in traceback.walk_tb(caught.value.__traceback__):
                name = frame.f_code.co_filename
                assert os.path.join("luminal", "hooks", "") not in name
                if "luminal.hooks" in name:
                    assert name[0] == "<"
                    assert ">" in name
                    assert frame.f_locals.get("__tracebackhide__") is True, frame


def test_plugins_without_a_hash_or_that_are_equal() -> None:
    """``attrs.define`` makes such classes; each plugin is one of its own."""

    @attrs.define
    class Plugin:
        name: str = "x"

        @impl
        def work(self, x: Any) -> Any:
            return self.name

    @attrs.frozen
    class Equal(Plugin):
        pass

    for cls in (Plugin, Equal):
        one, other = cls(), cls()
        manager = make(PluginManager, one, other)
        assert len(manager.get_plugins()) == 2
        assert {id(p) for p in manager.get_plugins()} == {id(one), id(other)}
        assert one in manager.get_plugins()
        assert cls() not in manager.get_plugins()
        assert manager.get_plugins() & manager.get_plugins() == manager.get_plugins()
        assert manager.get_canonical_name(one) == str(id(one))
        assert [h.name for h in manager.get_hookcallers(one)] == ["work"]
        assert manager.subset_hook_caller("work", [one])(x=1) == ["x"]
        assert manager.list_plugin_distinfo() == []
        manager.unregister(one)
        assert {id(p) for p in manager.get_plugins()} == {id(other)}
    plain = make(PluginManager, Works())
    assert type(plain.get_plugins()) is set


@pytest.mark.parametrize("calls", [0, 1, 12, 300])
@pytest.mark.parametrize("is_swapped", [False, True])
def test_a_manager_is_freed_though_its_plugins_refer_to_it(
    calls: int, is_swapped: bool
) -> None:
    """Cold and compiled, called and awaited; pytest makes a manager for each run."""

    class Holds:
        def __init__(self, host: Any) -> None:
            self.host = host

        @impl
        def work(self, x: Any) -> Any:
            return x

    class Host:
        def __init__(self) -> None:
            self.manager = make(PluginManager)
            self.manager.register(Holds(self), "holds")
            self.manager.register(Around())

        async def awaited(self) -> None:
            for _ in range(calls):
                assert await self.manager.ahook.work(x=1) == [1]

        def called(self) -> None:
            for _ in range(calls):
                assert self.manager.hook.work(x=1) == [1]

    host = Host()
    host.called()
    asyncio.run(host.awaited())
    if is_swapped:
        host.manager.swap("holds", Holds(host))
        host.called()
    seen = weakref.ref(host), weakref.ref(host.manager.get_plugin("holds"))
    del host
    gc.collect()
    assert [ref() for ref in seen] == [None, None]


def test_a_traceback_shows_the_lines_of_the_engine() -> None:
    """Whoever reads one sees what called the plugin."""
    manager = make(PluginManager, Fails())
    with pytest.raises(LookupError) as caught:
        manager.hook.work(x=1)
    text = "".join(traceback.format_exception(caught.value))
    assert "impl.function(*args" in text
