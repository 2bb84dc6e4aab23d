"""pluggy's own released test suite, unchanged, against Luminal's manager.

One test is left out: it wants CPython's words for a call of a bound method with
positional arguments. Ours is a function, so that hosts can set attributes of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

VERSION = "1.7.0"
COUNT = 218

PLUGIN = """
import pluggy
from luminal.hooks import PluginManager
pluggy.PluginManager = PluginManager

def pytest_configure(config):
    # Imported by pytest itself long before: what the suite's modules get is ours.
    assert pluggy.PluginManager.__module__ == "luminal.hooks._manager"
"""


@pytest.mark.peers
def test_pluggys_suite_passes_with_this_manager(tmp_path: Path) -> None:
    """All of pluggy's tests pass with `PluginManager` in the place of pluggy's."""
    got = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--no-binary", ":all:"),
            *("--no-deps", "-q", "-d", str(tmp_path)),
            f"pluggy=={VERSION}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    archive = tmp_path / f"pluggy-{VERSION}.tar.gz"
    if not archive.exists() and "CI" not in os.environ:
        pytest.skip(f"pluggy's source distribution is not to be had: {got.stderr}")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    source = tmp_path / f"pluggy-{VERSION}"
    (tmp_path / "in_its_place.py").write_text(PLUGIN)
    root = Path(__file__).parents[2]
    paths = [str(source / "src"), str(tmp_path), str(root)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "in_its_place", "-q"),
            *("-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."),
            "--deselect=test_invocations.py::test_only_kwargs",
            ".",
        ],
        cwd=source / "testing",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed is not None, done.stdout
    assert int(passed[1]) == COUNT
