"""Instruments, with the constructors and methods of ``prometheus_client``.

>>> from uplifted_ops.metrics import Counter, Histogram
>>> requests = Counter("shop_requests_total", "Requests answered", ["method"])
>>> requests.labels("GET").inc()
>>> latency = Histogram("shop_latency_seconds", "Time to answer")
>>> with latency.time():
...     pass

They work before any :class:`~uplifted_ops.Ops` exists, and all of :data:`REGISTRY` are on the page of ``metrics.render``,
beside ``process_*`` and those of uplifted-ops itself. Counting is one native call. :mod:`uplifted_ops.prometheus_client` has
all the names of that package, and says what differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, ParamSpec, Self, TypeVar

from . import _native
from ._families import Metric
from ._registry import CONTENT_TYPE_TEXT as CONTENT_TYPE_LATEST
from ._registry import REGISTRY, CollectorRegistry, metrics_of

__all__ = [
    "CONTENT_TYPE_LATEST",
    "REGISTRY",
    "CollectorRegistry",
    "Counter",
    "Enum",
    "Gauge",
    "Histogram",
    "Info",
    "Summary",
    "generate_latest",
    "watch_event_loop",
    "watch_gc",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: Label values over this length are looked up each time, so that no cache holds megabytes.
_LONGEST = 256


def generate_latest(registry: CollectorRegistry = REGISTRY) -> bytes:
    """Every series of a registry, as text for Prometheus."""
    return registry._page()[0]


def _text_of(value: object) -> str:
    text = str(value)
    # A surrogate without its other half is no text: it becomes U+FFFD.
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _full_name(namespace: str, subsystem: str, name: str, unit: str) -> str:
    full = "_".join(part for part in (namespace, subsystem, name) if part)
    if unit and not full.removesuffix("_total").endswith(f"_{unit}"):
        total = "_total" if full.endswith("_total") else ""
        full = f"{full.removesuffix('_total')}_{unit}{total}"
    return full


class _Labels:
    """What a family knows of its labels."""

    #: The type that :meth:`CollectorRegistry.collect` gives, where it is another than on pages.
    _type: ClassVar[str | None] = None

    if not TYPE_CHECKING:
        __slots__ = ()
    else:
        _labelnames: tuple[str, ...]
        _name: str
        _family: Any

    @property
    def _family_name(self) -> str:
        # As the native half says it.
        return self._name

    def _values(self, positional: Sequence[object], named: Mapping[str, object]) -> tuple[str, ...]:
        if positional and named:
            raise ValueError(f"give the labels of {self._name!r} by position or by name, not both")
        if named:
            if named.keys() != set(self._labelnames):
                raise ValueError(
                    f"metric {self._name!r} has the labels {', '.join(self._labelnames)}, not {', '.join(named)}"
                )
            positional = [named[name] for name in self._labelnames]
        return tuple(map(_text_of, positional))

    def collect(self) -> Iterable[Metric]:
        """The metric at this moment."""
        registry = _native.Registry(False)
        registry.adopt(self._family)
        return list(metrics_of(registry.read()))

    def describe(self) -> Iterable[Metric]:
        """The metric without samples."""
        metrics = list(self.collect())
        for metric in metrics:
            metric.samples.clear()
        return metrics

    def _choose(self) -> NoReturn:
        """Says why there is nothing to count on."""
        names = ", ".join(self._labelnames)
        raise ValueError(f"metric {self._name!r} is missing label values: choose a series first, with .labels({names})")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"


class _Instrument(_Labels):
    """What instruments have in common: a family, or one series of it. The native class beside this one counts."""

    if not TYPE_CHECKING:
        __slots__ = ()
    else:
        _registry: CollectorRegistry | None

    def _begin(
        self, family: Any, name: str, labelnames: Iterable[str], registry: CollectorRegistry | None
    ) -> None:
        self._name = name
        self._labelnames = (labelnames,) if isinstance(labelnames, str) else tuple(labelnames)
        self._family = family
        self._registry = registry
        if not self._labelnames:
            self._native._bind(family, [])
        if registry is not None:
            registry.register(self)

    @property
    def _native(self) -> Any:
        # The methods of the native class, which this one does not know.
        return self

    def _labels(self, *labelvalues: object, **labelkwargs: object) -> Self:
        """The long way of ``labels``: values that were not seen lately, or come by name."""
        if not self._labelnames:
            raise ValueError(f"metric {self._name!r} has no labels: count on it directly")
        values = self._values(labelvalues, labelkwargs)
        child: Self | None = self._native._child(values)
        if child is None:
            child = self._derive()
            own = child._native._bind(self._family, list(values))
            # What went over the cap is asked for again each time, and gets a series of its own once there is room.
            if not own or max(map(len, values)) > _LONGEST:
                return child
            self._native._keep(values, child)
        if not labelkwargs:
            self._native._note(labelvalues, child)
        return child

    def _derive(self) -> Self:
        child = type(self).__new__(type(self))
        child._name = self._name
        child._labelnames = ()
        child._family = self._family
        child._registry = self._registry
        return child

    def remove(self, *labelvalues: object) -> None:
        """Takes the series at these label values off the page."""
        if not self._labelnames:
            raise ValueError(f"metric {self._name!r} has no labels: there is no series to take off the page")
        values = self._values(labelvalues, {})
        self._family.remove(list(values))
        self._native._forget(values)

    def remove_by_labels(self, labels: Mapping[str, object]) -> None:
        """Takes every series off the page that has these values of these labels; none where no label is named."""
        if not self._labelnames:
            raise ValueError(f"metric {self._name!r} has no labels: there is no series to take off the page")
        if unknown := [name for name in labels if name not in self._labelnames]:
            raise ValueError(f"metric {self._name!r} has the labels {', '.join(self._labelnames)}, not {', '.join(unknown)}")
        wanted = {name: _text_of(value) for name, value in labels.items()}.items()
        if wanted:
            found = [sample.labels for metric in self.collect() for sample in metric.samples if wanted <= sample.labels.items()]
            for values in {tuple(labels[name] for name in self._labelnames) for labels in found}:
                self.remove(*values)

    def clear(self) -> None:
        """Takes every series with labels off the page."""
        if self._labelnames:
            self._family.clear()
            self._native._forget()


@_native.quick
class Counter(_native.Counter, _Instrument):
    """A number that only grows. The ``_total`` of its name may be written or left out."""

    __slots__ = ("_family", "_labelnames", "_name", "_registry")

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
        *,
        max_series: int | None = None,
    ) -> None:
        name = _full_name(namespace, subsystem, name, unit)
        labelnames = [labelnames] if isinstance(labelnames, str) else list(labelnames)
        family = _native.CounterFamily(name, documentation, labelnames, unit or None, max_series)
        self._begin(family, name, labelnames, registry)

    def _inc(self, amount: float = 1, exemplar: Mapping[str, str] | None = None) -> None:
        if exemplar:
            self._exemplify(amount, [(name, _text_of(value)) for name, value in exemplar.items()])
        else:
            self._add(amount)

    def count_exceptions(
        self, exception: type[BaseException] | tuple[type[BaseException], ...] = Exception
    ) -> _CountExceptions:
        """Counts exceptions of these classes: a context manager, and a decorator."""
        if self._labelnames:
            self._choose()
        return _CountExceptions(self, exception)


@_native.quick
class Gauge(_native.Gauge, _Instrument):
    """A number that goes up and down.

    ``multiprocess_mode`` says what it shows where several processes of a service have it: ``sum``, ``max``, ``min`` or
    ``mostrecent`` of all, or with ``live`` before it of those that live.
    """

    __slots__ = ("_family", "_labelnames", "_name", "_registry")

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
        *,
        multiprocess_mode: str = "livesum",
        max_series: int | None = None,
    ) -> None:
        name = _full_name(namespace, subsystem, name, unit)
        labelnames = [labelnames] if isinstance(labelnames, str) else list(labelnames)
        family = _native.GaugeFamily(name, documentation, labelnames, unit or None, max_series, multiprocess_mode)
        self._begin(family, name, labelnames, registry)

    def set_to_current_time(self) -> None:
        """Sets it to the current time, in seconds since 1970."""
        self.set(time.time())

    def set_function(self, function: Callable[[], float]) -> None:
        """Lets ``function`` say what it stands at, whenever its registry is read."""
        self.set(0)
        if self._registry is not None:
            self._registry._with_function(self, function)

    def track_inprogress(self) -> _InProgress:
        """Counts what is going on: a context manager, and a decorator."""
        if self._labelnames:
            self._choose()
        return _InProgress(self)

    def time(self) -> _Timer:
        """Sets it to how long something took, in seconds: a context manager, and a decorator."""
        return _Timer(self, "set")


@_native.quick
class Histogram(_native.Histogram, _Instrument):
    """How observations are distributed over buckets."""

    #: The bounds of a histogram that is given none: they suit the latency of a service, in seconds.
    DEFAULT_BUCKETS: ClassVar[tuple[float, ...]] = (
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, float("inf"),
    )  # fmt: skip

    __slots__ = ("_family", "_labelnames", "_name", "_registry")

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
        *,
        buckets: Iterable[float | str] = DEFAULT_BUCKETS,
        max_series: int | None = None,
    ) -> None:
        name = _full_name(namespace, subsystem, name, unit)
        labelnames = [labelnames] if isinstance(labelnames, str) else list(labelnames)
        bounds = [float(bound) for bound in buckets]
        family = _native.HistogramFamily(name, documentation, labelnames, bounds, unit or None, max_series)
        self._begin(family, name, labelnames, registry)

    def _observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        if exemplar:
            self._exemplify(amount, [(name, _text_of(value)) for name, value in exemplar.items()])
        else:
            self._add(amount)

    def time(self) -> _Timer:
        """Observes how long something takes, in seconds: a context manager, and a decorator."""
        return _Timer(self, "observe")


@_native.quick
class Summary(_native.Histogram, _Instrument):
    """The number and the sum of observations: on the page, a histogram without buckets."""

    _type = "summary"
    __slots__ = ("_family", "_labelnames", "_name", "_registry")

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
        *,
        max_series: int | None = None,
    ) -> None:
        name = _full_name(namespace, subsystem, name, unit)
        labelnames = [labelnames] if isinstance(labelnames, str) else list(labelnames)
        family = _native.HistogramFamily(name, documentation, labelnames, [], unit or None, max_series)
        self._begin(family, name, labelnames, registry)

    def _observe(self, amount: float) -> None:
        self._add(amount)

    def time(self) -> _Timer:
        """Observes how long something takes, in seconds: a context manager, and a decorator."""
        return _Timer(self, "observe")


class Info(_Labels):
    """Facts such as a version, as labels of a series that stands at 1. ``_info`` is added to its name."""

    _type = "info"
    __slots__ = ("_family", "_labelnames", "_labelvalues", "_name", "_parents")

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        if unit:
            raise ValueError(f"metric {name!r} is an info, which has no unit")
        self._name = _full_name(namespace, subsystem, name, "")
        self._labelnames = (labelnames,) if isinstance(labelnames, str) else tuple(labelnames)
        self._labelvalues: list[str] | None = None if self._labelnames else []
        self._parents: tuple[str, ...] = ()
        self._family = _native.InfoFamily(self._name, documentation, list(self._labelnames))
        if self._labelvalues is not None:
            self._family.set([], [])
        if registry is not None:
            registry.register(self)

    @property
    def _family_name(self) -> str:
        return f"{self._name.removesuffix('_info')}_info"

    def info(self, val: Mapping[str, str]) -> None:
        """Replaces the facts."""
        if self._labelvalues is None:
            self._choose()
        for name, value in val.items():
            if name in self._parents:
                raise ValueError(f"metric {self._name!r} has {name!r} among its labels: call the fact something else")
            if value is None:
                raise ValueError(f"metric {self._name!r} has no value for {name!r}: leave it out where it is not known")
        self._family.set(self._labelvalues, [(name, _text_of(value)) for name, value in val.items()])

    def labels(self, *labelvalues: object, **labelkwargs: object) -> Info:
        """The series at these label values, by position or by name."""
        if not self._labelnames:
            raise ValueError(f"metric {self._name!r} has no labels: set its facts directly")
        child = object.__new__(Info)
        child._name = self._name
        child._labelnames = ()
        child._parents = self._labelnames
        child._labelvalues = list(self._values(labelvalues, labelkwargs))
        child._family = self._family
        return child

    def remove(self, *labelvalues: object) -> None:
        """Takes the series at these label values off the page."""
        self._family.remove(list(self._values(labelvalues, {})))

    def clear(self) -> None:
        """Takes every series off the page."""
        self._family.clear()


class Enum(_Labels):
    """Which of some states something is in: a series for each, of which one stands at 1."""

    _type = "stateset"
    __slots__ = ("_chosen", "_family", "_gauge", "_labelnames", "_name", "_states")

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
        *,
        states: Sequence[str] | None = None,
    ) -> None:
        if unit:
            raise ValueError(f"metric {name!r} is an enum, which has no unit")
        self._name = _full_name(namespace, subsystem, name, "")
        self._labelnames = (labelnames,) if isinstance(labelnames, str) else tuple(labelnames)
        if not states:
            raise ValueError(f"metric {self._name!r} has no states: give states=[...]")
        if self._name in self._labelnames:
            raise ValueError(f"metric {self._name!r} has a label of its own name, which tells its states apart")
        self._states = tuple(states)
        self._gauge = Gauge(self._name, documentation, [*self._labelnames, self._name], registry=None)
        self._family = self._gauge._family
        self._chosen: tuple[str, ...] | None = None if self._labelnames else ()
        if registry is not None:
            registry.register(self)
        if self._chosen is not None:
            self.state(self._states[0])

    def state(self, state: str) -> None:
        """Says which state it is in."""
        if self._chosen is None:
            self._choose()
        at = self._states.index(state)
        for other, name in enumerate(self._states):
            self._gauge.labels(*self._chosen, name).set(1 if other == at else 0)

    def labels(self, *labelvalues: object, **labelkwargs: object) -> Enum:
        """The series at these label values, by position or by name."""
        if not self._labelnames:
            raise ValueError(f"metric {self._name!r} has no labels: set its state directly")
        values = self._values(labelvalues, labelkwargs)
        child = object.__new__(Enum)
        child._name, child._labelnames, child._states = self._name, (), self._states
        child._gauge, child._family, child._chosen = self._gauge, self._family, values
        if self._gauge._child((*values, self._states[0])) is None:
            child.state(self._states[0])
        return child

    def remove(self, *labelvalues: object) -> None:
        """Takes the series at these label values off the page."""
        values = self._values(labelvalues, {})
        for state in self._states:
            self._gauge.remove(*values, state)

    def clear(self) -> None:
        """Takes every series with labels off the page."""
        if self._labelnames:
            self._gauge.clear()


class _Decorator:
    """A context manager that also decorates functions, plain and ``async``: each call gets one of its own."""

    __slots__ = ()

    def _again(self) -> Self:
        return self

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Decorates ``function``."""
        from inspect import iscoroutinefunction

        if iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: _P.args, **kwargs: _P.kwargs) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return awaited  # type: ignore[return-value]

        @wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with self._again():
                return function(*args, **kwargs)

        return called


