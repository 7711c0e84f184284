"""What Python says about itself, by the names of ``prometheus_client``."""

import gc
import platform as this_platform
from collections.abc import Callable, Iterable
from typing import Any

from .._families import CounterMetricFamily, GaugeMetricFamily, Metric
from .._registry import REGISTRY, CollectorRegistry


class GCCollector:
    """What the garbage collector did, by generation: ``python_gc_*``."""

    def __init__(self, registry: CollectorRegistry | None = REGISTRY) -> None:
        if registry is not None and hasattr(gc, "get_stats"):
            registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """The metrics at this moment."""
        families = [
            ("collected", CounterMetricFamily("python_gc_objects_collected", "Objects collected during gc", labels=["generation"])),
            ("uncollectable", CounterMetricFamily("python_gc_objects_uncollectable", "Uncollectable objects found during GC", labels=["generation"])),
            ("collections", CounterMetricFamily("python_gc_collections", "Number of times this generation was collected", labels=["generation"])),
        ]  # fmt: skip
        for generation, stat in enumerate(gc.get_stats()):
            for key, family in families:
                family.add_metric([str(generation)], stat[key])
        return [family for _, family in families]


class PlatformCollector:
    """Which Python this is: ``python_info``."""

    def __init__(self, registry: CollectorRegistry | None = REGISTRY, platform: object | None = None) -> None:
        self._platform: Any = platform or this_platform
        if registry is not None:
            registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """The metrics at this moment."""
        major, minor, patchlevel = self._platform.python_version_tuple()
        facts = {
            "version": self._platform.python_version(),
            "implementation": self._platform.python_implementation(),
            "major": major,
            "minor": minor,
            "patchlevel": patchlevel,
        }
        family = GaugeMetricFamily("python_info", "Python platform information", labels=list(facts))
        family.add_metric(list(facts.values()), 1)
        return [family]


class ProcessCollector:
    """What the operating system says about this process: ``process_*``. The process's own registry has them from the start."""

    def __init__(
        self,
        namespace: str = "",
        pid: Callable[[], int | str] = lambda: "self",
        proc: str = "/proc",
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        self._prefix = f"{namespace}_process_" if namespace else "process_"
        # Another process's numbers would need its files, and this process's are there.
        if registry is not None and (registry is not REGISTRY or namespace):
            registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """The metrics at this moment."""
        for metric in REGISTRY._process_metrics():
            renamed = Metric(self._prefix + metric.name.removeprefix("process_"), metric.documentation, metric.type)
            for sample in metric.samples:
                renamed.add_sample(self._prefix + sample.name.removeprefix("process_"), sample.labels, sample.value)
            yield renamed


#: Of :data:`REGISTRY`.
PROCESS_COLLECTOR = ProcessCollector()
#: Of :data:`REGISTRY`.
PLATFORM_COLLECTOR = PlatformCollector()
#: Of :data:`REGISTRY`.
GC_COLLECTOR = GCCollector()
