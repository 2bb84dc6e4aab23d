"""Code of a photon that runs where nobody calls it: never on the host's loop.

A class may define what happens when it is looked at, compared, hashed, shown or asked
for its truth. All of that runs on a worker, under the deadline of the step.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest

import luminal
from luminal import Loader, discover
from luminal.model import Deadlines
from tests.waiting import DEADLINE, brief

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Photons

pytestmark = pytest.mark.anyio

TRAPS = """
import threading, time
from luminal import IPhoton, hookimpl
import hostile_recorder

def trap(what):
    def sprung(*args, **kwargs):
        hostile_recorder.sprung(what)
    return sprung

SHOWN = {f"__{name}__": trap(name) for name in
         ("str", "repr", "eq", "hash", "bool", "getattr", "format", "len")}
SEEN = {"__getattribute__": trap("getattribute"), "__getattr__": trap("getattr")}
PROPERTIES = {name: property(trap(name)) for name in
              ("__class__", "__name__", "__qualname__", "__module__", "__dict__",
               "__mro__", "__doc__", "__abstractmethods__", "__flags__")}
"""

CASES = {
    "metaclass that is asked for attributes": """
class Meta(type):
    __getattribute__ = trap("meta.getattribute")

class Hostile(IPhoton, metaclass=Meta):
    photon_name = "hostile"
    def start(self):
        pass
""",
    "metaclass with properties": """
Meta = type("Meta", (type,), {**PROPERTIES, **SHOWN, "__call__": type.__call__})

class Hostile(IPhoton, metaclass=Meta):
    photon_name = "hostile"
    def start(self):
        pass
""",
    "metaclass that decides what is an instance": """
class Meta(type):
    __instancecheck__ = __subclasscheck__ = trap("check")

class Hostile(IPhoton, metaclass=Meta):
    photon_name = "hostile"
    async def __init__(self):
        pass
""",
    "instance that is asked for attributes": """
class Hostile(IPhoton):
    photon_name = "hostile"
    locals().update(SEEN)
    def start(self):
        pass
    def finalize(self):
        pass
    def on_reload(self, previous):
        pass
""",
    "instance that is shown and compared": """
class Hostile(IPhoton):
    photon_name = "hostile"
    locals().update(SHOWN)
    __class__ = property(trap("class"))
    __dict__ = property(trap("dict"))
    @hookimpl
    def on_message(self):
        return "hostile"
""",
    "descriptors instead of methods": """
class Descriptor:
    __get__ = trap("get")
    __call__ = trap("call")

class Hostile(IPhoton):
    photon_name = "hostile"
    start = Descriptor()
    finalize = Descriptor()
    photon_exclusive = Descriptor()
    photon_description = Descriptor()
""",
    "truth of what finalize returns": """
class Answer:
    __bool__ = trap("bool")
    __eq__ = trap("eq")

class Hostile(IPhoton):
    photon_name = "hostile"
    def finalize(self):
        return Answer()
""",
    "exception at import": """
class Weird(BaseException):
    locals().update(SHOWN)
    __class__ = property(trap("class"))
    __notes__ = property(trap("notes"))
    with_traceback = trap("with_traceback")

class Hostile(IPhoton):
    photon_name = "hostile"

raise Weird
""",
    "exception in start": """
class Weird(Exception):
    locals().update(SHOWN)

class Hostile(IPhoton):
    photon_name = "hostile"
    def start(self):
        raise Weird
""",
    "exception in async start": """
class Weird(Exception):
    locals().update(SHOWN)

class Hostile(IPhoton):
    photon_name = "hostile"
    async def start(self):
        raise Weird(Weird)
""",
    "names of missing things": """
class Name(str):
    locals().update(SHOWN)

class Hostile(IPhoton):
    photon_name = "hostile"
    def start(self):
        raise NameError("x", name=Name("x"))

raise ModuleNotFoundError("x", name=Name("x"))
""",
    "attribute of an object that has its own list of names": """
