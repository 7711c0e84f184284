"""Registries: instruments that are read together, and collectors of the host."""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from . import _native
from ._errors import InvalidInputError
from ._families import Exemplar, Metric, Sample

#: As :func:`generate_latest` writes it.
CONTENT_TYPE_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Collector(Protocol):
    """What gives metrics when it is asked."""

    def collect(self) -> Iterable[Any]:
        """The metrics at this moment: anything with ``name``, ``documentation``, ``type`` and ``samples``."""


class DuplicateTimeseries(InvalidInputError):
    """A name is taken in a registry."""


#: What a metric of a type calls its samples, beside its own name.
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "summary": ("_sum", "_count", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "info": ("_info",),
}


class CollectorRegistry:
    """Instruments and collectors that are read together. :data:`REGISTRY` is the process's."""

    def __init__(
        self,
        auto_describe: bool = False,
        target_info: Mapping[str, str] | None = None,
        support_collectors_without_names: bool = False,
    ) -> None:
        self._begin(_native.Registry(False), _native.Registry(False))
        self._auto_describe = auto_describe
        self._nameless = support_collectors_without_names
        if target_info:
            self.set_target_info(target_info)

    def _begin(self, native: _native.Registry, own: _native.Registry | None) -> None:
        #: What pages show.
        self._native = native
        #: The instruments alone: what collectors of Python give need not go through the native half to be seen by Python. In the
        #: process's registry there is more than Python's, and all of it is read there.
        self._own = own
        self._auto_describe = True
        self._nameless = False
        self._instruments: dict[int, Any] = {}
        self._collectors: dict[int, tuple[Any, frozenset[str]]] = {}
        # By gauge, what gives its value.
        self._functions: dict[Any, Callable[[], float]] = {}
        self._target_info: dict[str, str] | None = None
        self._target: _native.InfoFamily | None = None

    @classmethod
    def _of_the_process(cls) -> CollectorRegistry:
        registry = cls.__new__(cls)
        registry._begin(_native.Registry(True), None)
        return registry

    def register(self, collector: Any) -> None:
        """Adds an instrument, or an object whose ``collect()`` gives metrics when the registry is read."""
        family = _family_of(collector)
        if family is not None:
            if id(collector) not in self._instruments:
                self._adopt(family)
                self._instruments[id(collector)] = collector
            return
        names = self._names(collector)
        taken = {name for _, held in self._collectors.values() for name in held}
        if names & taken:
            raise DuplicateTimeseries(
                f"a collector gives what another one gives already: {', '.join(sorted(names & taken))}",
                hint="register a collector once, and let two give different names",
            )
        self._collectors[id(collector)] = (collector, names)
        self._ask_for(id(collector))

    def unregister(self, collector: Any) -> None:
        """Removes what was registered. Its names are free again."""
        family = _family_of(collector)
        if family is not None:
            del self._instruments[id(collector)]
            self._let_go(family)
        else:
            del self._collectors[id(collector)]

    def _adopt(self, family: Any) -> None:
        try:
            self._native.adopt(family)
        except InvalidInputError as error:
            raise DuplicateTimeseries(error.message, hint=error.hint, context=error.context) from None
        if self._own is not None:
            self._own.adopt(family)

    def _let_go(self, family: Any) -> None:
        self._native.remove(family)
        if self._own is not None:
            self._own.remove(family)

    def collect(self, names: frozenset[str] | None = None) -> Iterator[Metric]:
        """Every metric at this moment. With names, collectors that have none of them need not be asked."""
        types = {held._family_name: held._type for held in self._instruments.values() if held._type is not None}
        if self._target is not None:
            types["target_info"] = "info"
        return (_typed(metric, types) for metric in self._read(names))

    def _read(self, names: frozenset[str] | None) -> Iterator[Metric]:
        """What :meth:`collect` gives, in the types of pages. No collector is asked that has none of the names."""
        if self._own is None:
            yield from metrics_of(self._native.read())
            return
        self._set_functions()
        yield from metrics_of(self._own.read())
        for collector, held in list(self._collectors.values()):
            if names is None or names & held or (self._nameless and not held):
                yield from collector.collect()

    def get_sample_value(self, name: str, labels: Mapping[str, str] | None = None) -> float | None:
        """The value of the sample of this name and these labels, or None. For tests."""
        wanted = dict(labels or {})
        for metric in self.collect():
            for sample in metric.samples:
                if sample.name == name and sample.labels == wanted:
                    return sample.value
        return None

    def restricted_registry(self, names: Iterable[str]) -> RestrictedRegistry:
        """Only the samples of these names."""
        return RestrictedRegistry(frozenset(names), self)

    def set_target_info(self, labels: Mapping[str, str] | None) -> None:
        """Sets the labels of ``target_info``, which says what is watched."""
        if self._target is None:
            if not labels:
                return
            target = _native.InfoFamily("target", "Target metadata", [])
            self._adopt(target)
            self._target = target
        self._target_info = dict(labels) if labels else None
        if labels:
            self._target.set([], [(name, str(value)) for name, value in labels.items()])
        else:
            self._let_go(self._target)
            self._target = None

    def get_target_info(self) -> dict[str, str] | None:
        """The labels of ``target_info``."""
        return self._target_info

    def _page(self, accept: str | None = None) -> tuple[bytes, str]:
        return self._native.render(accept)

    def _process_metrics(self) -> Iterator[Metric]:
        yield from metrics_of(_native.process_metrics())

    def _ask_for(self, key: int) -> None:
        # Weakly: the native half holds the function for ever.
        weak = weakref.ref(self)

        def ask() -> list[Any]:
            registry = weak()
            held = registry._collectors.get(key) if registry is not None else None
            return [] if held is None else [given for metric in held[0].collect() for given in native_families(metric)]

        self._native.collect_from(ask)

    def _set_functions(self) -> list[Any]:
        """Sets the gauges whose value a function gives."""
        for gauge, function in list(self._functions.items()):
            gauge.set(float(function()))
        return []

    def _with_function(self, gauge: Any, function: Callable[[], float]) -> None:
        if not self._functions:
            weak = weakref.ref(self)
            self._native.collect_from(lambda: [] if (registry := weak()) is None else registry._set_functions())
        self._functions[gauge] = function

    def _names(self, collector: Any) -> frozenset[str]:
        describe = getattr(collector, "describe", None)
        if describe is None and not self._auto_describe:
            return frozenset()
        metrics = list((describe or collector.collect)())
        return frozenset(f"{metric.name}{suffix}" for metric in metrics for suffix in ("", *_SUFFIXES.get(metric.type, ())))


