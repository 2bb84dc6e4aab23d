"""Who is killed at any step of a write leaves the file as before or after it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import pytest

from luminal.errors import PhotonVerificationError
from luminal.trust import (
    HighestVersions,
    Kill,
    KillList,
    Rotation,
    SecretKey,
    build_bundle,
    installed_kill_list,
    known_rotations,
    learn_rotation,
    read_bundle,
    sign,
    update_kill_list,
    verify,
)

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or sys.platform == "darwin", reason="forks"
)

KEY = SecretKey.new()
STEPS = ("open", "write", "close", "replace", "link", "unlink", "mkdir", "chmod")


def run_until_killed(action, step):
    """Run *action* in a child that is killed at a step; return whether it was."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            left = [step]

            def killing(function):
                def call(*arguments, **options):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*arguments, **options)

                return call

            for name in STEPS:
                setattr(os, name, killing(getattr(os, name)))
            action()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def at_every_step(prepare, action, look, before, after):
    """Kill *action* at each of its steps; what *look* returns is one of two values."""
    seen = set()
    for step in range(1, 200):
        prepare()
        was_killed = run_until_killed(action, step)
        found = look()
        assert found in (before, after), step
        seen.add(found)
        if not was_killed:
            assert found == after
            assert step > 3  # something was killed before
            return
    raise AssertionError("it does not end")


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


def bundle(version):
    files = {"weather/__init__.py": version.encode()}
    return build_bundle(files, name="weather", version=version, root="weather")


def test_pack_and_sign(tmp_path):
    from luminal.store import replace_file

    path = tmp_path / "weather.photon"
    before, after = bundle("1.0"), sign(bundle("2.0"), KEY)
    at_every_step(
        lambda: path.write_bytes(before.data()),
        lambda: replace_file(str(path), after.data()),
        lambda: (
            read_bundle(str(path)).version,
            len(read_bundle(str(path)).signatures),
        ),
        ("1.0", 0),
        ("2.0", 1),
    )


def test_kill_list(tmp_path, state):
    file = tmp_path / "incoming.json"
    first = KillList().adding(Kill("weather", "==1.0")).signed(KEY)
    file.write_bytes(first.data())
    update_kill_list(str(file), [KEY.public], 1)
    good = (state / "kill-list.json").read_bytes()
    second = first.adding(Kill("weather", "==2.0")).signed(KEY)
    file.write_bytes(second.data())
    at_every_step(
        lambda: (state / "kill-list.json").write_bytes(good),
        lambda: update_kill_list(str(file), [KEY.public], 1),
        lambda: installed_kill_list().number,
        1,
        2,
    )


def test_highest_versions():
    highest = HighestVersions()
    old, new = sign(bundle("1.0"), KEY), sign(bundle("2.0"), KEY)
    verified = verify(old.manifest, old.signatures, [KEY.public], 1)

    def prepare():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(highest.path)
        highest.note(old.manifest, verified)

    def is_refused():
        try:
            highest.check(old.manifest, verified)
        except PhotonVerificationError:
            return True
        return False

    at_every_step(
        prepare, lambda: highest.note(new.manifest, verified), is_refused, False, True
    )


def test_rotations(state):
    rotation = Rotation.make(KEY, SecretKey.new().public)
    path = state / "rotations.json"
    at_every_step(
        lambda: path.unlink(missing_ok=True),
        lambda: learn_rotation(rotation),
        known_rotations,
        (),
        (rotation,),
    )


def test_a_secret_key(state):
    path = state / "keys" / "new.key"
    secret = SecretKey.new()
    at_every_step(
        lambda: path.unlink(missing_ok=True),
        lambda: secret.save(str(path)),
        lambda: SecretKey.load(str(path)).public if path.exists() else None,
        None,
        secret.public,
    )
