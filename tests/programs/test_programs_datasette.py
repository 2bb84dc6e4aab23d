"""A real Datasette serves while pip upgrades one of its plugins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.upgrades import pack

ROOT = Path(__file__).parents[2]
HOST = Path(__file__).with_name("datasette_host.py")
PLUGIN = """
from datasette import hookimpl, Response

async def version():
    return Response.text("version {number}")

@hookimpl
def register_routes():
    return [(r"^/-/version$", version)]

@hookimpl
def render_cell(value):
    return "version {number}"
"""


@pytest.mark.peers
def test_three_upgrades_of_a_datasette_plugin_under_four_clients(
    tmp_path: Path,
) -> None:
    """Downloads Datasette. ``pytest -m peers -s`` on this file prints the figures."""
    wheels = [
        pack(
            *(tmp_path, "versioned", str(number)),
            {"versioned.py": PLUGIN.format(number=number)},
            "[datasette]\nversioned = versioned\n",
        )
        for number in (1, 2, 3, 4)
    ]
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    pip = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "datasette==1.0a37", "uvicorn", str(ROOT)], check=True)
    done = subprocess.run(
        [python, HOST, tmp_path, *wheels], check=True, stdout=subprocess.PIPE, text=True
    )
    found = json.loads(done.stdout)
    print(found)  # noqa: T201 - the figures
    assert (found["upgrades"], found["errors"], found["late"]) == (3, [], [])
    assert found["pages"] > 50
    assert found["listed"]
