"""The generated pages say all that the code says, and no more.

What the code declares and a page cannot explain is an error while the page is made, so
that a hook, a setting, an error, a state, an event, a verb or an option without its
anchor fails here. The build looks for the anchors themselves, and follows all links.
"""

from __future__ import annotations

import ast
import enum
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from luminal.cli._main import COMMANDS
from luminal.cli._options import KEYS
from luminal.cli._output import Exit
from luminal.errors import ERROR_CODES
from luminal.interfaces import IPhoton
from luminal.model import TABLE, EventKind, State

INTERNAL = ("cli", "lifecycle", "loading", "reload", "store", "supervise")
"""Packages below ``luminal`` that no page describes."""

ROOT = Path(__file__).resolve().parents[2]
FAULTS = 48


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    name = "pages"
    place = ROOT / "docs" / "pages" / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_states_page_has_every_step_once_in_table_and_drawing(
    pages: ModuleType,
) -> None:
    text = pages.states_page()
    for (at, step), to in TABLE.items():
        assert text.count(f"| {at} | {step} | {to} |") == 1
    picture = pages.states_drawing()
    assert picture.count('class="arrow"') == len(TABLE)
    assert all(picture.count(f'id="drawn-{state}"') == 1 for state in State)


def test_errors_page_has_every_code_once_and_what_it_says(pages: ModuleType) -> None:
    text = pages.errors_page(ROOT)
    listed = re.findall(
        r"^\| \{luminal-error\}`(LUM\d{3})` \| `(\w+)` \|", text, re.MULTILINE
    )
    assert listed == sorted(
        (code, error.__name__)
        for code, error in ERROR_CODES.items()
        if error.__module__ == "luminal.errors"
    )
    assert "| is not valid Python | fix the syntax |" in text


def test_settings_page_has_every_key_attribute_and_variable(pages: ModuleType) -> None:
    text = pages.settings_page(ROOT)
    for key in KEYS:
        assert text.count(f".. confval:: {key}\n") == 1
    for name in IPhoton.__annotations__:
        if name.startswith("photon_"):
            assert text.count(f"| [`{name}`]{{#{name.replace('_', '-')}}} | ") == 1
    written = set()
    for file in (ROOT / "luminal").rglob("*.py"):
        written.update(re.findall(r"(?<!_)LUMINAL_[A-Z_]+", file.read_text("utf-8")))
    assert written == set(pages.variables(ROOT))
    for variable in written:
        assert text.count(f".. envvar:: {variable}\n") == 1


def test_commands_page_has_every_command_and_option(pages: ModuleType) -> None:
    text = pages.commands_page()
    commands = pages.commands()
    assert list(commands) == list(COMMANDS)
    for name, command in commands.items():
        section = text.split(f"(command-{name})=\n")[1].split("\n(command-")[0]
        for option in pages.options_of(command):
            described = (
                f", {option.opts[-1]}" in section.replace(".. option:: ", ", ")
                or f"{{option}}`{option.opts[-1]} <luminal {option.opts[-1]}>`"
                in section
            )
            assert described, (name, option.opts)


def test_exit_codes_and_events_have_a_row_each(pages: ModuleType) -> None:
    table, events = pages.exits_table(), pages.events_page()
    assert all(table.count(f"{{#exit-{code.value}}}") == 1 for code in Exit)
    assert all(events.count(f"| [`{each.value}`]{{#event-") == 1 for each in EventKind)
    assert all(each.meaning in events for each in EventKind if each.meaning)


