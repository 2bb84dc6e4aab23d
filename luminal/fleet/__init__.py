"""One swap over all processes that serve together, decided once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.fleet._codec import decode as decode
    from luminal.fleet._codec import encode as encode
    from luminal.fleet._contents import Contents as Contents
    from luminal.fleet._coordinator import CoordinatorDriver as CoordinatorDriver
    from luminal.fleet._journal import Journal as Journal
    from luminal.fleet._journal import JournalBusyError as JournalBusyError
    from luminal.fleet._journal import read_journal as read_journal
    from luminal.fleet._member import MemberDriver as MemberDriver
    from luminal.fleet._member import ahook as ahook
    from luminal.fleet._member import hook as hook
    from luminal.fleet._report import FleetStatus as FleetStatus
    from luminal.fleet._report import MemberInfo as MemberInfo
    from luminal.fleet._report import MemberStatus as MemberStatus
    from luminal.fleet._report import SwapReport as SwapReport

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
