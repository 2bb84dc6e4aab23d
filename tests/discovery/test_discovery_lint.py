"""What the source code of a photon says: hooks, dependencies, reload issues."""

from __future__ import annotations

from pathlib import Path

import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luminal
from luminal.discovery.lint import (
    IMPORT_SIDE_EFFECTS,
    IRREVERSIBLE,
    DeclaredHook,
    call_order,
    dependencies,
    dependents,
    reload_issues,
)
from luminal.model import Candidate, Source


def issues_at(tmp_path: Path, text: str) -> list[int]:
    path = tmp_path / "photon.py"
    path.write_text(text)
    candidate = Candidate("photon", Source.DIRECTORY, str(tmp_path), str(path))
    return [issue.line for issue in reload_issues(candidate)]


@pytest.mark.parametrize("call", sorted({**IMPORT_SIDE_EFFECTS, **IRREVERSIBLE}))
def test_each_listed_call_is_found_under_any_name(call: str, tmp_path: Path) -> None:
    """As ``module.call``, renamed, and imported from its module."""
    module, _, name = call.rpartition(".")
    head = module.partition(".")[0]
    assert issues_at(tmp_path, f"import {head}\n\n{call}()\n") == [3]
    renamed = call.replace(head, "other", 1)
    assert issues_at(tmp_path, f"import {head} as other\n\n{renamed}()\n") == [3]
    if head == module:
        assert issues_at(tmp_path, f"from {head} import {name}\n\n{name}()\n") == [3]


def test_what_runs_later_or_as_a_script_is_no_issue(tmp_path: Path) -> None:
    text = (
        "import os\nimport threading\n\n\ndef start():\n    os.chdir('/')\n\n\n"
        "class P:\n    def start(self):\n        threading.Timer(1, print).start()\n"
        "\n\nchdir = lambda: os.chdir('/')\n"
        "if __name__ == '__main__':\n    os.chdir('/')\n"
    )
    assert issues_at(tmp_path, text) == []


def test_a_class_body_and_a_default_run_at_import(tmp_path: Path) -> None:
    text = "import os\n\n\nclass P:\n    os.chdir('/')\n    os.environ['A'] = ''\n"
    assert issues_at(tmp_path, text) == [5, 6]
    assert issues_at(tmp_path, "import os\n\n\ndef f(x=os.chdir('/')): ...\n") == [4]


def test_registering_with_an_imported_function_cannot_be_undone(tmp_path: Path) -> None:
    text = "from host import show\n\n\n@show.register(int)\ndef _(x): ...\n"
    assert issues_at(tmp_path, text) == [4]


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "tryfirst": st.just(True),
        "trylast": st.just(True),
    },
).filter(lambda options: len(options) < 2)


@settings(max_examples=60)
@given(st.lists(OPTIONS, max_size=6))
def test_call_order_is_that_of_a_real_call(drawn: list[dict[str, bool]]) -> None:
    """What ``order --hook`` foretells is what pluggy does with such photons."""
    manager = pluggy.PluginManager("luminal")

    class Specs:
        @luminal.hookspec
        def locate(self) -> list[str]: ...

    manager.add_hookspecs(Specs)
    for at, options in enumerate(drawn):

        def locate(at: int = at) -> str:
            return f"p{at}"

        plugin = type(f"P{at}", (), {})()
        plugin.locate = luminal.hookimpl(**options)(locate)
        manager.register(plugin, f"p{at}")
    declared = [
        (f"p{at}", DeclaredHook("locate", "", 0, dict(options)))
        for at, options in enumerate(drawn)
    ]
    assert [name for name, _ in call_order(declared)] == manager.hook.locate()


def candidate(name: str, *requires: str) -> Candidate:
    return Candidate(name, Source.DIRECTORY, "", "", requirements=requires)


def test_dependencies_are_met_whatever_the_case_of_the_name() -> None:
    found = [candidate("Geo"), candidate("rain", "geo>=1", "gauge")]
    assert [(d.earlier, d.is_met) for d in dependencies(found)] == [
        ("Geo", True),
        ("gauge", False),
    ]
    assert dependents(found) == {"Geo": ["rain"], "gauge": ["rain"]}


PAIRED = """
import app
import luminal
from app import commands as table
from .own import names

mine = {{}}


class P(luminal.IPhoton):
    {head}

    def start(self):
        {start}

    def finalize(self):
        {end}
"""

PAIRS = {
    "subscript": ('app.commands["x"] = self', 'del app.commands["x"]'),
    "pop": ('table["x"] = self', 'table.pop("x", None)'),
    "two names": ('table["y"] = table["x"] = self', 'table.pop("x")'),
    "loop": (
        "for key in self.keys: table[key] = self",
        "for key in self.keys: del table[key]",
    ),
    "methods": ('app.register("x", self)', 'app.unregister("x")'),
    "long names": ('app.add_command("x", self)', 'app.remove_command("x")'),
    "setdefault": ('table.setdefault("x", self)', 'del table["x"]'),
    "local": ('t = app.get(); t["x"] = self', 't = app.get(); del t["x"]'),
    "on_close": ('table["x"] = 1; self.context.on_close(lambda: table.pop("x"))', "0"),
    "helper": ("self.enter()", 'del table["h"]'),
    "unguarded": ('table["x"] = 1', 'if "x" in table: del table["x"]'),
}
NO_PAIRS = {
    "put": ('self.context.put(table, "x", self)', "pass"),
    "own": ('self.table["x"] = 1', 'del self.table["x"]'),
    "own by another name": ('t = self.table; t["x"] = 1', 't = self.table; del t["x"]'),
    "own of the module": ('mine["x"] = 1', 'del mine["x"]'),
    "own of the package": ('names["x"] = 1', 'del names["x"]'),
    "other key": ('table["x"] = 1', 'del table["y"]'),
    "by itself": ("table[self] = 1", "del table[self]"),
    "by value": ("app.register(self.f)", "app.unregister(self.f)"),
    "guarded": ('table["x"] = self', 'if table.get("x") is self: del table["x"]'),
    "other table": ('table["x"] = 1', 'del app.others["x"]'),
    "one side only": ('table["x"] = 1', "pass"),
}


def pairs(tmp_path: Path, start: str, end: str, head: str = "") -> list[str]:
    path = tmp_path / "photon.py"
    helper = 'def enter(self): table["h"] = 1'
    path.write_text(PAIRED.format(start=start, end=end, head=head or helper))
    candidate = Candidate("photon", Source.DIRECTORY, str(tmp_path), str(path))
    return [f"{issue.line} {issue.hint}" for issue in reload_issues(candidate)]


@pytest.mark.parametrize("case", PAIRS)
def test_an_entry_that_finalize_takes_from_the_next(case: str, tmp_path: Path) -> None:
    """It is named with both lines, and what to do instead."""
    (issue,) = pairs(tmp_path, *PAIRS[case])
    assert issue.startswith("14 " if case == "on_close" else "17 ")
    assert "context.put" in issue
    assert "photon_exclusive" in issue
    assert pairs(tmp_path, *PAIRS[case], head="photon_exclusive = True") == []


@pytest.mark.parametrize("case", NO_PAIRS)
def test_what_is_taken_back_safely_is_no_pair(case: str, tmp_path: Path) -> None:
    assert pairs(tmp_path, *NO_PAIRS[case]) == []
