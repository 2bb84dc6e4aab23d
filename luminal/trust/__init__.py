"""What may run: digests, locks, signatures, bundles, and what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.trust._judge import MOST_BYTES as MOST_BYTES
    from luminal.trust._judge import Judge, Status, Unit, Verdict
    from luminal.trust._judge import capabilities_between as capabilities_between
    from luminal.trust._judge import changes_between as changes_between
    from luminal.trust._judge import open_judge as open_judge
    from luminal.trust._lock import LOCK_NAME as LOCK_NAME
    from luminal.trust._lock import LockEntry, LockFile, Mode
    from luminal.trust._lock import updating as updating
    from luminal.trust._tree import FileDigest, Tree, canonical_json, tree_of
    from luminal.trust._vault import Vault

__all__ = [
    "FileDigest",
    "Judge",
    "LockEntry",
    "LockFile",
    "Mode",
    "Status",
    "Tree",
    "Unit",
    "Vault",
    "Verdict",
    "canonical_json",
    "tree_of",
]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_judge": (
            "MOST_BYTES",
            "Judge",
            "Status",
            "Unit",
            "Verdict",
            "capabilities_between",
            "changes_between",
            "open_judge",
        ),
        "_lock": ("LOCK_NAME", "LockEntry", "LockFile", "Mode", "updating"),
        "_tree": ("FileDigest", "Tree", "canonical_json", "tree_of"),
        "_vault": ("Vault",),
    },
)
