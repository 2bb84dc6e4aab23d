"""The text format of Prometheus, version 0.0.4, without a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luminal.metrics._families import (
    BOUND_LABELS,
    HOOK_LABELS,
    Histogram,
    Kept,
    other_families,
)

if TYPE_CHECKING:
    from luminal.metrics._families import HookMetric, Labels, Value
    from luminal.metrics._snapshot import MetricsSnapshot

__all__ = ["CONTENT_TYPE", "TextWriter", "to_text"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `to_text` returns."""


def to_text(*snapshots: MetricsSnapshot) -> str:
    """Return *snapshots* in the text format of Prometheus.

    Args:
        snapshots: One of each host. Where there are several, each needs a name.

    Source:
        https://prometheus.io/docs/instrumenting/exposition_formats/

    Example:
        >>> from luminal import Loader
        >>> from luminal.metrics import snapshot
        >>> print(to_text(snapshot(Loader(), host="a")).splitlines()[-1])
        luminal_events_dropped_total{host="a"} 0
    """
    return TextWriter().write(*snapshots)


class TextWriter:
    """Writes what `to_text` does, for a host that is asked again and again.

    It keeps the lines of each metric, and writes them anew where a number has changed.
    What it keeps of photons that are gone ends with the next text.
    """

    def __init__(self) -> None:
        self._hooks = Kept(_hook_labels, _hook_sample)
        # (metric, values of its labels) → the value, and the lines.
        self._others: dict[tuple[str, Labels], tuple[Value, str]] = {}

    def write(self, *snapshots: MetricsSnapshot) -> str:
        """Return *snapshots* in the text format of Prometheus.

        It may be called from any thread.

        Args:
            snapshots: As for `to_text`.
        """
        texts: list[str] = []
        for metric, written in self._hooks.of(snapshots):
            texts.append(_head(metric.name, metric.kind, metric.about))
            texts += written
        before, now = self._others, {}
        for family in other_families(snapshots):
            name = family.name
            texts.append(_head(name, family.kind, family.about))
            for values, value in family.samples.items():
                key = (name, values)
                kept = before.get(key)
                if kept is None or kept[0] != value:
                    kept = (value, _sample(name, _labels(family.labels, values), value))
                now[key] = kept
                texts.append(kept[1])
        self._others = now
        return "".join(texts)


def _head(name: str, kind: str, about: str) -> str:
    return f"# HELP {name} {about}\n# TYPE {name} {kind}\n"


def _labels(names: Labels, values: Labels) -> str:
    pairs = zip(names, values, strict=True)
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in pairs])


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _hook_labels(values: Labels) -> str:
    return _labels(HOOK_LABELS, values)


def _hook_sample(metric: HookMetric, labels: str, value: Value) -> str:
    return _sample(metric.name, labels, value)


def _sample(name: str, labels: str, value: Value) -> str:
    if not isinstance(value, Histogram):
        return f"{name}{{{labels}}} {value!r}\n"
    within, cumulative = f'{name}_bucket{{{labels},le="', value.cumulative
    lines = [
        f'{within}{bound}"}} {calls}\n'
        for bound, calls in zip(BOUND_LABELS, cumulative, strict=True)
    ]
    lines.append(f"{name}_sum{{{labels}}} {value.seconds!r}\n")
    lines.append(f"{name}_count{{{labels}}} {cumulative[-1]}\n")
    return "".join(lines)
