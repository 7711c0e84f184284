"""Instruments, with the constructors and methods of ``prometheus_client``.

>>> from uplifted_ops.metrics import Counter, Histogram
>>> requests = Counter("shop_requests_total", "Requests answered", ["method"])
>>> requests.labels("GET").inc()
>>> latency = Histogram("shop_latency_seconds", "Time to answer")
>>> with latency.time():
...     pass

They work before any :class:`~uplifted_ops.Ops` exists, and all of them are on the page of ``metrics.render``, beside
``process_*`` and those of uplifted-ops itself. What differs from ``prometheus_client``:

- there is one registry, that of the process: ``registry=`` is not taken;
- a family keeps ``max_series`` sets of label values apart (2,000 unless said otherwise). Further ones share a series whose
  labels are all ``__overflow__``, so that labels made of user input cannot fill the memory;
- a histogram leaves NaN and infinities out, and counts them in ``uplifted_ops_metrics_refused_observations_total``;
- a :class:`Summary` is a histogram without bounds, so its type on the page is ``histogram``: ``_count`` and ``_sum`` are
  the same;
- ``_created`` series are not written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, ClassVar, Generic, ParamSpec, Self, TypeVar

from . import _native

__all__ = ["CONTENT_TYPE_LATEST", "Counter", "Gauge", "Histogram", "Info", "Summary", "generate_latest"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Series = TypeVar("_Series")

#: The content type of :func:`generate_latest`.
CONTENT_TYPE_LATEST = "text/plain; version=0.0.4; charset=utf-8"


def generate_latest() -> bytes:
    """Every series of the process, as text for Prometheus."""
    text, _ = _native.render_metrics()
    return text.encode()


class _Metric(Generic[_Series]):
    """A family, or one series of it."""

    _kind: ClassVar[str]

    __slots__ = ("_family", "_labelnames", "_name", "_series")

    _family: Any
    _labelnames: tuple[str, ...]
    _name: str
    # The series of a family without labels, or of a child. Not there on a family with labels.
    _series: _Series

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        max_series: int | None = None,
    ) -> None:
        full = "_".join(part for part in (namespace, subsystem, name) if part)
        if unit and not full.removesuffix("_total").endswith(f"_{unit}"):
            total = "_total" if full.endswith("_total") else ""
            full = f"{full.removesuffix('_total')}_{unit}{total}"
        self._name = full
        self._labelnames = (labelnames,) if isinstance(labelnames, str) else tuple(labelnames)
        self._family = self._register(full, documentation, list(self._labelnames), unit or None, max_series)
        if not self._labelnames:
            self._series = self._family.with_([])

    def _register(
        self, name: str, documentation: str, labels: list[str], unit: str | None, max_series: int | None
    ) -> Any:
        raise NotImplementedError

    def labels(self, *labelvalues: object, **labelkwargs: object) -> Self:
        """The series at these label values, by position or by name. Keep it where the same values come again."""
        if not self._labelnames:
            raise ValueError(f"metric {self._name!r} has no labels: count on it directly")
        child = object.__new__(type(self))
        child._name = self._name
        child._labelnames = ()
        child._family = self._family
        child._series = self._family.with_(self._values(labelvalues, labelkwargs))
        return child

    def remove(self, *labelvalues: object) -> None:
        """Takes the series at these label values off the page."""
        if not self._labelnames:
            raise ValueError(f"metric {self._name!r} has no labels: there is no series to take off the page")
        self._family.remove(self._values(labelvalues, {}))

    def clear(self) -> None:
        """Takes every series with labels off the page."""
        if self._labelnames:
            self._family.clear()

    def _values(self, positional: Sequence[object], named: Mapping[str, object]) -> list[str]:
        if positional and named:
            raise ValueError(f"give the labels of {self._name!r} by position or by name, not both")
        if named:
            if named.keys() != set(self._labelnames):
                raise ValueError(
                    f"metric {self._name!r} has the labels {', '.join(self._labelnames)}, not {', '.join(named)}"
                )
            positional = [named[name] for name in self._labelnames]
        return [str(value) for value in positional]

    def __getattr__(self, name: str) -> Any:
        if name == "_series":
            names = ", ".join(self._labelnames)
            raise ValueError(f"metric {self._name!r} has labels: choose a series first, with .labels({names})")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"


class Counter(_Metric[_native.Counter]):
    """A number that only grows. The ``_total`` of its name may be written or left out."""

    __slots__ = ()

    def _register(
        self, name: str, documentation: str, labels: list[str], unit: str | None, max_series: int | None
    ) -> Any:
        return _native.CounterFamily(name, documentation, labels, unit, max_series)

    def inc(self, amount: float = 1, exemplar: Mapping[str, str] | None = None) -> None:
        """Adds ``amount``, which is not negative. ``exemplar`` is not kept yet."""
        self._series.add(amount)

    def count_exceptions(
        self, exception: type[BaseException] | tuple[type[BaseException], ...] = Exception
    ) -> _CountExceptions:
        """Counts exceptions of these classes: a context manager, and a decorator."""
        return _CountExceptions(self, exception)


class Gauge(_Metric[_native.Gauge]):
    """A number that goes up and down."""

    __slots__ = ()

    def _register(
        self, name: str, documentation: str, labels: list[str], unit: str | None, max_series: int | None
    ) -> Any:
        return _native.GaugeFamily(name, documentation, labels, unit, max_series)

    def inc(self, amount: float = 1) -> None:
        """Adds ``amount``."""
        self._series.add(amount)

    def dec(self, amount: float = 1) -> None:
        """Takes ``amount`` away."""
        self._series.add(-amount)

    def set(self, value: float) -> None:
        """Sets it. NaN says "not known"."""
        self._series.set(value)

    def set_to_current_time(self) -> None:
        """Sets it to the current time, in seconds since 1970."""
        self._series.set(time.time())

    def track_inprogress(self) -> _InProgress:
        """Counts what is going on: a context manager, and a decorator."""
        return _InProgress(self)

    def time(self) -> _Timer:
        """Sets it to how long something took, in seconds: a context manager, and a decorator."""
        return _Timer(self.set)


class Histogram(_Metric[_native.Histogram]):
    """How observations are distributed over buckets."""

    #: The bounds of a histogram that is given none: they suit the latency of a service, in seconds.
    DEFAULT_BUCKETS: ClassVar[tuple[float, ...]] = (
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, float("inf"),
    )  # fmt: skip

    __slots__ = ("_bounds",)

    _bounds: list[float]

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        *,
        buckets: Iterable[float] = DEFAULT_BUCKETS,
        max_series: int | None = None,
    ) -> None:
        self._bounds = [float(bound) for bound in buckets]
        super().__init__(name, documentation, labelnames, namespace, subsystem, unit, max_series=max_series)

    def _register(
        self, name: str, documentation: str, labels: list[str], unit: str | None, max_series: int | None
    ) -> Any:
        return _native.HistogramFamily(name, documentation, labels, self._bounds, unit, max_series)

    def observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Counts ``amount`` in its bucket. ``exemplar`` is not kept yet."""
        self._series.observe(amount)

    def time(self) -> _Timer:
        """Observes how long something takes, in seconds: a context manager, and a decorator."""
        return _Timer(self.observe)


