"""Novelty against the operator's own photons: a score, and how often it is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from luminal.trust import (
    LockEntry,
    LockFile,
    Mode,
    NoveltyModel,
    open_judge,
    own_photons,
    tree_of,
)
from luminal.trust import _novelty as novelty
from tests.trust.hostile import HOSTILE


def photon(number: int) -> dict[str, bytes]:
    """Return a photon that is like the others, and has something of its own."""
    own = ("json", "csv", "math", "random", "string")[number % 5]
    text = f"import logging\nimport {own}\nLOG = logging.getLogger(__name__)\n"
    text += f"def run(rows):\n    LOG.info('%d', len(rows))\n    return {own}, rows\n"
    return {f"own{number}.py": text.encode()}


OWN = {f"own{number}": photon(number) for number in range(30)}


def test_what_is_like_the_own_photons_is_less_new_than_what_is_not() -> None:
    model = NoveltyModel(OWN)
    like = model.score(photon(1))
    assert like.score is not None
    assert like.rate is not None
    assert like.rate > 0.5
    scores = [
        model.score({f"{name}.py": text.encode()}) for name, text in HOSTILE.items()
    ]
    for each in scores:
        assert each.score is not None
        assert each.score > like.score
        assert each.as_new == 0
        assert "0 of 30 of your own photons would be called new by this" in each.text
        assert "up to 10%" in each.text, "no rate of 0 follows from 30"
        assert each.unusual[0].of_own == 0
        assert each.unusual[0].line > 0


def test_the_rate_is_that_of_leaving_each_own_photon_out() -> None:
    name, files = "own7", OWN["own7"]
    found = NoveltyModel(OWN).score(files, name)
    assert found.own == 29, "it is not compared with itself"
    others = {other: each for other, each in OWN.items() if other != name}
    above = 0
    for other, each in others.items():
        rest = {n: f for n, f in others.items() if n != other}
        alone = NoveltyModel(rest).score(each).score
        assert alone is not None
        assert found.score is not None
        above += alone >= found.score
    assert 0 < found.as_new == above


def test_what_cannot_be_said_is_not_called_clean() -> None:
    few = {name: OWN[name] for name in list(OWN)[: novelty.FEWEST - 1]}
    found = NoveltyModel(few).score(photon(1))
    assert (found.score, found.rate) == (None, None)
    assert found.text == "not enough photons to say: 19 of your own, 20 are needed"
    # An earlier version of the same photon is none of the others.
    twenty = {**few, "geo": photon(1)}
    assert NoveltyModel(twenty).score(photon(1), "geo").score is None
    assert NoveltyModel(twenty).score(photon(1), "other").score is not None
    model = NoveltyModel(OWN)
    for files, why in (
        ({}, "it has no text"),
        ({"a.txt": b"1"}, "it has no text"),
        ({"a.py": b"x = ("}, "a.py, no Python"),
        ({"a.py": b"x = " + b"-" * 100_000 + b"1"}, "a.py, "),
        ({"a.py": b"\xff\xfe\x00"}, "a.py, "),
    ):
        found = model.score(files)
        assert found.score is None
        assert why in found.text
        assert "clean" not in found.text


def test_the_own_photons_are_those_that_the_lock_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    lock = tmp_path / "luminal.lock"
    file = LockFile(str(lock), Mode.PIN)
    for name, files in OWN.items():
        tree = tree_of(files).digest
        file = file.with_entry(LockEntry(name, "distribution", "1.0", tree))
    lock.write_text(file.text())
    judge = open_judge(lock)
    assert judge is not None
    assert own_photons(judge) == {}, "the vault has none of them"
    for name in ("own1", "own2"):
        judge.vault.keep(OWN[name], tree_of(OWN[name]))
    damaged = judge.vault.folder(tree_of(OWN["own2"]).digest)
    Path(damaged, "own2.py").write_text("import os\n")
    assert own_photons(judge) == {"own1": OWN["own1"]}
    assert os.path.isdir(damaged)
