"""What operations raise: one class for each thing that a caller must do."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from itertools import count
from typing import Any, ClassVar


class OpsError(Exception):
    """Something could not be done.

    Catch a subclass to act on it, this one for everything. ``str(error)`` is the message and the hint. The chain of
    ``__cause__`` leads to what was underneath: an error of the operating system, or the exception that a
    plugin raised.
    """

    #: The kind's name on the wire, such as ``"no_space"``.
    kind: str = "internal"

    #: What happened, a sentence without the hint.
    message: str
    #: The repair, one line.
    hint: str | None
    #: Whether the same call can succeed later without anybody changing anything.
    retryable: bool
    #: The operation that failed, such as ``"backup.create"``.
    operation: str | None
    #: Names and values that help to find the place.
    context: dict[str, str]

    _usually_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retryable: bool | None = None,
        operation: str | None = None,
        context: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = self._usually_retryable if retryable is None else retryable
        self.operation = operation
        self.context = dict(context or {})

    def __str__(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.message}{hint}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, hint={self.hint!r})"


class InvalidInputError(OpsError, ValueError):
    """The request or a setting is wrong: change it."""

    kind = "invalid_input"


class NotFoundError(OpsError):
    """What was named does not exist: name something that does."""

    kind = "not_found"


class RefusedError(OpsError):
    """Doing it now would be unsafe: meet the condition in the hint first."""

    kind = "refused"


class BusyError(OpsError):
    """Somebody else holds what is needed: try again later."""

    kind = "busy"
    _usually_retryable = True


class DeniedError(OpsError):
    """The operating system or a server said no: grant the permission."""

    kind = "denied"


class NoSpaceError(OpsError):
    """The disk or the target is full: free space."""

    kind = "no_space"


class UnavailableError(OpsError):
    """Something outside did not answer, or a device failed: bring it back, then try again."""

    kind = "unavailable"
    _usually_retryable = True


class TimedOutError(OpsError, TimeoutError):
    """The deadline passed: try again, or allow more time."""

    kind = "timeout"
    _usually_retryable = True


class CorruptError(OpsError):
    """Data is damaged: do not trust it, use another copy."""

    kind = "corrupt"


class UnsupportedError(OpsError):
    """This build, or this component, cannot do that."""

    kind = "unsupported"


class OperationCancelledError(OpsError):
    """The operation was stopped, by ``close`` for instance. Nothing was left half-done.

    Not ``asyncio.CancelledError``, which a cancelled task gets as ever.
    """

    kind = "cancelled"


class InternalError(OpsError):
    """A defect of uplifted-ops: report it."""

    kind = "internal"


_CLASSES: dict[str, type[OpsError]] = {
    cls.kind: cls
    for cls in (
        InvalidInputError,
        NotFoundError,
        RefusedError,
        BusyError,
        DeniedError,
        NoSpaceError,
        UnavailableError,
        TimedOutError,
        CorruptError,
        UnsupportedError,
        OperationCancelledError,
        InternalError,
    )
}

for _class in (OpsError, *_CLASSES.values()):
    _class.__module__ = "uplifted_ops"


class Cause(Exception):
    """One link of a chain of causes, of which only the text is known."""


def _cause(text: str) -> Exception:
    """A cause by its text. That of an error of the operating system ends in its number."""
    what, _, number = text.rpartition(" (os error ")
    if what and number[:-1].isdecimal():
        return OSError(int(number[:-1]), what)
    return Cause(text)


# Exceptions of plugins on their way through Rust, and perhaps through the worker, back to the caller. The oldest
# are forgotten: an error without its original is still an error.
_KEPT = 32
_EXCEPTION = "exception"
_raised: OrderedDict[str, BaseException] = OrderedDict()
_numbers = count(1)


def remember(exception: BaseException) -> str:
    """Keeps an exception until :func:`from_json` meets its ticket."""
    ticket = f"#{next(_numbers)}"
    _raised[ticket] = exception
    while len(_raised) > _KEPT:
        _raised.popitem(last=False)
    return ticket


def from_json(text: str) -> OpsError:
    """The exception of an error that Rust sent."""
    return from_body(json.loads(text))


def from_body(body: Mapping[str, Any]) -> OpsError:
    """The exception of an error on the wire."""
    cls = _CLASSES.get(body["kind"], OpsError)
    context = dict(body.get("context") or {})
    original = _raised.pop(context.pop(_EXCEPTION, ""), None)
    error = cls(
        body["message"],
        hint=body.get("hint"),
        retryable=body.get("retryable"),
        operation=body.get("operation"),
        context=context,
    )
    if cls is OpsError:
        error.kind = body["kind"]
    link: BaseException = error
    for message in body.get("causes") or ():
        link.__cause__ = _cause(message)
        link = link.__cause__
    if original is not None:
        link.__cause__ = original
    return error
