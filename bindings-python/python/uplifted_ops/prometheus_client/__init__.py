"""The names of the package ``prometheus_client``, over this package's instruments: programs change the import and nothing else.

>>> from uplifted_ops.prometheus_client import Counter, start_http_server   # was: from prometheus_client import …

What differs on purpose:

- everything counts in one process-wide memory, and :data:`REGISTRY` is also what ``/metrics`` and ``ops.metrics.render()``
  show, beside ``process_*`` and the service's own;
- a family keeps ``max_series`` sets of label values apart (2,000 unless said otherwise). Further ones share a series whose
  labels are all ``__overflow__``, so that labels made of user input cannot fill the memory; values over 1,024 bytes are cut;
- a histogram leaves NaN and infinities out, and counts them in ``uplifted_ops_metrics_refused_observations_total``; a counter
  refuses them; bounds that are not ascending are refused, also where ``+Inf`` makes them so;
- a :class:`Summary`'s type on the page is ``histogram``: ``_count`` and ``_sum`` are the same;
- names that a program chooses are the classic ones, of letters, digits and ``_``; one that ends as samples do, in ``_created`` say,
  is refused;
- a counter has no ``reset``;
- on the page a whole number has no ``.0``; ``_created`` series are not written, so that :func:`disable_created_metrics` has nothing to
  do;
- a :class:`ProcessCollector` is of this process, whatever ``pid`` and ``proc`` say; :func:`start_http_server` has no TLS;
- families of collectors of the types info, stateset, summary and unknown are gauges on the page, under the same names;
  timestamps of their samples are left out;
- a collector that raises is left out of the page and counted in ``uplifted_ops_collector_failures_total``; the rest of the page
  is complete;
- a counter ``x`` and another metric ``x`` or ``x_total`` cannot be in one registry: OpenMetrics has one name for them;
- ``multiprocess`` is not needed: the processes of a service sum by themselves. A gauge's ``multiprocess_mode`` is ``livesum``
  unless said otherwise, and ``all`` and ``liveall``, a series for each process, are sums;
- the Pushgateway, the bridges to Graphite and Twisted, and the parsers are not here.
"""

from ..metrics import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
)
from .core import Metric
from .exposition import (
    MetricsHandler,
    generate_latest,
    make_asgi_app,
    make_wsgi_app,
    start_http_server,
    start_wsgi_server,
    write_to_textfile,
)
from .process import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)

__all__ = [
    "CONTENT_TYPE_LATEST",
    "GC_COLLECTOR",
    "PLATFORM_COLLECTOR",
    "PROCESS_COLLECTOR",
    "REGISTRY",
    "CollectorRegistry",
    "Counter",
    "Enum",
    "GCCollector",
    "Gauge",
    "Histogram",
    "Info",
    "Metric",
    "MetricsHandler",
    "PlatformCollector",
    "ProcessCollector",
    "Summary",
    "disable_created_metrics",
    "enable_created_metrics",
    "generate_latest",
    "make_asgi_app",
    "make_wsgi_app",
    "start_http_server",
    "start_wsgi_server",
    "write_to_textfile",
]


def disable_created_metrics() -> None:
    """Does nothing: ``_created`` series are not written."""


def enable_created_metrics() -> None:
    """Does nothing: ``_created`` series are not written."""
