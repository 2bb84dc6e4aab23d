"""Digests of trees: the same for the same files, another for any other."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminal.trust import FileDigest, Tree, canonical_json, tree_of

FILES = st.dictionaries(st.text(max_size=5), st.binary(max_size=8), max_size=4)


@given(FILES, FILES)
def test_trees_have_one_digest_only_where_all_files_are_equal(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    assert (tree_of(one).digest == tree_of(other).digest) is (one == other)
    shuffled = dict(reversed(one.items()))
    assert tree_of(shuffled) == tree_of(one)


@given(FILES, FILES)
def test_changes_name_exactly_what_differs(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    added, changed, removed = tree_of(one).changes_to(tree_of(other))
    assert set(added) == other.keys() - one.keys()
    assert set(removed) == one.keys() - other.keys()
    assert set(changed) == {p for p in one.keys() & other.keys() if one[p] != other[p]}


@given(st.dictionaries(st.text(st.characters(), max_size=5), st.binary(), max_size=4))
def test_a_digest_is_that_of_the_canonical_text(files: dict[str, bytes]) -> None:
    tree = tree_of(files)
    rows = canonical_json([list(row) for row in tree.files])
    assert tree.digest == hashlib.sha512(b"luminal-tree-v1\0" + rows).hexdigest()


@pytest.mark.parametrize(
    "row", [("a", '1,"b"],["c",2', "d"), ("a", 1.5, "d"), (1, 1, "d")]
)
def test_a_row_of_other_types_has_no_digest(row: tuple[object, ...]) -> None:
    tree = Tree((FileDigest(*row),))  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError)):
        _ = tree.digest


def test_what_has_no_single_text_has_no_canonical_form() -> None:
    assert canonical_json({"b": [1, None, True], "a": "é"}) == (
        b'{"a":"\\u00e9","b":[1,null,true]}'
    )
    for value in (1.5, {1: 2}, {"a": {3}}, b"x"):
        with pytest.raises(TypeError):
            canonical_json(value)
