"""The daemon's numbers as Prometheus text: numbers.py's table through prometheus_client.

Counts are plain integers that the loop keeps; nothing here is called by the
answer path. A scrape takes Numbers on the loop and renders them elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from . import numbers as table
from .numbers import MetricKind, Numbers


class Collector:
    """Renders one moment's numbers for prometheus_client."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        for metric, value in table.metrics(self._numbers):
            if value is not None:
                yield _family(metric, value)


def _family(metric: table.Metric, value: Any) -> Metric:
    match metric.kind:
        case MetricKind.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.name, metric.text)
            histogram.add_metric([], buckets=list(value.within.items()), sum_value=value.seconds)
            return histogram
        case MetricKind.INFO:
            info = InfoMetricFamily(metric.name, metric.text)
            info.add_metric([], {metric.labels[0]: value})
            return info
    kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.text, labels=metric.labels)
    for labels, number in table.leaves(value):
        family.add_metric(labels, number)
    return family
