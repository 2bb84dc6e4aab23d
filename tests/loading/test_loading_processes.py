"""Functions and classes of photons that are sent to other processes."""

from __future__ import annotations

import multiprocessing
import multiprocessing.reduction
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import luminal
from luminal.errors import PhotonSendError
from tests.distributions import put
from tests.waiting import DEADLINE

METHODS = [
    pytest.param(
        method,
        marks=pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork"),
    )
    for method in multiprocessing.get_all_start_methods()
]

GEO = """
import functools
from dataclasses import dataclass
from enum import Enum

from luminal import IPhoton, hookimpl
from text import greet

VERSION = 1


class Colour(Enum):
    RED = 1


@dataclass
class Point:
    x: int

    def moved(self, by):
        return Point(self.x + by)

    @classmethod
    def at(cls, x):
        return cls(x)

    @staticmethod
    def double(x):
        return 2 * x

    class Inner:
        size = 3


def answer(value):
    import late
    return VERSION, greet(), late.NAME, value


def negated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return -function(*args)
    return wrapper


@negated
def wrapped(value):
    return value


@functools.lru_cache
def cached(value):
    return VERSION, value


def same(thing):
    return thing


def is_point(thing):
    return isinstance(thing, Point) and Point.__module__ == __name__


class Geo(IPhoton):
    @hookimpl
    def own(self, name):
        return globals()[name]

    @hookimpl
    def refused(self, what):
        def local():
            return 1

        return {
            "local": local,
            "lambda": lambda: 1,
            "wrapped": wrapped.__wrapped__,
            "method": self.refused,
            "context": self.context,
            "local class": type("Local", (), {"__module__": __name__}),
        }[what]
"""


class Specs:
    @luminal.hookspec
    def own(self, name: str) -> object: ...

    @luminal.hookspec
    def refused(self, what: str) -> object: ...


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> Any:
    return multiprocessing.get_context(request.param)


