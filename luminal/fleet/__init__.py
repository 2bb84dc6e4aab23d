"""One swap over all processes that serve together, decided once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.fleet._member import MemberDriver, ahook, hook

__all__ = ["MemberDriver", "ahook", "hook"]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(), {"_member": ("MemberDriver", "ahook", "hook")}
)
