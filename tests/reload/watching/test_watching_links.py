"""Links: deployments, ConfigMaps, targets elsewhere, and tangles."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from luminal.reload.watching import Cause, NoteCode
from luminal.reload.watching._snapshot import links_on_the_way


def swap(link: Path, target: str) -> None:
    """Let *link* lead to *target*, in one step, as deployment tools do."""
    fresh = link.with_name(link.name + ".new")
    fresh.symlink_to(target)
    os.replace(fresh, link)


def release(root: Path, number: int, *names: str) -> Path:
    folder = root / "releases" / str(number)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"release = {number}\n")
    return folder


def test_a_deployment_is_one_batch_of_everything_below(inbox, tmp_path):
    """The watched directory lies behind ``current``; even equal files are named."""
    deploy = tmp_path / "deploy"
    release(deploy, 1, "photons/a.py", "photons/b.py", "photons/p/c.py")
    release(deploy, 2, "photons/a.py", "photons/p/c.py", "photons/d.py")
    current = deploy / "current"
    current.symlink_to("releases/1")
    photons = current / "photons"
    inbox.root = photons
    inbox.watch(photons)
    for number in (2, 1, 2):
        swap(current, f"releases/{number}")
        batch = inbox.next()
        assert batch.cause is Cause.RESCAN
        assert inbox.names(batch) == {"a.py", "b.py", "p/c.py", "d.py"}
        assert len(batch.changed) == len(["a.py", "p/c.py"])
        (photons / "a.py").write_text("edited behind the link")
        assert inbox.next_names() == {"a.py"}


def test_the_watched_directory_itself_is_a_link(inbox, tmp_path):
    release(tmp_path, 1, "a.py")
    release(tmp_path, 2, "a.py")
    current = tmp_path / "current"
    current.symlink_to("releases/1")
    inbox.root = current
    inbox.watch(current)
    swap(current, "releases/2")
    assert inbox.next().changed == {str(current / "a.py")}
    current.unlink()
    current.symlink_to(tmp_path / "releases" / "1")
    batches = inbox.until(current / "a.py")
    assert batches[-1].changed == {str(current / "a.py")}


def test_a_config_map_is_one_batch(inbox, root):
    """Kubernetes: files are links through ``..data``, which is replaced."""

    def write(version: str, *names: str) -> None:
        folder = root / f"..{version}"
        folder.mkdir()
        for name in names:
            (folder / name).write_text(version)

    write("2026_01", "a.py", "b.py")
    (root / "..data").symlink_to("..2026_01")
    for name in ("a.py", "b.py"):
        (root / name).symlink_to(f"..data/{name}")
    inbox.watch()
    previous = "2026_01"
    for version in ("2026_02", "2026_03"):
        write(version, "a.py", "b.py")
        (root / "..data_tmp").symlink_to(f"..{version}")
        (root / "..data_tmp").rename(root / "..data")
        shutil.rmtree(root / f"..{previous}")
        previous = version
        batch = inbox.next()
        assert batch.changed == {str(root / "a.py"), str(root / "b.py")}
    assert inbox.rest() == []


def test_the_target_of_a_linked_file_is_watched(inbox, root, tmp_path):
    target = tmp_path / "elsewhere" / "real.py"
    target.parent.mkdir()
    target.write_text("x")
    (target.parent / "neighbour.py").write_text("x")
    link = root / "photon.py"
    inbox.watch()
    link.symlink_to(target)
    assert inbox.next().created == {str(link)}
    target.write_text("y")
    assert inbox.next().changed == {str(link)}
    fresh = target.with_name("fresh")
    fresh.write_text("z")
    fresh.replace(target)
    assert inbox.next().changed == {str(link)}
    (target.parent / "neighbour.py").write_text("not ours")
    target.unlink()
    assert inbox.next().deleted == {str(link)}
    target.write_text("back")
    assert inbox.next().created == {str(link)}
    link.unlink()
    assert inbox.next().deleted == {str(link)}
    target.write_text("nobody's")
    assert inbox.rest() == []


def test_a_linked_directory_is_watched_under_its_name(inbox, root, tmp_path):
    real = tmp_path / "shared"
    (real / "sub").mkdir(parents=True)
    (real / "sub" / "a.py").write_text("x")
    for name in ("one", "two"):
        (root / name).symlink_to(real)
    inbox.watch()
    (real / "sub" / "a.py").write_text("y")
    assert inbox.next_names() == {"one/sub/a.py", "two/sub/a.py"}
    (root / "two").unlink()
    assert inbox.next_names() == {"two/sub/a.py"}
    (real / "sub" / "a.py").write_text("z")
    assert inbox.next_names() == {"one/sub/a.py"}


@pytest.mark.fault(32)
def test_loops_and_tangles_end(inbox, root):
    """Links to above, to themselves and to each other; one edit is one path or few."""
    for name in ("a", "b", "c", "d"):
        (root / name).mkdir()
    for here in ("a", "b", "c", "d"):
        (root / here / "up").symlink_to("..")
        (root / here / "self").symlink_to("self")
        for there in "abcd".replace(here, ""):
            (root / here / f"to_{there}").symlink_to(f"../{there}")
    inbox.watch()
    (root / "a" / "x.py").write_text("x")
    names = inbox.next_names()
    assert "a/x.py" in names
    assert len(names) < 100
    assert inbox.rest() == []


def test_steps_name_each_link_and_the_end(tmp_path):
    root = Path(os.path.realpath(tmp_path))
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    (root / "far").symlink_to(root / "link")
    assert links_on_the_way(str(root / "far" / "x.py")) == [
        (str(root), "far"),
        (str(root), "link"),
        (str(root / "real"), "x.py"),
    ]
    (root / "loop").symlink_to("loop")
    assert len(links_on_the_way(str(root / "loop"))) < 50


def test_a_lost_link_is_a_lost_directory(inbox, tmp_path):
    release(tmp_path, 1, "a.py")
    current = tmp_path / "current"
    current.symlink_to("releases/1")
    inbox.root = current
    inbox.watch(current)
    current.unlink()
    assert inbox.note(NoteCode.GONE).directory == str(current)
    assert inbox.next().deleted == {str(current / "a.py")}
    current.symlink_to("releases/1")
    assert inbox.note(NoteCode.RETURNED).directory == str(current)
    assert inbox.next().created == {str(current / "a.py")}


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("way", ["deleted", "emptied", "renamed", "replaced"])
def test_the_directory_that_a_link_leads_into_goes_and_returns(
    inbox, root, tmp_path, way, kind
):
    """It is outside of what is watched, so only the link tells what is in it."""
    outside = tmp_path / "outside"
    release(outside, 1, "p/a.py")
    target = outside / "releases" / "1"
    if kind == "file":
        seen = root / "a.py"
        seen.symlink_to(target / "p" / "a.py")
        target = target / "p"
    else:
        seen = root / "p" / "a.py"
        seen.parent.symlink_to(target / "p")
    inbox.watch()
    fresh = tmp_path / "fresh"
    shutil.copytree(target, fresh)
    if way == "emptied":
        seen.resolve().unlink()
        assert inbox.next().deleted == {str(seen)}
    if way in ("deleted", "emptied"):
        shutil.rmtree(target)
    else:
        target.rename(tmp_path / "away")
    if way in ("deleted", "renamed"):
        assert inbox.next().deleted == {str(seen)}
    fresh.rename(target)
    inbox.until(seen)
    assert seen.exists()
    inbox.rest()
    seen.write_text("edited")
    assert inbox.next().changed == {str(seen)}


@pytest.mark.parametrize("is_linked", [False, True], ids=["plain", "linked"])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_directory_above_the_watched_one_is_exchanged(
    inbox, tmp_path, level, is_linked
):
    """As in ``mv app old; mv new app``, which changes no name in what is watched."""
    top = tmp_path / "top"
    place = top / "app" / "x" / "photons"
    place.mkdir(parents=True)
    (place / "a.py").write_text("old")
    inbox.root = seen = place
    if is_linked:
        inbox.root = seen = tmp_path / "watched"
        seen.symlink_to(place)
    moved = place.parents[level - 1]
    inbox.watch(seen)
    for turn in ("first", "second"):
        fresh = tmp_path / f"fresh {turn}"
        shutil.copytree(top, fresh)
        (fresh / place.relative_to(top) / "a.py").write_text(turn)
        moved.rename(tmp_path / f"before {turn}")
        (fresh / moved.relative_to(top)).rename(moved)
        inbox.until(seen / "a.py")
        while (seen / "a.py").read_text() != turn:
            inbox.until(seen / "a.py")
        inbox.rest(seen)
        (seen / "a.py").write_text("edited")
        assert str(seen / "a.py") in inbox.next().paths


def test_a_link_in_a_circle_hides_nothing_beside_it(inbox, root, tmp_path):
    (root / "circle").symlink_to("circle")
    inbox.watch()
    package = tmp_path / "package"
    package.mkdir()
    (package / "circle.py").symlink_to("circle.py")
    (package / "a.py").write_text("x")
    package.rename(root / "package")
    assert inbox.next_names() == {"package/a.py"}
    assert inbox.notes.empty()
