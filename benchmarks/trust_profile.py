"""Profiles of what texts name: how much they cost, and what they say of real releases.

Downloads two versions each of some pure-Python distributions, and prints what the
later one says that it does and the earlier one did not. Each line is to be judged by a
reader: what is no change of that kind is noise.

    python -m benchmarks.trust_profile [DIRECTORY]

DIRECTORY keeps the downloads for the next run.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from luminal.trust import drift, profile_of
from luminal.trust._profile import _read

PAIRS = {
    "requests": ("2.31.0", "2.32.3"),
    "click": ("8.1.7", "8.1.8"),
    "jinja2": ("3.1.3", "3.1.6"),
    "flask": ("3.0.2", "3.0.3"),
    "werkzeug": ("3.0.2", "3.0.6"),
    "attrs": ("23.2.0", "24.2.0"),
    "pluggy": ("1.4.0", "1.5.0"),
    "packaging": ("23.2", "24.1"),
    "rich": ("13.7.0", "13.9.4"),
    "httpx": ("0.26.0", "0.27.2"),
    "starlette": ("0.36.3", "0.37.2"),
    "pytest": ("8.1.1", "8.2.2"),
    "tomlkit": ("0.12.4", "0.13.2"),
    "idna": ("3.6", "3.10"),
    "urllib3": ("2.1.0", "2.2.3"),
    "certifi": ("2024.2.2", "2024.8.30"),
    "platformdirs": ("4.1.0", "4.3.6"),
    "filelock": ("3.13.1", "3.15.4"),
    "more-itertools": ("10.1.0", "10.5.0"),
    "typer": ("0.11.0", "0.12.5"),
    "uvicorn": ("0.28.0", "0.30.6"),
    "itsdangerous": ("2.1.2", "2.2.0"),
    "marshmallow": ("3.20.2", "3.22.0"),
    "pygments": ("2.17.2", "2.18.0"),
    "anyio": ("4.2.0", "4.4.0"),
    "sniffio": ("1.3.0", "1.3.1"),
    "cachetools": ("5.3.2", "5.5.0"),
    "tqdm": ("4.66.1", "4.66.5"),
    "tabulate": ("0.8.10", "0.9.0"),
    "zipp": ("3.17.0", "3.20.2"),
}
"""Distribution → an earlier and a later version."""


def files_of(name: str, version: str, directory: Path) -> dict[str, bytes]:
    """Return the files of the wheel of a version, downloaded where it is missing."""
    place = directory / f"{name}-{version}"
    if not place.exists():
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "-q", "--no-deps"),
                *("--only-binary", ":all:", "-d", str(place), f"{name}=={version}"),
            ],
            check=True,
        )
    [wheel] = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {
            each: archive.read(each)
            for each in archive.namelist()
            if not each.endswith("/") and ".dist-info/" not in each
        }


def cost(files: dict[str, bytes]) -> tuple[float, float]:
    """Return seconds of parsing alone, and of the whole profile: the best of three."""
    texts = {p: d for p, d in files.items() if p.endswith(".py")}
    parsing, reading = [], []
    for _ in range(3):
        began = time.process_time()
        for data in texts.values():
            ast.parse(data)
        parsing.append(time.process_time() - began)
        began = time.process_time()
        _read(texts)
        reading.append(time.process_time() - began)
    return min(parsing), min(reading)


def main() -> None:
    """Download, compare, and print."""
    keep = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
    directory = Path(keep)
    directory.mkdir(parents=True, exist_ok=True)
    drifted = at_import = compared = sizes = 0
    parsing = reading = 0.0
    with_any = with_import = 0
    for name, (before, after) in PAIRS.items():
        try:
            old, new = (files_of(name, each, directory) for each in (before, after))
        except (subprocess.CalledProcessError, ValueError) as error:
            print(f"{name}: left out, {error}")
            continue
        compared += 1
        profiles = profile_of(old), profile_of(new)
        found = drift(*profiles)
        drifted += bool(found)
        at_import += any(each.at_import for each in found)
        with_any += bool(profiles[1].capabilities)
        with_import += any(c.at_import for c in profiles[1].capabilities)
        for each in found:
            said = each.capability.name if each.capability is not None else ""
            print(f"{name} {before} -> {after}: {each} ({said})")
        one, other = cost(new)
        parsing, reading = parsing + one, reading + other
        sizes += len(new)
    print(f"{compared} pairs, {sizes} files of the later versions")
    print(f"{drifted} pairs with anything new, {at_import} of them at import")
    print(f"{with_any} later versions name anything, {with_import} at import")
    print(f"cost: {reading / parsing:.2f} x ast.parse ({os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
