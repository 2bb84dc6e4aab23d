"""Bundles: one form, and whatever is not in it is refused by name."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import unicodedata
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal.errors import PhotonVerificationError
from luminal.trust import _bundle as form
from luminal.trust import build_bundle, open_bundle

FILES = {
    "weather/__init__.py": b"VALUE = 1\n",
    "weather/data/cities.txt": b"Bonn\n",
    "weather-1.0.dist-info/METADATA": b"Name: weather\n",
}


def made(files=FILES, **more):
    more = {"name": "weather", "version": "1.0", "root": "weather", **more}
    return build_bundle(files, **more)


GOOD = made().data()


def test_a_bundle_is_the_same_bytes_on_every_machine():
    assert made(dict(reversed(FILES.items()))).data() == GOOD
    # Written down once: a machine that packs something else is found by this.
    assert hashlib.sha256(GOOD).hexdigest().startswith("a1f26c49436f86ca")


def test_what_is_opened_is_what_was_packed():
    bundle = open_bundle(GOOD, "weather.photon")
    assert dict(bundle.files) == FILES
    assert (bundle.manifest.name, bundle.manifest.version) == ("weather", "1.0")
    assert bundle.data() == GOOD
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:  # any zip program can read it
        assert archive.testzip() is None
        assert archive.read("weather/__init__.py") == b"VALUE = 1\n"


def members_of(data=GOOD):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


MANIFEST = members_of()[form.MANIFEST]


def with_names(*names):
    """Return an archive in our form of members that have these names."""
    members = members_of()
    members.update(dict.fromkeys(names, b"x = 1\n"))
    return form._archive(members)


def listed(*names, data=b"x = 1\n"):
    """Return an archive whose manifest lists them: only the names are wrong."""
    files = {**FILES, **dict.fromkeys(names, data)}
    tree = form.tree_of(files)
    manifest = form.Manifest(
        "weather",
        "1.0",
        "weather",
        tree.digest,
        tuple((f.path, f.size, f.sha512) for f in tree.files),
    )
    return form.Bundle(manifest, files).data()


def by_zipfile(change, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in members_of().items():
            info = zipfile.ZipInfo(name)
            change(info)
            archive.writestr(info, data)
    return buffer.getvalue()


def twice():
    buffer = io.BytesIO(GOOD)
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(buffer, "a") as archive,
    ):
        archive.writestr("weather/__init__.py", b"VALUE = 2\n")
    return buffer.getvalue()


def patched(find, replace, start=0):
    at = GOOD.index(find, start)
    return GOOD[:at] + replace + GOOD[at + len(replace) :]


def in_directory(offset, value):
    """Change a field of the record of the first member in the directory."""
    at = GOOD.index(b"PK\1\2") + offset
    return GOOD[:at] + value + GOOD[at + len(value) :]


def bomb():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weather/__init__.py", b"\0" * 50_000_000)
    return buffer.getvalue()


def without(name):
    members = members_of()
    del members[name]
    return form._archive(members)


def with_changed(name, data):
    return form._archive({**members_of(), name: data})


def link(info):
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    info.create_system = 3


def swapped_end(**fields):
    names = ("magic", "disk", "of", "count", "total", "size", "start", "comment")
    values = dict(zip(names, form._END.unpack(GOOD[-22:]), strict=True))
    return GOOD[:-22] + form._END.pack(*{**values, **fields}.values())


def overlapping():
    """Let the second record lead to the first member."""
    second = GOOD.index(b"PK\1\2", GOOD.index(b"PK\1\2") + 4)
    return GOOD[: second + 42] + struct.pack("<L", 0) + GOOD[second + 46 :]


NFD = unicodedata.normalize("NFD", "weather/ä.txt")

HOSTILE = {
    "two members of one name": (twice, ""),
    "a twin in another case": (lambda: listed("weather/Data/x.txt"), "case"),
    "a twin in another form of Unicode": (lambda: listed(NFD), "NFC"),
    "a twin by width": (lambda: listed("weather/\uff44ata/x.txt"), "case or accents"),
    "..": (lambda: listed("weather/../../evil.py"), "'..'"),
    "a dot": (lambda: listed("weather/./x.py"), "'.'"),
    "absolute": (lambda: listed("/etc/cron.d/x"), "absolute"),
    "a drive": (lambda: listed("C:/x.py"), "absolute"),
    "backslashes": (lambda: listed("weather\\..\\x.py"), "backslash"),
    "NUL": (lambda: listed("weather/x\0.py"), "null byte"),
    "a device": (lambda: listed("weather/nul.txt"), "device"),
    "an escape sequence": (lambda: listed("weather/\x1b[31m.txt"), "printed"),
    "a directory": (lambda: listed("weather/empty/"), "directory"),
    "a file and a directory": (lambda: listed("weather/data"), "below"),
    "a link": (lambda: by_zipfile(link), "link"),
    ".pyc": (lambda: listed("weather/__init__.pyc"), "compiled"),
    "a cache": (lambda: listed("weather/__pycache__/x.txt"), "compiled"),
    ".pth": (lambda: listed("weather.pth"), ".pth"),
    "native code by name": (lambda: listed("weather/fast.so"), "native"),
    "native code by content": (
        lambda: listed("weather/fast.bin", data=b"\x7fELF\2\1\1\0"),
        "native",
    ),
    "a second package": (lambda: listed("helper.py"), "outside"),
    "an extra file": (lambda: with_names("weather/extra.py"), "does not list"),
    "an extra file beside ours": (lambda: listed("PHOTON/x.txt"), "Luminal"),
    "a missing file": (lambda: without("weather/data/cities.txt"), "missing"),
    "no manifest": (lambda: without(form.MANIFEST), "has no PHOTON/manifest.json"),
    "a changed file": (
        lambda: with_changed("weather/__init__.py", b"VALUE = 2\n"),
        "digest",
    ),
    "a changed manifest": (
        lambda: with_changed(form.MANIFEST, MANIFEST + b" "),
        "canonical",
    ),
    "a manifest of another format": (
        lambda: with_changed(
            form.MANIFEST,
            members_of()[form.MANIFEST].replace(b'"format":1', b'"format":2'),
        ),
        "another format",
    ),
    "no JSON": (lambda: with_changed(form.MANIFEST, b"{"), "JSON"),
    "deep JSON": (lambda: with_changed(form.MANIFEST, b"[" * 100_000), "JSON"),
    "a bomb": (bomb, "bytes"),
    "compressed": (
        lambda: by_zipfile(lambda i: setattr(i, "compress_type", zipfile.ZIP_DEFLATED)),
        "compressed",
    ),
    "encrypted": (lambda: in_directory(8, struct.pack("<H", 0x801)), "encrypted"),
    "Zip64 in a record": (lambda: in_directory(24, b"\xff" * 4), "Zip64"),
    "Zip64 at the end": (lambda: swapped_end(start=0xFFFFFFFF), "Zip64"),
    "another count": (lambda: swapped_end(count=1, total=1), "not those"),
    "a larger count": (lambda: swapped_end(count=9, total=9), "cut off"),
    "a comment": (lambda: swapped_end(comment=3) + b"abc", "end"),
    "a huge size": (lambda: in_directory(24, struct.pack("<L", 2**31)), "bytes"),
    "overlapping members": (overlapping, "overlaps"),
    "data after the end": (lambda: GOOD + b"#!/bin/sh\n", "end"),
    "data before the beginning": (lambda: b"#!/bin/sh\n" + GOOD, "directory"),
    "a second date": (lambda: in_directory(14, b"\x22\x00"), "date"),
    "executable": (lambda: in_directory(38, struct.pack("<L", 0o100755 << 16)), "date"),
    "cut off": (lambda: GOOD[:-30], "cut off"),
    "empty": (lambda: b"", "zip"),
    "text": (lambda: b"import os\n" * 10, "zip"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_by_name(kind):
    make, word = HOSTILE[kind]
    with pytest.raises(PhotonVerificationError) as refused:
        open_bundle(make(), "weather.photon")
    assert refused.value.file == "weather.photon"
    assert word in str(refused.value)


def test_a_member_is_named_that_is_refused():
    data = with_changed("weather/data/cities.txt", b"Rome\n")
    with pytest.raises(PhotonVerificationError, match=r"weather/data/cities\.txt"):
        open_bundle(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) * 8 - 1))
def test_a_flipped_bit_anywhere_is_refused(bit):
    data = bytearray(GOOD)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(PhotonVerificationError):
        open_bundle(bytes(data))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutation_of_an_archive_is_accepted(data):
    kind = data.draw(st.sampled_from(["cut", "insert", "repeat", "zero"]))
    at = data.draw(st.integers(0, len(GOOD) - 1))
    size = data.draw(st.integers(1, 80))
    chunk = GOOD[at : at + size]
    changed = {
        "cut": GOOD[:at] + GOOD[at + size :],
        "insert": GOOD[:at] + data.draw(st.binary(min_size=1, max_size=40)) + GOOD[at:],
        "repeat": GOOD[:at] + chunk + GOOD[at:],
        "zero": GOOD[:at] + bytes(len(chunk)) + GOOD[at + size :],
    }[kind]
    if changed != GOOD:
        with pytest.raises(PhotonVerificationError):
            open_bundle(changed)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "../x"),
        ("name", "x\x1b[31m"),
        ("version", "one"),
        ("root", "os"),
        ("root", "luminal"),
        ("root", "elsewhere"),
        ("root", "no name"),
        ("expires", -1),
    ],
)
def test_a_manifest_that_misleads_is_refused(field, value):
    with pytest.raises(PhotonVerificationError):
        made(**{field: value})


def test_text_that_begins_like_a_program_is_text():
    assert made({**FILES, "weather/mz.py": b"MZ = 1\n"})
