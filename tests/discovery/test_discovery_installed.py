"""Entry points of distributions: found by their files, never imported."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from luminal.discovery import Discovered, discover
from luminal.errors import DirectoryNotFoundError
from luminal.model import Candidate, Problem, Source

GROUP = "luminal.photons"
PHOTON = """
from luminal import IPhoton
raise SystemExit("imported")
class Rain(IPhoton):
    photon_description = "own words"
    {}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    directory.mkdir()
    return directory


def install(
    site: Path,
    name: str = "rain-dist",
    version: str = "1.0",
    *,
    entry: str = "rain = rain_pkg.mod:Rain",
    metadata: str = "",
    body: str = "pass",
    files: bool = True,
) -> Path:
    """Lay a distribution out as pip does; return its folder."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / "METADATA").write_text(head + metadata + "\nA long text.\n")
    (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{entry}\n")
    (folder / "RECORD").write_text("")
    if files:
        package = site / "rain_pkg"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("raise SystemExit('imported')")
        (package / "mod.py").write_text(PHOTON.format(body))
    return folder


def look(*path: Path, group: str = GROUP, **options: object) -> Discovered:
    found = discover(group=group, path=path, **options)  # type: ignore[arg-type]
    again = discover(group=group, path=path, **options)  # type: ignore[arg-type]
    assert found == again
    return found


def the_one(site: Path) -> tuple[Candidate, Problem]:
    (candidate,) = look(site)
    assert candidate.problem is not None
    assert candidate.problem.hint
    return candidate, candidate.problem


def test_a_distribution_lends_its_metadata(site: Path) -> None:
    """Version, author, summary and keywords come from METADATA, the rest from code."""
    install(
        site,
        metadata="Author-email: Ann <ann@example.org>\nSummary: dist words\n"
        "Keywords: sky,wet weather\n",
        body="photon_requires = ()",
    )
    (rain,) = look(site)
    assert rain.name == "rain"
    assert rain.source is Source.DISTRIBUTION
    assert rain.origin == "rain-dist 1.0"
    assert rain.location == str(site / "rain_pkg" / "mod.py")
    assert (rain.target, rain.line) == ("rain_pkg.mod:Rain", 4)
    assert (rain.version, rain.author) == ("1.0", "Ann <ann@example.org>")
    assert rain.description == "own words"
    assert rain.tags == ("sky", "wet weather")
    assert len(rain.checksum) == 128
    assert rain.problem is None


def test_a_name_in_the_class_wins_over_the_entry_points(site: Path) -> None:
    """`photon_name` is the photon's own word."""
    install(site, body="photon_name = 'storm'; photon_version = '7'")
    (storm,) = look(site)
    assert (storm.name, storm.version) == ("storm", "7")


def test_any_group_and_any_object(site: Path) -> None:
    """A module, a nested attribute, a function, an object made at import."""
    folder = install(site, entry="whole = rain_pkg.mod")
    (folder / "entry_points.txt").write_text(
        textwrap.dedent(
            """
            # a comment
            [console_scripts]
            tool = rain_pkg.mod:main
            [host.plugins]
            whole = rain_pkg.mod
            inner=rain_pkg.mod:Rain.part
            func = rain_pkg.tools : make [fast, more]
            made = rain_pkg.tools:made
            lazy = rain_pkg.lazy:anything
            ; another comment
            """
        )
    )
    (site / "rain_pkg" / "tools.py").write_text("def make(): ...\nmade = make()\n")
    (site / "rain_pkg" / "lazy.py").write_text("def __getattr__(name): ...\n")
    found = look(site, group="host.plugins")
    assert [c.name for c in found] == ["func", "inner", "lazy", "made", "whole"]
    assert not found.problems
    assert found.by_name("whole").target == "rain_pkg.mod"
    assert found.by_name("func").location == str(site / "rain_pkg" / "tools.py")
    assert not look(site, group="nothing.here")
    assert not discover(group=None, path=[site])


