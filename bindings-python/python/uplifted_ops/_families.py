"""Metrics as collectors give them: a name, a type, and samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_TYPES = (
    "counter",
    "gauge",
    "summary",
    "histogram",
    "gaugehistogram",
    "unknown",
    "info",
    "stateset",
)


class Exemplar(NamedTuple):
    """One of what was counted."""

    labels: dict[str, str]
    value: float
    timestamp: float | None = None


class Sample(NamedTuple):
    """A number on the page."""

    name: str
    labels: dict[str, str]
    value: float
    timestamp: float | None = None
    exemplar: Exemplar | None = None


class Metric:
    """A metric and its samples."""

    def __init__(self, name: str, documentation: str, typ: str, unit: str = "") -> None:
        if unit and not name.endswith(f"_{unit}"):
            name += f"_{unit}"
        typ = "unknown" if typ == "untyped" else typ
        if typ not in _TYPES:
            raise ValueError(f"Invalid metric type: {typ}")
        self.name = name
        self.documentation = documentation
        self.unit = unit
        self.type = typ
        self.samples: list[Sample] = []

    def add_sample(
        self,
        name: str,
        labels: Mapping[str, str],
        value: float,
        timestamp: float | None = None,
        exemplar: Exemplar | None = None,
    ) -> None:
        """Adds a sample."""
        self.samples.append(Sample(name, dict(labels), value, timestamp, exemplar))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metric) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Metric({self.name}, {self.documentation}, {self.type}, {self.unit}, {self.samples})"


class _Family(Metric):
    """A metric with names of labels, of which a collector gives values."""

    _type = "unknown"

    def __init__(self, name: str, documentation: str, labels: Sequence[str] | None = None, unit: str = "") -> None:
        super().__init__(name, documentation, self._type, unit)
        self._labelnames = tuple(labels or ())

    def _begin(self, labels: Sequence[str] | None, *values: object) -> bool:
        """Whether there are values to begin with, which belong to no labels: both at once are refused."""
        given = any(value is not None for value in values)
        if given and labels is not None:
            raise ValueError(f"metric {self.name!r} is given both a value and names of labels: give one of them")
        return given

    def _labels(self, values: Sequence[str]) -> dict[str, str]:
        return dict(zip(self._labelnames, values, strict=False))


class _Numbers(_Family):
    _suffix = ""

    def __init__(
        self,
        name: str,
        documentation: str,
        value: float | None = None,
        labels: Sequence[str] | None = None,
        unit: str = "",
    ) -> None:
        super().__init__(name, documentation, labels, unit)
        if self._begin(labels, value) and value is not None:
            self.add_metric([], value)

    def add_metric(self, labels: Sequence[str], value: float, timestamp: float | None = None) -> None:
        """Adds a number at these label values."""
        self.add_sample(self.name + self._suffix, self._labels(labels), value, timestamp)


class UnknownMetricFamily(_Numbers):
    """Numbers of which nothing is known."""


UntypedMetricFamily = UnknownMetricFamily


class GaugeMetricFamily(_Numbers):
    """Numbers that go up and down."""

    _type = "gauge"


class CounterMetricFamily(_Numbers):
    """Numbers that only grow. The ``_total`` of the name may be written or left out."""

    _type = "counter"
    _suffix = "_total"

    def __init__(
        self,
        name: str,
        documentation: str,
        value: float | None = None,
        labels: Sequence[str] | None = None,
        created: float | None = None,
        unit: str = "",
        exemplar: Exemplar | None = None,
    ) -> None:
        super().__init__(name.removesuffix("_total"), documentation, labels=labels, unit=unit)
        if self._begin(labels, value) and value is not None:
            self.add_metric([], value, created, exemplar=exemplar)

    def add_metric(  # type: ignore[override]
        self,
        labels: Sequence[str],
        value: float,
        created: float | None = None,
        timestamp: float | None = None,
        exemplar: Exemplar | None = None,
    ) -> None:
        """Adds a number at these label values, with an example, and when it began in seconds since 1970."""
        values = self._labels(labels)
        self.add_sample(f"{self.name}_total", values, value, timestamp, exemplar)
        if created is not None:
            self.add_sample(f"{self.name}_created", values, created, timestamp)


class SummaryMetricFamily(_Family):
    """Numbers and sums of observations."""

    _type = "summary"

    def __init__(
        self,
        name: str,
        documentation: str,
        count_value: float | None = None,
        sum_value: float | None = None,
        labels: Sequence[str] | None = None,
        unit: str = "",
    ) -> None:
        super().__init__(name, documentation, labels, unit)
        if (sum_value is None) != (count_value is None):
            raise ValueError(f"summary {name!r} is given one of count_value and sum_value: give both")
        if self._begin(labels, count_value) and count_value is not None and sum_value is not None:
            self.add_metric([], count_value, sum_value)

    def add_metric(
        self, labels: Sequence[str], count_value: float, sum_value: float, timestamp: float | None = None
    ) -> None:
        """Adds a number and a sum at these label values."""
        self.add_sample(f"{self.name}_count", self._labels(labels), count_value, timestamp)
        self.add_sample(f"{self.name}_sum", self._labels(labels), sum_value, timestamp)


class _Buckets(_Family):
    _total = ("_count", "_sum")

    def _add(
        self, labels: Sequence[str], buckets: Sequence[Any], total: float | None, timestamp: float | None
    ) -> None:
        values = self._labels(labels)
        last, count = buckets[-1][:2]
        if float(last) != math.inf:
            raise ValueError(f"the last bucket of {self.name!r} is {last}: it must be +Inf")
        for le, value, *exemplar in buckets:
            self.add_sample(f"{self.name}_bucket", {**values, "le": str(le)}, value, timestamp, *exemplar)
        # Of observations below zero the sum goes down, and is no counter.
        if total is not None and (self._type != "histogram" or float(buckets[0][0]) >= 0):
            self.add_sample(self.name + self._total[0], values, count, timestamp)
            self.add_sample(self.name + self._total[1], values, total, timestamp)


class HistogramMetricFamily(_Buckets):
    """Observations over buckets."""

    _type = "histogram"

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[Any] | None = None,
        sum_value: float | None = None,
        labels: Sequence[str] | None = None,
        unit: str = "",
    ) -> None:
        super().__init__(name, documentation, labels, unit)
        if sum_value is not None and buckets is None:
            raise ValueError(f"histogram {name!r} is given a sum_value and no buckets: give both")
        if self._begin(labels, buckets) and buckets is not None:
            self.add_metric([], buckets, sum_value)

    def add_metric(
        self,
        labels: Sequence[str],
        buckets: Sequence[Any],
        sum_value: float | None,
        timestamp: float | None = None,
    ) -> None:
        """Adds buckets at these label values: ``le``, how many lie at or below it, and perhaps one of them. The last is ``+Inf``."""
        self._add(labels, buckets, sum_value, timestamp)


class GaugeHistogramMetricFamily(_Buckets):
    """Buckets whose counts go up and down."""

    _type = "gaugehistogram"
    _total = ("_gcount", "_gsum")

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[Any] | None = None,
        gsum_value: float | None = None,
        labels: Sequence[str] | None = None,
        unit: str = "",
    ) -> None:
        super().__init__(name, documentation, labels, unit)
        if self._begin(labels, buckets) and buckets is not None:
            self.add_metric([], buckets, gsum_value)

    def add_metric(
        self,
        labels: Sequence[str],
        buckets: Sequence[Any],
        gsum_value: float | None,
        timestamp: float | None = None,
    ) -> None:
        """Adds buckets at these label values: ``le``, and how many lie at or below it. The last is ``+Inf``."""
        self._add(labels, buckets, gsum_value, timestamp)


class InfoMetricFamily(_Family):
    """Facts, as labels."""

    _type = "info"

    def __init__(
        self,
        name: str,
        documentation: str,
        value: Mapping[str, str] | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, documentation, labels)
        if self._begin(labels, value) and value is not None:
            self.add_metric([], value)

    def add_metric(self, labels: Sequence[str], value: Mapping[str, str], timestamp: float | None = None) -> None:
        """Adds facts at these label values."""
        self.add_sample(f"{self.name}_info", {**self._labels(labels), **value}, 1, timestamp)


class StateSetMetricFamily(_Family):
    """Which states are on."""

    _type = "stateset"

    def __init__(
        self,
        name: str,
        documentation: str,
        value: Mapping[str, bool] | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, documentation, labels)
        if self._begin(labels, value) and value is not None:
            self.add_metric([], value)

    def add_metric(self, labels: Sequence[str], value: Mapping[str, bool], timestamp: float | None = None) -> None:
        """Adds states at these label values."""
        for state, on in sorted(value.items()):
            self.add_sample(self.name, {**self._labels(labels), self.name: state}, 1.0 if on else 0.0, timestamp)

