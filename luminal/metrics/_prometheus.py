"""A collector for prometheus-client: it reads a host when it is asked."""

from __future__ import annotations

import threading
import weakref
from itertools import chain
from typing import TYPE_CHECKING, Any

from luminal.errors import MissingExtraError
from luminal.metrics._families import (
    BOUND_LABELS,
    HOOK_LABELS,
    Histogram,
    Kept,
    other_families,
)
from luminal.metrics._snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luminal.managers import Loader
    from luminal.metrics._families import Family, HookMetric, Labels, Value

__all__ = ["register_prometheus"]


class _Collector:
    """Collects the hosts of one registry together: a metric has one family."""

    def __init__(self) -> None:
        # Name → the host. One that has ended is left out.
        self.hosts: dict[str, weakref.ref[Loader]] = {}
        self._hooks = Kept(tuple, _hook_samples)

    def describe(self) -> list[Any]:
        """Return nothing: to register it reads no host."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield the families of prometheus-client."""
        found = []
        for name, reference in tuple(self.hosts.items()):
            loader = reference()
            if loader is not None:
                found.append(snapshot(loader, name))
        for metric, samples in self._hooks.of(found):
            made = _family(metric, HOOK_LABELS)
            made.samples = [*chain.from_iterable(samples)]
            yield made
        for family in other_families(found):
            made = _family(family, family.labels)
            for labels, value in family.samples.items():
                _add(made, labels, value)
            yield made


def _family(like: Family | HookMetric, labels: Labels) -> Any:
    """Return a family of prometheus-client without samples."""
    from prometheus_client import core

    kinds = {
        "counter": core.CounterMetricFamily,
        "gauge": core.GaugeMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }
    return kinds[like.kind](like.name, like.about, labels=labels)


def _add(to: Any, labels: Labels, value: Value) -> None:
    if isinstance(value, Histogram):
        pairs = list(zip(BOUND_LABELS, value.cumulative, strict=True))
        to.add_metric(labels, pairs, value.seconds)
    else:
        to.add_metric(labels, value)


def _hook_samples(metric: HookMetric, labels: Labels, value: Value) -> list[Any]:
    """Return the samples of prometheus-client: of a histogram there are many."""
    made = _family(metric, HOOK_LABELS)
    _add(made, labels, value)
    samples: list[Any] = made.samples
    return samples


_collectors: weakref.WeakKeyDictionary[Any, _Collector] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def register_prometheus(
    loader: Loader, registry: Any = None, *, host: str = ""
) -> Callable[[], None]:
    """Add *loader*'s host to a registry of prometheus-client.

    Args:
        loader: The host; it is referred to weakly.
        registry: By default the registry of the process.
        host: Its name, where several hosts are in one registry.

    Returns:
        A function without arguments that takes it away again.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        ValueError: A host of this name is in the registry.
    """
    try:
        import prometheus_client
    except ImportError as error:
        raise MissingExtraError(
            "this needs the library of the extra 'prometheus'",
            why=str(error),
            hint="install it: pip install 'luminal-photons[prometheus]'",
        ) from error
    if registry is None:
        registry = prometheus_client.REGISTRY
    with _lock:
        collector = _collectors.get(registry)
        if collector is None:
            collector = _Collector()
            registry.register(collector)
            _collectors[registry] = collector
        present = collector.hosts.get(host)
        if present is not None and present() not in (None, loader):
            raise ValueError(f"the registry has a host {host!r}; give this one a name")
        reference = collector.hosts[host] = weakref.ref(loader)

    def unregister() -> None:
        with _lock:
            if collector.hosts.get(host) is reference:
                del collector.hosts[host]

    return unregister
