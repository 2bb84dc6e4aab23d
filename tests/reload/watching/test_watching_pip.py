"""A real installer over a watched environment: one batch of whole versions."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest


def wheel(folder: Path, version: str, modules: int) -> Path:
    """Write a wheel by hand; RECORD comes last, as the format has it."""
    path = folder / f"watched_photon-{version}-py3-none-any.whl"
    info = f"watched_photon-{version}.dist-info"
    files = {
        f"watched_photon/m{n}.py": f"version = {version!r}\n" for n in range(modules)
    }
    files["watched_photon/__init__.py"] = ""
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: watched-photon\nVersion: {version}\n"
    )
    files[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
        record += f"{name},sha256={digest.rstrip(b'=').decode()},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_what_an_installer_keeps_aside_says_that_it_is_at_work(inbox, root, clock):
    """However long the old version is gone before the new one comes."""
    package = root / "package"
    package.mkdir()
    (package / "a.py").write_text("old")
    watcher = inbox.watch(clock=clock)
    stash = package.rename(root / "~ackage")
    clock.pass_by(1.0, watcher)
    assert inbox.batches.empty()
    package.mkdir()
    (package / "a.py").write_text("new")
    clock.pass_by(1.0, watcher)
    assert inbox.batches.empty()
    shutil.rmtree(stash)
    clock.pass_by(1.0, watcher)
    assert inbox.next().changed == {str(package / "a.py")}
    assert inbox.batches.empty()


@pytest.mark.slow
@pytest.mark.fault(39)
def test_an_upgrade_is_one_batch(inbox, tmp_path):
    environment = tmp_path / "environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True
    )
    python = environment / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))

    def install(file: Path) -> None:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", str(python)),
                *("install", "-q", "-U", "--no-deps", "--no-index", str(file)),
            ],
            check=True,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )

    install(wheel(tmp_path, "1.0", 60))
    assert site.is_dir()
    inbox.root = site
    inbox.watch(site)
    for version in ("2.0", "3.0"):
        install(wheel(tmp_path, version, 60))
        batches = inbox.rest()
        found = batches[0]
        assert len(batches) == 1, batches
        assert len({p for p in found.changed if "/m" in p}) == 60
        assert str(site / f"watched_photon-{version}.dist-info/RECORD") in found.created
