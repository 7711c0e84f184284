"""What :class:`Ops` and :class:`AsyncOps` share."""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import WeakSet

from . import _native, _worker

#: How long the end of the interpreter waits for what it cancelled.
_EXIT_PATIENCE = 5.0


class Answer(NamedTuple):
    """What an operation answered."""

    #: The response, as the operation's schema describes it.
    response: dict[str, Any]
    #: Whether all is well. ``False`` is what makes the command line exit 1: a failed check, a partial backup.
    healthy: bool


def _plain(value: Any) -> Any:
    """What JSON cannot write by itself."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        if getattr(value, "tzinfo", None) is None:
            raise TypeError(f"{value!r} has no time zone: give it one, such as datetime.timezone.utc")
        return isoformat()
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: getattr(value, name) for name in fields}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, bytes, bytearray)):
        raise TypeError(f"a {type(value).__name__} has no form in JSON")
    try:
        return list(value)
    except TypeError:
        raise TypeError(f"{value!r} has no form in JSON") from None


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain).encode
_decode = json.JSONDecoder().decode


class Base:
    """Builds the native half, and closes it."""

    _native: _native.Ops

    def _build(
        self,
        settings: Mapping[str, Any] | None,
        root: str | os.PathLike[str] | None,
        config: str | os.PathLike[str] | None,
        callback_timeout: float | None,
    ) -> None:
        options = {
            "root": root,
            "config_file": config,
            "settings": settings,
            "callback_seconds": callback_timeout,
            "worker": self._worker(),
        }
        self._native = _native.Ops(_encode(options))
        _open.add(self)

    @staticmethod
    def _worker() -> dict[str, Any]:
        try:
            return {"command": _worker.command()}
        except LookupError as reason:
            return {"none": str(reason)}


# Those that somebody still holds. At the interpreter's end they are closed while Python still works; later no
# thread of Rust may enter it.
_open: WeakSet[Base] = WeakSet()


@atexit.register
def _close_all() -> None:
    for ops in list(_open):
        ops._native.close(_EXIT_PATIENCE)
        ops._native.stop()
