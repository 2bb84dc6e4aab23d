"""The scanner in its child process: what fails is "not scanned", never clean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from luminal.trust import FileScore, _scan, scan
from tests.trust.hostile import HOSTILE

FAILING = "tests.trust.scanners:of_word"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMINAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


def scores(files: dict[str, bytes], **options: object) -> dict[str, FileScore]:
    return {each.path: each for each in scan(files, **options)}


def test_hostile_texts_have_high_scores_and_plain_ones_low_ones() -> None:
    files = {f"{name}.py": text.encode() for name, text in HOSTILE.items()}
    files |= {"plain.py": b"def add(a, b):\n    return a + b\n", "data.txt": b"x"}
    files["latin.py"] = "# coding: latin-1\nname = 'caf\xe9'\n".encode("latin-1")
    found = scores(files)
    assert "data.txt" not in found
    plain, latin = found.pop("plain.py"), found.pop("latin.py")
    assert plain.score is not None
    assert plain.score < 0.1
    assert latin.score is not None
    assert latin.score < 0.1
    high = [path for path, each in found.items() if (each.score or 0) >= 0.3]
    assert len(high) >= 0.6 * len(found), found
    [shell] = [each for each in found["shell pipe.py"].rules if each.line == 3]
    assert shell.confidence in ("high", "very_high")
    # The second time the answers come from the cache, whatever became of the scanner.
    again = scores(files, patience=(0.0, 0.0))
    assert {p: e for p, e in again.items() if p in found} == found


def test_a_scanner_that_fails_has_not_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("fine", "crash", "fail", "also fine", "leave", "hang", "last")
    files = {f"{n}.py": f"'{word}'".encode() for n, word in enumerate(words)}
    files |= {"7.py": b"x = (", "8.py": b"'\xff'"}
    found = scores(files, scanner=FAILING, patience=(2.0, 0.0))
    texts = {n: found[f"{n}.py"] for n in range(9)}
    assert [n for n, each in texts.items() if each.score is not None] == [0, 3, 6]
    assert all(each.why for each in texts.values() if each.score is None)
    assert all(
        each.text == "not scanned" for n, each in texts.items() if n in (1, 2, 5)
    )
    assert "SIGSEGV" in texts[1].why
    assert texts[2].why == "RuntimeError: no score"
    assert "ended with 3" in texts[4].why
    assert "not done in 2 s" in texts[5].why
    assert "SyntaxError" in texts[7].why
    [missing] = scan({"a.py": b""}, scanner="a_module_that_is_not_there:f")
    assert missing.score is None
    assert missing.why == "the scanner does not start"
    monkeypatch.setattr(_scan, "_DISTRIBUTION", "a_scanner_that_is_not_installed")
    [missing] = scan({"a.py": b""})
    assert missing.score is None
    assert "luminal-photons[scan]" in missing.why
    monkeypatch.setattr(_scan, "_DISTRIBUTION", "hexora")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    [missing] = scan({"a.py": b"b = 1"})
    assert missing.score is None
    assert "no process can be started" in missing.why


def test_a_text_that_crashes_the_real_scanner_costs_no_other_its_score() -> None:
    files = {"a.py": b"x = 1\n", "c.py": b"y = 2\n"}
    files["b.py"] = b"x = a" + b".b" * 30_000 + b"\n"
    found = scores(files)
    assert found["a.py"].score is not None
    assert found["c.py"].score is not None
    assert found["b.py"].score is None
    assert found["b.py"].why


def test_a_scanner_that_always_crashes_comes_to_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_scan, "_MOST_CRASHES", 2)
    files = {f"{n}.py": b"'crash'" for n in range(9)}
    found = scores(files, scanner=FAILING)
    assert len(found) == 9
    assert all(each.score is None and each.why for each in found.values())
