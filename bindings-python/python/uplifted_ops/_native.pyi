"""The native half of the package. Private."""

from typing import Any, Final, NoReturn, final

__all__ = [
    "Call",
    "Counter",
    "CounterFamily",
    "Gauge",
    "GaugeFamily",
    "Histogram",
    "HistogramFamily",
    "InfoFamily",
    "MAX_BODY",
    "Ops",
    "Reply",
    "Responder",
    "VERSION",
    "WORKER_MARKER",
    "render_metrics",
    "run_cli",
    "run_suite",
    "run_worker",
]

VERSION: Final[str]
WORKER_MARKER: Final[str]
MAX_BODY: Final[int]

def run_worker(arguments: list[str]) -> NoReturn: ...
def run_cli(arguments: list[str], worker: list[str]) -> int: ...
def run_suite(contract: str, scene: object, runner: object, deadline: float) -> str: ...
def render_metrics(accept: str | None = None) -> tuple[str, str]: ...
@final
class Ops:
    def __new__(cls, options: str, plugins: list[tuple[str, str, object]], runner: object | None) -> Ops: ...
    def call(
        self, name: str, request: str, timeout: float | None = None, on_progress: object | None = None
    ) -> tuple[bool, str]: ...
    def start(
        self,
        name: str,
        request: str,
        listener: object,
        timeout: float | None = None,
        wants_progress: bool = False,
    ) -> Call: ...
    def responder(self) -> Responder: ...
    def close(self, patience: float) -> None: ...
    def stop(self) -> None: ...

@final
class Responder:
    def respond(
        self,
        method: str,
        path: str,
        query: bytes,
        mount: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        peer: str | None,
    ) -> tuple[int, str, list[tuple[str, str]], bytes]: ...
    def start(
        self,
        method: str,
        path: str,
        query: bytes,
        mount: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        peer: str | None,
        listener: object,
    ) -> Call: ...

@final
class Call:
    def cancel(self) -> None: ...

@final
class Reply:
    def answer(self, value: str, block: bytes | None, object: Any | None) -> None: ...
    def fail(
        self,
        class_name: str,
        message: str,
        *,
        kind: str | None = None,
        errno: int | None = None,
        hint: str | None = None,
        retryable: bool | None = None,
        ticket: str | None = None,
    ) -> None: ...

@final
class Counter:
    def add(self, by: float) -> None: ...
    def get(self) -> float: ...

@final
class Gauge:
    def add(self, by: float) -> None: ...
    def set(self, value: float) -> None: ...
    def get(self) -> float: ...

@final
class Histogram:
    def observe(self, value: float) -> None: ...
    def get(self) -> tuple[int, float]: ...

@final
class CounterFamily:
    def __new__(
        cls, name: str, help: str, labels: list[str], unit: str | None = None, max_series: int | None = None
    ) -> CounterFamily: ...
    def with_(self, values: list[str]) -> Counter: ...
    def remove(self, values: list[str]) -> bool: ...
    def clear(self) -> None: ...

@final
class GaugeFamily:
    def __new__(
        cls, name: str, help: str, labels: list[str], unit: str | None = None, max_series: int | None = None
    ) -> GaugeFamily: ...
    def with_(self, values: list[str]) -> Gauge: ...
    def remove(self, values: list[str]) -> bool: ...
    def clear(self) -> None: ...

@final
class HistogramFamily:
    def __new__(
        cls,
        name: str,
        help: str,
        labels: list[str],
        bounds: list[float],
        unit: str | None = None,
        max_series: int | None = None,
    ) -> HistogramFamily: ...
    def with_(self, values: list[str]) -> Histogram: ...
    def remove(self, values: list[str]) -> bool: ...
    def clear(self) -> None: ...

@final
class InfoFamily:
    def __new__(cls, name: str, help: str, labels: list[str]) -> InfoFamily: ...
    def set(self, values: list[str], facts: list[tuple[str, str]]) -> None: ...
    def remove(self, values: list[str]) -> bool: ...
    def clear(self) -> None: ...
