"""pyright knows the type of everything public, without looking into functions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MADE = ("luminal.blocking.Loader.", "luminal.testing.host.Host.")
"""Here are methods that `blocking_method` makes of coroutine methods. Their types are
inferred, which the rules of `py.typed` leave open; mypy infers the same."""

INTERNAL = ("luminal.cli.", "luminal.testing.pytest_plugin.")
"""Photons of the demo, and what pytest finds."""


@pytest.mark.slow
def test_all_types_are_complete(tmp_path: Path) -> None:
    """`pyright --verifytypes` finds nothing but what is inferred on purpose."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pyright", "--outputjson"),
            *("--verifytypes", "luminal", "--ignoreexternal"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    assert len(symbols) > 1000
    unknown = [symbol for symbol in symbols if not symbol["isTypeKnown"]]
    assert [s["name"] for s in unknown if not s["isTypeAmbiguous"]] == []
    incomplete = [
        f"{symbol['name']}: {each['message']}"
        for symbol in unknown
        for each in symbol["diagnostics"]
        if not symbol["name"].startswith((*MADE, *INTERNAL))
    ]
    assert incomplete == []
