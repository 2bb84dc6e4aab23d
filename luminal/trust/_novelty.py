"""How unlike an operator's own photons a photon is, with the rate of false alarms.

The model is what the texts of the photons contain that the lock lists: modules that are
imported, what is used of the standard library, kinds of strings, and capabilities. It
is made on this machine, from the vault. A score alone says nothing, so each comes with
how many of the operator's own photons would have had this score or a higher one, if
they had been the new one. With few photons that cannot be said, and is not.
"""

from __future__ import annotations

import ast
import builtins
import marshal
import math
import re
import sys
import warnings
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonVerificationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from luminal.trust._judge import Judge

__all__ = [
    "FEWEST",
    "Novelty",
    "NoveltyModel",
    "Unusual",
    "features_of",
    "own_photons",
    "score_of",
]

FEWEST = 20
"""Photons that are needed to say anything: one of them is 5 %."""
_FEWEST_FEATURES = 5
"""A photon with fewer has a lower score: little text is no novelty."""
_SHOWN = 5
_LONGEST = 10_000
"""Characters of a string that are looked at."""
_BUILTINS = frozenset(dir(builtins))
_STRINGS = (
    ("an address on the internet", re.compile(r"(?i)\b(https?|ftp|wss?)://[^\s/]")),
    ("a number of a machine", re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b")),
    ("a long encoded text", re.compile(r"^[A-Za-z0-9+/=_\\-]{80,}$")),
    ("a path of the system", re.compile(r"^/(etc|proc|dev|usr|var|bin|tmp)\b")),
    ("a hidden file of a user", re.compile(r"~[/\\]\.|\.(ssh|aws|bashrc|profile)\b")),
    (
        "a command of a shell",
        re.compile(r"\b(curl|wget|bash|sh -c|powershell|chmod)\b"),
    ),
)


@attrs.frozen
class Unusual:
    """Something that a photon has, and few of the operator's own.

    Attributes:
        feature: In words, such as ``uses socket.create_connection``.
        of_own: How many of the operator's own have it.
        file: Path of the first file with it.
        line: Number of the line there; 0 where it is not known.
    """

    feature: str
    of_own: int
    file: str
    line: int


@attrs.frozen
class Novelty:
    """How unlike the operator's own photons a photon is.

    Attributes:
        score: From 0 to 1: the higher, the less of it is in any of them. None where
            nothing can be said.
        own: The operator's own photons that it was compared with.
        as_new: Those of them that would have this score or a higher one if each were
            compared with the others.
        unusual: What is most unusual of it.
        why: Why there is no score; empty where there is one.
    """

    score: float | None
    own: int
    as_new: int = 0
    unusual: tuple[Unusual, ...] = ()
    why: str = ""

    @property
    def rate(self) -> float | None:
        """The rate of false alarms at this score, measured on the operator's own."""
        return None if self.score is None else self.as_new / self.own

    @property
    def text(self) -> str:
        """The score and the rate in words, or why there is none."""
        if self.score is None:
            return self.why
        rate = f"{self.as_new / self.own:.0%}"
        if not self.as_new:  # the upper bound of a confidence of 95 %
            rate += f", and with so few up to {1 - 0.05 ** (1 / self.own):.0%}"
        return (
            f"novelty {self.score:.2f}; {self.as_new} of {self.own} of your own "
            f"photons would be called new by this: {rate}"
        )


_Features = dict[str, tuple[str, int]]


class NoveltyModel:
    """What the operator's own photons contain.

    Args:
        own: Name in the lock → path → bytes of its files.
        fewest: Photons that are needed to say anything.
    """

    def __init__(
        self, own: Mapping[str, Mapping[str, bytes]], fewest: int = FEWEST
    ) -> None:
        self._fewest = fewest
        self._own = {name: set(features_of(files)[0]) for name, files in own.items()}

    def score(self, files: Mapping[str, bytes], name: str = "") -> Novelty:
        """Return how unlike the own photons *files* are.

        Args:
            files: Path → bytes of a photon, or of a new version of one.
            name: Its name in the lock: an earlier version of it is not among those that
                it is compared with, as no own photon is compared with itself.
        """
        own = [found for other, found in self._own.items() if other != name]
        if len(own) < self._fewest:
            why = (
                f"not enough photons to say: {len(own)} of your own, "
                f"{self._fewest} are needed"
            )
            return Novelty(None, len(own), why=why)
        features, unread = features_of(files)
        if unread:
            return Novelty(None, len(own), why=f"cannot be said: {'; '.join(unread)}")
        if not features:
            return Novelty(None, len(own), why="cannot be said: it has no text")
        counts: dict[str, int] = {}
        for found in own:
            for feature in found:
                counts[feature] = counts.get(feature, 0) + 1
        score = score_of([counts.get(each, 0) for each in features], len(own))
        # Each own photon as if it were the new one: the others are one fewer.
        as_new = sum(
            score_of([counts[each] - 1 for each in found], len(own) - 1) >= score
            for found in own
        )
        rows = sorted(features.items(), key=lambda row: (counts.get(row[0], 0), row[1]))
        unusual = tuple(
            Unusual(feature, counts.get(feature, 0), file, line)
            for feature, (file, line) in rows[:_SHOWN]
            if counts.get(feature, 0) < len(own) / 2
        )
        return Novelty(score, len(own), as_new, unusual)


def score_of(counts: Collection[int], own: int) -> float:
    """Return the mean surprise of some features, as a part of the greatest one.

    That is the negative logarithm of their likelihood by the own photons, with one
    added to each count, divided by the number of features: size alone is no novelty.

    Args:
        counts: For each feature, how many of the own photons have it.
        own: Their number.
    """
    surprises = [math.log((own + 2) / (count + 1)) for count in counts]
    most = max(len(surprises), _FEWEST_FEATURES)
    return round(sum(surprises) / most / math.log(own + 2), 6)


def own_photons(judge: Judge) -> dict[str, dict[str, bytes]]:
    """Return name → files of what the lock lists, as the vault keeps it.

    What the vault does not have, or has damaged, is left out.

    Raises:
        LockFileError: The lock cannot be read.
    """
    found = {}
    for name, entry in judge.file.units.items():
        try:
            files = judge.vault.read(entry.tree)
        except PhotonVerificationError:
            continue
        if files and any(path.endswith(".py") for path in files):
            found[name] = files
    return found


# --- Features ------------------------------------------------------------------------


def features_of(files: Mapping[str, bytes]) -> tuple[_Features, list[str]]:
    """Return what a photon contains, and why some of it cannot be read.

    Args:
        files: Path → bytes.

    Returns:
        Feature → file and line of its first place; and a line for each file that cannot
        be read.
    """
    from luminal.compiling import CompilerCrashedError, NoCompilerError, run_in_compiler
    from luminal.trust._profile import profile_of

    profile = profile_of(files)
    unread = [f"{path}, {why}" for path, why in profile.unread]
    found: _Features = {
        f"{c.kind.meaning} {'at import' if c.at_import else 'in a function'}": (
            c.file,
            c.line,
        )
        for c in profile.capabilities
    }
    bad = {path for path, _ in profile.unread}
    texts = {
        path: bytes(data)
        for path, data in sorted(files.items())
        if path.endswith((".py", ".pyw")) and path not in bad
    }
    data = marshal.dumps(texts)
    try:
        answer: Any = run_in_compiler("luminal.trust._novelty:answer_for", data)
    except CompilerCrashedError as error:
        return {}, [*unread, f"reading it crashes Python's parser: {error}"]
    except NoCompilerError:
        answer = answer_for(data)
    for feature, (path, line) in answer.items():
        found.setdefault(feature, (path, line))
    return found, unread


def answer_for(data: bytes) -> dict[str, tuple[str, int]]:
    """Return the features of texts, each with its first place; in a process of its own.

    Args:
        data: The texts by path, marshalled by the host.
    """
    texts: dict[str, bytes] = marshal.loads(data)  # noqa: S302 - from the host
    own = {path.partition("/")[0].removesuffix(".py") for path in texts}
    found: dict[str, tuple[str, int]] = {}
    for path, text in texts.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # its profile says so
        for feature, line in _features_in(tree, own):
            found.setdefault(feature, (path, line))
    return found


def _features_in(tree: ast.Module, own: set[str]) -> Iterator[tuple[str, int]]:
    """Yield the features of one text, and the lines of them.

    Args:
        tree: Of the text.
        own: Names at the top of the photon's own modules.
    """
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                top = each.name.partition(".")[0]
                names[each.asname or top] = each.name if each.asname else top
                yield from _imported(each.name, own, node.lineno)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for each in node.names:
                names[each.asname or each.name] = f"{node.module}.{each.name}"
            yield from _imported(node.module, own, node.lineno)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            for kind in _kinds_of(node.value):
                yield f"has {kind}", node.lineno
        elif isinstance(node, ast.Attribute | ast.Name):
            name = _dotted(node, names)
            if name.partition(".")[0] in sys.stdlib_module_names:
                yield f"uses {name}", node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name in _BUILTINS and name not in names:
                yield f"calls {name}", node.lineno


def _kinds_of(value: object) -> Iterator[str]:
    """Yield the kinds of string that a constant is of."""
    if isinstance(value, bytes):
        value = value[:_LONGEST].decode("latin-1")
    if isinstance(value, str):
        for kind, pattern in _STRINGS:
            if pattern.search(value[:_LONGEST]):
                yield kind


def _imported(name: str, own: set[str], line: int) -> Iterator[tuple[str, int]]:
    top = name.partition(".")[0]
    if top not in own and top != "__future__":
        yield f"imports {name if top in sys.stdlib_module_names else top}", line


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the dotted name that *node* stands for; empty for what is no import's."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([*names[node.id].split("."), *reversed(parts)][:3])
