"""What a module registers on import is there already when it is reloaded."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from luminal import LuminalError
from luminal.testing import AsyncHost

METRICS = '''
"""A library that refuses a name twice, as prometheus_client and SQLAlchemy do."""
NAMES = set()

class Counter:
    def __init__(self, name):
        if name in NAMES:
            raise ValueError(f"Duplicated timeseries: {name}")
        NAMES.add(name)

class Base:
    def __init_subclass__(cls):
        Counter(cls.__name__)
'''
PHOTON = """import luminal
import some_metrics
{head}

class P(luminal.IPhoton):
    photon_name = "p"
    NUMBER = {number}
    {body}
"""
KINDS = {
    "module": {"head": 'HITS = some_metrics.Counter("hits")'},
    "class": {"body": 'HITS = some_metrics.Counter("hits")'},
    "subclass": {"head": "class Table(some_metrics.Base):\n    column = 1"},
    "function": {
        "head": "def make():\n    return some_metrics.Counter('hits')\nHITS = make()"
    },
}


def photon(number, head="", body="pass"):
    return PHOTON.format(number=number, head=head, body=body)


@pytest.fixture
def metrics(tmp_path, monkeypatch):
    (tmp_path / "some_metrics.py").write_text(METRICS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("some_metrics", None)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_registration_that_is_there_already_is_named(metrics, kind):
    """The line is right; what it did once stands, and is to be done elsewhere."""
    async with AsyncHost() as host:
        host.write("p.py", photon(1, **KINDS[kind]))
        await host.run()
        text = photon(2, **KINDS[kind])
        host.write("p.py", "# moved\n" + text)
        with pytest.raises(LuminalError) as caught:
            await host.reload("p")
        assert "Duplicated" in caught.value.why
        assert "generation 1" in caught.value.hint
        assert "context.put" in caught.value.hint
        assert f"p.py:{caught.value.line}" in caught.value.hint
        assert "correct the line" not in caught.value.hint
        line = ("# moved\n" + text).splitlines()[caught.value.line - 1]
        assert "some_metrics." in line
        # As the hint says.
        rest = 'def start(self): self.hits = some_metrics.Counter("other")'
        host.write("p.py", photon(3, body=rest))
        await host.reload("p")
        assert host["p"].NUMBER == 3


CHANGED = {
    "the line": 'HITS = some_metrics.Counter("hits"  "")',
    "what it uses": 'NAME = "hits"\nHITS = some_metrics.Counter(NAME)',
    "own code": "raise ValueError",
}


@pytest.mark.parametrize("change", CHANGED)
async def test_a_line_that_has_changed_is_to_be_corrected(metrics, change):
    """It has not run before, or not with the same values."""
    first = {"what it uses": 'NAME = "first"\nHITS = some_metrics.Counter(NAME)'}
    async with AsyncHost() as host:
        host.write(
            "q.py",
            photon(1, 'import some_metrics; some_metrics.Counter("hits")')
            .replace('"p"', '"q"')
            .replace("class P", "class Q"),
        )
        host.write("p.py", photon(1, first.get(change, "")))
        await host.run("q.py", "p.py")
        host.write("p.py", photon(2, CHANGED[change]))
        with pytest.raises(LuminalError, match="ValueError") as caught:
            await host.reload("p")
        assert "correct the line" in caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_check_finds_it_by_importing_twice(metrics, kind):
    """Without a host, and with the line."""
    folder = metrics / "photons"
    folder.mkdir()
    (folder / "p.py").write_text(photon(1, **KINDS[kind]))
    (folder / "fine.py").write_text(
        photon(1).replace('"p"', '"fine"').replace("class P", "class Fine")
    )
    done = subprocess.run(
        [sys.executable, "-m", "luminal", "check", "--json", str(folder)],
        cwd=metrics, capture_output=True, text=True, check=False,
        env={**__import__("os").environ, "PYTHONPATH": str(metrics)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    photons = {p["name"]: p for p in json.loads(done.stdout)["photons"]}
    assert photons["fine"]["reload_safe"]
    assert photons["p"]["state"] == "ok"
    (issue,) = photons["p"]["reload_issues"]
    assert "Duplicated" in issue["why"]
    assert (
        "some_metrics." in (folder / "p.py").read_text().splitlines()[issue["line"] - 1]
    )
    assert "context.put" in issue["hint"]


PLAIN = """import luminal
import some_metrics

