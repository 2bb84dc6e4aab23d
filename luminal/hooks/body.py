"""The function behind ``manager.hook.NAME``: it stays, its body is replaced.

In comes a code object, out comes nothing: the next call runs it. To put it in is one
attribute store, and calls under way keep the body they began with.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Body"]

_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE


class Body:
    """One function of a hook.

    Args:
        owner: The hook; errors of wrong calls name its class.
        cold: The body while no caller is prepared.

    Attributes:
        bound: What hosts hold and call.
    """

    __slots__ = ("_cold", "_function", "_is_warm", "bound")

    def __init__(self, owner: object, cold: types.CodeType) -> None:
        def body() -> None: ...
        async def abody() -> None: ...

        # CPython wants a function's bodies to be all of one kind.
        awaits = cold.co_flags & _COROUTINE
        self._function = cast("types.FunctionType", abody if awaits else body)
        self._function.__name__ = "__call__"
        self._function.__qualname__ = f"{type(owner).__name__}.__call__"
        self._cold = cold
        # Whether any other body may be in; what is in already is not put in again.
        self._is_warm = True
        self.bound = types.MethodType(self._function, owner)
        self.chill()

    def chill(self) -> None:
        """Put the body in that is no caller's in particular."""
        if self._is_warm:
            self._function.__code__ = self._cold
            self._is_warm = False

    def put(self, code: types.CodeType, defaults: Mapping[str, Any] = {}) -> None:
        """Put *code* in, with *defaults* for keyword arguments."""
        if defaults:
            # A superset of what the present body asks for, and set before the new
            # body: whichever body a call finds, its defaults are there.
            known = self._function.__kwdefaults__ or {}
            self._function.__kwdefaults__ = {**known, **defaults}
        self._is_warm = True
        self._function.__code__ = code
