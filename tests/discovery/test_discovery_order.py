"""Load order and its refusals, as properties of candidates made by hand."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal.discovery._order import arrange_candidates as arrange
from luminal.model import Candidate, Problem, Source


def photon(name: str, **fields: object) -> Candidate:
    values: dict[str, object] = {
        "source": Source.DIRECTORY,
        "origin": "/photons",
        "location": f"/photons/{name}.py",
        "target": name,
        "line": 1,
        **fields,
    }
    return Candidate(name, **values)  # type: ignore[arg-type]


def order(*candidates: Candidate, **options: object) -> list[str]:
    return [c.name for c in arrange(candidates, **options)]  # type: ignore[arg-type]


def problems(*candidates: Candidate, **options: object) -> dict[str, Problem]:
    arranged = arrange(candidates, **options)  # type: ignore[arg-type]
    return {c.name: c.problem for c in arranged if c.problem}


def test_names_decide_where_nothing_else_does() -> None:
    """Folded: upper case does not come first."""
    assert order(photon("b"), photon("C"), photon("a")) == ["a", "b", "C"]


def test_what_is_required_comes_first_whatever_its_name() -> None:
    """Also through several steps, and by a name of another case."""
    a = photon("a", requirements=("M>=1",))
    m = photon("m", requirements=("z",), version="1.0")
    assert order(a, m, photon("z"), photon("b")) == ["b", "z", "m", "a"]
    assert not problems(a, m, photon("z"))


def test_before_and_after_are_respected_and_may_name_nobody() -> None:
    """They are wishes: an absent name is no problem."""
    a = photon("a", after=("c", "nobody"))
    d = photon("d", before=("b",))
    assert order(a, photon("b"), photon("c"), d) == ["c", "a", "d", "b"]


@pytest.mark.fault(8)
def test_a_circle_names_its_chain_from_each_member() -> None:
    """Each member's problem has the chain and the member's own file."""
    found = problems(
        photon("a", requirements=("b",)),
        photon("b", requirements=("c",)),
        photon("c", requirements=("a",)),
        photon("d", requirements=("a",)),
        photon("e"),
    )
    assert found["a"].why == "a -> b -> c -> a"
    assert found["c"].why == "c -> a -> b -> c"
    assert found["b"].file == "/photons/b.py"
    assert {p.code for p in found.values()} == {"LUM106"}
    assert found["d"].why.startswith("d -> a: ")
    assert set(found) == {"a", "b", "c", "d"}


def test_a_photon_that_requires_itself_is_a_circle() -> None:
    """The shortest circle."""
    found = problems(photon("a", requirements=("a",)))
    assert found["a"].why == "a -> a"


def test_wishes_that_contradict_each_other_are_a_circle() -> None:
    """Before and after together must be possible."""
    found = problems(photon("a", before=("b",)), photon("b", before=("a",)))
    assert set(found) == {"a", "b"}


@pytest.mark.fault(8)
def test_a_missing_photon_is_named_with_the_nearest_name() -> None:
    """And whoever requires the one that misses it is named with the chain."""
    found = problems(
        photon("top", requirements=("mid",)),
        photon("mid", requirements=("wether",)),
        photon("weather"),
    )
    assert "there is no photon 'wether' (mid -> wether)" in found["mid"].why
    assert "did you mean 'weather'" in found["mid"].hint
    assert found["top"].why == "top -> mid: requires 'wether'"
    assert "/photons/mid.py" in found["top"].hint


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("range_", "version", "fits"),
    [
        (">=1.2", "1.2", True),
        (">=1.2,<2", "2.0", False),
        ("~=1.4", "1.9", True),
        ("==1.*", "1.9", True),
        ("!=1.0", "1.0.0", False),
        (">=1", "2.0a1", True),
        (">=1", "", False),
        (">=1", "yesterday", False),
        ("", "", True),
    ],
)
def test_ranges_are_those_of_pep_440(range_: str, version: str, fits: bool) -> None:
    """A version outside, none, or a malformed one does not fit a range."""
    a = photon("a", requirements=(f"b {range_}",))
    found = problems(a, photon("b", version=version))
    assert ("a" not in found) == fits


def test_the_hosts_api_version_is_checked() -> None:
    """Only where the host has one."""
    a = photon("a", api=">=2")
    assert set(problems(a, api_version="1.9")) == {"a"}
    assert not problems(a, api_version="2.1")
    assert not problems(a)


@pytest.mark.fault(9)
def test_two_photons_of_one_name_are_both_refused() -> None:
    """Names compare folded and normalised; both origins are in both problems."""
    one = photon("Stra\u00dfe", origin="/one", location="/one/s.py")
    two = photon("STRASSE", origin="two 1.0", location="/two/s.py")
    found = problems(one, two, photon("user", requirements=("strasse",)))
    for name in ("Stra\u00dfe", "STRASSE"):
        assert found[name].code == "LUM108"
        assert "/one (/one/s.py)" in found[name].why
        assert "two 1.0 (/two/s.py)" in found[name].why
    assert found["user"].code == "LUM106"
    assert len(problems(photon("\u00e9"), photon("e\u0301"))) == 2


def test_a_file_that_cannot_be_read_has_no_name_to_defend() -> None:
    """Its stem does not refuse a photon that really has that name."""
    broken = photon("a", target="", problem=Problem("LUM104", "compile", "bad"))
    (good,) = [c for c in arrange([photon("a"), broken]) if c.target]
    assert good.problem is None


def test_a_disabled_photon_conflicts_with_none_and_serves_none() -> None:
    """It is listed and that is all."""
    off = photon("a", enabled=False, location="/off.py")
    found = problems(off, photon("a"), photon("b", requirements=("c",)))
    assert "a" not in found
    found = problems(photon("b", requirements=("off",)), photon("off", enabled=False))
    assert "'off' is disabled" in found["b"].why


def test_what_requires_a_broken_photon_is_broken() -> None:
    """Whatever the kind of the first problem."""
    bad = photon("bad", problem=Problem("LUM107", "discovery", "is abstract"))
    found = problems(bad, photon("a", requirements=("bad",)))
    assert found["a"].why == "a -> bad: is abstract"


NAMES = st.sampled_from("abcdefghij")
PHOTONS = st.lists(
    st.builds(
        photon,
        NAMES,
        requirements=st.lists(NAMES, max_size=2).map(tuple),
        before=st.lists(NAMES, max_size=1).map(tuple),
        after=st.lists(NAMES, max_size=1).map(tuple),
        enabled=st.sampled_from([True, True, True, False]),
        location=st.sampled_from(["/1.py", "/2.py"]),
    ),
    max_size=12,
    unique_by=lambda c: (c.name, c.location),
)


@given(PHOTONS, st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_the_answer_is_a_function_of_the_set(
    candidates: list[Candidate], chance: random.Random
) -> None:
    """Any order in gives the same out: all of them, order and wishes kept."""
    arranged = arrange(candidates)
    shuffled = list(candidates)
    chance.shuffle(shuffled)
    assert arrange(shuffled) == arranged
    bare = [attrs.evolve(c, problem=None) for c in arranged]
    assert sorted(bare, key=repr) == sorted(candidates, key=repr)
    place = {c.name: n for n, c in enumerate(arranged) if c.enabled and not c.problem}
    for candidate in arranged:
        if not candidate.enabled or candidate.problem:
            continue
        here = place[candidate.name]
        assert all(place[name] < here for name in candidate.requirements)
        assert all(place[n] < here for n in candidate.after if n in place)
        assert all(place[n] > here for n in candidate.before if n in place)


def test_a_long_chain_and_many_photons_are_no_trouble() -> None:
    """20,000 in one chain: no recursion, no quadratic time."""
    count = 20_000
    chain = [photon(f"p{n}", requirements=(f"p{n + 1}",)) for n in range(count)]
    arranged = arrange([*chain, photon(f"p{count}")])
    assert arranged[0].name == f"p{count}"
    assert not any(c.problem for c in arranged)


COUNT = 2000


def numbered(*lists: tuple[str, ...]) -> list[Candidate]:
    return [photon(f"p{n:04}", requirements=names) for n, names in enumerate(lists)]


def size(found: dict[str, Problem]) -> int:
    return sum(len(p.why) + len(p.what) + len(p.hint) for p in found.values())


@pytest.mark.parametrize(
    "candidates",
    [
        numbered(*[(f"p{(n + 1) % COUNT:04}",) for n in range(COUNT)]),
        numbered(*[(f"p{n + 1:04}",) for n in range(COUNT)]),
        numbered(*[tuple(f"p{m:04}" for m in range(60)) for _ in range(60)]),
        [photon("same", location=f"/photons/{n}.py") for n in range(COUNT)],
    ],
    ids=["a circle", "a chain to what is missing", "each of each", "one name"],
)
def test_texts_are_bounded_however_many_photons_there_are(
    candidates: list[Candidate],
) -> None:
    """Each names the first few, and how many there are more."""
    found = problems(*candidates)
    assert len(arrange(candidates)) == len(candidates)
    assert {len(p.why) for p in found.values()} <= set(range(600))
    assert size(found) < 900 * len(candidates)


def test_a_long_circle_is_named_from_each_member() -> None:
    """The beginning is the member's own."""
    found = problems(*numbered(*[(f"p{(n + 1) % 20:04}",) for n in range(20)]))
    assert found["p0018"].why == (
        "p0018 -> p0019 -> p0000 -> p0001 -> p0002 -> p0003 -> p0004 -> p0005"
        " -> ... (12 more) -> p0018"
    )
    assert len(found) == 20


def test_circles_beside_each_other_and_what_hangs_on_them() -> None:
    """Two circles, one of which requires the other; only members are in a circle."""
    found = problems(
        photon("a", requirements=("b",)),
        photon("b", requirements=("a", "c")),
        photon("c", requirements=("d",)),
        photon("d", requirements=("c",)),
        photon("e", requirements=("a",)),
        photon("f"),
    )
    assert {name: p.why for name, p in found.items() if "cycle" in p.what} == {
        "a": "a -> b -> a",
        "b": "b -> a -> b",
        "c": "c -> d -> c",
        "d": "d -> c -> d",
    }
    assert found["e"].what.startswith("requires 'a', which cannot be loaded")
    assert "f" not in found