def test_a_re_exported_class_is_read_where_it_is_defined(site: Path) -> None:
    """The location is the entry point's module, the metadata the class's own."""
    install(site, entry="rain = rain_pkg:Rain", body="photon_name = 'pour'")
    (site / "rain_pkg" / "__init__.py").write_text("\nfrom rain_pkg.mod import Rain")
    (pour,) = look(site)
    assert pour.name == "pour"
    assert pour.location == str(site / "rain_pkg" / "__init__.py")
    assert pour.line == 2


@pytest.mark.fault(41)
def test_a_namespace_package_is_found_across_the_path(
    site: Path, tmp_path: Path
) -> None:
    """Parents without `__init__` in several entries of the path are one package."""
    install(site, entry="deep = space.part.deep:Deep", files=False)
    module = tmp_path / "other" / "space" / "part" / "deep.py"
    module.parent.mkdir(parents=True)
    module.write_text("class Deep: pass")
    (site / "space").mkdir()
    (deep,) = look(site, tmp_path / "other")
    assert deep.location == str(module)


@pytest.mark.fault(41)
@pytest.mark.parametrize("way", ["pth", "finder", "finder module", "direct_url", "src"])
def test_editable_installs_are_followed_without_running_them(
    site: Path, tmp_path: Path, way: str
) -> None:
    """Lines of `.pth` files, the mapping of setuptools, the project's address."""
    folder = install(site, files=False)
    project = tmp_path / "pro ject"
    root = project / "src" if way == "src" else project
    package = root / "rain_pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "mod.py").write_text(PHOTON.format("pass"))
    if way == "pth":
        (site / "_rain.pth").write_text(f"# note\nimport os; os._exit(9)\n{project}\n")
    elif way.startswith("finder"):
        text = "raise SystemExit('imported')\nMAPPING: dict[str, str] = {!r}\n"
        mapping = {"rain_pkg": str(package)}
        if way == "finder module":
            mapping = {"rain_pkg.mod": str(package / "mod")}
        (site / "__editable__.rain_dist-1.0.pth").write_text("import os; os._exit(9)")
        (site / "__editable___rain_dist_1_0_finder.py").write_text(text.format(mapping))
    else:
        (folder / "direct_url.json").write_text(
            f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}'
        )
    (rain,) = look(site)
    assert rain.problem is None
    assert rain.location == str(package / "mod.py")


def test_the_same_file_in_a_directory_and_installed_is_one_photon(site: Path) -> None:
    """An editable install of a directory that the host also names."""
    install(site, entry="Rain = rain_pkg.mod:Rain")
    found = discover(site / "rain_pkg", group=GROUP, path=[site])
    assert [(c.name, c.source) for c in found] == [("Rain", Source.DISTRIBUTION)]
    assert not found.problems


def test_the_first_on_the_path_wins(site: Path, tmp_path: Path) -> None:
    """As in an import: a second installation of the same name is shadowed."""
    other = tmp_path / "other"
    other.mkdir()
    install(site, version="2.0")
    install(other, name="Rain.Dist", version="1.0")
    (rain,) = look(site, other)
    assert rain.version == "2.0"


@pytest.mark.fault(41)
def test_a_leftover_egg_info_does_not_double_its_distribution(site: Path) -> None:
    """Beside a `.dist-info` it is passed over; alone it counts."""
    install(site)
    egg = site / "rain_dist.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Name: rain-dist\nVersion: 0.9\n\n")
    (egg / "entry_points.txt").write_text(f"[{GROUP}]\nrain = rain_pkg.mod:Rain\n")
    assert [c.version for c in look(site)] == ["1.0"]
    for path in site.glob("*.dist-info/*"):
        path.unlink()
    (site / "rain_dist-1.0.dist-info").rmdir()
    assert [c.version for c in look(site)] == ["0.9"]


@pytest.mark.fault(41)
def test_a_missing_record_is_no_matter(site: Path) -> None:
    """Distributors' packages have none, and everything is found without it."""
    (install(site) / "RECORD").unlink()
    (rain,) = look(site)
    assert rain.problem is None


