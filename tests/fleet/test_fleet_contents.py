"""The bytes of a fleet's decisions, and messages as bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from luminal.errors import FleetError
from luminal.fleet import Contents, decode, encode
from luminal.fleet._contents import digest_of
from luminal.fleet._protocol import Decided, Decision, MemberState, Message, Prepare


def test_bytes_come_back_by_their_digest(tmp_path: Path) -> None:
    contents = Contents(tmp_path / "bundles")
    digest = contents.put(b"one")
    assert digest == digest_of(b"one")
    assert Contents(tmp_path / "bundles").get(digest) == b"one"
    assert contents.get(digest_of(b"two")) is None


def test_damaged_bytes_are_not_given_and_can_be_put_anew(tmp_path: Path) -> None:
    contents = Contents(tmp_path)
    digest = contents.put(b"one")
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"0ne")
    assert contents.get(digest) is None
    contents.put(b"one")
    assert contents.get(digest) == b"one"


@pytest.mark.parametrize("name", ["", "..", "../journal", "a/b", "A" * 128])
def test_what_is_no_digest_is_not_looked_for(tmp_path: Path, name: str) -> None:
    assert Contents(tmp_path).get(name) is None


def test_it_is_bounded_and_keeps_what_is_needed(tmp_path: Path) -> None:
    contents = Contents(tmp_path)
    digests = [contents.put(b"%d" % number) for number in range(40)]
    for age, digest in enumerate(digests):
        os.utime(contents._path(digest), (age, age))
    contents.keep(digests[:3])
    kept = [digest for digest in digests if contents.get(digest)]
    assert kept == [*digests[:3], *digests[-16:]]


DECIDED = Decided(
    7, {"geo": (Decision(3, "a"), Decision(7, "b", frozenset({"x", "y"})))}, 7
)


@pytest.mark.parametrize(
    "message",
    [
        DECIDED,
        Prepare(8, "geo", "c", DECIDED),
        MemberState(5, 8, 7, {"geo": 3}, 8, 7, 6, "why\nnot ü"),
    ],
)
def test_messages_are_the_same_on_the_other_side(message: Message) -> None:
    data = encode(message)
    assert b"\n" not in data
    assert decode(data) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        json.dumps({"version": 1, "kind": "state"}).encode(),
        json.dumps({"version": 1, "kind": "prepare", "decided": 3}).encode(),
        json.dumps({"version": 1, "kind": "other"}).encode(),
    ],
)
def test_what_is_no_message_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(FleetError, match="no message"):
        decode(data)


def test_a_message_of_another_version_says_so() -> None:
    values = {**json.loads(encode(DECIDED)), "version": 2}
    with pytest.raises(FleetError, match="version 2"):
        decode(json.dumps(values).encode())
