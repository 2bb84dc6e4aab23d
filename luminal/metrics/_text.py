"""The text format of Prometheus, version 0.0.4, without a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luminal.metrics._families import BOUND_LABELS, Histogram, families

if TYPE_CHECKING:
    from luminal.metrics._snapshot import MetricsSnapshot

__all__ = ["CONTENT_TYPE", "to_text"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `to_text` returns."""

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


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
    lines: list[str] = []
    written: dict[tuple[object, ...], str] = {}  # many families have the same labels
    for family in families(snapshots):
        name = family.name
        lines += (f"# HELP {name} {family.about}", f"# TYPE {name} {family.kind}")
        for values, value in family.samples.items():
            key = (family.labels, values)
            labels = written.get(key)
            if labels is None:
                pairs = zip(family.labels, values, strict=True)
                labels = ",".join([f'{k}="{v.translate(_ESCAPES)}"' for k, v in pairs])
                written[key] = labels
            if isinstance(value, Histogram):
                within = f'{name}_bucket{{{labels},le="'
                lines += [
                    f'{within}{bound}"}} {calls}'
                    for bound, calls in zip(BOUND_LABELS, value.cumulative, strict=True)
                ]
                lines.append(f"{name}_sum{{{labels}}} {value.seconds!r}")
                lines.append(f"{name}_count{{{labels}}} {value.cumulative[-1]}")
            else:
                lines.append(f"{name}{{{labels}}} {value!r}")
    lines.append("")
    return "\n".join(lines)
