"""Operations built into your service: health, metrics, backup and restore, in one dependency.

>>> from uplifted_ops import Ops
>>> with Ops(root="/opt/uplifted") as ops:              # doctest: +SKIP
...     backup = ops.backup.create(label="nightly")
...     print(backup.snapshot_id, backup.outcome)

================================  ==================================================================
:class:`Ops`, :class:`AsyncOps`   the front door: every operation is a method, ``ops.backup.create()``
:mod:`uplifted_ops.types`         what operations answer: frozen dataclasses
:class:`OpsError`                 what they raise: a subclass for each thing that a caller must do
:mod:`uplifted_ops.plugins`       stores, targets, checks, sinks and pauses of your own
:mod:`uplifted_ops.metrics`       instruments, as in ``prometheus_client``
:mod:`.prometheus_client`         all the names of that package: change the import and nothing else
:mod:`uplifted_ops.testing`       the contract suites for plugins
================================  ==================================================================

Nothing in your process ever opens a file that may be a live database: what reads the service's files runs in a
worker process, which is this interpreter started again.
"""

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if "t" in getattr(_sys, "abiflags", ""):
    raise ImportError(
        "uplifted-ops does not support free-threaded builds of Python yet "
        f"(this is {_sys.executable}): use the ordinary python3 of the same version"
    )

try:
    from ._native import VERSION as __version__
except ModuleNotFoundError as _missing:
    if _missing.name != "uplifted_ops._native":
        raise
    raise ImportError(
        f"the native module of uplifted-ops is not beside {__file__}: a zip file cannot hold it. Unpack the "
        "application (shiv and pex do so by themselves), or install the wheel beside it"
    ) from None

if _TYPE_CHECKING:
    from ._aio import AsyncOps as AsyncOps
    from ._base import Answer as Answer
    from ._errors import BusyError as BusyError
    from ._errors import CorruptError as CorruptError
    from ._errors import DeniedError as DeniedError
    from ._errors import InternalError as InternalError
    from ._errors import InvalidInputError as InvalidInputError
    from ._errors import NoSpaceError as NoSpaceError
    from ._errors import NotFoundError as NotFoundError
    from ._errors import OperationCancelledError as OperationCancelledError
    from ._errors import OpsError as OpsError
    from ._errors import RefusedError as RefusedError
    from ._errors import TimedOutError as TimedOutError
    from ._errors import UnavailableError as UnavailableError
    from ._errors import UnsupportedError as UnsupportedError
    from ._logging import enable_logging as enable_logging
    from ._ops import Ops as Ops

# Each name with the module that has it, imported at first use: importing the package costs a host little, and one
# that is not async never pays for asyncio.
_HOMES = {
    "Answer": "_base",
    "AsyncOps": "_aio",
    "BusyError": "_errors",
    "CorruptError": "_errors",
    "DeniedError": "_errors",
    "InternalError": "_errors",
    "InvalidInputError": "_errors",
    "NoSpaceError": "_errors",
    "NotFoundError": "_errors",
    "OperationCancelledError": "_errors",
    "Ops": "_ops",
    "OpsError": "_errors",
    "RefusedError": "_errors",
    "TimedOutError": "_errors",
    "UnavailableError": "_errors",
    "UnsupportedError": "_errors",
    "enable_logging": "_logging",
}

__all__ = [
    "Answer",
    "AsyncOps",
    "BusyError",
    "CorruptError",
    "DeniedError",
    "InternalError",
    "InvalidInputError",
    "NoSpaceError",
    "NotFoundError",
    "OperationCancelledError",
    "Ops",
    "OpsError",
    "RefusedError",
    "TimedOutError",
    "UnavailableError",
    "UnsupportedError",
    "__version__",
    "enable_logging",
]


def __getattr__(name: str) -> _Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
