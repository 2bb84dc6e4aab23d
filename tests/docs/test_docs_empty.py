"""A newcomer's way: an empty environment, and only what a page says.

Each page installs what its own ``pip install`` lines name, Luminal from this tree, and
then every example of it runs. ``pytest -m peers -s`` on this file prints transcripts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md",
    "docs/tutorial/1-see-it.md",
    "docs/tutorial/2-first-host.md",
    "docs/how-to/host.md",
    "docs/how-to/photon.md",
    "docs/how-to/flask.md",
    "docs/how-to/fastapi.md",
    "docs/how-to/bot.md",
    "docs/how-to/from-pluggy.md",
    "docs/how-to/mcp.md",
    "docs/how-to/distribution.md",
    "docs/how-to/command-line.md",
]
LINE = re.compile(r"^(?:\$ |.*\(`)?pip install ([^`\n]+)", re.MULTILINE)


def wanted_by(page: str) -> list[str]:
    """Return what *page* tells to install; Luminal from this tree."""
    found = [str(ROOT)]
    for line in LINE.findall(page):
        for word in line.replace("'", "").split():
            if word.startswith(("luminal-photons", "PATH/TO/LUMINAL")):
                found.append(str(ROOT) + "".join(re.findall(r"\[.*\]", word)))
            elif not word.startswith((".", "-")):
                found.append(word)
    return found


@pytest.mark.peers
@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_in_an_empty_environment(page: str, tmp_path: Path) -> None:
    """Downloads what the page tells to install."""
    text = (ROOT / page).read_text(encoding="utf-8")
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", env], check=True)
    python = env / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", *wanted_by(text)]
    subprocess.run(install, check=True)
    # The runner without this tree, or its packages would be found as well.
    tools = tmp_path / "tools" / "tests"
    tools.mkdir(parents=True)
    for file in ("docs/run_document.py", "waiting.py"):
        shutil.copy(ROOT / "tests" / file, tools)
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        [python, tools / "run_document.py", ROOT / page],
        cwd=place,
        env={
            **{k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"},
            "PATH": f"{env / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(tools.parent),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "PIP_NO_BUILD_ISOLATION": "1",
            "LUMINAL_TRANSCRIPT": "1",
            "NO_COLOR": "1",
            "COLUMNS": "100",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    print(f"$ {' '.join(map(str, install[2:]))}\n{done.stdout}{done.stderr}")  # noqa: T201
    assert done.returncode == 0, done.stderr
