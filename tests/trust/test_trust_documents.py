"""Documents of trust with anything in any place: read, or refused as what they are.

One rule for all of them: what reads a document that others may have written raises an
error of Luminal's that says which, and nothing else.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luminal import discover
from luminal.errors import LockFileError, LuminalError, SecondFactorError
from luminal.trust import (
    AuditLog,
    HighestVersions,
    Kill,
    KillList,
    LockFile,
    Manifest,
    Rotation,
    SecondFactor,
    SecretKey,
    Signature,
    Subject,
    Vault,
    build_bundle,
    known_rotations,
    sign,
    tree_of,
)
from luminal.trust._bundle import _signatures
from luminal.trust._seal import read_head
from luminal.trust._signatures import verify_signatures
from luminal.trust._tree import MALFORMED
from tests.distributions import photon_text

ANNA, BEN = SecretKey.new(), SecretKey.new()
FILES = {"weather/__init__.py": photon_text("weather", "1").encode()}
FACTS = {"name": "weather", "target": "weather:Photon", "version": "1", "tags": ["a"]}
BUNDLE = sign(
    build_bundle(FILES, name="weather", version="1", root="weather", photons=[FACTS]),
    ANNA,
)

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([float("inf"), float("-inf"), float("nan"), 1e300, 0.5])
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["", "\ud800", "1", "../x", "0" * 64, "f" * 128, "é", "A" * 3])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to all parts of a document."""
    found = [at]
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inside:
            found += places(item, (*at, key))
    return found


def changed(document: Any, data: st.DataObject) -> Any:
    """Return a document with one part that is another, is gone, or is new."""
    document = copy.deepcopy(document)
    place = data.draw(st.sampled_from(places(document)))
    how = data.draw(st.sampled_from(["other", "gone", "more"]))
    new = data.draw(values)
    if not place:
        return new
    above = document
    for key in place[:-1]:
        above = above[key]
    if how == "gone":
        del above[place[-1]]
    elif how == "more" and isinstance(above, dict):
        above[data.draw(st.text(max_size=5))] = new
    else:
        above[place[-1]] = new
    return document


def read_rotation(text: bytes, place: Path) -> None:
    Rotation.read(text, "rotation.json")


def read_kill_list(text: bytes, place: Path) -> None:
    found = KillList.read(text, "kill-list.json")
    found.find("weather", "1", "")
    found.verify([ANNA.public], 1, file="kill-list.json")


def read_versions(text: bytes, place: Path) -> None:
    private(place / "versions.json", text)
    verified = verify_signatures(
        b"x", [Signature(ANNA.public, ANNA.sign(b"x"))], [ANNA.public], 1, what="x"
    )
    HighestVersions(str(place)).check(BUNDLE.manifest, verified)


def read_rotations(text: bytes, place: Path) -> None:
    private(place / "rotations.json", text)
    known_rotations(str(place))


def read_factors(text: bytes, place: Path) -> None:
    private(place / "factors.json", text)
    for kind in ("key", "totp", "fido"):
        factor = SecondFactor(kind, str(place / "factors.json"))
        subjects = [Subject("geo", 1, "ab")]
        with suppress(LuminalError):
            asked = factor.challenge("reload", subjects)
            answer = {"nonce": asked["nonce"], "code": "1", "signature": "ab"}
            factor.check("reload", subjects, {**answer, "assertion": {}})


def read_answer(text: bytes, place: Path) -> None:
    private(place / "factors.json", json.dumps(FACTORS).encode())
    subjects = [Subject("geo", 1, "ab")]
    try:
        answer = {**json.loads(text)}
    except MALFORMED:
        return  # a host takes a table only
    for kind in ("key", "totp", "fido"):
        factor = SecondFactor(kind, str(place / "factors.json"))
        asked = factor.challenge("reload", subjects)
        nonce = {"nonce": asked["nonce"]}
        with pytest.raises(SecondFactorError):
            factor.check("reload", subjects, {**answer, **nonce})


def read_audit(text: bytes, place: Path) -> None:
    path = place / "audit.jsonl"
    private(path, text + b"\n")
    for _ in AuditLog(str(path)).rows():
        pass
    AuditLog(str(path)).append("reload", [("geo", 1, "ab")], "socket")


def read_manifest(text: bytes, place: Path) -> None:
    Manifest.read(text, "weather.photon")


def read_signatures(text: bytes, place: Path) -> None:
    found = _signatures(text, "weather.photon")
    verify_signatures(b"x", found, [ANNA.public], 1, what="weather")


