"""Sources of installed photons beyond plain folders: found, or refused by name."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import luminal
from luminal.discovery import Discovered, discover
from tests.distributions import photon_text, put

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = str(Path(luminal.__file__).parent.parent)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    directory.mkdir()
    return directory


def look(*path: Path) -> Discovered:
    """Discover twice: cold, and where the index answers warm."""
    found = discover(path=path)
    assert discover(path=path) == found
    assert discover(path=path, index=False) == found
    return found


def zipped(site: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as target:
        for folder, _, names in os.walk(site):
            for name in names:
                path = Path(folder, name)
                target.write(path, str(path.relative_to(site)))
    return archive


@pytest.mark.fault(41)
@pytest.mark.parametrize("name", ["blue-1.0-py3-none-any.whl", "libs.zip", "app.pyz"])
def test_an_archive_on_the_path_is_refused_by_name(
    site: Path, tmp_path: Path, name: str
) -> None:
    """A wheel, a zip, a zipapp: what is in there is named, and why it is not loaded."""
    put(site, "blue", "1.0")
    put(site, "green", "1.0", entries="[console_scripts]")
    archive = zipped(site, tmp_path / name)
    (blue,) = look(archive)
    assert (blue.name, blue.version, blue.metadata) == ("blue", "1.0", "")
    assert blue.problem is not None
    assert blue.problem.what == f"lies in {archive}"
    assert "pip" in blue.problem.hint
    archive.unlink()
    assert not look(archive)


@pytest.mark.fault(41)
def test_an_egg_on_the_path_is_found(tmp_path: Path) -> None:
    """A directory with EGG-INFO; its requirements are in a file of their own."""
    egg = tmp_path / "blue-1.0-py3.11.egg"
    info = egg / "EGG-INFO"
    info.mkdir(parents=True)
    (egg / "blue.py").write_text(photon_text("blue", "1.0"))
    (info / "PKG-INFO").write_text("Name: blue\nVersion: 1.0\nSummary: an egg\n")
    (info / "entry_points.txt").write_text("[luminal.photons]\nblue = blue:Blue\n")
    (blue,) = look(egg)
    assert blue.problem is None
    assert (blue.name, blue.version, blue.description) == ("blue", "1.0", "an egg")
    assert blue.location == str(egg / "blue.py")
    assert blue.metadata == str(info)
    (info / "requires.txt").write_text("gone>=2\n\n[extra]\nother\n")
    (blue,) = look(egg)
    assert blue.problem is not None
    assert blue.problem.code == "LUM106"
    assert "gone" in blue.problem.what


class Provided(importlib.metadata.Distribution):
    """A distribution that lies nowhere in particular."""

    def __init__(self, folder: Path, entry: str = "blue = blue:Blue") -> None:
        self.folder, self.entry = folder, entry

    def read_text(self, filename: str) -> str | None:
        return {
            "METADATA": "Metadata-Version: 2.1\nName: Blue\nVersion: 3.0\n\n",
            "entry_points.txt": f"[luminal.photons]\n{self.entry}\n",
        }.get(filename)

    def locate_file(self, path: object) -> Path:
        return self.folder / str(path)


class Finder(importlib.metadata.DistributionFinder):
    """A finder of distributions of one's own."""

    def __init__(self, *found: object) -> None:
        self.found = found

    def find_spec(self, *arguments: object) -> None:
        return None

    def find_distributions(self, context: object = None) -> list[object]:
        if self.found and isinstance(self.found[0], Exception):
            raise self.found[0]
        return list(self.found)


