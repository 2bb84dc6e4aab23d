"""Keys, signatures, rotations, highest versions and kill lists."""

from __future__ import annotations

import json
import os
import stat
import sys

import pytest

from luminal.errors import LockFileError, PhotonVerificationError
from luminal.trust import (
    HighestVersions,
    Kill,
    KillList,
    LockFile,
    Rotation,
    SecretKey,
    Signature,
    build_bundle,
    installed_kill_list,
    known_rotations,
    learn_rotation,
    normal_key,
    sign,
    update_kill_list,
    verify,
)
from luminal.trust import _keys as keys_module

P = 2**255 - 19
ANNA, BEN, CARL, EVE = (SecretKey.new() for _ in range(4))
TRUSTED = [each.public for each in (ANNA, BEN, CARL)]


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def bundle(version="1.0", name="weather", **more):
    files = {"weather/__init__.py": b"VALUE = 1\n"}
    return build_bundle(files, name=name, version=version, root="weather", **more)


def signed(*secrets, **more):
    found = bundle(**more)
    for each in secrets:
        found = sign(found, each)
    return found


def check(found, threshold=2, keys=TRUSTED, **more):
    return verify(found.manifest, found.signatures, keys, threshold, **more)


def test_two_of_three():
    verified = check(signed(ANNA, CARL))
    assert verified.keys == tuple(sorted([ANNA.public, CARL.public]))
    assert str(verified) == "signed 2/3"


