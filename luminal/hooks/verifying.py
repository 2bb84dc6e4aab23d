"""Whether an implementation fits its hook: pluggy's rules, and those of async."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["verify"]

_ASYNC_GENERATOR: Final = 0x200
_ASYNC: Final = 0x80 | _ASYNC_GENERATOR


def verify(hook: Any, impl: Any, by_pluggy: Callable[[Any, Any], None]) -> None:
    """Verify *impl* against the specification of *hook*.

    Raises:
        pluggy.PluginValidationError: It does not fit.
    """
    code: Any = getattr(impl.function, "__code__", None)
    flags: int = code.co_flags if code is not None else 0
    if flags & _ASYNC and hook.spec.opts.get("sync_only"):
        raise pluggy.PluginValidationError(
            impl.plugin,
            f"Plugin {impl.plugin_name!r} for hook {hook.name!r}\n"
            f"hookimpl at {code.co_filename}:{code.co_firstlineno} is async, but the "
            "hook is called without await\n"
            "  try: make it a plain function, or take 'sync_only' off the hookspec",
        )
    if impl.wrapper and not impl.hookwrapper and flags & _ASYNC_GENERATOR:
        # pluggy knows generators only; everything else of its rules applies.
        names = ("plugin", "plugin_name", "function", "argnames", "kwargnames")
        stand_in = SimpleNamespace(
            wrapper=False, hookwrapper=False, **{n: getattr(impl, n) for n in names}
        )
        if hook.is_historic():
            stand_in.wrapper = True
        by_pluggy(hook, stand_in)
        return
    by_pluggy(hook, impl)
