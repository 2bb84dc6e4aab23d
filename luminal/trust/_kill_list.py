"""The kill list: signed by the trusted keys, it says which versions must not run.

It is numbered. A host takes a list over when its number is higher than that of the last
one, and enough keys have signed it; a damaged, unsigned or older one leaves the last
good one in force. So nobody can bring a killed version back by an old list.
"""

from __future__ import annotations

import json
import logging
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonVerificationError
from luminal.store import read_regular
from luminal.trust._bundle import Signature
from luminal.trust._keys import SecretKey, state_path
from luminal.trust._latest import Latest
from luminal.trust._signatures import (
    Verified,
    _locked,
    load_state,
    parse_state,
    verify_signatures,
    write_state,
)
from luminal.trust._tree import MALFORMED, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.trust._lock import LockFile

__all__ = [
    "Kill",
    "KillList",
    "current_kill_list",
    "installed_kill_list",
    "kill_list_files",
    "update_kill_list",
]

_DOMAIN = b"luminal-kill-list-v1\0"
_LIMIT = 2**22
_NAME = "kill-list.json"
_log = logging.getLogger("luminal.trust")


@attrs.frozen
class Kill:
    """What must not run.

    Attributes:
        name: Of the bundle or distribution.
        versions: PEP 440 range of its versions, such as ``==2.0``; empty for all.
        tree: Digest of its files; empty for all that have the name and the version.
        why: For those who read the error.
    """

    name: str
    versions: str = ""
    tree: str = ""
    why: str = ""

    def covers(self, name: str, version: str, tree: str = "") -> bool:
        """Whether a unit must not run.

        A version that cannot be compared with a range is in it.

        Args:
            name: Of the bundle or distribution.
            version: Its version.
            tree: Digest of its files.
        """
        from packaging.specifiers import SpecifierSet
        from packaging.utils import canonicalize_name
        from packaging.version import InvalidVersion, Version

        if canonicalize_name(name) != canonicalize_name(self.name):
            return False
        if self.tree and tree != self.tree:
            return False
        if not self.versions:
            return True
        try:
            parsed = Version(version)
        except InvalidVersion:
            return True
        return SpecifierSet(self.versions).contains(parsed, prereleases=True)


def _wrong(file: str, why: str) -> PhotonVerificationError:
    return PhotonVerificationError(
        "is no kill list",
        file=file or None,
        why=why,
        hint="make one: luminal kill NAME==VERSION --list FILE",
    )


@attrs.frozen(slots=False)
class KillList:
    """Which versions must not run.

    Attributes:
        number: Of a later list it is higher.
        kills: What must not run.
        signatures: Of it.
        fields: All that the file says, with what a later Luminal has added: the
            signatures are of that.
    """

    number: int = 0
    kills: tuple[Kill, ...] = ()
    signatures: tuple[Signature, ...] = ()
    fields: dict[str, Any] = attrs.field(factory=dict, repr=False)

    @classmethod
    def read(cls, data: bytes, file: str = "") -> KillList:
        """Return the list that *data* is; its signatures are not verified.

        Raises:
            PhotonVerificationError: It is none.
        """
        from packaging.specifiers import SpecifierSet

        try:
            document = json.loads(data)
            fields = document["list"]
            number = fields["number"]
            kills = tuple(
                Kill(*(row.get(k, "") for k in ("name", "versions", "tree", "why")))
                for row in fields["kills"]
            )
            signatures = tuple(Signature(*row) for row in document["signatures"])
            canonical_json(fields)
            if not all(type(t) is str for s in signatures for t in attrs.astuple(s)):
                raise ValueError("a signature is not made of texts")
            for kill in kills:
                if (
                    not all(type(v) is str for v in attrs.astuple(kill))
                    or not kill.name
                ):
                    raise ValueError(f"a row is not made of texts: {kill}")
                SpecifierSet(kill.versions)
        except MALFORMED as error:  # also `InvalidSpecifier`
            raise _wrong(file, f"{type(error).__name__}: {error}") from None
        if type(number) is not int or number < 1:
            raise _wrong(file, f"its number is {number!r}")
        return cls(number, kills, signatures, fields)

    def adding(self, kill: Kill) -> KillList:
        """Return the next list, which kills one more; nobody has signed it."""
        rows = [*self.fields.get("kills", ()), attrs.asdict(kill)]
        fields = {**self.fields, "number": self.number + 1, "kills": rows}
        return KillList(self.number + 1, (*self.kills, kill), (), fields)

    @property
    def message(self) -> bytes:
        """What is signed."""
        return _DOMAIN + canonical_json(self.fields)

    def signed(self, secret: SecretKey) -> KillList:
        """Return the list with the signature of *secret* added."""
        own = Signature(secret.public, secret.sign(self.message))
        others = tuple(s for s in self.signatures if s.key != own.key)
        return attrs.evolve(self, signatures=(*others, own))

    def data(self) -> bytes:
        """Return it as the bytes of a file."""
        return canonical_json(self.document()) + b"\n"

    def document(self) -> dict[str, Any]:
        """Return it as the value that a file holds."""
        rows = [[each.key, each.signature] for each in self.signatures]
        return {"list": self.fields, "signatures": rows}

    def verify(
        self, keys: Iterable[str], threshold: int, *, file: str = ""
    ) -> Verified:
        """Return which of *keys* have signed it, if these are enough.

        Raises:
            PhotonVerificationError: They are not.
        """
        what = f"kill list {self.number}"
        return verify_signatures(
            self.message, self.signatures, keys, threshold, what=what, file=file
        )

    def find(self, name: str, version: str, tree: str = "") -> Kill | None:
        """Return why a unit must not run; None where it may.

        Args:
            name: Of the bundle or distribution.
            version: Its version.
            tree: Digest of its files.
        """
        if not self.kills:
            return None
        from packaging.utils import canonicalize_name

        named = self._by_name.get(canonicalize_name(name), ())
        return next((kill for kill in named if kill.covers(name, version, tree)), None)

    @cached_property
    def _by_name(self) -> dict[str, list[Kill]]:
        from packaging.utils import canonicalize_name

        found: dict[str, list[Kill]] = {}
        for kill in self.kills:
            found.setdefault(canonicalize_name(kill.name), []).append(kill)
        return found

    def check(self, name: str, version: str, tree: str = "", file: str = "") -> None:
        """Refuse a unit that must not run.

        Raises:
            PhotonVerificationError: It is killed; says why.
        """
        kill = self.find(name, version, tree)
        if kill is not None:
            raise PhotonVerificationError(
                f"{name} {version} is killed",
                file=file or None,
                why=f"kill list {self.number}: {kill.why or 'no reason given'}",
                hint="use another version",
            )


