"""Targets in memory, plain and `async`: the examples that the suites run on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

from uplifted_ops import RefusedError
from uplifted_ops.plugins import StoredObject, TargetCapability


class MemoryTarget:
    """A target that keeps objects in a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.lock = threading.Lock()
        self.threads: set[str] = set()

    def capability(self) -> TargetCapability:
        return TargetCapability(kind="memory", location="memory of the test", put_if_absent=True)

    def put(self, key: str, data: bytes, if_absent: bool) -> bool:
        self.threads.add(threading.current_thread().name)
        with self.lock:
            if if_absent and key in self.objects:
                return False
            self.objects[key] = (data, datetime.now(UTC))
            return True

    def upload(self, key: str, expected_bytes: int | None) -> MemoryUpload:
        return MemoryUpload(self, key)

    def get(self, key: str, start: int, end: int) -> bytes | None:
        found = self.objects.get(key)
        return None if found is None else found[0][start:end]

    def list(self, prefix: str, after: str | None) -> Sequence[StoredObject]:
        with self.lock:
            keys = sorted(key for key in self.objects if key.startswith(prefix) and key > (after or ""))
            return [self._object(key) for key in keys[:1000]]

    def stat(self, key: str) -> StoredObject | None:
        with self.lock:
            return self._object(key) if key in self.objects else None

    def delete(self, key: str) -> None:
        with self.lock:
            self.objects.pop(key, None)

    def _object(self, key: str) -> StoredObject:
        data, time = self.objects[key]
        return StoredObject(key, len(data), time)


class MemoryUpload:
    """An object that is not visible yet."""

    def __init__(self, target: MemoryTarget, key: str) -> None:
        self.target = target
        self.key = key
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self) -> None:
        with self.target.lock:
            if self.key in self.target.objects:
                raise RefusedError(f"there is an object {self.key!r} already")
            self.target.objects[self.key] = (bytes(self.data), datetime.now(UTC))

    def abort(self) -> None:
        self.data.clear()


class AsyncMemoryTarget:
    """The same with `async` methods."""

    def __init__(self) -> None:
        self.inner = MemoryTarget()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def put(self, key: str, data: bytes, if_absent: bool) -> bool:
        await self.step()
        return self.inner.put(key, data, if_absent)

    async def upload(self, key: str, expected_bytes: int | None) -> AsyncMemoryUpload:
        await self.step()
        return AsyncMemoryUpload(self, self.inner.upload(key, expected_bytes))

    async def get(self, key: str, start: int, end: int) -> bytes | None:
        await self.step()
        return self.inner.get(key, start, end)

    async def list(self, prefix: str, after: str | None) -> Sequence[StoredObject]:
        await self.step()
        return self.inner.list(prefix, after)

    async def stat(self, key: str) -> StoredObject | None:
        await self.step()
        return self.inner.stat(key)

    async def delete(self, key: str) -> None:
        await self.step()
        self.inner.delete(key)

    async def free_bytes(self) -> int | None:
        return None

    async def step(self) -> None:
        self.loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)


class AsyncMemoryUpload:
    """An upload with `async` methods."""

    def __init__(self, target: AsyncMemoryTarget, inner: MemoryUpload) -> None:
        self.target = target
        self.inner = inner

    async def write(self, data: bytes) -> None:
        await self.target.step()
        self.inner.write(data)

    async def finish(self) -> None:
        await self.target.step()
        self.inner.finish()

    async def abort(self) -> None:
        self.inner.abort()
