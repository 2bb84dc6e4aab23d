"""Digests of trees: the same for the same files, another for any other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminal.trust import canonical_json, tree_of

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


def test_what_has_no_single_text_has_no_canonical_form() -> None:
    assert canonical_json({"b": [1, None, True], "a": "é"}) == (
        b'{"a":"\\u00e9","b":[1,null,true]}'
    )
    for value in (1.5, {1: 2}, {"a": {3}}, b"x"):
        with pytest.raises(TypeError):
            canonical_json(value)