class Thing:
    __dir__ = trap("dir")

class Hostile(IPhoton):
    photon_name = "hostile"
    def start(self):
        Thing().nothing
""",
    "data that is copied": """
class Thing:
    __deepcopy__ = trap("deepcopy")
    __reduce_ex__ = trap("reduce")

class Hostile(IPhoton):
    photon_name = "hostile"
    async def start(self):
        self.context.data["x"] = Thing()
""",
    "errors of Luminal with anything in them": """
import luminal.errors

class Text(str):
    locals().update(SHOWN)

class Own(luminal.errors.PhotonStartError):
    locals().update(SHOWN)

class Hostile(IPhoton):
    photon_name = "hostile"
    def start(self):
        raise Own(Text("x"), photon=Text("y"), why=Text("z"))
""",
}

RAISES = {
    "system exit": "SystemExit(3)",
    "generator exit": "GeneratorExit()",
    "interrupt": "KeyboardInterrupt()",
    "value error": "ValueError('trap')",
}


class Specs:
    """A hook of the host."""

    @luminal.hookspec
    def on_message(self) -> None:
        """Say something."""


@pytest.fixture
def recorder(request: pytest.FixtureRequest) -> Iterator[types.ModuleType]:
    """A module of the host's, in which traps say where they were sprung."""
    module: Any = types.ModuleType("hostile_recorder")
    module.on_loop = []
    loop_thread, is_over = threading.current_thread(), threading.Event()
    raised, hang = getattr(request, "param", ("ValueError()", False))

    def sprung(what: str) -> None:
        if threading.current_thread() is loop_thread:
            caller = sys._getframe(2)
            at = f"{caller.f_code.co_filename}:{caller.f_lineno}"
            module.on_loop.append(f"{what} at {at}")
            if hang:
                raise ValueError(what)  # the test fails, and ends
        if hang:
            is_over.wait()
        raise eval(raised)

    module.sprung = sprung
    sys.modules[module.__name__] = module
    yield module
    is_over.set()
    del sys.modules[module.__name__]


async def live(photons: Photons, loader: Loader) -> None:
    """Load, start, save and unload what is there; the good photon always answers."""
    await loader.load(discover(photons.path, group=None))
    await loader.start()
    assert "good" in loader.hook.on_message()
    hostile = photons.path / "hostile.py"
    hostile.write_text(hostile.read_text() + "\nMORE = 1\n")
    if "hostile" in loader.photons:
        with contextlib.suppress(luminal.LuminalError):
            await loader.reload_photon("hostile")
    assert "good" in loader.hook.on_message()
    str(loader.report)
    loader.report.to_json()
    await loader.close()


def write(photons: Photons, case: str) -> None:
    """Write a photon of that kind, and one that is well."""
    photons.write("hostile.py", TRAPS + CASES[case])
    photons.photon(
        "good", "@hookimpl\ndef on_message(self):\n    return 'good'",
        "from luminal import hookimpl",
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "recorder", [(text, False) for text in RAISES.values()], indirect=True, ids=RAISES
)
async def test_what_photons_define_runs_on_no_loop_and_raises_nowhere(
    case: str, recorder: Any, photons: Photons
) -> None:
    """Nothing leaves the Loader but its own errors, and the others are well."""
    write(photons, case)
    async with asyncio.timeout(DEADLINE):
        await live(photons, Loader(hookspecs=[Specs]))
    assert recorder.on_loop == []


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("recorder", [("None", True)], indirect=True, ids=["hangs"])
async def test_what_photons_define_may_hang(
    case: str, recorder: Any, photons: Photons
) -> None:
    """The deadline of the step ends it, and the loop goes on."""
    write(photons, case)
    limits = Deadlines(load=0.3, start=0.3, finalize=0.3, close=0.3)
    loader = Loader(hookspecs=[Specs], deadlines=limits)
    async with asyncio.timeout(brief(10)):
        await live(photons, loader)
    assert recorder.on_loop == []