def _family_of(collector: Any) -> Any:
    """What an instrument counts in; None of what only collects."""
    family = getattr(collector, "_family", None)
    families = (_native.CounterFamily, _native.GaugeFamily, _native.HistogramFamily, _native.InfoFamily)
    return family if isinstance(family, families) else None


class RestrictedRegistry:
    """Some samples of a registry."""

    def __init__(self, names: frozenset[str], registry: CollectorRegistry) -> None:
        self._names = names
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """The metrics, with only the samples of these names."""
        return self._only(self._registry.collect(self._names))

    def _only(self, metrics: Iterable[Metric]) -> Iterator[Metric]:
        for metric in metrics:
            samples = [sample for sample in metric.samples if sample.name in self._names]
            if samples:
                restricted = Metric(metric.name, metric.documentation, metric.type, metric.unit)
                restricted.samples = samples
                yield restricted

    def _page(self, accept: str | None = None) -> tuple[bytes, str]:
        registry = _native.Registry(False)
        given = [given for metric in self._only(self._registry._read(self._names)) for given in native_families(metric)]
        registry.collect_from(lambda: given)
        return registry.render(accept)


def _typed(metric: Metric, types: Mapping[str, str]) -> Metric:
    """A metric in the type that Python's class says, of which pages have no more than its samples."""
    kind = types.get(metric.name)
    if kind is None:
        return metric
    typed = Metric(metric.name.removesuffix("_info") if kind == "info" else metric.name, metric.documentation, kind)
    typed.unit = metric.unit
    typed.samples = [sample for sample in metric.samples if kind != "summary" or not sample.name.endswith("_bucket")]
    return typed


