"""RECORD is read in the folder that discovery found, whatever that is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from luminal import LuminalError
from tests.distributions import photon_text, put, record_row


@pytest.fixture
def site(tmp_path, monkeypatch):
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    return path


def edit(file):
    """Add a line to *file*."""
    path = Path(file)
    path.write_text(path.read_text() + "# edited\n")


SPACED = {"deep_space/part/blue.py": photon_text("blue", "1.0")}
CASES = {
    "as pip writes it": {},
    "another form of the version": {"folder": "blue-1.0.0.dist-info"},
    "a local version": {"version": "1.0+abc.1", "folder": "blue-1.0+abc_1.dist-info"},
    "no version": {"folder": "blue.dist-info"},
    "a namespace package": {
        "files": SPACED,
        "entries": "blue = deep_space.part.blue:Blue",
    },
}


@pytest.mark.fault(41)
@pytest.mark.parametrize("case", CASES)
async def test_what_record_does_not_list_so_is_not_swapped_in(make_host, site, case):
    """An installation that is not what its RECORD says, under any folder's name."""
    arguments = {"version": "1.0", **CASES[case]}
    put(site, "blue", **arguments)
    async with make_host() as host:
        await host.load()
        await host.start()
        (candidate,) = [h.candidate for h in host.photons.values()]
        assert candidate.metadata.startswith(str(site / "blue"))
        assert candidate.distribution == "blue"
        file = host.photons["blue"].filepath
        edit(file)
        with pytest.raises(LuminalError) as caught:
            await host.reload_photon("blue")
        assert caught.value.code == "LUM121"
        assert caught.value.file == file


async def test_an_editable_installation_is_no_incomplete_one(make_host, site, tmp_path):
    """Its RECORD lists what leads to the sources; they may be edited at any time."""
    project = tmp_path / "project"
    project.mkdir()
    module = project / "blue.py"
    module.write_text(photon_text("blue", "1.0"))
    put(site, "blue", "1.0", files={"_blue.pth": f"{project}\n"})
    async with make_host() as host:
        await host.load()
        await host.start()
        module.write_text(photon_text("blue", "edited"))
        await host.reload_photon("blue")
        assert host.answers() == [("blue", "edited")]


async def test_a_record_is_read_by_the_rules_of_csv(make_host, site):
    """Names with commas and quotes; paths that lead out of the directory."""
    info = put(site, "blue", "1.0")
    odd = site / "blue" / "more.py"
    odd.write_text("VALUE = 1\n")
    record = info / "RECORD"
    record.write_text(
        record.read_text()
        + '"blue/a,""b"".txt",sha256=x,1\n../../bin/blue,,\n\n'
        + record_row("blue/more.py", odd.read_bytes())
    )
    async with make_host() as host:
        await host.load()
        await host.start()
        odd.write_text("VALUE = 2\n")
        with pytest.raises(LuminalError) as caught:
            await host.reload_photon("blue")
        assert (caught.value.code, caught.value.file) == ("LUM121", str(odd))


@pytest.mark.fault(41)
async def test_the_first_load_checks_record_as_a_reload_does(make_host, site):
    """Edited after pip, or missing: that photon's error; the others are loaded."""
    for name in ("blue", "green", "red"):
        put(
            site,
            name,
            "1.0",
            files={
                f"{name}/__init__.py": photon_text(name, "1.0"),
                f"{name}/late.py": "VALUE = 1\n",
            },
        )
    edited = site / "blue" / "late.py"
    edited.write_text("VALUE = 2\n")
    missing = site / "red" / "late.py"
    missing.unlink()
    async with make_host(suppress_errors=True) as host:
        report = await host.load()
        await host.start()
        assert host.answers() == [("green", "1.0")]
        found = {o.photon: o.problem for o in report.outcomes if o.problem}
        assert {n: (p.code, p.file) for n, p in found.items()} == {
            "blue": ("LUM121", str(edited)),
            "red": ("LUM121", str(missing)),
        }
        assert all("install the distribution again" in p.hint for p in found.values())
