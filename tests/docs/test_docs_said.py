"""What is said by hand is there, and complete: paths, keys of JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs

from luminal.fleet import FleetStatus, MemberInfo, MemberStatus
from luminal.model import Candidate, Event, Frame, Problem

ROOT = Path(__file__).resolve().parents[2]


def test_files_that_documents_name_are_there() -> None:
    """A path in backticks leads somewhere, from the root or from the package."""
    packages = "|".join(p.name for p in (ROOT / "luminal").iterdir() if p.is_dir())
    pattern = re.compile(
        rf"`((?:docs|luminal|tests|benchmarks|plugins_example|{packages})/[\w./-]+)`"
    )
    named = {
        (document.name, path)
        for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        if "_build" not in document.parts and "generated" not in document.parts
        for path in pattern.findall(document.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    made_by_a_build = {"docs/_build/html"}
    assert [
        each
        for each in sorted(named)
        if each[1] not in made_by_a_build
        and "NAME" not in each[1]
        and not (ROOT / each[1]).exists()
        and not (ROOT / "luminal" / each[1]).exists()
    ] == []


FREE = ("import_seconds", "options", "steps", "versions")
"""What holds words of photons and libraries, or of a show, as keys."""


def keys_of(value: object) -> set[str]:
    """Return every key in *value*, those in `FREE` left out."""
    if isinstance(value, dict):
        inner = [keys_of(each) for key, each in value.items() if key not in FREE]
        return set(value).union(*inner)
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    return set()


def test_every_key_of_json_is_explained() -> None:
    """Each key in the golden files is on the page, or a field of a value."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    values = (Candidate, Event, Frame, Problem, FleetStatus, MemberInfo, MemberStatus)
    fields = {field.name for each in values for field in attrs.fields(each)}
    keys: set[str] = set()
    for file in (ROOT / "tests" / "cli" / "golden").glob("*json.txt"):
        # Numbers that differ from run to run are on record as `<n>`.
        text = file.read_text(encoding="utf-8").replace("<n>", "0")
        for begin in re.finditer(r"^\{", text, re.MULTILINE):
            document, _ = json.JSONDecoder().raw_decode(text, begin.start())
            keys |= keys_of(document)
    assert len(keys) > 40
    assert {key for key in keys - fields if f"`{key}`" not in page} == set()
