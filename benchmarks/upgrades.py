"""Installations of other versions of two distributions of photons while a host runs.

By ``pip``, by ``uv pip``, and by ``pip --target --upgrade``. Counts calls that failed,
calls that saw two versions, in one distribution or in both, and swaps per installation.
Run ``python -m benchmarks.upgrades --size full`` for 50 installations of each kind.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import venv
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.measure import banner

SIZES = {"small": 2, "full": 50}
FILES = 60

_PACKAGE = """
import luminal
from {name} import {imports}

VERSION = {version!r}

class Shipped(luminal.IPhoton):
    photon_name = "{name}"

    @luminal.hookimpl
    def versions(self):
        from {name} import late
        return {{VERSION, late.VERSION, {versions}}}
"""

_SIDE = """
import luminal, {name}
from {name} import VERSION

class Side(luminal.IPhoton):
    photon_name = "{name}_side"

    @luminal.hookimpl
    def versions(self):
        from {name} import late
        return {{VERSION, {name}.VERSION, late.VERSION, {version!r}}}
"""

_HOST = """
import asyncio, json, subprocess, sys, threading, time
import luminal

class Specs:
    @luminal.hookspec
    def versions(self): ...

commands, rounds = json.loads(sys.argv[1]), int(sys.argv[2])
loader = luminal.Loader()
loader.plugins.add_hookspecs(Specs)
count = {"calls": 0, "failed": 0, "mixed": 0}
waits = []
is_over = threading.Event()

def call():
    while not is_over.is_set():
        try:
            seen = set().union(*loader.hook.versions())
        except Exception:
            count["failed"] += 1
        else:
            count["mixed"] += len(seen) != 1
        count["calls"] += 1

async def main():
    await loader.load(luminal.discover())
    await loader.start()
    told = []  # the journal keeps the last thousand only
    loader.events.subscribe(told.append)
    await loader.watch_distributions()
    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for index in range(rounds):
        version, command = commands[(index + 1) % 2]
        pip = await asyncio.create_subprocess_exec(*command)
        if await pip.wait():
            raise SystemExit(f"{command} failed")
        began = time.perf_counter()
        while any(seen != {version} for seen in loader.hook.versions()):
            await asyncio.sleep(0.001)
            if time.perf_counter() - began > 60:
                raise SystemExit(f"version {version} never came")
        waits.append(time.perf_counter() - began)
    is_over.set()
    for thread in threads:
        thread.join()
    await loader.stop_watching_distributions()  # the events of a swap come after it
    swaps = [e for e in told if e.kind == "swapped"]
    rejected = [str(e) for e in told if e.kind == "rejected"]
    await loader.close()
    print(json.dumps({**count, "swaps": len(swaps), "rejected": rejected,
                      "waits": waits}))

asyncio.run(main())
"""


def build_wheel(
    directory: Path, version: str, files: int = FILES, name: str = "shipped"
) -> Path:
    """Write a wheel of modules that all contain *version*; return its path.

    At its top are a package and a module, with a photon in each.
    """
    modules = [f"part{number}" for number in range(files)]
    texts = {
        f"{name}/__init__.py": _PACKAGE.format(
            name=name,
            version=version,
            imports=", ".join(modules),
            versions=", ".join(f"{module}.VERSION" for module in modules),
        ),
        f"{name}/late.py": f"VERSION = {version!r}\n",
        **{f"{name}/{m}.py": f"VERSION = {version!r}\n" for m in modules},
        f"{name}_side.py": _SIDE.format(name=name, version=version),
    }
    entries = f"[luminal.photons]\n{name} = {name}:Shipped\n"
    entries += f"{name}_side = {name}_side:Side\n"
    return pack(directory, name, version, texts, entries)


def pack(
    directory: Path, name: str, version: str, texts: dict[str, str], entries: str
) -> Path:
    """Write a wheel of *texts*, path → text, into *directory*; return its path."""
    info = f"{name}-{version}.dist-info"
    texts = texts | {
        f"{info}/METADATA": "Metadata-Version: 2.1\n"
        f"Name: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: benchmark\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entries,
    }
    record = "".join(f"{path},{_digest(text)}\n" for path, text in texts.items())
    texts[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    data = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()},{len(data)}"


def make_environment(directory: Path) -> Path:
    """Make a virtual environment that can import Luminal; return its interpreter."""
    # Copying pip takes longer than an upgrade; the path below makes ours importable.
    venv.create(directory, with_pip=importlib.util.find_spec("pip") is None)
    python = directory / "bin" / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    root = Path(__file__).resolve().parent.parent
    lines = [str(root), sysconfig.get_path("purelib")]
    Path(purelib, "host.pth").write_text("\n".join(lines) + "\n")
    return python


INSTALLERS = ("pip", "uv", "pip --target")


def installation(installer: str, python: Path) -> list[str] | None:
    """Return the command that installs wheels; None where there is no such installer.

    Args:
        installer: One of `INSTALLERS`.
        python: The interpreter of the environment to install into.
    """
    options = ["--quiet", "--no-index", "--no-deps"]
    if installer == "uv":
        uv = shutil.which("uv")
        if uv is None:
            return None
        options += ["--offline", "--reinstall", "--no-cache", "--python", str(python)]
        return [uv, "pip", "install", *options]
    pip = [str(python), "-m", "pip", "install", *options, "--upgrade"]
    if installer == "pip":
        return [*pip, "--force-reinstall"]
    (site,) = python.parent.parent.glob("lib/python*/site-packages")
    return [*pip, "--target", str(site)]


def run(rounds: int, installer: str = "pip") -> dict[str, Any]:
    """Install *rounds* times under load; return the host's counts."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        python = make_environment(directory / "environment")
        install = installation(installer, python)
        if install is None:
            return {}
        commands = []
        for version in ("1.0", "2.0"):
            wheels = [
                build_wheel(directory, version, name=name)
                for name in ("shipped", "escort")
            ]
            commands.append((version, [*install, *map(str, wheels)]))
        subprocess.run(commands[0][1], check=True)
        arguments = [json.dumps(commands), str(rounds)]
        host = subprocess.run(
            [python, "-c", textwrap.dedent(_HOST), *arguments],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LUMINAL_CACHE_DIR": str(directory / "cache")},
            timeout=120 + 20 * rounds,
            cwd=directory,
        )
        counted: dict[str, Any] = json.loads(host.stdout)
        return counted


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    rounds = SIZES[parser.parse_args().size]
    is_clean = True
    for installer in INSTALLERS:
        what = f"2 distributions of {FILES} files, under load"
        banner(f"{rounds} installations by {installer}: {what}")
        counted = run(rounds, installer)
        if not counted:
            print("not installed: skipped")
            continue
        waits = sorted(counted.pop("waits"))
        for name, value in counted.items():
            print(f"{name:>8}  {value}")
        print(
            f"live after its end: median {waits[len(waits) // 2] * 1e3:.1f} ms, "
            f"most {waits[-1] * 1e3:.1f} ms"
        )
        is_clean &= not (counted["failed"] or counted["mixed"])
        is_clean &= counted["swaps"] == 2 * 2 * rounds  # photons of both
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