def _path(directory: str | None) -> str:
    return os.path.join(directory or state_path(), _NAME)


def installed_kill_list(directory: str | None = None) -> KillList:
    """Return the list in force: the last good one.

    Args:
        directory: Where it is kept; by default the state directory.

    Raises:
        PhotonVerificationError: The file is damaged.
    """
    try:
        return _installed.of(_path(directory))
    except FileNotFoundError:
        return _NONE


_NONE = KillList()


def _parse_installed(data: bytes, path: str) -> KillList:
    parse_state(data, path)
    return KillList.read(data, path)


_installed = Latest(load_state, _parse_installed)


def update_kill_list(
    file: str, keys: Iterable[str], threshold: int, directory: str | None = None
) -> KillList:
    """Take over the list in *file* if it is newer and signed; return what is in force.

    Args:
        file: Its path.
        keys: Those that the host trusts.
        threshold: How many of them are needed.
        directory: Where the last good one is kept; by default the state directory.

    Raises:
        PhotonVerificationError: It is none, too few have signed it, or it has a lower
            number than the list in force, which stays in force.
    """
    try:
        new = _offered.of(file)
    except (OSError, ValueError) as error:
        raise _wrong(file, getattr(error, "strerror", "") or str(error)) from None
    known = installed_kill_list(directory)
    if known.number == new.number and known.fields == new.fields:
        return known
    new.verify(keys, threshold, file=file)
    path = _path(directory)
    with _locked(path):
        known = installed_kill_list(directory)
        if new.number <= known.number:
            raise PhotonVerificationError(
                f"kill list {new.number} is not newer than the one in force",
                file=file,
                why=f"number {known.number} is in force",
                hint="get the newest list; what is in force stays",
            )
        write_state(path, new.document())
    return new


def _load_offered(path: str) -> bytes:
    return read_regular(path, _LIMIT)


_offered = Latest(_load_offered, KillList.read)


def kill_list_files(lock: LockFile) -> tuple[str, str]:
    """Return where a host finds lists: beside its lock, and the last good one."""
    return os.path.join(os.path.dirname(lock.path), _NAME), _path(None)


# File → why its list was not taken over, as it was logged last.
_logged: dict[str, str] = {}


def current_kill_list(lock: LockFile) -> KillList:
    """Return the list in force for a host; a newer one beside its lock is taken over.

    One that is not good is logged, and leaves the last good one in force.

    Args:
        lock: Says which keys are trusted, and how many of them are needed.

    Raises:
        PhotonVerificationError: The last good list is damaged.
    """
    if not lock.keys:  # nobody can have signed one
        return installed_kill_list()
    file = os.path.join(os.path.dirname(lock.path), _NAME)
    if os.path.lexists(file):
        try:
            found = update_kill_list(file, lock.keys.values(), max(lock.threshold, 1))
        except (PhotonVerificationError, OSError) as error:
            text = str(error)
            if _logged.get(file) != text:
                _logged[file] = text
                _log.error("the last good kill list stays in force: %s", text)
        else:
            _logged.pop(file, None)
            return found
    return installed_kill_list()
