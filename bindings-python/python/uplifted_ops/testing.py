"""The contract suites: certify a plugin in one line.

>>> from uplifted_ops.testing import check_target
>>> def test_offsite():
...     check_target(lambda: Offsite(make_empty_bucket()))

Each clause of :mod:`uplifted_ops.plugins` is a case. ``check_…`` runs all of them and raises one ``AssertionError`` with every
case that failed; ``…_outcomes`` returns them, for a test of its own for each case:

>>> @pytest.mark.parametrize("case", target_outcomes(Offsite), ids=str)             # doctest: +SKIP
... def test_offsite(case):
...     assert case.ok, case

These need nothing but this package, and run the plugin as an :class:`~uplifted_ops.Ops` would: plain methods on
threads, ``async`` ones on a loop of ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from . import _native
from ._runner import Runner
from .plugins import Check, CheckFunction, Sink, Store, Target

__all__ = [
    "CaseOutcome",
    "HeldOpen",
    "SinkScene",
    "StoreScene",
    "check_health_check",
    "check_sink",
    "check_store",
    "check_target",
    "health_check_outcomes",
    "sink_outcomes",
    "store_outcomes",
    "target_outcomes",
]


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """What became of one case."""

    #: Its name.
    name: str
    #: The clause of the contract that it checks.
    clause: str
    #: What was wrong, ``None`` when nothing was.
    failure: str | None

    @property
    def ok(self) -> bool:
        """Whether the clause holds."""
        return self.failure is None

    def __str__(self) -> str:
        if self.failure is None:
            return self.name
        return f"{self.name}: {self.failure} (the contract says: {self.clause})"


class SinkScene(Protocol):
    """A sink with the place behind it. May also have ``exports() -> int``, how many snapshots arrived, and
    ``set_failing(failing: bool)``, after which the place fails or works again."""

    def sink(self) -> Sink:
        """The sink."""
        ...

    def received(self, name: str, labels: Sequence[str], /) -> float | None:
        """What the place holds for a series, by the values of its labels in their order: the last value of a counter or gauge, the count of a histogram, ``None`` when
        it never came."""
        ...


class HeldOpen(Protocol):
    """A database that another process has open."""

    def release(self) -> None:
        """Closes it there."""


class StoreScene(Protocol):
    """Databases to test a store on. "Rows" are whatever the scene counts; the suite makes and removes the folders.

    May also have ``rows_in(folder)`` for a copy, else ``rows`` is asked; ``damage(folder)``, which spoils a copy; and
    ``hold_open(folder)``, which opens the database in another process and returns a :class:`HeldOpen`.
    """

    def open(self, folder: Path, /) -> Store:
        """The store over the database in ``folder``, which may be missing."""
        ...

    def commit(self, folder: Path, rows: int, /) -> None:
        """Commits that many further rows, making the database if need be, and leaves no connection open."""

    def rows(self, folder: Path, /) -> int:
        """How many rows the database in ``folder`` has."""
        ...


def check_target(factory: Callable[[], Target], *, deadline: float = 10.0) -> None:
    """Certifies a backup target. ``factory`` makes an empty one, for each case anew; each call of it has ``deadline``
    seconds."""
    _check("target", target_outcomes(factory, deadline=deadline))


def check_store(scene: StoreScene, *, deadline: float = 10.0) -> None:
    """Certifies a store."""
    _check("store", store_outcomes(scene, deadline=deadline))


def check_health_check(
    factory: Callable[[], Check | CheckFunction],
    *,
    stuck: Callable[[], Check | CheckFunction] | None = None,
    watched: Iterable[str | os.PathLike[str]] = (),
    deadline: float = 10.0,
) -> None:
    """Certifies a health check. ``factory`` makes one that answers, with whatever verdict; ``stuck`` one whose question gets
    no answer; ``watched`` are paths that it must leave alone."""
    _check("check", health_check_outcomes(factory, stuck=stuck, watched=watched, deadline=deadline))


def check_sink(factory: Callable[[], SinkScene], *, deadline: float = 10.0) -> None:
    """Certifies a metrics sink. ``factory`` makes a sink with the place behind it, for each case anew."""
    _check("sink", sink_outcomes(factory, deadline=deadline))


def target_outcomes(factory: Callable[[], Target], *, deadline: float = 10.0) -> list[CaseOutcome]:
    """What became of every case of :func:`check_target`."""
    return _run("target", _Scene(fresh=factory), deadline)


def store_outcomes(scene: StoreScene, *, deadline: float = 10.0) -> list[CaseOutcome]:
    """What became of every case of :func:`check_store`."""
    return _run("store", scene, deadline)


def health_check_outcomes(
    factory: Callable[[], Check | CheckFunction],
    *,
    stuck: Callable[[], Check | CheckFunction] | None = None,
    watched: Iterable[str | os.PathLike[str]] = (),
    deadline: float = 10.0,
) -> list[CaseOutcome]:
    """What became of every case of :func:`check_health_check`."""
    paths = [os.fspath(path) for path in watched]
    scene = _Scene(fresh=factory)
    if stuck is not None:
        scene.stuck = stuck
    if paths:
        scene.watched = lambda: paths
    return _run("check", scene, deadline)


def sink_outcomes(factory: Callable[[], SinkScene], *, deadline: float = 10.0) -> list[CaseOutcome]:
    """What became of every case of :func:`check_sink`."""
    return _run("sink", _Scene(fresh=factory), deadline)


class _Scene:
    """Functions as the methods of a scene."""

    stuck: Callable[[], object]
    watched: Callable[[], list[str]]

    def __init__(self, fresh: Callable[[], object]) -> None:
        self.fresh = fresh


def _run(contract: str, scene: object, deadline: float) -> list[CaseOutcome]:
    runner = Runner()
    try:
        outcomes: list[dict[str, Any]] = json.loads(_native.run_suite(contract, scene, runner, deadline))
    finally:
        runner.stop()
    return [CaseOutcome(outcome["name"], outcome["clause"], outcome["failure"]) for outcome in outcomes]


def _check(what: str, outcomes: list[CaseOutcome]) -> None:
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if failed:
        lines = "\n".join(f"  {outcome}" for outcome in failed)
        raise AssertionError(f"{len(failed)} of {len(outcomes)} cases of the {what} suite failed\n{lines}")
