"""Between the wire's JSON and Python's own types.

`types` tells for each dataclass which fields are more than plain JSON. On the wire a
time is RFC 3339 text, and a file name is text, or ``{"bytes": "<hexadecimal>"}`` where
it is not UTF-8: in Python it is a `str` as `os.fsdecode` makes it, which `open` takes
and `os.fsencode` turns back into the bytes.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")


class WireError(ValueError):
    """The other side broke its promise: a defect, whose place the message names."""


class Codec:
    """How one kind of value crosses. This one takes JSON as it is."""

    __slots__ = ()

    def decode(self, wire: Any, place: str) -> Any:
        """The Python value of a wire value that is not null."""
        return wire

    def encode(self, value: Any) -> Any:
        """The wire value of a Python value that is not None."""
        return value


class _Time(Codec):
    __slots__ = ()

    def decode(self, wire: Any, place: str) -> datetime:
        try:
            return datetime.fromisoformat(wire).astimezone(UTC)
        except (TypeError, ValueError) as error:
            raise WireError(f"{place} is no time: {wire!r}") from error

    def encode(self, value: Any) -> str:
        return time_to_wire(value)


class _Path(Codec):
    __slots__ = ()

    def decode(self, wire: Any, place: str) -> str:
        if isinstance(wire, str):
            return wire
        try:
            return os.fsdecode(bytes.fromhex(wire["bytes"]))
        except (TypeError, KeyError, ValueError) as error:
            raise WireError(f"{place} is no file name: {wire!r}") from error

    def encode(self, value: Any) -> str | dict[str, str]:
        return path_to_wire(value)


class ListOf(Codec):
    """A list of one kind of value."""

    __slots__ = ("_item",)

    def __init__(self, item: Codec) -> None:
        self._item = item

    def decode(self, wire: Any, place: str) -> list[Any]:
        if not isinstance(wire, list):
            raise WireError(f"{place} is no list: {wire!r}")
        item = self._item
        return [
            None if value is None else item.decode(value, f"{place}[{index}]")
            for index, value in enumerate(wire)
        ]

    def encode(self, value: Iterable[Any]) -> list[Any]:
        return [None if item is None else self._item.encode(item) for item in value]


class MapOf(Codec):
    """One kind of value by keys that are data."""

    __slots__ = ("_value",)

    def __init__(self, value: Codec) -> None:
        self._value = value

    def decode(self, wire: Any, place: str) -> dict[str, Any]:
        if not isinstance(wire, dict):
            raise WireError(f"{place} is no object: {wire!r}")
        codec = self._value
        return {
            key: None if value is None else codec.decode(value, f"{place}[{key!r}]")
            for key, value in wire.items()
        }

    def encode(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: None if item is None else self._value.encode(item)
            for key, item in value.items()
        }


class Record(Codec):
    """A dataclass. Fields that it does not have are passed over."""

    __slots__ = ("_cls", "_fields", "_name")

    def __init__(self, cls: type[Any], **codecs: Codec) -> None:
        self._cls = cls
        self._name = cls.__name__
        # A word of Python's own has a `_` at its end, which the wire has not.
        self._fields = [
            (name, name.rstrip("_"), codecs.get(name)) for name in cls.__slots__
        ]
        _BY_CLASS[cls] = self

    def decode(self, wire: Any, place: str) -> Any:
        if not isinstance(wire, dict):
            raise WireError(f"{place} is no {self._name}: {wire!r}")
        values = {}
        for name, key, codec in self._fields:
            if key in wire:
                value = wire[key]
                if codec is not None and value is not None:
                    value = codec.decode(value, f"{place}.{key}")
                values[name] = value
        try:
            return self._cls(**values)
        except TypeError as error:
            raise WireError(f"{place} is no whole {self._name}: {error}") from error

    def encode(self, value: Any) -> dict[str, Any]:
        wire = {}
        for name, key, codec in self._fields:
            field = getattr(value, name)
            wire[key] = field if codec is None or field is None else codec.encode(field)
        return wire


class Union(Codec):
    """One of some dataclasses, told apart by a word in the field `tag`."""

    __slots__ = ("_records", "_tag")

    def __init__(self, tag: str, **records: Record) -> None:
        self._tag = tag
        self._records = {word.rstrip("_"): record for word, record in records.items()}

    def decode(self, wire: Any, place: str) -> Any:
        word = wire.get(self._tag) if isinstance(wire, dict) else None
        record = self._records.get(word) if isinstance(word, str) else None
        if record is None:
            known = ", ".join(self._records)
            raise WireError(f"{place}.{self._tag} is {word!r} and not one of: {known}")
        return record.decode(wire, place)

    def encode(self, value: Any) -> Any:
        return to_wire(value)


TIME = _Time()
PATH = _Path()

_BY_CLASS: dict[type[Any], Record] = {}


class Response(Generic[T]):
    """The dataclass `name` of `types`, which is imported with the first value."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def decode(self, wire: Any) -> T:
        """The dataclass of a JSON object.

        Raises:
            WireError: When the object is something else.
        """
        from . import types

        decoded: T = _BY_CLASS[getattr(types, self.name)].decode(wire, self.name)
        return decoded


def to_wire(value: Any) -> Any:
    """A dataclass of `types` as the JSON that it came from: what `json.dumps` takes."""
    record = _BY_CLASS.get(type(value))
    if record is None:
        raise TypeError(f"{type(value).__name__} is no type of uplifted_ops.types")
    return record.encode(value)


def time_to_wire(value: datetime) -> str:
    """RFC 3339 in UTC."""
    if not isinstance(value, datetime):
        raise TypeError(f"a time is a datetime.datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError("a time needs its zone: datetime.now(UTC), not datetime.now()")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def path_to_wire(
    value: str | bytes | os.PathLike[str] | os.PathLike[bytes],
) -> str | dict[str, str]:
    """A file name as text; one that is not UTF-8 by its bytes."""
    text = os.fsdecode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"bytes": os.fsencode(text).hex()}
    return text


def list_to_wire(
    values: Iterable[Any], encode: Callable[[Any], Any] = lambda item: item
) -> list[Any]:
    """A list, item by item.

    Text is refused: to Python it is a list of letters, to everybody else a mistake.
    """
    if isinstance(values, (str, bytes)):
        raise TypeError(
            f"a list is expected, not the text {values!r}: write [{values!r}]"
        )
    return [encode(value) for value in values]


def request(**fields: Any) -> dict[str, Any]:
    """The fields that are given: None leaves one out."""
    return {
        name.rstrip("_"): value for name, value in fields.items() if value is not None
    }
