"""Data files of photons: a watch reloads what has read or declared them."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from luminal.discovery import find_data_files, is_data_file
from luminal.model import EventKind
from tests.reload.conftest import call_across, grow_old


def text(value, head="", body="", start="pass", name="p"):
    return f"""
        import importlib.resources, pathlib, pkgutil

        def read(file):
            with file:
                return file.read()

        from luminal import IPhoton, hookimpl
        {head}

        class Photon(IPhoton):
            photon_name = {name!r}
            {body}

            def start(self):
                {start}

            @hookimpl
            def who(self):
                return {value}
        """


FILES = "importlib.resources.files(__package__)"
READS = {
    "files": text("V", f"V = ({FILES} / 'v.txt').read_text()"),
    "bytes": text("V.decode()", f"V = {FILES}.joinpath('v.txt').read_bytes()"),
    "open": text("V", f"V = read(open({FILES} / 'v.txt'))"),
    "Path.open": text("V", f"V = read({FILES}.joinpath('v.txt').open())"),
    "as_file": text(
        "V",
        f"with importlib.resources.as_file({FILES} / 'v.txt') as p: V = read(open(p))",
    ),
    "get_data": text("V", "V = pkgutil.get_data(__name__, 'v.txt').decode()"),
    "loader": text(
        "V.decode()",
        "V = __loader__.get_data(str(pathlib.Path(__file__).with_name('v.txt')))",
    ),
    "reader": text(
        "V.decode()",
        "R = __loader__.get_resource_reader(__name__)\n"
        "        V = read(R.open_resource('v.txt'))",
    ),
    "start": text("self.v", start=f"self.v = ({FILES} / 'v.txt').read_text()"),
    "hook": text(f"({FILES} / 'v.txt').read_text()"),
    "iterdir": text(
        "V", f"V = [p for p in {FILES}.iterdir() if p.name == 'v.txt'][0].read_text()"
    ),
    "photon_files": text(
        "V",
        "V = pathlib.Path(__file__).with_name('v.txt').read_text()",
        body="photon_files = ['*.txt']",
    ),
}


def in_place(file, content):
    file.write_text(content)


def renamed_over(file, content):
    spare = file.with_suffix(".new")
    spare.write_text(content)
    os.replace(spare, file)


@pytest.mark.parametrize("save", [in_place, renamed_over])
@pytest.mark.parametrize("way", READS)
async def test_a_data_file_that_is_read_reloads_its_photon(
    make_host, photons, way, save
):
    """Each time that it changes; another file beside it does not."""
    photons.write("p/__init__.py", READS[way])
    file, other = photons.path / "p" / "v.txt", photons.path / "p" / "other.dat"
    file.write_text("1")
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == ["1"])
        for number in "23":
            other.write_text(number)
            save(file, number)
            await host.until(lambda number=number: host.answers() == [number])
            await host.until(
                lambda n=number: len(host.happened(EventKind.SWAPPED)) == int(n) - 1
            )
            assert host.answers() == [number]  # in a hook, it reads it now
        assert not host.happened(EventKind.REJECTED)


@pytest.mark.parametrize("is_package", [True, False])
@pytest.mark.parametrize("pattern", ["*.yaml", "conf/**/*.yaml"])
async def test_declared_files_may_come_and_go(make_host, photons, pattern, is_package):
    """Of a package or a lone file, beside it or in a directory below."""
    head = (
        f"V = sorted(p.name for p in pathlib.Path(__file__).parent.glob({pattern!r}))"
    )
    body = f"photon_files = [{pattern!r}]"
    photons.write("p/__init__.py" if is_package else "p.py", text("V", head, body))
    photons.write("q.py", text("'q'", name="q"))
    folder = photons.path / "p" if is_package else photons.path
    below = folder if pattern == "*.yaml" else folder / "conf" / "deep"
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: sorted(map(str, host.answers())) == ["[]", "q"])
        below.mkdir(parents=True, exist_ok=True)
        (below / "a.yaml").write_text("a: 1")
        await host.until(lambda: ["a.yaml"] in host.answers())
        (below / "b.yaml").write_text("")
        await host.until(lambda: ["a.yaml", "b.yaml"] in host.answers())
        number = host.photons["p"].number
        (below / "b.yaml").write_text("b: 1\n")
        await host.until(lambda: host.photons["p"].number == number + 1)
        (below / "a.yaml").unlink()
        await host.until(lambda: ["b.yaml"] in host.answers())
        (below / "b.yaml").rename(below / "c.yaml")
        await host.until(lambda: ["c.yaml"] in host.answers())
        assert host.photons["q"].number == 1


async def test_a_data_file_that_cannot_be_used_is_mended(make_host, photons):
    """The old generation serves meanwhile."""
    head = f"import json; V = json.loads(({FILES} / 'v.json').read_text())"
    photons.write("p/__init__.py", text("V", head))
    file = photons.path / "p" / "v.json"
    file.write_text("1")
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [1])
        file.write_text("{")
        await host.until(lambda: host.happened(EventKind.REJECTED))
        assert host.answers() == [1]
        file.write_text("2")
        await host.until(lambda: host.answers() == [2])


@pytest.mark.parametrize("patterns", ["'*.yaml'", "[1]", "['/etc/*']", "['']"])
async def test_photon_files_that_are_no_patterns(make_host, photons, patterns):
    photons.write("p.py", text("1", body=f"photon_files = {patterns}"))
    async with make_host() as host:
        with pytest.raises(Exception, match="photon_files"):
            await host.run(photons.path / "p.py")


async def test_paths_of_resources_are_paths(make_host, photons):
    """They can be copied, compared and pickled, and keep no generation."""
    photons.write("p/__init__.py", text(f"{FILES} / 'v.txt'"))
    plain = photons.path / "p" / "v.txt"
    plain.write_text("1")
    async with make_host() as host:
        await host.run(photons.path / "p" / "__init__.py")
        (path,) = host.answers()
        assert path == plain
        assert hash(path) == hash(plain)
        assert path.parent / "v.txt" == plain
        assert pickle.loads(pickle.dumps(path)) == plain
        assert path.read_text() == "1"
        assert repr(path) == repr(plain)
    assert path.read_text() == "1"


OLD_READS = {
    "read_text": "P.joinpath(name + '.txt').read_text()",
    "open_binary": "read(P.joinpath(name + '.txt').open('rb')).decode()",
    "open_text": "read((P / (name + '.txt')).open(encoding='utf-8'))",
    "get_data": "pkgutil.get_data(__name__, name + '.txt').decode()",
    "path": "read(open(P / (name + '.txt')))",
}


@pytest.mark.parametrize("way", OLD_READS)
async def test_an_old_call_reads_the_old_data(make_host, photons, way):
    """What was small and known; else the file if it has not changed, or an error."""
    visit = f"""
            @hookimpl
            def visit(self, go):
                go(self)
                found = []
                for name in {{}}:
                    try:
                        found.append({OLD_READS[way]})
                    except OSError as error:
                        found.append(error.errno)
                return found