def read_facts(text: bytes, place: Path) -> None:
    """A sound bundle may say anything of its photons."""
    try:
        facts = json.loads(text)
        named = {"name": "weather", "version": "1", "root": "weather"}
        bundle = build_bundle(FILES, **named, photons=facts)
    except (*MALFORMED, LuminalError):
        return  # nobody can make such a bundle
    (place / "weather.photon").write_bytes(bundle.data())
    for each in discover(place, group=None, index=False):
        str(each.problem)


def read_a_vault(text: bytes, place: Path) -> None:
    vault, tree = Vault(str(place)), tree_of({"a.py": b"x"})
    assert vault.keep({"a.py": b"x"}, tree)
    (place / tree.digest / "tree.json").write_bytes(text)
    vault.clean()
    vault.read(tree.digest)


def read_sealed(text: bytes, place: Path) -> None:
    read_head(b"luminal-sealed-v1\n" + text + b"\nrest", "weather.photon")


def private(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    path.chmod(0o600)


KILLS = KillList().adding(Kill("weather", "==1", why="it leaks")).signed(ANNA)
AUDIT = {"at": 1, "by": "socket", "hash": "ab", "number": 1, "operation": "reload"}
AUDIT |= {"photons": [["geo", 1, "ab"]], "pid": 1, "previous": ""}
FACTORS = {"schema": 1, "keys": {"ann": ANNA.public}, "fido": {"b": "AAAA"}}
FACTORS |= {"totp": {"c": "JBSWY3DPEHPK3PXP" * 2}, "last_step": 0, "failures": 0}
ROTATION = json.loads(Rotation.make(ANNA, BEN.public).data())
ROWS = [[row.path, row.size, row.sha512] for row in tree_of({"a.py": b"x"}).files]
HEAD = {"name": "weather", "version": "1", "key": "AAAA", "nonce": "AAAA"}

DOCUMENTS: list[tuple[Callable[[bytes, Path], None], Any]] = [
    (read_rotation, ROTATION),
    (read_kill_list, json.loads(KILLS.data())),
    (read_versions, {"weather": {ANNA.public: "1.0"}}),
    (read_rotations, [ROTATION]),
    (read_factors, FACTORS),
    (read_answer, {"code": "000000", "signature": "ab", "assertion": {"id": "AAAA"}}),
    (read_audit, AUDIT),
    (read_manifest, json.loads(BUNDLE.manifest.data)),
    (
        read_signatures,
        {"signatures": [[s.key, s.signature] for s in BUNDLE.signatures]},
    ),
    (read_facts, [FACTS]),
    (read_a_vault, ROWS),
    (read_sealed, HEAD),
]


@pytest.mark.parametrize("read", DOCUMENTS, ids=lambda each: each[0].__name__)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_anything_in_any_place_is_read_or_refused(
    read: tuple[Callable[[bytes, Path], None], Any], data: st.DataObject
) -> None:
    function, document = read
    how = data.draw(st.sampled_from(["part", "part", "part", "bytes", "depth"]))
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    if how == "part":
        new = changed(document, data)
        text = json.dumps(new, sort_keys=True, separators=(",", ":")).encode()
    elif how == "bytes":
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.binary(max_size=3)) + text[at + 1 :]
    else:
        text = b"[" * data.draw(st.sampled_from([5, 100_000]))
    with tempfile.TemporaryDirectory() as name:
        try:
            function(text, Path(name))
        except LuminalError as error:
            str(error).encode(errors="backslashreplace")


LOCK = f"""\
# ours
version = 1
mode = "pin"
threshold = 1

[keys]
anna = "{ANNA.public}"

[units.geo]
capabilities = ["network", "writes"]
keys = ["anna"]
source = "distribution"
tree = "{"ab" * 64}"
version = "1.0"

[units."plugins/calc.py"]
source = "directory"
tree = "{"cd" * 64}"
""".encode()


@settings(max_examples=400, deadline=None)
@given(
    at=st.integers(0, len(LOCK)),
    length=st.integers(0, 30),
    new=st.binary(max_size=4)
    | st.text(max_size=3).map(lambda text: text.encode(errors="replace"))
    | st.sampled_from([b'"', b"\n", b"\r\n", b"[units]\n", b"=", b"\n=======\n", b"1"]),
)
def test_a_lock_with_anything_in_it_is_refused_or_written_as_it_was_read(
    at: int, length: int, new: bytes
) -> None:
    data = LOCK[:at] + new + LOCK[at + length :]
    try:
        found = LockFile.parse(data, "luminal.lock")
    except LockFileError as refused:
        lines = data.count(b"\n") + data.count(b"\r") + 2
        if refused.line is not None and not 1 <= refused.line <= lines:
            raise
        return
    assert LockFile.parse(found.text().encode(), "luminal.lock") == found
