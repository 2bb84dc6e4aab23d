"""Factories of loops: the settings of a group, given once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from luminal.supervise.superloop import SuperLoop

__all__ = ["super_loop_factory"]

L = TypeVar("L", bound="SuperLoop")


def super_loop_factory(
    green_light: threading.Event | None = None,
    grace_period: float = 5,
    max_loop_failures: int = 10,
    stop_on_failure: bool = False,
    reset_globally: bool = True,
    **defaults: Any,
) -> Callable[..., Any]:
    """Return a function that makes loops with these settings.

    The function takes the class, then the same settings, where anything but None
    overrides, then further arguments of the class.
    """
    common = {
        "green_light": green_light,
        "grace_period": grace_period,
        "max_loop_failures": max_loop_failures,
        "stop_on_failure": stop_on_failure,
        "reset_globally": reset_globally,
    }

    def factory(
        klass: type[L],
        green_light: threading.Event | None = None,
        grace_period: float | None = None,
        max_loop_failures: int | None = None,
        stop_on_failure: bool | None = None,
        reset_globally: bool | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> L:
        given = {
            "green_light": green_light,
            "grace_period": grace_period,
            "max_loop_failures": max_loop_failures,
            "stop_on_failure": stop_on_failure,
            "reset_globally": reset_globally,
        }
        settings = {
            name: common[name] if value is None else value
            for name, value in given.items()
        }
        return klass(*args, **{**defaults, **settings, **kwargs})

    return factory
