"""Runs the tests of `prometheus_client` with the differences of `differences.toml`: what is listed must fail, and nothing else.

A plugin of pytest. A test that is listed and passes is a failure; so is a name in the list that is no test's.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

DIFFERENCES = Path(__file__).parent / "differences.toml"


def _is(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    differences = tomllib.loads(DIFFERENCES.read_text("utf-8"))["difference"]
    reasons = {pattern: difference["reason"] for difference in differences for pattern in difference["tests"]}
    unused = set(reasons)
    for item in items:
        for pattern in [pattern for pattern in reasons if _is(item.nodeid, pattern)]:
            unused.discard(pattern)
            item.add_marker(pytest.mark.xfail(reason=reasons[pattern], strict=True))
    if unused:
        raise pytest.UsageError(f"no tests are called {', '.join(sorted(unused))}")
