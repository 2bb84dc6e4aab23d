"""A misspelt hook is found when asked for, with its place and the nearest hook."""

from __future__ import annotations

import pluggy
import pytest

import luminal
from luminal.hooks import PluginManager


class Specs:
    @luminal.hookspec
    def locate(self) -> int: ...


class Misspelt:
    @luminal.hookimpl
    def loacte(self) -> int:
        return 1


class Optional:
    @luminal.hookimpl(optionalhook=True)
    def loacte(self) -> int:
        return 1


def manager(plugin: object) -> PluginManager:
    made = PluginManager("luminal")
    made.add_hookspecs(Specs)
    made.register(plugin, "geo")
    return made


def test_check_pending_names_the_place_and_the_nearest_hook() -> None:
    with pytest.raises(pluggy.PluginValidationError) as caught:
        manager(Misspelt()).check_pending()
    text = str(caught.value)
    assert text.startswith("unknown hook 'loacte' in plugin")
    line = Misspelt.loacte.__code__.co_firstlineno
    assert f"{__file__}:{line}" in text
    assert "did you mean 'locate'?" in text


def test_what_is_specified_later_or_optional_is_no_mistake() -> None:
    manager(Optional()).check_pending()
    known = PluginManager("luminal")
    known.register(Misspelt(), "geo")
    known.add_hookspecs(type("Late", (), {"loacte": luminal.hookspec(Misspelt.loacte)}))
    known.check_pending()


def test_who_asks_for_the_order_of_no_hook_gets_the_nearest() -> None:
    with pytest.raises(AttributeError, match="did you mean 'locate'"):
        manager(Optional()).explain_order("locat")
