"""The example as a person runs it: a process, a report, an exit status."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from plugins_example.pipeline.generate import generate
from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ROOT / "plugins_example" / "distribution"
BROKEN = ROOT / "plugins_example" / "photons" / "country.py"
TITLES = (
    "Traffic by hour",
    "Status classes",
    "Top paths",
    "Slow endpoints",
    "Bots",
    "Suspicious addresses",
    "Photons",
)


@pytest.fixture(scope="module")
def extras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that the example's distribution is installed in.

    And Luminal's metadata, because the distribution requires it by name.
    """
    target = tmp_path_factory.mktemp("extras")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target]
    for project in (EXTRAS, ROOT):
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    site = target / "site"
    for wheel in target.glob("*.whl"):
        with zipfile.ZipFile(wheel) as file:
            names = [name for name in file.namelist() if name[:8] != "luminal/"]
            file.extractall(site, names)
    return site


def run(
    *arguments: str, stdin: str = "", extras: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "plugins_example.pipeline", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{extras}"},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


@pytest.fixture(scope="module")
def small_run(extras: Path) -> str:
    done = run("--records", "3000", extras=extras)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_report_has_every_section(small_run: str) -> None:
    for title in TITLES:
        assert f"\n{title}\n" in small_run


def test_every_line_is_accounted_for(small_run: str) -> None:
    """Read is reported plus filtered plus unknown plus failed; nothing failed."""
    said = re.search(
        r"([\d,]+) lines read: ([\d,]+) reported, ([\d,]+) filtered, "
        r"([\d,]+) of unknown format, ([\d,]+) failed",
        small_run,
    )
    assert said is not None
    read, *parts, failed = (int(part.replace(",", "")) for part in said.groups())
    assert read == 3000
    assert read == sum(parts) + failed
    assert failed == 0
    assert re.search(r"[\d,]+ records per second", small_run)


def test_counts_agree_with_the_log(small_run: str) -> None:
    """What the report says of one address is what a search of the log finds."""
    whole = re.compile(r'^192\.0\.2\.66 .*HTTP|"192\.0\.2\.66"')
    probes = sum(bool(whole.search(line)) for line in generate(3000))
    assert re.search(rf"192\.0\.2\.66 +{probes} +probes", small_run)


def test_broken_photon_is_named_with_file_line_and_cause(small_run: str) -> None:
    assert re.search(r"country +0\.1 +directory +failed", small_run)
    lines = BROKEN.read_text().splitlines()
    (line,) = (n for n, text in enumerate(lines) if text.startswith("import missing"))
    assert f"{BROKEN}:{line + 1}" in small_run
    assert "'missing_on_purpose'" in small_run


def test_photons_of_a_directory_take_part(small_run: str) -> None:
    taking_part = re.findall(
        r"^  (\S+) +\S+ +directory +started$", small_run, re.MULTILINE
    )
    assert " ".join(taking_part) == (
        "agents bots combined health-checks latency static-assets suspects traffic"
    )


def test_photons_of_an_installed_distribution_take_part(small_run: str) -> None:
    for name in ("json-lines", "networks"):
        assert re.search(rf"{name} +1\.4\.0 +distribution +started", small_run)
    assert "the large access provider" in small_run


def test_log_from_standard_input_and_from_a_file_give_one_report(
    tmp_path: Path,
) -> None:
    text = "".join(line + "\n" for line in generate(500))
    log = tmp_path / "access.log"
    log.write_text(text)
    reports = [run(str(log)), run("-", stdin=text)]
    first, second = (
        [line for line in each.stdout.splitlines() if "per second" not in line]
        for each in reports
    )
    assert first == second
    assert "500 lines read" in reports[0].stdout


def test_the_report_alone_is_on_standard_output(tmp_path: Path) -> None:
    """Progress is not: ``run > report.txt`` gives a report."""
    log = tmp_path / "access.log"
    log.write_text("".join(line + "\n" for line in generate(20_000)))
    done = run(str(log))
    assert done.stderr == "  20,000 records (100%)\n"
    assert done.stdout.startswith("\nTraffic by hour\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes end in another way there")
def test_a_reader_that_has_had_enough_is_no_error() -> None:
    """``run | head -1``: no traceback."""
    command = [sys.executable, "-m", "plugins_example.pipeline", "--records", "200"]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (
        1, b"generating an access log of 200 records\n"
    )  # fmt: skip


def test_without_photons_it_still_runs_and_reports_nothing(tmp_path: Path) -> None:
    """The host knows nothing about logs: an empty directory is no error."""
    done = run("--records", "50", "--photons", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Traffic by hour" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-log"], "no such file: no-such-log"),
        (["plugins_example"], "a directory, not a log: plugins_example"),
        (["--follow"], "--follow needs the path of a log"),
        (["--records", "0"], "--records must be at least 1"),
    ],
)
def test_wrong_command_line_ends_with_a_reason(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be sent Ctrl-C there")
def test_following_reports_at_ctrl_c_on_all_that_was_appended(tmp_path: Path) -> None:
    """The line about progress is the sign that what was written has been read."""
    half = "".join(line + "\n" for line in generate(20_000))
    log = tmp_path / "access.log"
    log.write_text(half)
    command = [sys.executable, "-u", "-m", "plugins_example.pipeline", "--follow", log]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == "  20,000 records\n"
            with log.open("a") as file:
                file.write(half)
            assert process.stderr.readline() == "  40,000 records\n"
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "40,000 lines read" in rest
