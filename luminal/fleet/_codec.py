"""Messages between members and coordinator as bytes, the same for each transport."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs

from luminal.errors import FleetError
from luminal.fleet._protocol import Decided, Decision, MemberState, Prepare

if TYPE_CHECKING:
    from luminal.fleet._protocol import Message

__all__ = ["VERSION", "decode", "encode"]

VERSION: Final = 1
"""Of the messages. Members of another one are refused."""


# What was encoded last: the coordinator sends the same message to all members.
_latest: tuple[Message | None, bytes] = (None, b"")


def encode(message: Message) -> bytes:
    """Return *message* as one line of JSON, without its end."""
    global _latest
    latest, data = _latest
    if latest is not message:
        data = _encoded(message)
        _latest = message, data
    return data


def _encoded(message: Message) -> bytes:
    values: dict[str, Any]
    if isinstance(message, MemberState):
        values = {"kind": "state", **attrs.asdict(message)}
    elif isinstance(message, Decided):
        values = {"kind": "decided", **_decided(message)}
    else:
        values = {"kind": "prepare", **attrs.asdict(message, recurse=False)}
        values["decided"] = _decided(message.decided)
    return json.dumps({"version": VERSION, **values}).encode()


def _decided(decided: Decided) -> dict[str, Any]:
    table = {
        unit: [
            [d.number, d.digest, sorted(d.members) if d.members is not None else None]
            for d in decisions
        ]
        for unit, decisions in decided.table.items()
    }
    return {"closed": decided.closed, "held": decided.held, "table": table}


def decode(data: bytes) -> Message:
    """Return the message that *data* is.

    Raises:
        FleetError: It is none, or one of another version of Luminal.
    """
    try:
        values = json.loads(data)
        version = values.pop("version")
        if version == VERSION:
            return _message(values.pop("kind"), values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FleetError("this is no message of a fleet", why=repr(error)) from None
    raise FleetError(
        f"this is a message of version {version!r}, not {VERSION}",
        hint="run one version of Luminal on all members",
    )


def _message(kind: str, values: dict[str, Any]) -> Message:
    if kind == "state":
        return MemberState(**values)
    if kind == "decided":
        return _of_decided(values)
    if kind == "prepare":
        return Prepare(**{**values, "decided": _of_decided(values["decided"])})
    raise ValueError(f"its kind is {kind!r}")


def _of_decided(values: dict[str, Any]) -> Decided:
    table = {
        unit: tuple(
            Decision(number, digest, None if of is None else frozenset(of))
            for number, digest, of in decisions
        )
        for unit, decisions in values["table"].items()
    }
    return Decided(values["closed"], table, values["held"])
