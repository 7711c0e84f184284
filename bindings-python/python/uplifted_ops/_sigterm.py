"""SIGTERM: not ready first, then whatever the host does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType


def install(drain: Callable[[], float]) -> Callable[[], None]:
    """Has SIGTERM call ``drain`` first, and pass on to the handler that was there when the seconds that it gives are over.

    A second signal passes on at once. Returns what takes it back. Must be called on the main thread.
    """
    previous = signal.getsignal(signal.SIGTERM)
    state = _State()

    def handler(number: int, frame: FrameType | None) -> None:
        if state.timer is None:
            # The main thread goes on: it may be what serves.
            state.timer = threading.Timer(drain(), os.kill, (os.getpid(), number))
            state.timer.daemon = True
            state.timer.start()
            return
        state.timer.cancel()
        signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)
        if callable(previous):
            previous(number, frame)
        elif previous != signal.SIG_IGN:
            os.kill(os.getpid(), number)

    def remove() -> None:
        # Somebody may have come after us, and passes on to us: theirs stays.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)

    signal.signal(signal.SIGTERM, handler)
    return remove


class _State:
    timer: threading.Timer | None = None