def test_two_versions_in_one_place_are_refused(site: Path) -> None:
    """What an interrupted upgrade leaves cannot be told apart."""
    install(site, version="1.0")
    install(site, version="2.0")
    _, problem = the_one(site)
    assert problem.code == "LUM108"
    assert "rain_dist-1.0.dist-info and rain_dist-2.0.dist-info" in problem.why
    assert "--force-reinstall" in problem.hint


def test_what_pip_has_moved_aside_is_not_installed(site: Path) -> None:
    """A folder that begins with a tilde is rubbish of an upgrade."""
    install(site).rename(site / "~ain_dist-1.0.dist-info")
    assert not look(site)


@pytest.mark.parametrize(
    ("entry", "code", "text", "line"),
    [
        ("rain = rain_pkg.gone:Rain", "LUM101", "no module 'rain_pkg.gone'", 2),
        ("rain = gone:Rain", "LUM101", "no module 'gone'", 2),
        ("rain = rain_pkg.mod:Snow", "LUM107", "no 'Snow' in 'rain_pkg.mod'", 0),
        ("\nrain = rain_pkg/mod:Rain", "LUM107", "not an entry point", 3),
        ("rain", "LUM107", "not an entry point", 2),
        ("rain = 1a:b", "LUM107", "not an entry point", 2),
        ("rain = rain_pkg.mod:Rain [x", "LUM107", "not an entry point", 2),
        ("rain = .mod:Rain", "LUM107", "not an entry point", 2),
    ],
)
def test_an_entry_point_to_nothing(
    site: Path, entry: str, code: str, text: str, line: int
) -> None:
    """Missing module, missing object, malformed line: with the file and line."""
    install(site, entry=entry)
    candidate, problem = the_one(site)
    assert candidate.name == "rain"
    assert candidate.origin == "rain-dist 1.0"
    assert (problem.code, problem.line) == (code, line)
    assert text in problem.what
    if line:
        assert problem.file.endswith("entry_points.txt")


def test_broken_metadata_is_said(site: Path) -> None:
    """METADATA that is missing or not UTF-8, entry points that are not UTF-8."""
    folder = install(site)
    (folder / "METADATA").write_bytes(b"Name: rain-dist\nAuthor: Andr\xe9\n\n")
    candidate, problem = the_one(site)
    assert (problem.code, problem.line) == ("LUM103", 2)
    assert "not UTF-8" in problem.what
    assert candidate.version == "1.0"
    (folder / "METADATA").unlink()
    _, problem = the_one(site)
    assert (problem.code, problem.file) == ("LUM103", str(folder / "METADATA"))
    assert problem.what == "belongs to a distribution without metadata"
    assert problem.hint == "pip install --force-reinstall rain-dist"
    (folder / "entry_points.txt").write_bytes(b"[x]\n\xff = 1")
    candidate, problem = the_one(site)
    assert (candidate.name, problem.code, problem.line) == ("rain-dist", "LUM103", 2)


def test_a_photon_file_with_a_syntax_error(site: Path) -> None:
    """Named by its entry point, located, with the line."""
    install(site, body="def")
    candidate, problem = the_one(site)
    assert candidate.name == "rain"
    assert (problem.code, problem.line) == ("LUM104", 6)
    assert problem.file == candidate.location


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("requires", "why"),
    [
        ("cloud-dist>=2", None),
        ("Cloud.Dist ; python_version >= '3'", None),
        ("gone ; python_version < '3'", None),
        ("gone ; extra == 'other'", None),
        ("gone", "'gone' is not installed (rain-dist -> gone)"),
        ("gone ; extra == 'fast'", "'gone' is not installed (rain-dist -> gone)"),
        ("cloud-dist<2", "version 2.5 is installed (rain-dist -> cloud-dist)"),
        (
            "cloud-dist[sun]",
            "'star' is not installed (rain-dist -> cloud-dist -> star)",
        ),
        ("cloud-dist[self]", None),
        ("not a requirement!", ""),  # the words are those of packaging
        ("gone ; 'fast' in extras", "its marker means nothing"),
        ("gone ; platform_release ~= 'x'", "its marker means nothing"),
        ("gone ; " + "(" * 4000 + "os_name == 'x'" + ")" * 4000, ""),
    ],
)
def test_what_a_distribution_requires_is_checked_before_any_import(
    site: Path, requires: str, why: str | None
) -> None:
    """Markers are evaluated, extras honoured, the chain named."""
    install(
        site,
        entry="rain = rain_pkg.mod:Rain [fast]",
        metadata=f"Requires-Dist: {requires}\n",
    )
    install(
        site,
        "cloud-dist",
        "2.5",
        entry="[other]",
        metadata="Requires-Dist: star; extra == 'sun'\n"
        "Requires-Dist: cloud-dist[self]; extra == 'self'\n",
        files=False,
    )
    (rain,) = look(site)
    if why is None:
        assert rain.problem is None
    else:
        assert rain.problem is not None
        assert rain.problem.code == "LUM106"
        assert rain.problem.why
        assert why in rain.problem.why


