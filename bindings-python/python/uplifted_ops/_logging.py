"""Logging, for hosts that ask for it."""

from __future__ import annotations

import logging

from . import _base


def enable_logging(logger: logging.Logger | str = "uplifted_ops", *, progress: bool = False) -> logging.Logger:
    """Writes a record for every operation that this process calls: ``INFO`` when it is done, ``WARNING`` when it is done
    and something is not well, ``ERROR`` when it could not be done. With ``progress`` also a ``DEBUG`` record for each stage.

    Nothing is logged before this is called. The record's ``operation`` and ``duration_seconds`` are attributes, for
    formatters that write them. Returns the logger.
    """
    log = logging.getLogger(logger) if isinstance(logger, str) else logger

    def done(name: str, healthy: bool, seconds: float) -> None:
        extra = {"operation": name, "duration_seconds": seconds}
        if healthy:
            log.info("%s: done in %.3f s", name, seconds, extra=extra)
        else:
            log.warning("%s: done in %.3f s, and something is not well", name, seconds, extra=extra)

    def failed(name: str, error: BaseException, seconds: float) -> None:
        extra = {"operation": name, "duration_seconds": seconds}
        text = str(error) or type(error).__name__
        log.error("%s: failed after %.3f s: %s", name, seconds, text.removeprefix(f"{name}: "), extra=extra)

    def stage(name: str, stage: str) -> None:
        log.debug("%s: %s", name, stage, extra={"operation": name})

    _base.listener = _base.Listener(done, failed, stage if progress else None)
    return log
