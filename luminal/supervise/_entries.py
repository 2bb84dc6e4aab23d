"""Entries that photons put into mappings of their host, and take back at their end.

Two generations of a photon live side by side during a reload, and both put the same
keys. So an entry is taken back only where it is still there, and what it replaced comes
back only where that is not an entry of a photon which has ended meanwhile.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, MutableMapping

__all__ = ["Entries", "Entry", "put_entry"]

_ABSENT: Any = object()
# Guards the dictionary below and the entries in it. No mapping is called while it is
# held: a mapping of the host may have a lock of its own.
_lock = threading.RLock()
# Identity of a mapping, key → the entries that photons have there, the latest last. An
# entry keeps its mapping alive, so the identity stays that of the same mapping.
_entries: dict[tuple[int, Hashable], list[Entry]] = {}


class Entry:
    """What one photon has put under one key.

    Attributes:
        mapping: Of the host.
        key: The key.
        value: What the photon has put there.
        before: What was there before; `_ABSENT` for nothing.
        stored: What the mapping returns for it.
    """

    def __init__(
        self,
        mapping: MutableMapping[Any, Any],
        key: Hashable,
        value: Any,
        before: Any,
        stored: Any = _ABSENT,
    ) -> None:
        self.mapping = mapping
        self.key = key
        self.value = value
        self.before = before
        self.stored = stored

    def is_own(self, value: Any) -> bool:
        """Whether *value*, taken from the mapping, is what this entry has put there."""
        if value is self.value or value is self.stored:
            return True
        # `os.environ`, for one, returns a new string each time.
        is_copied = self.stored is not _ABSENT and self.stored is not self.value
        return is_copied and value is not _ABSENT and bool(value == self.stored)

    def take_back(self) -> None:
        """Restore what was there before, unless the entry has been replaced."""
        if self.forget() and self.is_own(self.mapping.get(self.key, _ABSENT)):
            if self.before is not _ABSENT:
                self.mapping[self.key] = self.before
                return
            with suppress(KeyError):  # removed by another thread in the meantime
                del self.mapping[self.key]

    def forget(self) -> bool:
        """Let nobody restore this entry; return whether no later one put the same."""
        with _lock:
            entries = _entries[id(self.mapping), self.key]
            at = entries.index(self)
            later = entries[at + 1 :]
            del entries[at]
            if not entries:
                del _entries[id(self.mapping), self.key]
            if later and self.is_own(later[0].before):
                later[0].before = self.before
            return not any(self.is_own(entry.value) for entry in later)


def put_entry(mapping: MutableMapping[Any, Any], key: Hashable, value: Any) -> Entry:
    """Put *value* into *mapping*, and return the entry, which can be taken back.

    Raises:
        BaseException: Whatever the mapping raises; it is left as it is then.
    """
    entry = Entry(mapping, key, value, mapping.get(key, _ABSENT))
    with _lock:
        _entries.setdefault((id(mapping), key), []).append(entry)
    try:
        mapping[key] = value
        entry.stored = mapping.get(key, _ABSENT)
    except BaseException:
        entry.forget()
        raise
    return entry


class Entries:
    """Entries that a photon has put one after the other: one function to call.

    A photon may have hundreds, and the functions of its end run on a thread each.
    """

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries

    def __repr__(self) -> str:
        return "what puts entries back"

    def __call__(self) -> None:
        """Take them back, the last one first, whatever one of the mappings raises."""
        errors: list[Exception] = []
        while self.entries:
            try:
                self.entries.pop().take_back()
            except Exception as error:  # noqa: BLE001 - the others are taken back
                errors.append(error)
        if len(errors) > 1:
            raise ExceptionGroup("several entries could not be taken back", errors)
        if errors:
            raise errors[0]