@pytest.fixture
def pool(context: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool of the host's, whose one worker lives as long as the test."""
    with ProcessPoolExecutor(1, mp_context=context) as made:
        made.submit(abs, -1).result(DEADLINE)
        yield made


def directory_in(path: Path) -> Path:
    (path / "geo.py").write_text(GEO)
    (path / "text.py").write_text("def greet():\n    return 'hello'\n")
    (path / "late.py").write_text("NAME = 'late'\n")
    return path


async def loaded(path: Path) -> luminal.Loader:
    loader = luminal.Loader(hookspecs=[Specs])
    await (await loader.load_photon(path)).start()
    return loader


async def test_functions_and_classes_of_a_file_are_found_in_a_child(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    loader = await loaded(directory_in(tmp_path) / "geo.py")

    def own(name: str) -> Any:
        return loader.hook.own(name=name)[0]

    def call(function: Any, *args: Any) -> Any:
        return pool.submit(function, *args).result(DEADLINE)

    point = own("Point")
    assert call(own("answer"), 5) == (1, "hello", "late", 5)
    assert call(own("wrapped"), 5) == -5
    assert call(own("cached"), 5) == (1, 5)
    assert call(point.double, 4) == 8
    assert call(point.at, 4) == point(4)
    assert call(point(4).moved, 1) == point(5)
    assert call(own("is_point"), point(1)) is True
    for thing in (point, point.Inner, own("Colour").RED, own("answer"), point(3)):
        came_back = call(own("same"), thing)
        assert came_back is thing or came_back == point(3)
        assert type(came_back) is type(thing)
    await loader.unload_photon(tmp_path / "geo.py")


async def test_a_child_runs_the_generation_that_sends_to_it(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    file = directory_in(tmp_path) / "geo.py"
    loader = await loaded(file)
    old = loader.hook.own(name="answer")[0]
    old_point = loader.hook.own(name="Point")[0]
    assert pool.submit(old, 0).result(DEADLINE) == (1, "hello", "late", 0)
    for version in range(2, 5):
        file.write_text(GEO.replace("VERSION = 1", f"VERSION = {version}"))
        (tmp_path / "text.py").write_text(f"def greet():\n    return {version}\n")
        await loader.reload_photon(file)
        new = loader.hook.own(name="answer")[0]
        assert pool.submit(new, 0).result(DEADLINE) == (version, version, "late", 0)
    # A call that began before a swap sends what it knows.
    assert pool.submit(old, 0).result(DEADLINE) == (1, "hello", "late", 0)
    assert type(pool.submit(old_point, 1).result(DEADLINE)) is old_point
    assert pool.submit(new, 0).result(DEADLINE) == (4, 4, "late", 0)
    await loader.unload_photon(file)


async def test_what_changed_on_the_disk_since_does_not_matter(
    tmp_path: Path, context: Any
) -> None:
    file = directory_in(tmp_path) / "geo.py"
    loader = await loaded(file)
    function = loader.hook.own(name="answer")[0]
    for name in ("geo.py", "text.py", "late.py"):
        (tmp_path / name).write_text("raise RuntimeError('not this text')\n")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(function, 1).result(DEADLINE) == (1, "hello", "late", 1)
    await loader.unload_photon(file)


PACKAGE = {
    "__init__.py": """
import importlib
from luminal import IPhoton, hookimpl
from .work import answer
one = importlib.import_module(".one", __name__)


class Pack(IPhoton):
    @hookimpl
    def own(self, name):
        return answer
""",
    "one.py": "VALUE = 1\n",
    "deep/__init__.py": "",
    "deep/two.py": "from ..one import VALUE\nTWO = VALUE + 1\n",
    "work.py": """
import sys
from .deep.two import TWO
from . import one


class Held:
    pass


HELD = Held()


def answer(value):
    from .late import LATE
    import importlib
    same = importlib.import_module(".one", __package__) is one
    return one.VALUE, TWO, LATE, value, same, sys.modules[__name__].HELD is HELD
""",
    "late.py": "LATE = 'late'\n",
}


def write_package(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


async def test_a_package_and_an_installed_distribution(
    tmp_path: Path, pool: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_package(tmp_path / "photons" / "pack", PACKAGE)
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(version: str, value: int) -> None:
        files = {f"senddist/{name}": text for name, text in PACKAGE.items()}
        files["senddist/one.py"] = f"VALUE = {value}\n"
        init = files["senddist/__init__.py"]
        files["senddist/__init__.py"] = init.replace("class Pack", "class Dist")
        put(site, "senddist", version, files=files, entries="dist = senddist:Dist")

    install("1.0", 1)
    loader = luminal.Loader(hookspecs=[Specs])
    handlers = [await loader.load_photon(package / "__init__.py")]
    await loader.load(luminal.discover())
    await loader.start()
    handlers = list(loader.photons.values())
    assert len(handlers) == 2
    before = loader.hook.own(name="")
    for function in before:
        answer = pool.submit(function, 7).result(DEADLINE)
        assert answer == (1, 2, "late", 7, True, True)
    (package / "one.py").write_text("VALUE = 5\n")
    install("2.0", 5)
    await loader.reload_photons(handlers)
    for new, old in zip(loader.hook.own(name=""), before, strict=True):
        answer = pool.submit(new, 8).result(DEADLINE)
        assert answer == (5, 6, "late", 8, True, True)
        # So does what an old call sends, although pip has removed its text.
        assert pool.submit(old, 9).result(DEADLINE)[:4] == (1, 2, "late", 9)
    await loader.unload_photons(handlers)


async def test_photons_that_share_a_helper_share_it_in_a_child(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    (tmp_path / "shape.py").write_text("class Shape:\n    pass\n")
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "from luminal import IPhoton, hookimpl\nfrom shape import Shape\n\n\n"
            "def is_shape(thing):\n    return isinstance(thing, Shape)\n\n\n"
            f"class {name.title()}(IPhoton):\n    @hookimpl\n"
            "    def own(self, name):\n        return globals()[name]\n"
        )
    loader = luminal.Loader(hookspecs=[Specs])
    await loader.load(luminal.discover(tmp_path, group=None))
    await loader.start()
    shape = loader.hook.own(name="Shape")[0]
    functions = loader.hook.own(name="is_shape")
    assert len(functions) == 2
    sent = [pool.submit(f, shape()).result(DEADLINE) for f in functions * 2]
    assert sent == [True] * 4
    (tmp_path / "one.py").write_text((tmp_path / "one.py").read_text() + "# edited\n")
    await loader.reload_photon(tmp_path / "one.py")
    functions = loader.hook.own(name="is_shape")
    sent = [pool.submit(f, shape()).result(DEADLINE) for f in functions * 2]
    assert sent == [True] * 4
    await loader.close()


STARTS = """
import multiprocessing
from luminal import IPhoton, hookimpl

VERSION = 1


def put(queue, value):
    queue.put((VERSION, value))


class Worker:
    def __init__(self, queue):
        self.queue = queue

    def run(self, value):
        self.queue.put((VERSION, "method", value))


def double(value):
    return VERSION, 2 * value


class Starts(IPhoton):
    def start(self):
        context = multiprocessing.get_context("METHOD")
        queue = context.Queue()
        self.answers = []
        for target, args in ((put, (queue, 1)), (Worker(queue).run, (2,))):
            child = context.Process(target=target, args=args)
            child.start()
            self.answers.append(queue.get(timeout=60))
            child.join()
        with context.Pool(1) as pool:
            self.answers += pool.map(double, [1, 2])

    @hookimpl
    def own(self, name):
        return self.answers
"""


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
async def test_processes_and_pools_of_a_start_also_in_a_reload(
    tmp_path: Path, context: Any
) -> None:
    file = tmp_path / "starts.py"
    method = context.get_start_method()
    loader = luminal.Loader(hookspecs=[Specs])
    for version in (1, 2):
        text = STARTS.replace("METHOD", method)
        file.write_text(text.replace("VERSION = 1", f"VERSION = {version}"))
        if version == 1:
            await (await loader.load_photon(file)).start()
        else:
            await loader.reload_photon(file)
        answers = loader.hook.own(name="")[0]
        assert answers == [
            (version, 1),
            (version, "method", 2),
            (version, 2),
            (version, 4),
        ]
    await loader.unload_photon(file)


@pytest.mark.parametrize(
    ("what", "subject", "line"),
    [
        ("local", "local", "def local"),
        ("lambda", "<lambda>", '"lambda"'),
        ("wrapped", "wrapped", "@negated\ndef wrapped"),
        ("method", "Geo.refused", "@hookimpl\n    def refused"),
        ("context", "context", ""),
        ("local class", "Local", ""),
    ],
)
async def test_what_cannot_be_sent_is_told_where_it_is_sent(
    tmp_path: Path, what: str, subject: str, line: str
) -> None:
    file = directory_in(tmp_path) / "geo.py"
    loader = await loaded(file)
    thing = loader.hook.refused(what=what)[0]
    context = multiprocessing.get_context("spawn")
    with pytest.raises(PhotonSendError) as caught:
        context.Process(target=print, args=(thing,)).start()
    error = caught.value
    assert isinstance(error, TypeError)
    assert error.photon == "Geo"
    assert error.hint
    assert subject in error.what
    if line:
        at = GEO[: GEO.index(line)].count("\n") + 1
        assert (error.file, error.line) == (str(file), at)
    # The pool goes on.
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        with pytest.raises(PhotonSendError):
            pool.submit(abs, thing).result(DEADLINE)
        assert pool.submit(abs, -2).result(DEADLINE) == 2
    await loader.unload_photon(file)


async def test_a_module_that_is_being_imported_sends_nothing(tmp_path: Path) -> None:
    file = tmp_path / "early.py"
    file.write_text(
        "import multiprocessing\nfrom luminal import IPhoton\n\n\n"
        "def work():\n    pass\n\n\n"
        "multiprocessing.get_context('spawn').Process(target=work).start()\n\n\n"
        "class Early(IPhoton):\n    pass\n"
    )
    with pytest.raises(PhotonSendError) as caught:
        await luminal.Loader().load_photon(file)
    error = caught.value
    assert (error.file, error.line) == (str(file), 5)


async def test_a_text_that_fails_in_the_child_fails_the_call_and_not_the_pool(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    file = tmp_path / "geo.py"
    failing = (
        "import multiprocessing\nif multiprocessing.parent_process():\n    1 / 0\n"
    )
    directory_in(tmp_path)
    loader = await loaded(file)
    file.write_text(failing + GEO)
    await loader.reload_photon(file)
    function = loader.hook.own(name="answer")[0]
    with pytest.raises(ZeroDivisionError):
        pool.submit(function, 1).result(DEADLINE)
    assert pool.submit(abs, -1).result(DEADLINE) == 1
    file.write_text(GEO)
    await loader.reload_photon(file)
    function = loader.hook.own(name="answer")[0]
    assert pool.submit(function, 1).result(DEADLINE)[0] == 1
    await loader.unload_photon(file)


async def test_pickle_itself_stays_as_it_is(tmp_path: Path) -> None:
    file = directory_in(tmp_path) / "geo.py"
    loader = await loaded(file)
    function = loader.hook.own(name="answer")[0]
    pickler: Any = multiprocessing.reduction.ForkingPickler  # type: ignore[attr-defined]
    assert b"answer" in bytes(pickler.dumps(function))
    assert pickle.loads(pickle.dumps(function)) is function
    assert pickle.loads(pickler.dumps(function)) is function
    await loader.unload_photon(file)


def test_a_host_that_uses_no_processes_imports_nothing_for_them(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "from luminal import IPhoton, hookimpl\n\n\ndef work(value):\n"
        "    return 2 * value\n\n\nclass P(IPhoton):\n    @hookimpl\n"
        "    def own(self, name):\n        return work\n"
    )
    program = tmp_path / "main.py"
    program.write_text(
        "import sys\nfrom luminal import blocking, hookspec\n\n\n"
        "class Specs:\n    @hookspec\n    def own(self, name): ...\n\n\n"
        "if __name__ == '__main__':\n"
        "    loader = blocking.Loader(hookspecs=[Specs])\n"
        f"    loader.load_photon({str(tmp_path / 'p.py')!r}).start()\n"
        "    print([n for n in sys.modules if 'multiproc' in n or '_sending' in n])\n"
        "    import multiprocessing\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(loader.hook.own(name='')[0], [1, 2]))\n"
        "    loader.close()\n"
        "    kind = multiprocessing.reduction.ForkingPickler\n"
        "    print(hasattr(kind, 'reducer_override'))\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.stdout == "[]\n[2, 4]\nFalse\n", done.stderr


async def test_a_pool_that_was_made_between_reloads(
    tmp_path: Path, context: Any
) -> None:
    """A forked child has the generation that served then, and takes later ones."""
    (tmp_path / "shape.py").write_text("class Shape:\n    pass\n")
    text = (
        "from luminal import IPhoton, hookimpl\nfrom shape import Shape\n\n"
        "VERSION = 1\n\n\ndef work(thing):\n"
        "    import sys\n    own = sys.modules[__name__].work is work\n"
        "    return VERSION, isinstance(thing, Shape), own\n\n\n"
        "class Geo(IPhoton):\n    @hookimpl\n"
        "    def own(self, name):\n        return globals()[name]\n"
    )
    file = tmp_path / "geo.py"
    file.write_text(text)
    loader = await loaded(file)
    shape = loader.hook.own(name="Shape")[0]()
    first = loader.hook.own(name="work")[0]
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(first, shape).result(DEADLINE) == (1, True, True)
        for version in (2, 3):
            file.write_text(text.replace("VERSION = 1", f"VERSION = {version}"))
            await loader.reload_photon(file)
            new = loader.hook.own(name="work")[0]
            assert pool.submit(new, shape).result(DEADLINE) == (version, True, True)
            answer = pool.submit(first, shape).result(DEADLINE)
            assert answer[:2] == (1, True)
    await loader.unload_photon(file)


async def test_state_of_an_initializer_and_exceptions_of_the_photon(
    tmp_path: Path, context: Any
) -> None:
    file = tmp_path / "keeps.py"
    file.write_text(
        "from luminal import IPhoton, hookimpl\n\nSTATE = []\n\n\n"
        "class Bad(Exception):\n"
        "    def __init__(self, code, text):\n"
        "        super().__init__(code, text)\n        self.code = code\n\n\n"
        "def begin(value):\n    STATE.append(value)\n\n\n"
        "def state():\n    return STATE\n\n\n"
        "def fail():\n    raise Bad(7, 'seven')\n\n\n"
        "def nested(context):\n    import multiprocessing\n"
        "    with multiprocessing.get_context(context).Pool(1) as pool:\n"
        "        return pool.apply(state)\n\n\n"
        "class Keeps(IPhoton):\n    @hookimpl\n"
        "    def own(self, name):\n"
        "        import late\n        return globals()[name]\n"
    )
    (tmp_path / "late.py").write_text("")
    loader = await loaded(file)
    begin, state, fail, bad, nested = (
        loader.hook.own(name=name)[0]
        for name in ("begin", "state", "fail", "Bad", "nested")
    )
    with ProcessPoolExecutor(
        1, mp_context=context, initializer=begin, initargs=(5,)
    ) as pool:
        assert pool.submit(state).result(DEADLINE) == [5]
        with pytest.raises(bad) as caught:
            pool.submit(fail).result(DEADLINE)
        assert caught.value.code == 7
        assert pool.submit(state).result(DEADLINE) == [5]
        method = context.get_start_method()
        expected = [5] if method == "fork" else []
        assert pool.submit(nested, method).result(DEADLINE) == expected
    await loader.unload_photon(file)


async def test_directories_that_the_program_imports_by_a_name(
    tmp_path: Path, pool: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sendcogs", "sendutils"):
        (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sendutils" / "text.py").write_text("X = 'utils'\n")
    (tmp_path / "sendcogs" / "text.py").write_text("X = 'cogs'\n")
    file = tmp_path / "sendcogs" / "greet.py"
    file.write_text(
        "from luminal import IPhoton, hookimpl\n"
        "from sendcogs.text import X\nfrom sendutils.text import X as Y\n\n\n"
        "def work():\n    import sendcogs.text\n"
        "    return X, Y, sendcogs.text.X\n\n\n"
        "class Greet(IPhoton):\n    @hookimpl\n"
        "    def own(self, name):\n        return work\n"
    )
    loader = luminal.Loader(hookspecs=[Specs], roots=[tmp_path / "sendutils"])
    await (await loader.load_photon(file)).start()
    work = loader.hook.own(name="")[0]
    assert pool.submit(work).result(DEADLINE) == ("cogs", "utils", "cogs")
    (tmp_path / "sendutils" / "text.py").write_text("X = 'new'\n")
    await loader.reload_photon(file)
    work = loader.hook.own(name="")[0]
    assert pool.submit(work).result(DEADLINE) == ("cogs", "new", "cogs")
    await loader.unload_photon(file)
