"""What a host can be told of: calls, errors, times, swaps; for people and monitoring.

`snapshot` reads a running Loader and returns values. All else is made from these:
`to_text` writes the text format of Prometheus, `create_app` serves it,
`register_prometheus` adds a host to a registry of prometheus-client (the extra
``luminal-photons[prometheus]``), and `observe_opentelemetry` makes instruments of
OpenTelemetry (the extra ``luminal-photons[otel]``, which is its API alone).
`trace_opentelemetry` makes a span for each swap.

Nothing of it runs before it is asked for, and nothing in a call of a hook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.metrics._app import create_app
    from luminal.metrics._cpu import CpuLine, CpuSample, sample_cpu
    from luminal.metrics._opentelemetry import observe_opentelemetry
    from luminal.metrics._prometheus import register_prometheus
    from luminal.metrics._snapshot import (
        CpuTotal,
        EventTotal,
        MetricsSnapshot,
        PhaseTotal,
        PhotonMetrics,
        snapshot,
    )
    from luminal.metrics._spans import trace_opentelemetry
    from luminal.metrics._text import CONTENT_TYPE, to_text

__all__ = [
    "CONTENT_TYPE",
    "CpuLine",
    "CpuSample",
    "CpuTotal",
    "EventTotal",
    "MetricsSnapshot",
    "PhaseTotal",
    "PhotonMetrics",
    "create_app",
    "observe_opentelemetry",
    "register_prometheus",
    "sample_cpu",
    "snapshot",
    "to_text",
    "trace_opentelemetry",
]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_app": ("create_app",),
        "_cpu": ("CpuLine", "CpuSample", "sample_cpu"),
        "_opentelemetry": ("observe_opentelemetry",),
        "_prometheus": ("register_prometheus",),
        "_snapshot": (
            "CpuTotal",
            "EventTotal",
            "MetricsSnapshot",
            "PhaseTotal",
            "PhotonMetrics",
            "snapshot",
        ),
        "_spans": ("trace_opentelemetry",),
        "_text": ("CONTENT_TYPE", "to_text"),
    },
)
