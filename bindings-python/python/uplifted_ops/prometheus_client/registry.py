"""As ``prometheus_client.registry``."""

from .._registry import REGISTRY, Collector, CollectorRegistry, DuplicateTimeseries, RestrictedRegistry

__all__ = ["REGISTRY", "Collector", "CollectorRegistry", "DuplicateTimeseries", "RestrictedRegistry"]
