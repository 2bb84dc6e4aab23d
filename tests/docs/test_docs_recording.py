"""The recording on the front page is what the front page's code does."""

from __future__ import annotations

import importlib.util
import re
import sys
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def record() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", DOCS / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told(drawing: str) -> list[str]:
    """Return each text where it first stands: a busy machine greets more often."""
    texts = re.findall(r'y="[\d.]+">(.*)</text>', drawing)
    return [*dict.fromkeys(map(unescape, texts))]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the host is ended by a signal")
def test_recording_shows_what_the_code_of_the_page_prints(record: ModuleType) -> None:
    stored = told((DOCS / "recording.svg").read_text(encoding="utf-8"))
    assert told(record.drawing(record.record())) == stored
    assert len(stored) > 7
