"""What a host can be told of: calls, errors, times, swaps; for people and monitoring.

`snapshot` reads a running Loader and returns values. All else is made from these:
`to_text` writes the text format of Prometheus, a `TextWriter` does so for a host that
is asked again and again, and `create_app` serves it.
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
    from luminal.metrics._cpu import cpu_totals as cpu_totals
    from luminal.metrics._history import (
        History as History,
    )
    from luminal.metrics._history import (
        HistoryRecord,
        LoadSpan,
        histories,
        history_file,
        read_history,
    )
    from luminal.metrics._opentelemetry import observe_opentelemetry
    from luminal.metrics._prometheus import register_prometheus
    from luminal.metrics._snapshot import (
        CpuTotal,
        EventTotal,
        MetricsSnapshot,
        PhaseTotal,
        PhotonMetrics,
        errors_of,
        snapshot,
        snapshot_of_status,
    )
    from luminal.metrics._spans import trace_opentelemetry
    from luminal.metrics._text import CONTENT_TYPE, TextWriter, to_text

__all__ = [
    "CONTENT_TYPE",
    "CpuLine",
    "CpuSample",
    "CpuTotal",
    "EventTotal",
    "HistoryRecord",
    "LoadSpan",
    "MetricsSnapshot",
    "PhaseTotal",
    "PhotonMetrics",
    "TextWriter",
    "create_app",
    "errors_of",
    "histories",
    "history_file",
    "observe_opentelemetry",
    "read_history",
    "register_prometheus",
    "sample_cpu",
    "snapshot",
    "snapshot_of_status",
    "to_text",
    "trace_opentelemetry",
]

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_app": ("create_app",),
        "_cpu": ("CpuLine", "CpuSample", "cpu_totals", "sample_cpu"),
        "_history": (
            "History",
            "HistoryRecord",
            "LoadSpan",
            "histories",
            "history_file",
            "read_history",
        ),
        "_opentelemetry": ("observe_opentelemetry",),
        "_prometheus": ("register_prometheus",),
        "_snapshot": (
            "CpuTotal",
            "EventTotal",
            "MetricsSnapshot",
            "PhaseTotal",
            "PhotonMetrics",
            "errors_of",
            "snapshot",
            "snapshot_of_status",
        ),
        "_spans": ("trace_opentelemetry",),
        "_text": ("CONTENT_TYPE", "TextWriter", "to_text"),
    },
)
