"""The conformance cases, which cargo and node:test run as well: one test for each."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("runner", ROOT / "tests" / "conformance" / "runner.py")
assert SPEC is not None and SPEC.loader is not None
runner = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runner)

CASES = runner.all_cases()


@pytest.fixture(scope="module")
def statuses() -> Iterator[dict[str, str]]:
    """What became of each case. Written down for the comparison when all have run."""
    statuses: dict[str, str] = {}
    yield statuses
    if len(statuses) == len(CASES):
        runner.write_list(statuses)


@pytest.mark.parametrize(
    ("file", "case"), CASES, ids=[runner.name_of(file, case) for file, case in CASES]
)
def test_case(file: str, case: dict[str, Any], statuses: dict[str, str]) -> None:
    status, why = runner.outcome(file, case)
    statuses[runner.name_of(file, case)] = status
    if status.startswith("skipped"):
        pytest.skip(status)
    assert status == "ok", why