class Summary(_Metric[_native.Histogram]):
    """The number and the sum of observations."""

    __slots__ = ()

    def _register(
        self, name: str, documentation: str, labels: list[str], unit: str | None, max_series: int | None
    ) -> Any:
        return _native.HistogramFamily(name, documentation, labels, [], unit, max_series)

    def observe(self, amount: float) -> None:
        """Adds ``amount`` to the sum, and 1 to the count."""
        self._series.observe(amount)

    def time(self) -> _Timer:
        """Observes how long something takes, in seconds: a context manager, and a decorator."""
        return _Timer(self.observe)


class Info:
    """Facts such as a version, as labels of a series that stands at 1. ``_info`` is added to its name."""

    __slots__ = ("_family", "_labelnames", "_labelvalues", "_name")

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
    ) -> None:
        self._name = "_".join(part for part in (namespace, subsystem, name) if part)
        self._labelnames = (labelnames,) if isinstance(labelnames, str) else tuple(labelnames)
        self._labelvalues: list[str] = []
        self._family = _native.InfoFamily(self._name, documentation, list(self._labelnames))

    def info(self, val: Mapping[str, str]) -> None:
        """Replaces the facts."""
        self._family.set(self._labelvalues, [(name, str(value)) for name, value in val.items()])

    def labels(self, *labelvalues: object, **labelkwargs: object) -> Info:
        """The series at these label values, by position or by name."""
        if not self._labelnames:
            raise ValueError(f"metric {self._name!r} has no labels: set its facts directly")
        if labelkwargs:
            if labelvalues or labelkwargs.keys() != set(self._labelnames):
                raise ValueError(f"metric {self._name!r} has the labels {', '.join(self._labelnames)}")
            labelvalues = tuple(labelkwargs[name] for name in self._labelnames)
        child = object.__new__(Info)
        child._name = self._name
        child._labelnames = ()
        child._labelvalues = [str(value) for value in labelvalues]
        child._family = self._family
        return child

    def remove(self, *labelvalues: object) -> None:
        """Takes the series at these label values off the page."""
        self._family.remove([str(value) for value in labelvalues])

    def clear(self) -> None:
        """Takes every series off the page."""
        self._family.clear()

    def __repr__(self) -> str:
        return f"<Info {self._name}>"


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
    __slots__ = ("_begun", "_tell")

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell
        self._begun = 0.0

    def _again(self) -> Self:
        return type(self)(self._tell)

    def __enter__(self) -> Self:
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell(max(time.perf_counter() - self._begun, 0.0))


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
