"""What a path depends on: each symbolic link on the way, and where it ends.

Reads links only; never opens or lists anything.
"""

from __future__ import annotations

import errno
import os

__all__ = ["LINK_DEPTH", "steps"]

# Linked directories inside of linked directories are followed so deep: enough for
# every deployment scheme known, and few enough for a tangle of links to stay small.
LINK_DEPTH = 3

_LINK_LIMIT = 40  # links on one way, as in the Linux kernel (MAXSYMLINKS)


def steps(path: str) -> list[tuple[str, str]]:
    """Return the (real directory, name) pairs that decide what *path* is.

    Args:
        path: An absolute path.

    Returns:
        One pair for each symbolic link on the way, then the pair at which the way
        ends: where *path* leads, or the first name that does not exist. Each directory
        is free of links.
    """
    pairs: list[tuple[str, str]] = []
    todo = [part for part in reversed(path.split(os.sep)) if part]
    here = os.sep
    while todo:
        name = todo.pop()
        if name == os.curdir:
            continue
        if name == os.pardir:
            here = os.path.dirname(here)
            continue
        full = os.path.join(here, name)
        try:
            target = os.readlink(full)
        except OSError as problem:
            if not todo or problem.errno == errno.ENOENT:
                return [*pairs, (here, name)]
            here = full
            continue
        pairs.append((here, name))
        if len(pairs) > _LINK_LIMIT:
            break
        if target.startswith(os.sep):
            here = os.sep
        todo.extend(part for part in reversed(target.split(os.sep)) if part)
    return pairs
