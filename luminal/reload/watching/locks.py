"""Who is in the middle of changing many files: git's locks and pip's unfinished work.

Finds and reads marks; must never remove one, whoever left it.
"""

from __future__ import annotations

import os

__all__ = [
    "GIT_LOCKS",
    "git_directory",
    "git_directory_above",
    "is_stash",
    "is_unfinished_distribution",
]

GIT_LOCKS = frozenset({"index.lock", "HEAD.lock", "rebase-merge", "rebase-apply"})
"""Names inside a git directory that say: the tree is being changed.

``index.lock`` spans a checkout, merge or reset; ``HEAD.lock`` follows when the branch
is moved; the two directories span a rebase. Source: gitrepository-layout(5) and the
trace of git 2.39.
"""

_POINTER = "gitdir:"


def git_directory(tree: str) -> str | None:
    """Return the git directory of *tree*, a directory that has a ``.git``.

    ``.git`` is a directory, or in worktrees and submodules a file that names one.
    """
    mark = os.path.join(tree, ".git")
    try:
        if os.path.isdir(mark):
            return mark
        with open(mark, encoding="utf-8", errors="surrogateescape") as file:
            line = file.readline(4096)
    except OSError:
        return None
    if not line.startswith(_POINTER):
        return None
    target = os.path.join(tree, line.removeprefix(_POINTER).strip())
    return os.path.normpath(target) if os.path.isdir(target) else None


def git_directory_above(directory: str) -> str | None:
    """Return the git directory of the tree that *directory* lies in, if any."""
    here = os.path.realpath(directory)
    while True:
        if os.path.lexists(os.path.join(here, ".git")):
            return git_directory(here)
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above


def is_unfinished_distribution(folder: str) -> bool:
    """Return whether *folder*, a ``.dist-info``, is there without its ``RECORD``.

    Installers write RECORD last (PyPA specification "Recording installed projects").
    """
    return (
        folder.endswith(".dist-info")
        and os.path.isdir(folder)
        and not os.path.exists(os.path.join(folder, "RECORD"))
    )


def is_stash(folder: str) -> bool:
    """Return whether *folder* is where pip keeps what it replaces.

    pip renames the old version to a name with a tilde in front, and deletes it once the
    new one is complete. Source: AdjacentTempDirectory in pip's temp_dir.py.
    """
    return os.path.basename(folder).startswith("~")
