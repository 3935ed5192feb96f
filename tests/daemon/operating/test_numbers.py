"""The one table of metrics, and who renders it."""

from __future__ import annotations

from dataclasses import asdict

from postfix_mtasts.daemon.operating.metrics import Collector
from postfix_mtasts.daemon.operating.numbers import leaves, metrics
from tests.support.fakes.told import NUMBERS


def test_every_number_is_a_metric_of_its_own() -> None:
    """No field without a name for Prometheus, and no name twice."""
    names = [metric.name for metric, _ in metrics(NUMBERS)]
    assert len(set(names)) == len(names)
    numbers = asdict(NUMBERS)
    parts = ("refresh", "workers", "shared", "process")
    assert len(names) == len(numbers) - len(parts) + sum(len(numbers[part]) for part in parts)


def test_all_of_them_are_exported() -> None:
    """A number that is counted is in /metrics."""
    assert [family.name for family in Collector(NUMBERS).collect()] == [metric.name for metric, _ in metrics(NUMBERS)]


def test_as_many_label_values_as_labels() -> None:
    """Else Prometheus would get a wrong table."""
    for metric, value in metrics(NUMBERS):
        if metric.labels and metric.name != "mtasts_build":
            assert {len(names) for names, _ in leaves(value)} == {len(metric.labels)}


def test_leaves() -> None:
    """Each number with the names that lead to it."""
    assert list(leaves({"a": {"b": 1}, "c": 2})) == [(("a", "b"), 1), (("c",), 2)]
    assert (list(leaves(3)), list(leaves(None))) == ([((), 3)], [])