def metrics_of(snapshot: str) -> Iterator[Metric]:
    """The metrics of a snapshot in JSON."""
    for family in json.loads(snapshot)["families"]:
        metric = Metric(family["name"], family["help"], family["kind"], family["unit"] or "")
        for series in family["series"]:
            labels = dict(series["labels"])
            exemplars = {given["bucket"]: _exemplar(given) for given in series.get("exemplars", ())}
            for at, (suffix, more, value) in enumerate(_samples(family["kind"], series["value"])):
                # Of a histogram the buckets come first.
                exemplar = exemplars.get(at) if suffix in ("_bucket", "_total") else None
                metric.add_sample(metric.name + suffix, {**labels, **more}, value, exemplar=exemplar)
        yield metric


def _samples(kind: str, value: dict[str, Any]) -> Iterator[tuple[str, dict[str, str], float]]:
    if "number" in value:
        yield "_total" if kind == "counter" else "", {}, float(value["number"])
        return
    distribution = value["distribution"]
    total = 0
    for bound, count in zip([*distribution["bounds"], math.inf], distribution["counts"], strict=True):
        total += count
        yield "_bucket", {"le": "+Inf" if bound == math.inf else repr(float(bound))}, float(total)
    yield "_count", {}, float(total)
    yield "_sum", {}, float(distribution["sum"])


def _exemplar(given: dict[str, Any]) -> Exemplar:
    time = datetime.fromisoformat(given["time"]).timestamp() if "time" in given else None
    return Exemplar(dict(given["labels"]), float(given["value"]), time)


_Series = list[tuple[list[tuple[str, str]], object]]


def native_families(metric: Any) -> Iterator[tuple[str, str, str, str | None, _Series]]:
    """A metric as the native half takes it. What it has no kind for becomes gauges of the same names."""
    unit = getattr(metric, "unit", "") or None
    if metric.type in ("histogram", "gaugehistogram"):
        yield metric.name, "histogram", metric.documentation, unit, list(_distributions(metric.samples))
        return
    kind = "counter" if metric.type == "counter" else "gauge"
    by_name: dict[str, _Series] = {}
    for sample in metric.samples:
        if sample.name.endswith("_created"):
            continue
        name = sample.name.removesuffix("_total") if kind == "counter" else sample.name
        by_name.setdefault(name, []).append((_pairs(sample.labels), float(sample.value)))
    for name, series in by_name.items():
        yield name, kind, metric.documentation, unit if name == metric.name else None, series


def _pairs(labels: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in labels.items()]


def _distributions(samples: Iterable[Sample]) -> Iterator[tuple[list[tuple[str, str]], object]]:
    found: dict[tuple[tuple[str, str], ...], tuple[list[tuple[float, float]], list[float]]] = {}
    for sample in samples:
        labels = tuple(pair for pair in _pairs(sample.labels) if pair[0] != "le")
        buckets, total = found.setdefault(labels, ([], []))
        if sample.name.endswith("_bucket"):
            buckets.append((float(sample.labels["le"]), float(sample.value)))
        elif sample.name.endswith("sum"):
            total.append(float(sample.value))
    for labels, (buckets, total) in found.items():
        buckets.sort()
        counts, below = [], 0.0
        for _, count in buckets:
            counts.append(int(count - below))
            below = count
        bounds = [bound for bound, _ in buckets if bound != math.inf]
        yield list(labels), (bounds, counts, total[0] if total else 0.0)


#: The registry of this process: ``/metrics``, ``ops.metrics.render()`` and the sinks show it.
REGISTRY = CollectorRegistry._of_the_process()
