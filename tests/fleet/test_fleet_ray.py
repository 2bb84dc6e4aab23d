"""A fleet of Ray, where that is not installed; see also `ray_conformance`."""

from __future__ import annotations

import sys

import pytest

from luminal.errors import MissingExtraError
from luminal.fleet import ray as fleet_ray


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for use in (fleet_ray.RayFleet, fleet_ray.RayFleet.connect):
        with pytest.raises(MissingExtraError, match=r"luminal-photons\[ray\]"):
            use("shop")
    with pytest.raises(MissingExtraError, match=r"luminal-photons\[ray\]"):
        fleet_ray.join("shop")
