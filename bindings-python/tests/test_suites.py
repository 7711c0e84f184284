"""The contract suites certify good plugins, and name the clause that a bad one breaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from targets import AsyncMemoryTarget, MemoryTarget
from uplifted_ops.plugins import (
    CheckOutcome,
    Distribution,
    MetricsSnapshot,
)
from uplifted_ops.testing import (
    CaseOutcome,
    check_health_check,
    check_sink,
    check_target,
    target_outcomes,
)


def test_targets_of_ours_pass() -> None:
    check_target(MemoryTarget)
    check_target(AsyncMemoryTarget)


@pytest.mark.parametrize("case", target_outcomes(MemoryTarget), ids=str)
def test_each_case_by_its_name(case: CaseOutcome) -> None:
    assert case.ok, case


def test_a_broken_clause_is_named() -> None:
    class Forgetful(MemoryTarget):
        def delete(self, key: str) -> None:
            del self.objects[key]

    class Unsorted(MemoryTarget):
        def list(self, prefix: str, after: str | None) -> Any:
            return list(reversed(super().list(prefix, after)))

    for cls, clause in ((Forgetful, "deleting_is_final_and_repeatable"), (Unsorted, "list_is_sorted_and_filtered")):
        with pytest.raises(AssertionError, match=clause):
            check_target(cls)


def test_checks(tmp_path: Path) -> None:
    check_health_check(lambda: lambda: CheckOutcome("pass", "fine", 1.0, "ratio"))

    class Disk:
        async def check(self) -> dict[str, object]:
            return {"status": "warn", "message": "nearly full: free some space"}

    check_health_check(Disk)

    class Meddles:
        """A check that writes where it should only look."""

        def __init__(self, file: Path) -> None:
            self.file = file

        def check(self) -> CheckOutcome:
            self.file.write_text(self.file.read_text() + "x")
            return CheckOutcome("pass", "fine")

    file = tmp_path / "watched"
    file.write_text("")
    with pytest.raises(AssertionError, match="changes nothing"):
        check_health_check(lambda: Meddles(file), watched=[file])


class MemorySink:
    """A sink that keeps the last value of every series."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, tuple[str, ...]], float] = {}
        self.count = 0
        self.failing = False

    def sink(self) -> MemorySink:
        return self

    def export(self, snapshot: MetricsSnapshot) -> None:
        if self.failing:
            raise ConnectionRefusedError(111, "the place behind the sink is down")
        self.count += 1
        for family in snapshot.families:
            for series in family.series:
                value = series.value
                number = float(sum(value.counts)) if isinstance(value, Distribution) else value
                self.values[family.name, tuple(series.labels.values())] = number

    def received(self, name: str, labels: Sequence[str]) -> float | None:
        return self.values.get((name, tuple(labels)))

    def exports(self) -> int:
        return self.count

    def set_failing(self, failing: bool) -> None:
        self.failing = failing


def test_sinks() -> None:
    check_sink(MemorySink)

    class Lossy(MemorySink):
        def export(self, snapshot: MetricsSnapshot) -> None:
            super().export(MetricsSnapshot(snapshot.families[:1]))

    with pytest.raises(AssertionError):
        check_sink(Lossy)
