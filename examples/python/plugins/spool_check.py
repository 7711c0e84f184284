"""A health check in one file: is what waits in a folder taken out of it in time?

    ops = Ops(root="/opt/uplifted", checks={"outbox": SpoolCheck("/opt/uplifted/outbox", 300)})
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

from uplifted_ops.plugins import CheckOutcome


@dataclass(frozen=True)
class SpoolCheck:
    """Warns when the oldest file in ``folder`` waits for longer than ``max_age_seconds``, and fails when for ten times
    that. A folder that is not there cannot be asked: the exception is the answer."""

    folder: str | os.PathLike[str]
    max_age_seconds: float

    async def check(self) -> CheckOutcome:
        """Asks. The disk may be slow, so it is not asked on the event loop."""
        age = await asyncio.to_thread(self._oldest)
        if age <= self.max_age_seconds:
            return CheckOutcome("pass", "nothing waits for too long", age, "seconds")
        message = f"see why nobody empties {self.folder}"
        return CheckOutcome("warn" if age <= 10 * self.max_age_seconds else "fail", message, age, "seconds")

    def _oldest(self) -> float:
        written = [path.stat().st_mtime for path in Path(self.folder).iterdir()]
        return max(0.0, time.time() - min(written)) if written else 0.0
