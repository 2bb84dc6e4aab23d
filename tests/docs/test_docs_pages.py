"""The generated pages say all that the code says, and no more."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from luminal.errors import ERROR_CODES
from luminal.model import TABLE, Happening

ROOT = Path(__file__).resolve().parents[2]
FAULTS = 48


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_states_page_has_every_step_once_in_table_and_drawing(
    pages: ModuleType,
) -> None:
    text = pages.states_page()
    for (at, step), to in TABLE.items():
        assert text.count(f"| {at} | {step} | {to} |") == 1
    assert text.count("─▶") == len(TABLE)


def test_errors_page_has_every_code_once(pages: ModuleType) -> None:
    listed = re.findall(
        r"^\| (LUM\d{3}) \| `(\w+)` \|", pages.errors_page(), re.MULTILINE
    )
    assert listed == sorted(
        (code, error.__name__) for code, error in ERROR_CODES.items()
    )


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
        f"{mark}(4)\nasync def test_new(): ...\n\n{mark}(5)\ndef test_left_out(): ...\n"
    )
    results = tmp_path / pages.LAST_RUN
    results.parent.mkdir()
    results.write_text(
        '<testsuites><testsuite><testcase classname="tests.room.test_a" '
        'name="test_good[1]"/><testcase classname="tests.room.test_a" '
        'name="test_bad[1]"><failure/></testcase><testcase '
        'classname="tests.room.test_a" name="test_bad[2]"/><testcase '
        'classname="tests.room.test_a" name="test_left_out"><skipped/></testcase>'
        "</testsuite></testsuites>"
    )
    rows = tmp_path / "docs" / "reference"
    rows.mkdir(parents=True)
    text = "".join(f"{number} | fault | expected\n" for number in range(1, 7))
    (rows / "faults.txt").write_text(text)

    last = [
        row.split(" | ")[-1] for row in pages.faults_table(tmp_path).splitlines()[2:]
    ]

    file = "tests/room/test_a.py"
    assert last == [
        f"passed: `{file}::test_good` |",
        f"failed: `{file}::test_bad` |",
        f"failed: `{file}::test_bad` |",
        f"not run: `{file}::test_new` |",
        f"not run: `{file}::test_left_out` |",
        "planned |",
    ]


def test_every_room_of_the_contract_has_a_page(
    pages: ModuleType, tmp_path: Path
) -> None:
    pages.write_all(tmp_path, ROOT)
    written = sorted(path.stem for path in (tmp_path / "api").iterdir())
    assert written == sorted(pages.rooms(ROOT))
    assert "luminal.errors" in written


def test_every_happening_is_explained() -> None:
    """The page on events has all that an event can say."""
    text = (ROOT / "docs" / "how-to" / "events.md").read_text(encoding="utf-8")
    assert [each for each in Happening if f"`{each}`" not in text] == []
