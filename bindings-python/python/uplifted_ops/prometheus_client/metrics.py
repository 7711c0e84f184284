"""As ``prometheus_client.metrics``."""

from ..metrics import Counter, Enum, Gauge, Histogram, Info, Summary

__all__ = ["Counter", "Enum", "Gauge", "Histogram", "Info", "Summary"]