def test_photons_of_both_sources_conflict_and_depend(
    site: Path, tmp_path: Path
) -> None:
    """One order and one set of names for directories and distributions."""
    install(site, body="photon_requires = ['sky>=1']")
    folder = tmp_path / "photons"
    folder.mkdir()
    sky = "from luminal import IPhoton\nclass Sky(IPhoton): photon_version = '{}'"
    (folder / "sky.py").write_text(sky.format("1.1"))
    found = discover(folder, path=[site])
    assert [c.name for c in found] == ["Sky", "rain"]
    assert not found.problems
    (folder / "rain.py").write_text("class RAIN: photon_name = 'Rain'")
    found = discover(folder, path=[site])
    assert [c.name for c in found.problems] == ["Rain", "rain"]
    (rain, _) = found.problems
    assert rain.problem is not None
    assert "rain-dist 1.0" in rain.problem.why
    assert str(folder) in rain.problem.why


def test_the_running_interpreters_path_is_the_default() -> None:
    """What is installed here is seen, as importlib.metadata sees it."""
    from importlib.metadata import entry_points

    expected = {e.name for e in entry_points(group="console_scripts")}
    found = discover(group="console_scripts")
    assert {c.name for c in found} == expected
    assert "pytest" in expected
    assert found.by_name("pytest").problem is None
    assert "_pytest" in sys.modules


def test_odd_entries_of_the_interpreters_path_are_passed_over(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an import would not look at hides nothing of what it would."""
    install(site)
    for entries in ([b"odd", str(site)], [None, str(site)], [3, str(site)]):
        monkeypatch.setattr(sys, "path", entries)
        assert [c.name for c in discover(group=GROUP)] == ["rain"]


def test_a_working_directory_that_is_gone_hides_nothing(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose working directory was removed still finds what is installed."""
    install(site)
    passing = tmp_path / "passing"
    passing.mkdir()
    monkeypatch.chdir(passing)
    passing.rmdir()
    monkeypatch.setattr(sys, "path", ["", "lib", str(site)])
    assert [c.name for c in discover(group=GROUP)] == ["rain"]
    with pytest.raises(DirectoryNotFoundError, match="photons"):
        discover("photons")


def test_entries_of_the_path_may_be_anything(site: Path, tmp_path: Path) -> None:
    """Missing directories, files and archives hold no distributions."""
    (tmp_path / "lib.zip").write_bytes(b"PK")
    install(site)
    assert len(look(tmp_path / "none", tmp_path / "lib.zip", site, site)) == 1


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("globals()['Rain'] = object", True),
        ("exec('class Rain: pass')", True),
        ("def __getattr__(name): ...", True),
        ("from elsewhere import *", True),
        ("# nothing of the kind", False),
    ],
)
def test_object_of_an_entry_point_may_be_bound_unseen(
    site: Path, text: str, is_found: bool
) -> None:
    install(site)
    (site / "rain_pkg" / "mod.py").write_text(text)
    [rain] = look(site)
    assert (rain.problem is None) is is_found
