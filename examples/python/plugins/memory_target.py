"""A backup target in memory: the whole contract in one file.

    ops = Ops(root="/opt/uplifted", targets={"memory": MemoryTarget()})

It stands for an object store: put the calls of yours in place of the dict. Backups that end with the process are of
use in tests.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from uplifted_ops import NotFoundError, RefusedError
from uplifted_ops.plugins import StoredObject, TargetCapability


@dataclass(frozen=True)
class Object:
    """What is kept of an object."""

    data: bytes
    modified_at: datetime


class MemoryTarget:
    """Objects in a dict. Plain methods run on several threads at a time, so a lock guards it."""

    capability = TargetCapability(kind="memory", location="memory", put_if_absent=True, read_before_finish=True)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, Object] = {}

    def put(self, key: str, data: bytes, if_absent: bool, /) -> bool:
        """Stores a small object at once."""
        with self._lock:
            if if_absent and key in self._objects:
                return False
            self._objects[key] = Object(data, datetime.now(UTC))
            return True

    def upload(self, key: str, expected_bytes: int | None, /) -> MemoryUpload:
        """Starts an object of any size."""
        return MemoryUpload(self, key)

    def get(self, key: str, start: int, end: int, /) -> bytes:
        """Bytes of an object."""
        with self._lock:
            if key not in self._objects:
                raise NotFoundError(f"there is no object {key!r}")
            return self._objects[key].data[start:end]

    def list(self, prefix: str, after: str | None, /) -> list[StoredObject]:
        """The next objects. Keys are ASCII: Python sorts them in byte order."""
        with self._lock:
            keys = sorted(key for key in self._objects if key.startswith(prefix) and (after is None or key > after))
            return [self._describe(key) for key in keys[:1000]]

    def stat(self, key: str, /) -> StoredObject | None:
        """Size and time of an object."""
        with self._lock:
            return self._describe(key) if key in self._objects else None

    def delete(self, key: str, /) -> None:
        """Removes an object."""
        with self._lock:
            self._objects.pop(key, None)

    def finish(self, key: str, data: bytes) -> None:
        """Makes an upload visible, and replaces nothing."""
        if not self.put(key, data, True):
            raise RefusedError(f"{key!r} exists already", hint="choose another key")

    def _describe(self, key: str) -> StoredObject:
        kept = self._objects[key]
        return StoredObject(key, len(kept.data), kept.modified_at)


@dataclass
class MemoryUpload:
    """An object being written: nobody sees it before it is finished."""

    target: MemoryTarget
    key: str
    data: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes, /) -> None:
        """Appends a block."""
        self.data += data

    def read_back(self, start: int, end: int, /) -> bytes:
        """What was written."""
        return bytes(self.data[start:end])

    def finish(self) -> None:
        """Makes it visible."""
        self.target.finish(self.key, bytes(self.data))

    def abort(self) -> None:
        """Forgets it."""
        self.data.clear()
