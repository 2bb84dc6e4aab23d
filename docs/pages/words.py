"""Meanings of words that the code declares without explaining them.

They are in ``words.toml``. A word without a meaning is an error, and so is a meaning
without a word.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["meanings"]

FILE = Path(__file__).with_name("words.toml")


def meanings(table: str, words: Iterable[str]) -> dict[str, str]:
    """Return word → meaning, in the order of *words*.

    Args:
        table: Name of the table in ``words.toml``.
        words: All words that the code declares.

    Raises:
        LookupError: A word has no meaning there, or a meaning has no word.
    """
    known = tomllib.loads(FILE.read_text(encoding="utf-8"))[table]
    declared = list(words)
    if missing := [word for word in declared if word not in known]:
        raise LookupError(f"words.toml, [{table}]: nothing about {missing}")
    if idle := sorted(set(known) - set(declared)):
        raise LookupError(f"words.toml, [{table}]: the code does not know {idle}")
    return {word: known[word] for word in declared}
