"""What may run: digests, locks, signatures, bundles, and what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.trust._audit import AuditLog, AuditRow, describe
    from luminal.trust._bundle import (
        Bundle,
        Manifest,
        Signature,
        build_bundle,
        bundle_around,
        check_member,
        open_bundle,
        read_bundle,
    )
    from luminal.trust._judge import (
        MOST_BYTES,
        MOST_FILES,
        Judge,
        Status,
        Unit,
        Verdict,
        bundle_unit,
        capabilities_between,
        changes_between,
        lock_asked_for,
        open_judge,
        plain_name,
    )
    from luminal.trust._keys import SecretKey, normal_key
    from luminal.trust._kill_list import (
        Kill,
        KillList,
        current_kill_list,
        installed_kill_list,
        kill_list_files,
        update_kill_list,
    )
    from luminal.trust._kinds import Kind
    from luminal.trust._lock import LOCK_NAME, LockEntry, LockFile, Mode, updating
    from luminal.trust._novelty import Novelty, NoveltyModel, Unusual, own_photons
    from luminal.trust._profile import (
        Capability,
        Drift,
        Profile,
        drift,
        names_of,
        profile_of,
    )
    from luminal.trust._rules import CapabilityRules
    from luminal.trust._scan import FileScore, Rule, scan
    from luminal.trust._seal import host_key_path, is_sealed, seal, unseal, use_host_key
    from luminal.trust._second_factor import (
        FIDO_ORIGIN,
        Challenge,
        Factors,
        SecondFactor,
        Subject,
        fido_server,
        requires_fido_extra,
    )
    from luminal.trust._settings import TrustSettings, known_kinds
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
    "FIDO_ORIGIN",
    "LOCK_NAME",
    "MOST_BYTES",
    "MOST_FILES",
    "AuditLog",
    "AuditRow",
    "Bundle",
    "Capability",
    "CapabilityRules",
    "Challenge",
    "Drift",
    "Factors",
    "FileDigest",
    "FileScore",
    "HighestVersions",
    "Judge",
    "Kill",
    "KillList",
    "Kind",
    "LockEntry",
    "LockFile",
    "Manifest",
    "Mode",
    "Novelty",
    "NoveltyModel",
    "Profile",
    "Rotation",
    "Rule",
    "SecondFactor",
    "SecretKey",
    "Signature",
    "Status",
    "Subject",
    "Tree",
    "TrustSettings",
    "Unit",
    "Unusual",
    "Vault",
    "Verdict",
    "Verified",
    "build_bundle",
    "bundle_around",
    "bundle_unit",
    "canonical_json",
    "capabilities_between",
    "changes_between",
    "check_member",
    "current_kill_list",
    "describe",
    "drift",
    "fido_server",
    "host_key_path",
    "installed_kill_list",
    "is_sealed",
    "kill_list_files",
    "known_kinds",
    "known_rotations",
    "learn_rotation",
    "lock_asked_for",
    "names_of",
    "normal_key",
    "open_bundle",
    "open_judge",
    "own_photons",
    "plain_name",
    "profile_of",
    "read_bundle",
    "requires_fido_extra",
    "scan",
    "seal",
    "sign",
    "tree_of",
    "unseal",
    "update_kill_list",
    "updating",
    "use_host_key",
    "verify",
]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_audit": (
            "AuditLog",
            "AuditRow",
            "describe",
        ),
        "_bundle": (
            "Bundle",
            "Manifest",
            "Signature",
            "build_bundle",
            "bundle_around",
            "check_member",
            "open_bundle",
            "read_bundle",
        ),
        "_judge": (
            "Judge",
            "MOST_BYTES",
            "MOST_FILES",
            "Status",
            "Unit",
            "Verdict",
            "bundle_unit",
            "capabilities_between",
            "changes_between",
            "lock_asked_for",
            "open_judge",
            "plain_name",
        ),
        "_keys": (
            "SecretKey",
            "normal_key",
        ),
        "_kill_list": (
            "Kill",
            "KillList",
            "current_kill_list",
            "installed_kill_list",
            "kill_list_files",
            "update_kill_list",
        ),
        "_kinds": ("Kind",),
        "_lock": (
            "LOCK_NAME",
            "LockEntry",
            "LockFile",
            "Mode",
            "updating",
        ),
        "_novelty": (
            "Novelty",
            "NoveltyModel",
            "Unusual",
            "own_photons",
        ),
        "_profile": (
            "Capability",
            "Drift",
            "Profile",
            "drift",
            "names_of",
            "profile_of",
        ),
        "_rules": ("CapabilityRules",),
        "_scan": (
            "FileScore",
            "Rule",
            "scan",
        ),
        "_seal": (
            "host_key_path",
            "is_sealed",
            "seal",
            "unseal",
            "use_host_key",
        ),
        "_second_factor": (
            "Challenge",
            "FIDO_ORIGIN",
            "Factors",
            "SecondFactor",
            "Subject",
            "fido_server",
            "requires_fido_extra",
        ),
        "_settings": (
            "TrustSettings",
            "known_kinds",
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
