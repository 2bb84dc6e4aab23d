"""``pip install`` of other versions of a photon's distribution while a host runs.

Counts calls that failed, calls that saw two versions, and swaps per installation. Run
``python -m benchmarks.upgrades --size full`` for 50 installations.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import json
import os
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
from shipped import {imports}

VERSION = {version!r}

class Shipped(luminal.IPhoton):
    photon_name = "shipped"

    @luminal.hookimpl
    def versions(self):
        from shipped import late
        return {{VERSION, late.VERSION, {versions}}}
"""

_HOST = """
import asyncio, json, subprocess, sys, threading, time
import luminal

class Specs:
    @luminal.hookspec(firstresult=True)
    def versions(self): ...

wheels, rounds = sys.argv[1:3], int(sys.argv[3])
loader = luminal.Loader()
loader.plugins.add_hookspecs(Specs)
count = {"calls": 0, "failed": 0, "mixed": 0}
waits = []
is_over = threading.Event()

def call():
    while not is_over.is_set():
        try:
            seen = loader.hook.versions()
        except Exception:
            count["failed"] += 1
        else:
            count["mixed"] += seen is None or len(seen) != 1
        count["calls"] += 1

async def main():
    await loader.load(luminal.discover())
    await loader.start()
    await loader.watch_distributions()
    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for index in range(rounds):
        wheel = wheels[(index + 1) % 2]
        version = {wheel.split("-")[1]}
        pip = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pip", "install", "--quiet", "--no-index",
            "--no-deps", "--upgrade", "--force-reinstall", wheel)
        await pip.wait()
        began = time.perf_counter()
        while loader.hook.versions() != version:
            await asyncio.sleep(0.001)
            if time.perf_counter() - began > 60:
                raise SystemExit(f"version {version} never came")
        waits.append(time.perf_counter() - began)
    is_over.set()
    for thread in threads:
        thread.join()
    swaps = [e for e in loader.events.journal if e.kind == "swapped"]
    rejected = [str(e) for e in loader.events.journal if e.kind == "rejected"]
    await loader.close()
    print(json.dumps({**count, "swaps": len(swaps), "rejected": rejected,
                      "waits": waits}))

asyncio.run(main())
"""


def build_wheel(directory: Path, version: str, files: int = FILES) -> Path:
    """Write a wheel of modules that all contain *version*; return its path."""
    modules = [f"part{number}" for number in range(files)]
    texts = {
        "shipped/__init__.py": _PACKAGE.format(
            version=version,
            imports=", ".join(modules),
            versions=", ".join(f"{module}.VERSION" for module in modules),
        ),
        "shipped/late.py": f"VERSION = {version!r}\n",
        **{f"shipped/{m}.py": f"VERSION = {version!r}\n" for m in modules},
    }
    info = f"shipped-{version}.dist-info"
    texts[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: shipped\nVersion: {version}\n"
    )
    texts[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: benchmark\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n"
    )
    texts[f"{info}/entry_points.txt"] = "[luminal.photons]\nshipped = shipped:Shipped\n"
    record = "".join(f"{name},{_digest(text)}\n" for name, text in texts.items())
    texts[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    path = directory / f"shipped-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in texts.items():
            wheel.writestr(name, text)
    return path


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


def run(rounds: int) -> dict[str, Any]:
    """Install *rounds* times under load; return the host's counts."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        wheels = [build_wheel(directory, version) for version in ("1.0", "2.0")]
        python = make_environment(directory / "environment")
        pip = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*pip, wheels[0]], check=True)
        host = subprocess.run(
            [python, "-c", textwrap.dedent(_HOST), *map(str, wheels), str(rounds)],
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
    banner(f"{rounds} pip installs of a {FILES}-file distribution under load")
    counted = run(rounds)
    waits = sorted(counted.pop("waits"))
    for name, value in counted.items():
        print(f"{name:>8}  {value}")
    print(
        f"live after pip's end: median {waits[len(waits) // 2] * 1e3:.1f} ms, "
        f"most {waits[-1] * 1e3:.1f} ms"
    )
    is_clean = not (counted["failed"] or counted["mixed"])
    sys.exit(0 if is_clean and counted["swaps"] == rounds else 1)


if __name__ == "__main__":
    main()
