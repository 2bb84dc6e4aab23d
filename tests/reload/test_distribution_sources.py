"""Where photons come from and what Luminal does with them: a table of the reference.

``LUMINAL_WRITE_GOLDEN=1`` writes it anew.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from luminal import LuminalError, discover
from luminal.discovery import pack
from tests.distributions import photon_text, put

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "sources.md"
HEAD = """\
# Sources of photons

What a test has seen of each source. *Refused* means that the photon is named, with the
reason and what to do. A bundle has its manifest in the place of a RECORD.

| source | found | loaded | reloaded | RECORD checked |
|---|---|---|---|---|
"""
ENTRIES = "[luminal.photons]\nblue = {}:Blue\n"


class Place:
    """Where one source is made."""

    def __init__(self, path: Path) -> None:
        self.path, self.site, self.photons = path, path / "site", path / "photons"
        self.project = path / "project"
        for folder in (self.site, self.photons, self.project):
            folder.mkdir(parents=True)

    def write(self, path: Path, version: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(photon_text("blue", version))
        return path


def a_file(place, version):
    return place.write(place.photons / "blue.py", version)


def a_package(place, version):
    return place.write(place.photons / "blue" / "__init__.py", version)


def a_bundle(place, version):
    package = place.write(place.project / "blue" / "__init__.py", version).parent
    path = place.photons / "blue.photon"
    path.write_bytes(pack(package, name="blue", version=version).data())
    return path


def installed(place, version):
    put(place.site, "blue", version)
    return place.site / "blue" / "__init__.py"


def two_versions(place, version):
    """``pip install --target --upgrade``."""
    put(place.site, "blue", "0.9")
    put(place.site, "blue", version, keep_older=True)
    return place.site / "blue" / "__init__.py"


def without_record(place, version):
    (put(place.site, "blue", version) / "RECORD").unlink()
    return place.site / "blue" / "__init__.py"


def in_a_namespace(place, version):
    put(
        place.site,
        "blue",
        version,
        files={"sky_space/deep/blue.py": photon_text("blue", version)},
        entries="blue = sky_space.deep.blue:Blue",
    )
    return place.site / "sky_space" / "deep" / "blue.py"


def editable(place, version):
    put(place.site, "blue", version, files={"_blue.pth": f"{place.project}\n"})
    return place.write(place.project / "blue.py", version)


def editable_by_finder(place, version):
    mapping = {"blue": str(place.project / "blue")}
    put(
        place.site,
        "blue",
        version,
        files={
            f"__editable__.blue-{version}.pth": "",
            f"__editable___blue_{version.replace('.', '_')}_finder.py": "MAPPING: dict"
            f"[str, str] = {mapping!r}\n",
        },
    )
    return place.write(place.project / "blue" / "__init__.py", version)


def egg(place, version):
    folder = place.path / "blue.egg"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    info = folder / "EGG-INFO"
    info.mkdir(exist_ok=True, parents=True)
    (info / "PKG-INFO").write_text(f"Name: blue\nVersion: {version}\n\n")
    (info / "entry_points.txt").write_text(ENTRIES.format("blue"))
    return place.write(folder / "blue.py", version)


def egg_info(place, version):
    """``setup.py develop``: the project itself is on the path."""
    info = place.site / "blue.egg-info"
    info.mkdir(exist_ok=True)
    (info / "PKG-INFO").write_text(f"Name: blue\nVersion: {version}\n\n")
    (info / "entry_points.txt").write_text(ENTRIES.format("blue"))
    return place.write(place.site / "blue.py", version)


def archive(place, version):
    put(place.project, "blue", version)
    shutil.rmtree(place.site, ignore_errors=True)
    with zipfile.ZipFile(place.site, "w") as target:
        for folder, _, names in os.walk(place.project):
            for name in names:
                path = Path(folder, name)
                target.write(path, str(path.relative_to(place.project)))
    return place.project / "blue" / "__init__.py"


class Finder(importlib.metadata.DistributionFinder):
    """A finder of one's own; what it finds may be files, or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, *arguments):
        return None

    def find_distributions(self, context=None):
        return [Provided(self.folder)]


class Provided(importlib.metadata.Distribution):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_text(self, filename):
        if filename == "METADATA":
            return "Metadata-Version: 2.1\nName: blue\nVersion: 1.0\n\n"
        return ENTRIES.format("blue") if filename == "entry_points.txt" else None

    def locate_file(self, path):
        return self.folder / str(path)


def of_a_finder(place, version):
    sys.meta_path.append(Finder(place.project))
    return place.write(place.project / "blue.py", version)


def of_a_finder_without_files(place, version):
    sys.meta_path.append(Finder(place.project))
    return place.project / "blue.py"


SOURCES = {
    "a file in a directory": a_file,
    "a package in a directory": a_package,
    "a bundle (`.photon`) in a directory": a_bundle,
    "installed from a wheel": installed,
    "the same by `--target --upgrade`, older metadata left": two_versions,
    "installed, in a namespace package": in_a_namespace,
    "installed, RECORD missing": without_record,
    "editable, by `.pth`": editable,
    "editable, by the finder of setuptools": editable_by_finder,
    "an egg on the path": egg,
    "`egg-info` beside the sources": egg_info,
    "a wheel, zip or zipapp on the path": archive,
    "a finder of one's own, with files": of_a_finder,
    "a finder of one's own, without files": of_a_finder_without_files,
}


async def observe(make_host, place, make) -> list[str]:
    """Return found, loaded, reloaded, RECORD checked, of one source."""
    file = make(place, "1.0")
    candidates = discover(place.photons)
    if not [c for c in candidates if c.name == "blue"]:
        return ["no", "no", "no", "no"]
    (blue,) = candidates
    if blue.problem is not None:
        return ["refused", "no", "no", "no"]
    found = ["yes"]
    async with make_host() as host:
        await host.load(candidates)
        await host.start()
        found.append("yes" if host.answers() == [("blue", "1.0")] else "no")
        make(place, "2.0")
        await host.reload_photon("blue")
        found.append("yes" if host.answers() == [("blue", "2.0")] else "no")
    edit(file)
    async with make_host() as host:
        report = await host.load(discover(place.photons))
        codes = {o.problem.code for o in report.outcomes if o.problem}
        # Where two versions are there, neither RECORD fits any more.
        assert codes <= {"LUM121", "LUM109" if file.suffix == ".photon" else "LUM108"}
        found.append("yes" if codes else "no")
    return found


def edit(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"# edited\n")


async def test_the_table_of_sources_is_what_happens(make_host, tmp_path, monkeypatch):
    """Each row of the page is what was seen just now."""
    rows = ""
    for number, (name, make) in enumerate(SOURCES.items()):
        place = Place(tmp_path / str(number))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(place.site), *sys.path])
            patch.setattr(sys, "meta_path", [*sys.meta_path])
            try:
                seen = await observe(make_host, place, make)
            except LuminalError as error:
                pytest.fail(f"{name}: {error}")
            rows += f"| {name} | {' | '.join(seen)} |\n"
    text = HEAD + rows
    if "LUMINAL_WRITE_GOLDEN" in os.environ:
        write(text)
    assert text == PAGE.read_text(encoding="utf-8")


def write(text: str) -> None:
    PAGE.write_text(text, encoding="utf-8")
