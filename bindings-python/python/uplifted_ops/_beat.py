"""Signs of life of this interpreter and of its event loops, for ``/livez``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from . import _native


class Heart:
    """Beats on a thread of its own, which shows that the interpreter lock is free, and on event loops.

    It knows nothing of the ``Ops``, so that one that nobody holds is closed.
    """

    def __init__(self, pulse: _native.Pulse, seconds: float) -> None:
        self._pulse = pulse
        self._seconds = seconds
        self._stopped = threading.Event()
        self._loops: list[LoopBeat] = []
        threading.Thread(target=self._run, name="uplifted-ops-beat", daemon=True).start()

    def knows(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether that loop beats already."""
        return any(beat.loop is loop for beat in self._loops)

    def use_loop(self, loop: asyncio.AbstractEventLoop, pulse: _native.Pulse) -> None:
        """Has the running ``loop`` beat from now on, called on its thread. It rests while it does not run."""
        beat = LoopBeat(loop, pulse, self._seconds, self._stopped)
        self._loops.append(beat)
        beat.tick()

    def stop(self) -> None:
        """Beats no more, and is missed by nobody."""
        self._stopped.set()
        self._pulse.rest()
        for beat in self._loops:
            beat.pulse.rest()

    def _run(self) -> None:
        while True:
            self._pulse.beat()
            for beat in list(self._loops):
                if beat.loop.is_closed():
                    self._loops.remove(beat)
                    beat.pulse.rest()
                elif not beat.loop.is_running():
                    beat.pulse.rest()
            if self._stopped.wait(self._seconds):
                self._pulse.rest()
                return


class LoopBeat:
    """One event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pulse: _native.Pulse, seconds: float, stopped: threading.Event
    ) -> None:
        self.loop = loop
        self.pulse = pulse
        self._seconds = seconds
        self._stopped = stopped

    def tick(self) -> None:
        """Beats, and again when the loop has turned for a while."""
        if not self._stopped.is_set():
            self.pulse.beat()
            self.loop.call_later(self._seconds, self.tick)
