"""Profiles: what the text of a unit says that it does, and what is new in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal.trust import Kind, Profile, drift, profile_of
from luminal.trust._reader import Reader
from tests.trust.planted import BASE, GENERATED, MISSED, WRITTEN


def of(text: str, **others: str) -> Profile:
    files = {"p.py": text, **{f"{name}.py": other for name, other in others.items()}}
    return profile_of({path: data.encode() for path, data in files.items()})


def keys(text: str, **others: str) -> set[str]:
    return set(of(text, **others).keys)


def test_planted_changes_are_named_at_import() -> None:
    before = of(BASE)
    assert before.keys == ()
    missed = []
    for kind, text in [*GENERATED, *WRITTEN]:
        found = drift(before, of(f"{BASE}\n{text}\n"))
        if not any(each.kind == kind and each.at_import for each in found):
            missed.append((kind, text))
    total = len(GENERATED) + len(WRITTEN)
    assert total >= 300
    assert len(missed) <= 0.02 * total, missed


def test_known_misses_are_still_missed_or_leave_the_model_card() -> None:
    named = [text for text in MISSED if keys(text) - {"patches:import"}]
    assert not named, "take these from MISSED and from docs/explanation/trust.md"


def test_a_change_is_named_with_its_place() -> None:
    old = of("import json")
    new = of("from .net import ask", net="import socket\n\nask = socket.socket()")
    [found] = drift(old, new)
    assert str(found) == "now opens sockets at import, net.py:3"
    assert drift(old.keys, new) == [found], "a lock file has the keys only"
    assert drift(new, new) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("import os\nos.system('')", "import os\ndef f(): os.system('')", []),
        (
            "import os\ndef f(): os.system('')",
            "import os\nos.system('')",
            ["now starts or signals processes at import, p.py:2"],
        ),
        (
            "",
            "import os\ndef f(): os.system('')\nos.popen('')",
            ["now starts or signals processes at import, p.py:3"],
        ),
        (
            "",
            "class P:\n def start(self):\n  self.context.process(['x'])",
            ["now starts or signals processes in a function, p.py:3"],
        ),
        ("", "x = (", ["now has a file that cannot be read, p.py: "]),
    ],
)
def test_what_is_done_at_import_is_more_than_what_a_function_does(
    old: str, new: str, expected: list[str]
) -> None:
    found = [str(each) for each in drift(of(old), of(new))]
    assert len(found) == len(expected)
    assert all(
        text.startswith(start) for text, start in zip(found, expected, strict=True)
    )


def test_what_does_not_run_at_an_import_here_is_left_out() -> None:
    other = "win32" if __import__("sys").platform != "win32" else "linux"
    for condition in (
        "__name__ == '__main__'",
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
        f"sys.platform == '{other}'",
        f"sys.platform.startswith('{other[:3]}')",
    ):
        start = "import os, sys, typing\nfrom typing import TYPE_CHECKING\n"
        assert keys(f"{start}if {condition}:\n    os.system('')\n") == set()
        assert keys(f"{start}if not {condition}:\n    os.system('')\n") == {
            "processes:import"
        }


def test_a_program_of_a_package_is_not_run_by_its_import() -> None:
    program = {"a.py": b"import os\ndef go():\n    os.system('')"}
    program["__main__.py"] = b"from a import go\ngo()"
    assert profile_of(program).keys == ("processes:function",)
    program["b.py"] = b"import __main__"
    assert profile_of(program).keys == ("processes:import",)


def test_docstrings_annotations_and_harmless_use_of_a_name_show_nothing() -> None:
    assert (
        keys(
            '"""See ~/.ssh/id_rsa."""\nimport socket, subprocess, os, re\n'
            "def f(s: socket.socket, p: 'subprocess.Popen') -> socket.socket | None:\n"
            '    """Not os.system."""\n'
            "    return isinstance(s, socket.socket) and open('x')\n"
            "try:\n    pass\nexcept subprocess.CalledProcessError:\n    pass\n"
            "re.compile('x')\nos.path.join('a', 'b')\nsocket.gethostname()\n"
            "class Mine:\n    pass\nmine = Mine()\nmine.value = 1\n"
        )
        == set()
    )


def test_helpers_of_the_unit_are_followed() -> None:
    package = {
        "__init__.py": b"from .a import go\nfrom pkg.b import other\ngo()\nother()",
        "a.py": b"import os\ndef go():\n    os.system('')",
        "b.py": b"import socket\ndef other():\n    socket.socket()",
    }
    found = {c.key: c.place for c in profile_of(package).capabilities}
    assert found == {"processes:import": "a.py:3", "network:import": "b.py:3"}
    below = {f"pkg/{path}": data for path, data in package.items()}
    found = {c.key: c.place for c in profile_of(below).capabilities}
    assert found == {"processes:import": "pkg/a.py:3", "network:import": "pkg/b.py:3"}


@pytest.mark.parametrize(
    "text",
    [
        "x = a" + ".b" * 5000,
        "x = " + "-" * 400 + "1",
        "x = " + "(" * 150 + "1" + ")" * 150 + "+" + "-" * 300 + "1",
        "x = " + "f(" * 190 + ")" * 190,
    ],
)
def test_a_text_that_is_too_deep_is_said_and_is_a_drift(text: str) -> None:
    profile = of(f"import os\nos.system('')\n{text}")
    assert dict(profile.unread) == {"p.py": "too deep to read"}
    assert [d.kind for d in drift(of(""), profile)] == ["unread"] or profile.keys
    found = drift(of("import os\nos.system('')"), profile)
    assert [str(d) for d in found] == [
        "now has a file that cannot be read, p.py: too deep to read"
    ]


def test_long_texts_that_are_not_deep_are_read() -> None:
    chain = "\n".join(f"elif x == {n}: pass" for n in range(2000))
    chained = f"import os\nif x: pass\n{chain}\nelse: os.system('')"
    assert keys(chained) <= {"processes:import", "unread:p.py"}
    assert keys("x = " + " + ".join(["'a'"] * 300)) == set()
    calls = "\n".join(f"def f{n}(): f{n + 1}()" for n in range(400))
    assert keys(f"import os\n{calls}\ndef f400(): os.system('')\nf0()") == {
        "processes:import"
    }


def test_a_text_that_doubles_at_each_level_comes_to_an_end() -> None:
    lines = []
    for level in range(40):
        lines.append(f"{' ' * level}def f{level}(x):")
    lines.append(f"{' ' * 40}pass")
    for level in reversed(range(40)):
        lines += [f"{' ' * level}f{level}(lambda: {n})" for n in range(2)]
    assert dict(of("\n".join(lines)).unread) == {"p.py": "too deep to read"}


def test_files_that_are_no_text_are_named() -> None:
    profile = profile_of(
        {"a.so": b"", "b.pyc": b"", "__pycache__/c.pyc": b"", "d": b""}
    )
    assert profile.keys == ("native:import", "unread:b.pyc")
    latin = "# coding: latin-1\nx = '\xe9'\nimport os\nos.system('')".encode("latin-1")
    assert profile_of({"p.py": latin}).keys == ("processes:import",)
    assert profile_of({"p.py": b"x = '\xe9'"}).keys == ("unread:p.py",)
    assert profile_of({"p.py": b"\x00"}).keys == ("unread:p.py",)


def test_a_large_unit_is_read_in_the_compiler_process() -> None:
    filler = "\n".join(f"name_{n} = {n}" for n in range(30_000))
    assert keys(f"import os\nos.system('')\n{filler}") == {"processes:import"}
    profile = of(f"{filler}\nx = {'-' * 5000}1")
    assert [path for path, _ in profile.unread] == ["p.py"]


_PIECES = st.sampled_from(
    [
        "os",
        "f",
        "x",
        "(",
        ")",
        ".",
        "[",
        "]",
        "=",
        ",",
        ":",
        "\n",
        "1",
        "'a'",
        "def",
        "lambda",
        "class",
        "import",
        "from",
        "*",
        "for",
        "in",
        "if",
        "@",
    ]
)


@given(st.lists(_PIECES, max_size=25).map(" ".join))
@settings(max_examples=150, deadline=None)
def test_no_text_raises(text: str) -> None:
    profile_of({"p.py": text.encode()})


@pytest.mark.parametrize("value", ["5", "None", "1.5", "True", "...", "1j", "b'a'"])
def test_a_constant_of_any_kind_is_reversed_or_ignored(value: str) -> None:
    text = f"import os\n{value}[::-1]\nx = {value}\nx[::-1]\nos.system('')\n"
    assert profile_of({"p.py": text.encode()}).keys == ("processes:import",)


def test_a_text_on_which_reading_fails_is_unread_and_never_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: Reader, *_: object) -> None:
        raise KeyError("a fault of the reader")

    monkeypatch.setattr(Reader, "_joined", fails)
    files = {"bad.py": b"'a' + 'b'\n", "good.py": b"import os\nos.system('')\n"}
    profile = profile_of(files)
    assert profile.keys == ("processes:import", "unread:bad.py")
    assert "KeyError" in profile.unread[0][1]


def test_every_kind_has_a_meaning() -> None:
    assert all(kind.meaning for kind in Kind)


def test_an_object_that_can_be_called_is_not_called_where_it_is_made() -> None:
    text = "import os\nclass C:\n    def __call__(self): os.system('')\n"
    assert keys(f"{text}c = C()") == {"processes:function"}
    assert keys(f"{text}C()()") == {"processes:import"}