"""
    head = f"P = {FILES}; V = (P / 'read.txt').read_text(), (P / 'big.txt').read_text()"
    declared = "photon_files = ['declared.txt']"
    names = ["read", "declared", "same", "changed", "big"]
    body = declared + visit.format(names)
    photons.write("p/__init__.py", text("V", head, body))
    folder = photons.path / "p"
    for name in names:
        (folder / f"{name}.txt").write_text("1")
    (folder / "big.txt").write_text("1" * 70_000)
    grow_old()
    async with make_host() as host:
        (p,) = await host.run(folder / "__init__.py")

        async def change():
            for name in ("read", "declared", "changed", "big"):
                (folder / f"{name}.txt").write_text("2")
            await host.reload_photon(p)
            assert host.answers() == [("2", "2")]

        found = await call_across(host, change)
        stale = errno.ESTALE
        if way == "path":  # the path that is opened is the file's
            assert found == [stale, stale, "1", stale, stale]
        else:
            assert found == ["1", "1", "1", stale, stale]

        async def nothing():
            pass

        found = await call_across(host, nothing)
        assert found == ["2", "2", "1", "2", "2"]


def test_a_new_file_is_matched_as_glob_does(tmp_path):
    """Without looking at all the others; hidden ones and directories as `glob` says."""
    names = ["a.yaml", ".b.yaml", "conf/a.yaml", "conf/.d/a.yaml", "conf/d/e/f.yaml"]
    names += ["conf/d/a.json", "conf/m.py", "x[1].yaml"]
    for name in names:
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "a.yaml").write_text("")
    location = str(tmp_path / "p" / "__init__.py")
    every = [str(path) for path in tmp_path.rglob("*")]
    patterns = ["*.yaml", "**/*.yaml", "conf/**", "**", "conf/*/*", "*/d/**/*.yaml"]
    patterns += [
        ".*",
        "conf/.d/*",
        "x[[]1].yaml",
        "./a.yaml",
        "[!a]*",
        "**/d/**",
        "**/*",
    ]
    for pattern in patterns:
        found = sorted(p for p in every if is_data_file(location, pattern, p))
        assert found == find_data_files(location, pattern), pattern
