"""What may run: digests, locks, signatures, bundles, and what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.trust._tree import FileDigest, Tree, canonical_json, tree_of

__all__ = ["FileDigest", "Tree", "canonical_json", "tree_of"]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(), {"_tree": ("FileDigest", "Tree", "canonical_json", "tree_of")}
)
