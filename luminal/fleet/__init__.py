"""One swap over all processes that serve together, decided once.

`luminal.fleet.local` is for the workers of one server, `luminal.fleet.dask` and
`luminal.fleet.ray` for those of a cluster. What runs in the processes calls hooks by
`hook`. A further way to carry a fleet is made from `CoordinatorDriver` and
`MemberDriver`, which know no transport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.fleet._codec import decode as decode
    from luminal.fleet._codec import encode as encode
    from luminal.fleet._contents import Contents as Contents
    from luminal.fleet._coordinator import CoordinatorDriver
    from luminal.fleet._journal import Journal as Journal
    from luminal.fleet._journal import JournalBusyError as JournalBusyError
    from luminal.fleet._journal import read_journal as read_journal
    from luminal.fleet._member import MemberDriver, ahook, hook
    from luminal.fleet._report import FleetStatus, MemberInfo, MemberStatus, SwapReport

__all__ = [
    "CoordinatorDriver",
    "FleetStatus",
    "MemberDriver",
    "MemberInfo",
    "MemberStatus",
    "SwapReport",
    "ahook",
    "hook",
]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_codec": ("decode", "encode"),
        "_contents": ("Contents",),
        "_coordinator": ("CoordinatorDriver",),
        "_journal": ("Journal", "JournalBusyError", "read_journal"),
        "_member": ("MemberDriver", "ahook", "hook"),
        "_report": ("FleetStatus", "MemberInfo", "MemberStatus", "SwapReport"),
    },
)
