"""What may run: digests, locks, signatures, bundles, and what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.trust._bundle import (
        Bundle,
        Manifest,
        Signature,
        build_bundle,
        bundle_around,
        open_bundle,
        read_bundle,
    )
    from luminal.trust._judge import (
        MOST_BYTES,
        Judge,
        Status,
        Unit,
        Verdict,
        capabilities_between,
        changes_between,
        open_judge,
    )
    from luminal.trust._keys import SecretKey, normal_key
    from luminal.trust._kill_list import (
        Kill,
        KillList,
        installed_kill_list,
        update_kill_list,
    )
    from luminal.trust._lock import LOCK_NAME, LockEntry, LockFile, Mode, updating
    from luminal.trust._seal import seal, unseal
    from luminal.trust._signatures import (
        HighestVersions,
        Rotation,
        Verified,
        known_rotations,
        learn_rotation,
        sign,
        verify,
    )
    from luminal.trust._tree import FileDigest, Tree, canonical_json, tree_of
    from luminal.trust._vault import Vault

__all__ = [
    "LOCK_NAME",
    "MOST_BYTES",
    "Bundle",
    "FileDigest",
    "HighestVersions",
    "Judge",
    "Kill",
    "KillList",
    "LockEntry",
    "LockFile",
    "Manifest",
    "Mode",
    "Rotation",
    "SecretKey",
    "Signature",
    "Status",
    "Tree",
    "Unit",
    "Vault",
    "Verdict",
    "Verified",
    "build_bundle",
    "bundle_around",
    "canonical_json",
    "capabilities_between",
    "changes_between",
    "installed_kill_list",
    "known_rotations",
    "learn_rotation",
    "normal_key",
    "open_bundle",
    "open_judge",
    "read_bundle",
    "seal",
    "sign",
    "tree_of",
    "unseal",
    "update_kill_list",
    "updating",
    "verify",
]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_bundle": (
            "Bundle",
            "Manifest",
            "Signature",
            "build_bundle",
            "bundle_around",
            "open_bundle",
            "read_bundle",
        ),
        "_judge": (
            "Judge",
            "MOST_BYTES",
            "Status",
            "Unit",
            "Verdict",
            "capabilities_between",
            "changes_between",
            "open_judge",
        ),
        "_keys": (
            "SecretKey",
            "normal_key",
        ),
        "_kill_list": (
            "Kill",
            "KillList",
            "installed_kill_list",
            "update_kill_list",
        ),
        "_lock": (
            "LOCK_NAME",
            "LockEntry",
            "LockFile",
            "Mode",
            "updating",
        ),
        "_seal": (
            "seal",
            "unseal",
        ),
        "_signatures": (
            "HighestVersions",
            "Rotation",
            "Verified",
            "known_rotations",
            "learn_rotation",
            "sign",
            "verify",
        ),
        "_tree": (
            "FileDigest",
            "Tree",
            "canonical_json",
            "tree_of",
        ),
        "_vault": ("Vault",),
    },
)
