"""What is installed may change in any way: the index never gives an old answer."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luminal.discovery import discover

ENTRIES = "[{}]\n{} = {}\n"
PHOTON = "from luminal import IPhoton\nclass {}(IPhoton):\n    photon_version = '{}'\n"
CONTENTS = {
    "entry_points.txt": [
        ENTRIES.format("luminal.photons", "rain", "rain_pkg.mod:Rain"),
        ENTRIES.format("luminal.photons", "hail", "rain_pkg.mod:Hail"),
        ENTRIES.format("luminal.photons", "snow", "rain_pkg.mod:Rain"),
        ENTRIES.format("luminal.nothing", "rain", "rain_pkg.mod:Rain"),
        ENTRIES.format("luminal.photons", "rain", "rain_pkg.no!:Rain"),
        ENTRIES.format("luminal.photons", "rain", "solo:Rain"),
        "",
    ],
    "METADATA": [
        "Name: rain\nVersion: 1.0\nSummary: one\n",
        "Name: rain\nVersion: 1.1\nSummary: one\n",
        "Name: rain\nVersion: 1.0\nSummary: two\n",
        "Name: rain\nVersion: 1.0\nRequires-Dist: snow>=2\n",
        "Name: rain\nVersion: 1.0\nRequires-Dist: snow>=1\n",
        "Name: r\xe4in\nVersion: 1.0\n",
    ],
    ".py": [
        PHOTON.format("Rain", "1"),
        PHOTON.format("Rain", "2"),
        PHOTON.format("Hail", "1"),
        "from rain_pkg.mod import Rain as Rain\n",
        "from .core import Rain\n",
        "class Rain(: bad\n",
        "",
    ],
    ".pth": ["project\n", "projecT\n", "# none\n"],
    "direct_url.json": [
        '{{"url": "file://{}/project", "dir_info": {{"editable": true}}}}',
        '{{"url": "file://{}/projecT", "dir_info": {{"editable": true}}}}',
        "broken",
    ],
}
FILES = [
    "rain-1.0.dist-info/entry_points.txt",
    "rain-1.0.dist-info/METADATA",
    "rain-1.0.dist-info/direct_url.json",
    "rain-2.0.dist-info/entry_points.txt",
    "rain-2.0.dist-info/METADATA",
    "Rain.egg-info/entry_points.txt",
    "snow-1.0.dist-info/METADATA",
    "snow-2.0.dist-info/METADATA",
    "second/rain-1.0.dist-info/entry_points.txt",
    "second/rain-1.0.dist-info/METADATA",
    "second/rain_pkg/mod.py",
    "rain_pkg/__init__.py",
    "rain_pkg/mod.py",
    "rain_pkg/core.py",
    "rain_pkg/mod/__init__.py",
    "solo.py",
    "way.pth",
    "project/rain_pkg/mod.py",
    "project/src/rain_pkg/mod.py",
    "projecT/rain_pkg/mod.py",
    "unrelated/data.py",
]
KINDS = [
    "write", "write", "in place", "in place", "rename", "delete", "link", "swap",
    "delete folder", "move folder", "link folder", "touch folder",
]  # fmt: skip

Step = tuple[str, str, str, int, int | None]


def content(site: Path, name: str, number: int) -> bytes:
    """Return one of the contents that a file of this name may have."""
    texts = next(texts for end, texts in CONTENTS.items() if name.endswith(end))
    text = texts[number % len(texts)]
    text = text.format(site) if name.endswith(".json") else text
    return text.encode("latin-1")


def change(site: Path, step: Step) -> None:
    """Change one thing, in one of the ways of installers, editors and people."""
    kind, name, other, number, mtime = step
    path, second = site / name, site / other
    kind, _, is_folder = kind.partition(" ")
    if is_folder == "folder":
        path = path.parent
        second = second.parent
    if kind in ("write", "in", "rename") or not path.exists():
        path = site / name
        if path.parent.is_symlink():  # what it leads to may be gone
            path.parent.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content(site, name, number)
        if kind == "in" and path.is_file():
            with open(path, "r+b") as file:
                file.write(data)
                file.truncate()
        elif kind == "rename":
            temporary = site / "new.tmp"
            temporary.write_bytes(data)
            os.replace(temporary, path)
        else:
            path.unlink(missing_ok=True)
            path.write_bytes(data)
    elif path == site:
        return
    elif kind == "delete":
        remove(path)
    elif kind == "touch":
        (path / "more").mkdir(exist_ok=True)
        (path / "more").rmdir()
    elif kind == "move":
        remove(site / "gone")
        os.replace(path, site / "gone")
        if mtime is not None:  # and back, as an installer that gives up does
            os.replace(site / "gone", path)
    elif kind == "link":
        if second.exists() and not related(path.resolve(), second.resolve()):
            remove(path)
            path.symlink_to(second.resolve())
    elif kind == "swap" and second.is_file() and second.resolve() != path.resolve():
        spare = site / "spare.tmp"
        os.replace(path, spare)
        os.replace(second, path)
        os.replace(spare, second)
    if mtime is not None and path.exists():
        os.utime(path, ns=(mtime, mtime))


def related(path: Path, other: Path) -> bool:
    return path == other or path in other.parents or other in path.parents


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_never_stale(site: Path, steps: Iterable[Step]) -> set[str]:
    """After each change the answer with the index is that without it, twice.

    Returns:
        What the answers were about.
    """
    path = [site, site / "second"]
    seen: set[str] = set()
    for step in steps:
        change(site, step)
        expected = discover(path=path, index=False)
        for _ in range(2):
            assert discover(path=path) == expected, step
        for found in expected:
            about = found.problem.what if found.problem else "is sound"
            seen.add(f"{found.origin} {found.name} {about}")
    return seen


MTIMES = [None, None, 10**18, 10**18 + 20_000_000]


def history(length: int, seed: int) -> Iterator[Step]:
    """Yield random changes; most hit the first few files, so that answers differ."""
    chance = random.Random(seed)
    for _ in range(length):
        yield (
            chance.choice(KINDS),
            FILES[min(chance.randrange(len(FILES)), chance.randrange(len(FILES)))],
            chance.choice(FILES),
            chance.randrange(7),
            chance.choice(MTIMES),
        )


STEPS = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(FILES),
    st.sampled_from(FILES),
    st.integers(0, 6),
    st.sampled_from(MTIMES),
)


@given(steps=st.lists(STEPS, min_size=5, max_size=40))
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_index_of_what_is_installed_is_never_stale(
    tmp_path_factory: pytest.TempPathFactory, coarse_times: None, steps: list[Step]
) -> None:
    """Any history of changes, on a file system with coarse times."""
    check_never_stale(tmp_path_factory.mktemp("site"), steps)


def test_the_check_finds_an_index_that_trusts_what_is_young(
    tmp_path: Path, coarse_times: None, grown_up: None
) -> None:
    """Without the margin the same check fails: it can see staleness."""
    site = tmp_path / "site"
    site.mkdir()
    with pytest.raises(AssertionError):
        check_never_stale(site, history(20_000, 1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_what_is_installed_is_never_stale_over_thousands_of_changes(
    tmp_path: Path, coarse_times: None, seed: int
) -> None:
    """Long histories: in place, same size and same mtime included."""
    site = tmp_path / "site"
    site.mkdir()
    seen = check_never_stale(site, history(2_500, seed))
    assert len(seen) > 25, "the history is too dull to prove anything"
    assert any("is sound" in each for each in seen)
