"""Faults that only the kernel can bring about, in namespaces of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.waiting import DEADLINE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces")


def run_in_thread(tmp_path: Path, setup: str, program: str) -> list[str]:
    """Run *program* as root of its own user and mount namespaces, after *setup*."""
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(program))
    root = tmp_path / "photons"
    root.mkdir()
    outcome = subprocess.run(
        [
            *("unshare", "-Urm", "sh", "-c", f'{setup} && exec "$@"', "sh"),
            *(sys.executable, str(file), str(root)),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if not outcome.stdout and "Traceback" not in outcome.stderr:
        pytest.skip(f"no namespaces here: {outcome.stderr}")
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.split()


@pytest.mark.slow
@pytest.mark.fault(30)
def test_the_kernels_own_limit_of_watches(tmp_path):
    said = run_in_thread(
        tmp_path,
        "echo 6 > /proc/sys/user/max_inotify_watches",
        """
        import pathlib, queue, sys
        from luminal.reload.watching import Timing, Watcher
        root = pathlib.Path(sys.argv[1])
        for number in range(8):
            (root / f"p{number}").mkdir()
        batches, notes = queue.SimpleQueue(), queue.SimpleQueue()
        timing = Timing(poll=0.05)
        with Watcher([root], batches.put, on_note=notes.put, timing=timing):
            print(notes.get(timeout=60).code)
            for number in range(8):
                file = root / f"p{number}" / "a.py"
                file.write_text("x")
                assert batches.get(timeout=60).paths == {str(file)}
        print("done", notes.empty())
        """,
    )
    assert said == ["watch-limit", "done", "True"]


@pytest.mark.fault(31)
def test_a_mount_over_the_directory_and_its_end_are_seen_at_once(tmp_path):
    """A mount sends no event to what it hides; no sweep comes in this test."""
    said = run_in_thread(
        tmp_path,
        "true",
        """
        import pathlib, queue, subprocess, sys
        from luminal.reload.watching import Watcher
        root = pathlib.Path(sys.argv[1])
        (root / "a.py").write_text("below")
        batches = queue.SimpleQueue()
        with Watcher([root], batches.put):
            subprocess.run(["mount", "-t", "tmpfs", "t", root], check=True)
            print("deleted", *batches.get(timeout=60).deleted)
            (root / "b.py").write_text("mounted")
            print("created", *batches.get(timeout=60).created)
            subprocess.run(["umount", root], check=True)
            batch = batches.get(timeout=60)
            print("created", *batch.created, "deleted", *batch.deleted)
            (root / "a.py").write_text("below again")
            print("changed", *batches.get(timeout=60).changed)
        """,
    )
    a, b = (str(tmp_path / "photons" / name) for name in ("a.py", "b.py"))
    assert said == [
        *("deleted", a),
        *("created", b),
        *("created", a, "deleted", b),
        *("changed", a),
    ]