class _Timer(_Decorator):
    __slots__ = ("_begun", "_metric", "_tell", "duration")

    #: How long it took, in seconds, once it is over.
    duration: float | None

    def __init__(self, metric: Any, tell: str) -> None:
        self.duration = None
        self._metric = metric
        self._tell = tell
        self._begun = 0.0

    def _again(self) -> Self:
        return type(self)(self._metric, self._tell)

    def labels(self, *labelvalues: object, **labelkwargs: object) -> None:
        """Chooses the series while the time runs."""
        self._metric = self._metric.labels(*labelvalues, **labelkwargs)

    def __enter__(self) -> Self:
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.duration = max(time.perf_counter() - self._begun, 0.0)
        getattr(self._metric, self._tell)(self.duration)


class _InProgress(_Decorator):
    __slots__ = ("_gauge",)

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge

    def __enter__(self) -> Self:
        self._gauge.inc()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gauge.dec()


class _CountExceptions(_Decorator):
    __slots__ = ("_counter", "_exception")

    def __init__(self, counter: Counter, exception: type[BaseException] | tuple[type[BaseException], ...]) -> None:
        self._counter = counter
        self._exception = exception

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, self._exception):
            self._counter.inc()


from ._watch import watch_event_loop, watch_gc  # noqa: E402 - made of the instruments above