class P(luminal.IPhoton):
    photon_name = "p"
    {head}

    def start(self):
        {start}

    def finalize(self):
        {end}

    def leave(self):
        del some_metrics.TABLE['x']
"""
TABLE = "some_metrics.TABLE"
TAKEN = {
    "del": (f"{TABLE}['x'] = 1", f"del {TABLE}['x']"),
    "pop": (f"{TABLE}['x'] = 1", f"{TABLE}.pop('x', None)"),
    "on_close": (
        f"{TABLE}['x'] = 1; self.context.on_close(lambda: {TABLE}.pop('x', 0))",
        "pass",
    ),
    "update": (f"{TABLE}.update(x=1)", f"{TABLE}.pop('x')"),
    "attribute": ("some_metrics.x = 1", "del some_metrics.x"),
    "None": ("some_metrics.x = self", "some_metrics.x = None"),
    "setattr": ("setattr(some_metrics, 'x', 1)", "delattr(some_metrics, 'x')"),
    "host": (
        "self.context.host.some_metrics['x'] = 1",
        "self.context.host.some_metrics.pop('x')",
    ),
    "method": ("some_metrics.register('x', 1)", "some_metrics.unregister('x')"),
}


@pytest.mark.parametrize("way", TAKEN)
async def test_the_report_names_what_finalize_takes_from_the_next(metrics, way):
    """It is swapped in, and a warning says what it loses and what to do."""
    (metrics / "some_metrics.py").write_text(
        "TABLE = {}\ndef register(k, v): TABLE[k] = v\n"
        "def unregister(k): TABLE.pop(k, None)\n"
    )
    start, end = TAKEN[way]

    def plain(number, also=""):
        return PLAIN.format(start=start, end=end, head=f"number = {number}{also}")

    given = SimpleNamespace(some_metrics={})
    async with AsyncHost(host=given) as host:
        host.write("p.py", plain(1))
        await host.run()
        host.write("p.py", plain(2))
        await host.reload("p")
        (outcome,) = host.loader.report.loaded
        (warning,) = outcome.warnings
        assert "context.put" in warning.hint
        assert "photon_exclusive" in warning.hint
        assert warning.file.endswith("p.py")
        assert "some_metrics" in plain(1).splitlines()[warning.line - 1]
        assert "warning: p" in str(host.loader.report)
        assert [e.problem for e in host.events if e.kind == "side_effect"] == [warning]
        # Declared exclusive, its entry is gone before the next one makes it again.
        exclusive = "; photon_exclusive = True"
        host.write("p.py", plain(3, exclusive))
        await host.reload("p")
        host.write("p.py", plain(4, exclusive))
        await host.reload("p")
        (outcome,) = host.loader.report.loaded
        assert outcome.warnings == ()


async def test_what_is_taken_back_through_the_context_is_no_warning(metrics):
    """Nothing is said of what is safe."""
    (metrics / "some_metrics.py").write_text("TABLE = {}")
    text = PLAIN.replace("del some_metrics", "self.number, some_metrics")
    async with AsyncHost() as host:
        for number in (1, 2):
            host.write(
                "p.py",
                text.format(
                    head=f"number = {number}",
                    start=f"self.context.put({TABLE}, 'x', self)",
                    end="[].append(1); {1: 2}.pop(1)",
                ),
            )
            await (host.run() if number == 1 else host.reload("p"))
        (outcome,) = host.loader.report.loaded
        assert outcome.warnings == ()
        await host.until("finalized", "p")
        assert dict(sys.modules["some_metrics"].TABLE) == {"x": host["p"]}


async def test_a_counter_of_prometheus_is_named():
    """The library itself, whose registry refuses a name twice."""
    client = pytest.importorskip("prometheus_client")
    head = 'from prometheus_client import Counter\nHITS = Counter("hits", "")'
    known = set(client.REGISTRY._collector_to_names)
    async with AsyncHost() as host:
        host.write("p.py", photon(1, head).replace("import some_metrics\n", ""))
        await host.run()
        host.write("p.py", photon(2, head).replace("import some_metrics\n", ""))
        try:
            with pytest.raises(LuminalError, match="Duplicated timeseries") as caught:
                await host.reload("p")
        finally:
            for each in set(client.REGISTRY._collector_to_names) - known:
                client.REGISTRY.unregister(each)
        assert caught.value.line == 3
        assert "p.py:3" in caught.value.hint
        assert host["p"].NUMBER == 1