def small_order_points():
    """Compute y of the points whose order divides 8, by doubling random points."""
    d = -121665 * pow(121666, -1, P) % P

    def add(a, b):
        (x1, y1), (x2, y2) = a, b
        t = d * x1 * x2 * y1 * y2 % P
        x3 = (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P
        return x3, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P

    def times(n, point):
        result = (0, 1)
        while n:
            if n & 1:
                result = add(result, point)
            point, n = add(point, point), n >> 1
        return result

    order = 2**252 + 27742317777372353535851937790883648493
    found = set()
    y = 2
    while len(found) < 5:
        square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        if x * x % P != square:
            x = x * pow(2, (P - 1) // 4, P) % P
        if x * x % P == square:
            found.add(times(order, (x, y))[1])
        y += 1
    return found


def test_the_points_of_small_order_are_all_of_them():
    assert small_order_points() == keys_module._SMALL_ORDER


def key_of(y, sign_bit=0):
    return (y | sign_bit << 255).to_bytes(32, "little").hex()


BAD_KEYS = {
    "small order": [key_of(y, s) for y in keys_module._SMALL_ORDER for s in (0, 1)],
    "non-canonical": [key_of(y + P) for y in range(19)] + ["f" * 64],
    "no point": [key_of(2), key_of(7)],
    "no key": ["", "0" * 63, "g" * 64, "0" * 66, "ab" * 16],
}


@pytest.mark.parametrize("kind", BAD_KEYS)
def test_keys_that_nobody_should_trust_are_refused(kind):
    for key in BAD_KEYS[kind]:
        with pytest.raises(PhotonVerificationError, match="is no key"):
            normal_key(key)
        found = signed(ANNA, BEN)
        with pytest.raises(PhotonVerificationError, match="is no key"):
            check(found, keys=[*TRUSTED, key])  # among those that are trusted
        forged = Signature(key, "01" + "00" * 63)
        with pytest.raises(PhotonVerificationError, match="1 of 2"):
            verify(found.manifest, [found.signatures[0], forged], TRUSTED, 2)


def test_one_key_counts_once_however_it_is_written():
    once = signed(ANNA)
    [one] = once.signatures
    same = [
        one,
        Signature(one.key.upper(), one.signature),
        Signature(f" {one.key}\n", one.signature.upper()),
        Signature(one.key, ANNA.sign(b"something else")),
    ]
    with pytest.raises(PhotonVerificationError, match="1 of 2"):
        verify(once.manifest, same, TRUSTED, 2)
    for twins in ([ANNA.public] * 2, [ANNA.public, ANNA.public.upper()]):
        with pytest.raises(PhotonVerificationError, match="threshold"):
            verify(once.manifest, same, twins, 2)


@pytest.mark.parametrize(
    "signatures",
    [
        (),
        signed(ANNA).signatures,
        signed(ANNA, EVE).signatures,
        signed(ANNA, BEN, version="2.0").signatures,
        signed(ANNA, BEN, name="another").signatures,
        signed(ANNA, BEN, expires=2**33).signatures,
    ],
    ids=["none", "one", "unknown", "other version", "other photon", "other expiry"],
)
def test_too_few_signatures_of_this_manifest(signatures):
    with pytest.raises(PhotonVerificationError, match="of 2 signatures"):
        verify(bundle().manifest, signatures, TRUSTED, 2)


def test_a_signature_is_of_one_purpose_only():
    text = bundle().manifest.data
    for prefix in (b"", b"luminal-kill-list-v1\0", b"luminal-rotation-v1\0"):
        other = [Signature(s.public, s.sign(prefix + text)) for s in (ANNA, BEN)]
        with pytest.raises(PhotonVerificationError, match="0 of 2"):
            verify(bundle().manifest, other, TRUSTED, 2)


@pytest.mark.parametrize("threshold", [0, -1, 4, True, 1.5])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    with pytest.raises(PhotonVerificationError, match="threshold"):
        check(signed(ANNA, BEN), threshold)


def test_a_release_expires():
    found = signed(ANNA, BEN, channel="stable", expires=2_000_000_000)
    assert check(found, now=1_999_999_999)
    with pytest.raises(PhotonVerificationError, match=r"expired.*stable"):
        check(found, now=2_000_000_000)


def test_an_older_version_is_refused_for_each_key():
    highest = HighestVersions()
    new = signed(ANNA, BEN, version="1.10")
    highest.note(new.manifest, check(new, highest=highest))
    assert check(new, highest=highest)
    old = signed(ANNA, CARL, version="1.9")
    with pytest.raises(PhotonVerificationError, match="older"):
        check(old, highest=highest)
    assert check(old)  # going back is what the host wants
    assert check(signed(ANNA, BEN, version="1.9", name="another"), highest=highest)
    # A key that has not been seen knows of no version.
    assert check(signed(CARL, version="1.9"), 1, [CARL.public], highest=highest)


@pytest.mark.parametrize("text", ["{", "[]", '{"weather": {"k": "one"}}'])
def test_damaged_versions_accept_nothing(state, text):
    state.mkdir()
    (state / "versions.json").write_text(text)
    with pytest.raises(PhotonVerificationError, match="not known"):
        check(signed(ANNA, BEN), highest=HighestVersions())


def test_a_rotated_key_stands_for_the_old_one():
    dora = SecretKey.new()
    rotation = Rotation.make(ANNA, dora.public)
    assert Rotation.read(rotation.data()) == rotation
    assert learn_rotation(rotation)
    assert not learn_rotation(rotation)
    assert known_rotations() == (rotation,)
    assert check(signed(dora, BEN)).keys == tuple(sorted([ANNA.public, BEN.public]))
    # The old key signs no more, and both are one.
    for secrets in ((ANNA, BEN), (ANNA, dora)):
        with pytest.raises(PhotonVerificationError, match="1 of 2"):
            check(signed(*secrets))


def test_rotations_that_are_refused():
    dora = SecretKey.new()
    rotation = Rotation.make(ANNA, dora.public)
    forged = json.loads(rotation.data()) | {"new": EVE.public}
    with pytest.raises(PhotonVerificationError, match="not signed"):
        Rotation.read(json.dumps(forged).encode())
    learn_rotation(rotation)
    with pytest.raises(PhotonVerificationError, match="handed over before"):
        learn_rotation(Rotation.make(ANNA, EVE.public))
    with pytest.raises(PhotonVerificationError, match="circle"):
        learn_rotation(Rotation.make(dora, ANNA.public))


def test_two_keys_that_hand_over_to_one_count_once():
    learn_rotation(Rotation.make(ANNA, EVE.public))
    learn_rotation(Rotation.make(BEN, EVE.public))
    with pytest.raises(PhotonVerificationError, match="1 of 2"):
        check(signed(EVE))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bits")
def test_a_secret_key_is_for_its_owner_only(tmp_path):
    path = tmp_path / "keys" / "anna.key"
    ANNA.save(str(path))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert SecretKey.load(str(path)).public == ANNA.public
    with pytest.raises(FileExistsError):
        ANNA.save(str(path))
    path.chmod(0o640)
    with pytest.raises(PhotonVerificationError, match="chmod 600"):
        SecretKey.load(str(path))


def test_a_passphrase_is_asked_for(tmp_path):
    path = str(tmp_path / "anna.key")
    ANNA.save(path, "right")
    assert SecretKey.load(path, lambda _: "right").public == ANNA.public
    for ask in (lambda _: "wrong", lambda _: "", None):
        with pytest.raises(PhotonVerificationError, match="passphrase"):
            SecretKey.load(path, ask)


def kill_list(*kills, after=None, secrets=(ANNA, BEN)):
    found = after or KillList()
    for kill in kills:
        found = found.adding(kill)
    for each in secrets:
        found = found.signed(each)
    return found


def test_a_kill_list_covers_what_it_says():
    found = kill_list(
        Kill("weather", "==2.0", why="leaks"),
        Kill("tides", tree="ab"),
        Kill("Old.Thing"),
    )
    assert found.find("weather", "2.0").why == "leaks"
    assert found.find("weather", "2.0.1") is None
    assert found.find("tides", "1", "ab")
    assert found.find("tides", "1", "cd") is None
    assert found.find("old-thing", "7")
    with pytest.raises(PhotonVerificationError, match="leaks"):
        found.check("weather", "2.0")


def update(tmp_path, data):
    path = tmp_path / "incoming.json"
    path.write_bytes(data)
    return update_kill_list(str(path), TRUSTED, 2)


def test_only_a_newer_list_is_taken_over(tmp_path):
    assert installed_kill_list().number == 0
    first = kill_list(Kill("weather", "==2.0"))
    second = kill_list(Kill("weather", "==3.0"), after=first)
    assert update(tmp_path, second.data()).number == 2
    refused = {
        "older": first.data(),
        "same number": kill_list(Kill("a"), Kill("b")).data(),
        "one signature": kill_list(Kill("c"), after=second, secrets=(ANNA,)).data(),
        "foreign": kill_list(Kill("c"), after=second, secrets=(ANNA, EVE)).data(),
        "changed": kill_list(Kill("c"), after=second).data().replace(b'"c"', b'"d"'),
        "no JSON": b"{",
        "deep": b"[" * 100_000,
        "no list": b"[]",
        "a range that is none": second.data().replace(b"==3.0", b"==x.0"),
        "empty": b"",
    }
    for kind, data in refused.items():
        with pytest.raises(PhotonVerificationError):
            update(tmp_path, data)
        assert installed_kill_list().number == 2, kind
    assert update(tmp_path, second.data()).number == 2  # the same again


def test_fields_of_a_later_luminal_are_ignored_and_signed(tmp_path):
    first = kill_list(Kill("weather", "==2.0"), secrets=())
    fields = {
        **first.fields,
        "contact": "x",
        "kills": [{**first.fields["kills"][0], "since": 3}],
    }
    later = KillList.read(json.dumps({"list": fields, "signatures": []}).encode())
    later = later.signed(ANNA).signed(BEN)
    assert update(tmp_path, later.data()).find("weather", "2.0")
    changed = later.data().replace(b'"since":3', b'"since":4')
    with pytest.raises(PhotonVerificationError, match="0 of 2"):
        KillList.read(changed).verify(TRUSTED, 2)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"anna": "0" * 63 + "g"}, "64 hexadecimal digits"),
        ({"anna": BAD_KEYS["small order"][0]}, "small order"),
        ({"anna": BAD_KEYS["non-canonical"][3]}, "canonical"),
        ({"anna": ANNA.public, "eve": ANNA.public.upper()}, "same key"),
    ],
)
def test_a_lock_refuses_keys_that_nobody_should_trust(tmp_path, keys, word):
    rows = "".join(f'{name} = "{key}"\n' for name, key in keys.items())
    path = tmp_path / "luminal.lock"
    path.write_text(f'version = 1\nmode = "signed"\nthreshold = 1\n\n[keys]\n{rows}')
    with pytest.raises(LockFileError, match=word) as refused:
        LockFile.read(str(path))
    assert refused.value.line == 5 + len(keys)


@pytest.mark.parametrize("version", ["", "weird", "1.0.x"])
def test_a_version_that_no_range_can_be_compared_with_is_killed(version):
    assert Kill("geo", "==2.0").covers("geo", version)
    assert not Kill("geo", "==2.0").covers("other", version)
    assert not Kill("geo", "==2.0").covers("geo", "3.0")
