"""The plugins keep their contracts: a line for each."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from uplifted_ops import Ops
from uplifted_ops.testing import check_health_check, check_target

from catalog import Catalog
from plugins.memory_target import MemoryTarget
from plugins.spool_check import SpoolCheck

SERVICE = Path(__file__).parent.parent.parent / "service"


def test_the_target_keeps_the_contract() -> None:
    check_target(MemoryTarget)


def test_the_checks_keep_the_contract(tmp_path: Path) -> None:
    check_health_check(lambda: SpoolCheck(tmp_path, 60), watched=[tmp_path])
    check_health_check(lambda: Catalog(SERVICE).check, watched=[SERVICE])


@pytest.mark.parametrize(("age", "status"), [(0, "pass"), (100, "warn"), (1000, "fail")])
def test_the_check_sees_what_waits(tmp_path: Path, age: float, status: str) -> None:
    with Ops(root=tmp_path, checks={"outbox": SpoolCheck(tmp_path / "outbox", 60)}) as ops:
        (outbox := tmp_path / "outbox").mkdir()
        (outbox / "letter").write_text("hello")
        os.utime(outbox / "letter", (then := time.time() - age, then))
        (outcome,) = (check for check in ops.health.check().checks if check.name == "outbox")
        assert (outcome.status, outcome.unit) == (status, "seconds")
        assert outcome.observed == pytest.approx(age, abs=30)


def test_a_check_that_cannot_ask_fails(tmp_path: Path) -> None:
    with Ops(root=tmp_path, checks={"outbox": SpoolCheck(tmp_path / "nowhere", 60)}) as ops:
        health = ops.health.check()
    (outcome,) = (check for check in health.checks if check.name == "outbox")
    assert outcome.status == "fail" and "nowhere" in outcome.message


def test_a_backup_goes_to_the_target_and_comes_back(tmp_path: Path) -> None:
    root = tmp_path / "service"
    (root / "data").mkdir(parents=True)
    with closing(sqlite3.connect(root / "data/uplifted.db")) as database:
        database.execute("CREATE TABLE fact (text)")
        database.execute("INSERT INTO fact VALUES ('kept')")
        database.commit()
    settings = {
        "store": [{"name": "main", "kind": "sqlite", "path": "data/uplifted.db"}],
        "backup": {"include": ["data"]},
    }
    with Ops(settings, root=root, targets={"memory": MemoryTarget()}) as ops:
        backup = ops.backup.create(label="to memory")
        assert backup.outcome == "complete"
        verified = ops.backup.verify(snapshot_id=backup.snapshot_id, depth="full")
        assert verified.ok, verified.problems
        ops.restore.apply(snapshot_id=backup.snapshot_id, into=tmp_path / "again")
    with closing(sqlite3.connect(tmp_path / "again/data/uplifted.db")) as database:
        assert database.execute("SELECT text FROM fact").fetchall() == [("kept",)]