@pytest.mark.fault(41)
def test_a_finder_of_ones_own_is_asked_each_time(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it finds is read from its files, or refused by name; nothing is cached."""
    finder = Finder(Provided(site))
    assert not look(site)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    (blue,) = look(site)
    assert blue.problem is not None
    assert blue.problem.what == f"lies in {__name__}.Provided"
    (site / "blue.py").write_text(photon_text("blue", "3.0"))
    (blue,) = look(site)
    assert blue.problem is None
    assert (blue.name, blue.version) == ("blue", "3.0")
    assert (blue.location, blue.metadata) == (str(site / "blue.py"), "")
    finder.found = ()
    assert not look(site)
    finder.found = (ValueError("no network"),)
    put(site, "green", "1.0")
    green, failed = sorted(look(site), key=lambda c: c.problem is not None)
    assert green.problem is None
    assert failed.name.endswith("Finder")
    assert failed.problem is not None
    assert failed.problem.why == "ValueError: no network"


@pytest.mark.fault(41)
def test_the_rest_of_an_earlier_installation_hides_nothing(
    site: Path, tmp_path: Path
) -> None:
    """An empty folder of an older version, in the same entry of the path or before."""
    put(site, "tides", "2.0")
    (site / "tides-1.0.dist-info").mkdir()
    (tides,) = look(site)
    assert (tides.version, tides.problem) == ("2.0", None)
    other = tmp_path / "other"
    (other / "tides-3.0.dist-info").mkdir(parents=True)
    (tides,) = look(other, site)
    assert (tides.version, tides.problem) == ("2.0", None)


@pytest.mark.fault(41)
@pytest.mark.parametrize("newest", ["1.0", "2.0"])
def test_of_two_folders_the_one_whose_record_fits_counts(
    site: Path, newest: str
) -> None:
    """``pip install --target --upgrade`` leaves both."""
    oldest = "2.0" if newest == "1.0" else "1.0"
    put(site, "tides", oldest)
    put(site, "tides", newest, keep_older=True)
    put(site, "shore", "1.0", metadata=f"Requires-Dist: tides=={newest}\n")
    assert len(list(site.glob("tides-*"))) == 2
    shore, tides = look(site)
    assert (tides.version, tides.problem) == (newest, None)
    assert shore.problem is None


SPOILT = {
    "no text": lambda info: (info / "RECORD").write_bytes(b"\xff.py,sha256=x,1\n"),
    "no table": lambda info: (info / "RECORD").write_text('"a\n' + "x" * 200_000),
    "a directory": lambda info: (
        (info / "RECORD").unlink(),
        (info / "RECORD").mkdir(),
    ),
    "a module that is none": lambda info: (
        (info.parent / "tides" / "__init__.py").unlink(),
        (info.parent / "tides" / "__init__.py").mkdir(),
    ),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_record_that_cannot_be_read_hides_no_other_photon(
    site: Path, spoil: Callable[[Path], object]
) -> None:
    """Of two folders of one distribution; the other distribution is found."""
    put(site, "blue", "1.0")
    put(site, "tides", "1.0")
    spoil(put(site, "tides", "2.0", keep_older=True))
    blue, tides = look(site)
    assert (blue.name, blue.problem) == ("blue", None)
    assert tides.problem is not None


SAME = """
import importlib.metadata, json, sys
from luminal import discover
found = discover(index=sys.argv[1], path=[sys.argv[2]])
assert [c.name for c in found] == ["blue"]
seen = [
    sorted({type(d).__module__ for d in importlib.metadata.distributions()}),
    [getattr(f, "__qualname__", type(f).__qualname__) for f in sys.meta_path],
    "importlib_metadata" in sys.modules,
    len(importlib.metadata.entry_points(group="luminal.photons")),
]
import importlib_metadata
seen += [
    sorted({type(d).__module__ for d in importlib_metadata.distributions()}),
    sorted({type(d).__module__ for d in importlib.metadata.distributions()}),
    [getattr(f, "__qualname__", type(f).__qualname__) for f in sys.meta_path],
]
assert [c.name for c in discover(index=False, path=[sys.argv[2]])] == ["blue"]
print(json.dumps(seen))
"""


def test_a_host_sees_the_same_on_a_cold_and_on_a_warm_start(
    site: Path, tmp_path: Path
) -> None:
    """importlib-metadata is asked only when cold, and changes nothing for the host."""
    put(site, "blue", "1.0")
    run = [sys.executable, "-c", textwrap.dedent(SAME), tmp_path / "kept", site]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    cold, warm, bare = (
        subprocess.run(
            arguments, env=environment, capture_output=True, text=True, check=True
        ).stdout
        for arguments in (run, run, [*run[:2], SAME_WITHOUT, *run[3:]])
    )
    assert cold == warm == bare


SAME_WITHOUT = "\n".join(
    line for line in SAME.splitlines() if "discover" not in line and "found" not in line
)


@pytest.mark.fault(41)
def test_one_line_twice_is_one_photon(site: Path) -> None:
    """In ``entry_points.txt`` of a distribution that was put together by hand."""
    put(site, "blue", "1.0", entries="blue = blue:Blue\nblue=blue:Blue")
    (blue,) = look(site)
    assert blue.problem is None


@pytest.mark.fault(41)
def test_one_class_under_two_names_is_one_photon_and_told(site: Path) -> None:
    """The first name counts, and the warning has the line of the second."""
    put(site, "blue", "1.0", entries="blue = blue:Blue\nsky = blue:Blue\n")
    for found in (look(site), look(site)):
        (blue,) = found
        assert (blue.name, blue.problem) == ("blue", None)
        (warning,) = found.warnings
        assert "'blue' and 'sky'" in warning.what
        assert warning.file.endswith("entry_points.txt")
        assert warning.line == 3


@pytest.mark.fault(41)
@pytest.mark.parametrize("kind", ["directory", "circle"])
def test_entry_points_that_cannot_be_read_are_told(site: Path, kind: str) -> None:
    """Named by the distribution; the others are found."""
    info = put(site, "blue", "1.0")
    put(site, "green", "1.0")
    entries = info / "entry_points.txt"
    entries.unlink()
    if kind == "directory":
        entries.mkdir()
    else:
        entries.symlink_to(entries)
    blue, green = look(site)
    assert green.problem is None
    assert blue.problem is not None
    assert (blue.problem.code, blue.problem.file) == ("LUM103", str(entries))


@pytest.mark.fault(41)
def test_one_directory_by_two_paths_is_one(site: Path, tmp_path: Path) -> None:
    """A link to a directory of photons, and to an entry of the path."""
    photons = tmp_path / "photons"
    photons.mkdir()
    (photons / "red.py").write_text(photon_text("red", "1.0"))
    link = tmp_path / "link"
    link.symlink_to(photons)
    put(site, "blue", "1.0")
    other = tmp_path / "other"
    other.symlink_to(site)
    found = discover(photons, link, path=[site, other])
    assert [(c.name, c.problem) for c in found] == [("blue", None), ("red", None)]
    found = discover(link, photons, group=None)
    assert [(c.name, c.problem) for c in found] == [("red", None)]