def test_hooks_page_has_every_class_that_specifies_a_hook(pages: ModuleType) -> None:
    """Whatever the package itself marks with ``hookspec`` is on the page."""
    text = pages.hooks_page()
    for package in ("interfaces", "hooks", "managers", "lifecycle", "reload"):
        for file in (ROOT / "luminal" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and any(
                    "hookspec" in ast.unparse(mark)
                    for each in node.body
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                    for mark in each.decorator_list
                ):
                    assert f":{node.name}\n" in text


def test_drawing_has_every_package(pages: ModuleType) -> None:
    drawing = pages.packages_drawing(ROOT)
    packages = [package for layer in pages.layers(ROOT) for package in layer]
    assert len(packages) >= 17
    assert all(drawing.count(f'id="package-{each}"') == 1 for each in packages)


def one_more(kind: type[enum.Enum]) -> type[enum.Enum]:
    """Return an enumeration like *kind* that has a member more."""
    base = enum.IntEnum if issubclass(kind, int) else enum.StrEnum
    extra = 99 if issubclass(kind, int) else "new"
    return base(kind.__name__, {e.name: e.value for e in kind} | {"NEW": extra})


@pytest.mark.parametrize(
    ("module", "name", "page"),
    [
        ("states", "State", "states_page"),
        ("states", "Step", "states_page"),
        ("command_line", "Exit", "exits_table"),
    ],
)
def test_word_that_nobody_explains_is_an_error_of_the_build(
    pages: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    page: str,
) -> None:
    where = sys.modules[f"pages.{module}"]
    monkeypatch.setattr(where, name, one_more(getattr(where, name)))
    with pytest.raises(LookupError, match=r"nothing about \[.*'(new|NEW)'\]"):
        getattr(pages, page)()


def test_state_that_nobody_has_drawn_is_an_error_of_the_build(
    pages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["pages.states"], "State", one_more(State))
    with pytest.raises(KeyError):
        pages.states_drawing()


def test_new_setting_option_error_and_variable_come_with_their_anchor(
    pages: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What declares its own meaning needs nobody to write a page; the rest is asked."""
    option = click.Option(["--colour"], help="Which colour.")
    command = pages.commands()["list"]
    monkeypatch.setattr(command, "params", [*command.params, option])
    monkeypatch.setitem(KEYS, "colour", str)
    assert ".. option:: --colour" in pages.commands_page()
    assert ".. confval:: colour" in pages.settings_page(ROOT)
    monkeypatch.setitem(KEYS, "silent", bool)
    with pytest.raises(LookupError, match=r"nothing about .*'silent'"):
        pages.settings_page(ROOT)
    monkeypatch.delitem(KEYS, "silent")

    monkeypatch.setattr(option, "help", None)
    with pytest.raises(LookupError, match="--colour"):
        pages.commands_page()

    words = {"__module__": "luminal.errors", "__doc__": "What is new."}
    new = type("NewError", (ERROR_CODES["LUM101"],), words)
    monkeypatch.setitem(ERROR_CODES, "LUM999", new)
    assert "{luminal-errors} LUM999" in pages.errors_page(ROOT)
    monkeypatch.setattr(new, "__doc__", None)
    with pytest.raises(LookupError, match="LUM999"):
        pages.errors_page(ROOT)

    (tmp_path / "luminal").mkdir()
    (tmp_path / "luminal" / "new.py").write_text('NAME = "LUMINAL_NEW_THING"\n')
    with pytest.raises(LookupError, match="LUMINAL_NEW_THING"):
        pages.settings_page(tmp_path)


def test_fault_matrix_has_every_row_once(pages: ModuleType) -> None:
    rows = re.findall(r"^\| (\d+) \|", pages.faults_table(ROOT), re.MULTILINE)
    assert rows == [str(number) for number in range(1, FAULTS + 1)]


def test_fault_marks_name_rows_of_the_matrix(pages: ModuleType) -> None:
    assert set(pages.marked_tests(ROOT / "tests")) <= set(range(1, FAULTS + 1))


def test_fault_matrix_names_the_marked_tests_and_their_results(
    pages: ModuleType, tmp_path: Path
) -> None:
    """A row passes when all its tests passed in all their cases; else it says so."""
    tests = tmp_path / "tests" / "room"
    tests.mkdir(parents=True)
    mark = "@pytest.mark." + "fault"
    (tests / "test_a.py").write_text(
        f"{mark}(1)\ndef test_good(): ...\n\n{mark}(2, 3)\ndef test_bad(): ...\n\n"
        f"{mark}(4)\nasync def test_new(): ...\n\n"
        f"{mark}(5)\ndef test_left_out(): ...\n\n"
        f"{mark}(2, 5)\ndef test_more(): ...\n"
    )
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.room.test_a" '
        'name="test_good[1]"/><testcase classname="tests.room.test_a" '
        'name="test_bad[1]"><failure/></testcase><testcase '
        'classname="tests.room.test_a" name="test_bad[2]"/><testcase '
        'classname="tests.room.test_a" name="test_left_out"><skipped/></testcase>'
        '<testcase classname="tests.room.test_a" name="test_more"/>'
        "</testsuite></testsuites>"
    )
    rows = tmp_path / "docs" / "reference"
    rows.mkdir(parents=True)
    text = "".join(f"{number} | fault | expected\n" for number in range(1, 7))
    (rows / "faults.txt").write_text(text)
    stored = {
        "date": "2026-01-31",
        "machine": "a small one",
        "results": pages.results_of(report),
    }
    (tmp_path / pages.STORED_RUN).write_text(json.dumps(stored))
    assert "2026-01-31, on a small one" in pages.faults_run(tmp_path)

    last = [
        row.split(" | ")[-1] for row in pages.faults_table(tmp_path).splitlines()[2:]
    ]

    file = "tests/room/test_a.py"
    assert last == [
        "passed: 1 test |",
        "failed: 1 of 2 tests |",
        "failed: 1 of 1 test |",
        "not run: 1 test |",
        "passed: 1 test; not run: 1 |",
        "planned |",
    ]
    assert f"| 2 | `{file}::test_bad`, `{file}::test_more` |" in (
        pages.faults_tests(tmp_path)
    )


def test_public_modules_have_a_page_and_internal_ones_have_none(
    pages: ModuleType, tmp_path: Path
) -> None:
    pages.write_all(tmp_path, ROOT)
    written = {path.stem for path in (tmp_path / "api").iterdir()}
    assert written == {*pages.modules()}
    assert {"luminal", "luminal.errors", "luminal.managers.loader"} <= written
    assert written & {f"luminal.{package}" for package in INTERNAL} == set()


def test_each_name_is_described_once_as_people_import_it(
    pages: ModuleType, tmp_path: Path
) -> None:
    pages.write_all(tmp_path, ROOT)
    text = "".join(path.read_text("utf-8") for path in (tmp_path / "api").iterdir())
    described = re.findall(r"^\.\. auto(?!module)\w+:: (\S+)$", text, re.MULTILINE)
    assert len(described) == len({*described})
    assert {"luminal.Loader", "luminal.discover", "luminal.Previous"} < {*described}
    assert pages.description_of("luminal.managers.Loader.photons") == (
        "luminal.Loader.photons"
    )


def test_documents_and_examples_use_public_packages_only() -> None:
    """Programs in the wild import what documents show."""
    names = "|".join(INTERNAL)
    internal = re.compile(rf"\b(import luminal\.|from luminal(\.| import ))({names})\b")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in [
            *ROOT.glob("README.md"),
            *ROOT.glob("docs/**/*.md"),
            *ROOT.glob("plugins_example/**/*.py"),
        ]
        if not {"generated", "_build"} & {*path.parts}
        for line in path.read_text(encoding="utf-8").splitlines()
        if internal.search(line)
    ]
    assert found == []


def test_links_that_lead_nowhere_and_missing_anchors_are_found(
    pages: ModuleType, tmp_path: Path
) -> None:
    """The build fails with these lines; Sphinx says nothing of them."""
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here" id="top"></a><a href="#top"></a><a href="http://x/y"></a>'
        '<a href="b.html#gone"></a><a href="#gone"></a><img src="gone.png">'
    )
    (tmp_path / "b.html").write_text('<a name="here" href="."></a>')
    assert sorted(pages.broken_links(tmp_path)) == [
        "a.html: the link #gone leads nowhere",
        "a.html: the link b.html#gone leads nowhere",
        "a.html: the link gone.png leads nowhere",
        "b.html: the link . leads nowhere",
    ]
    (tmp_path / "generated").mkdir()
    anchors = "".join(
        f'<p id="event-{kind}">' for kind in EventKind if kind is not EventKind.LOADED
    )
    (tmp_path / "generated" / "events.html").write_text(anchors)
    missing = pages.missing_anchors(tmp_path)
    assert f"generated/events.html: no anchor event-{EventKind.LOADED}" in missing
    assert f"generated/events.html: no anchor event-{EventKind.STARTED}" not in missing
    assert f"reference/cli.html: no anchor exit-{Exit.FINE.value}" in missing


def test_tests_that_a_document_names_exist_and_every_promise_has_one() -> None:
    """As ``file::function`` in ``tests/``; the page on swaps has one a promise."""
    named = re.compile(r"`([\w/]+\.py)::(\w+)`")
    for page in (ROOT / "docs").rglob("*.md"):
        for file, function in named.findall(page.read_text("utf-8")):
            text = (ROOT / "tests" / file).read_text("utf-8")
            assert re.search(rf"^(async )?def {function}\(", text, re.MULTILINE), (
                f"{page.name} names {file}::{function}"
            )
    swap = (ROOT / "docs" / "explanation" / "swap.md").read_text("utf-8")
    section = swap.partition("## What is promised")[2].partition("\n## ")[0]
    for promise in re.split(r"\n- ", section)[1:]:
        assert named.search(promise), promise
