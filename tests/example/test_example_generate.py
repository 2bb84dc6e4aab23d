"""The generated log is a realistic one, and the same for the same seed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plugins_example.photons.combined import Combined
from plugins_example.pipeline.generate import generate

ROOT = Path(__file__).resolve().parents[2]


def test_generator_writes_as_many_lines_as_were_asked_for() -> None:
    assert sum(1 for _ in generate(777)) == 777


def test_generator_depends_on_the_seed_alone() -> None:
    assert list(generate(500, seed=3)) == list(generate(500, seed=3))
    assert list(generate(500, seed=3)) != list(generate(500, seed=4))


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_generator_does_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "plugins_example.pipeline.generate", "--records", "900"],
        cwd=ROOT,
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    expected = "".join(line + "\n" for line in generate(900)).encode()
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(expected).digest()


def test_generated_day_has_all_that_the_report_is_about() -> None:
    """Bots, a scanner, a monitor, failures, JSON, damage, and time running forwards."""
    lines = list(generate(20_000))
    text = "\n".join(lines)
    for part in ("Googlebot", "/wp-login.php", "kube-probe", " 502 ", '{"remote_addr"'):
        assert part in text
    records = [record for line in lines if (record := Combined().parse(line))]
    unread = [line for line in lines if not Combined().parse(line)]
    assert 0 < sum(not line.startswith("{") for line in unread) < 100
    times = [record["time"] for record in records]
    assert times == sorted(times)
    assert len({re.sub(r"\d", "", record["path"]) for record in records}) > 10
