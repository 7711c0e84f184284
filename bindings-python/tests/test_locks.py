"""The host's locks on its database outlive every operation.

POSIX locks belong to the process: if anything in this process opened and closed the database file, the write
transaction that is open here would lose its lock, and a second process could write into the middle of it.
"""

from __future__ import annotations

import inspect
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scene import Service
from uplifted_ops import Ops, OpsError, _operations

REQUESTS = Path(__file__).resolve().parents[2] / "tests" / "conformance" / "requests.json"

SECOND = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("begin immediate")
except sqlite3.OperationalError as error:
    print(error)
else:
    connection.execute("insert into entries (text) values ('stolen')")
    connection.execute("commit")
    print("got the lock")
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_the_hosts_lock_outlives_every_operation(service: Service, tmp_path: Path, mode: str) -> None:
    file = service.database
    with sqlite3.connect(file) as setup:
        setup.execute(f"pragma journal_mode = {mode}")
    setup.close()

    def second() -> str:
        done = subprocess.run(
            [sys.executable, "-I", "-c", SECOND, str(file)], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout.strip()

    settings = service.with_target
    settings["backup"]["retention"] = {"keep_last": 9, "min_verified": 1}
    with Ops(settings, root=service.root) as ops:
        first = ops.backup.create()
        host = sqlite3.connect(file, isolation_level=None, timeout=0)
        committed = 200
        in_place = ("restore.apply", {"snapshot_id": first.snapshot_id})
        for name, request in [*requests(first.snapshot_id, tmp_path / "beside").items(), in_place]:
            host.execute("begin immediate")
            host.execute("insert into entries (text) values (?)", [name])
            try:
                ops.call(name, request)
            except OpsError as error:
                # Refusing, or giving up on a database that is being written, is right. Failing otherwise is not.
                # Nothing here is encrypted, so there is no key to name.
                without_key = name.startswith("backup.keys_") and error.kind in ("invalid_input", "denied")
                kinds = ("refused", "busy", "unavailable", "not_found", "timeout")
                assert without_key or error.kind in kinds, (name, error)
            assert second() == "database is locked", f"{name} took the host's lock away"
            host.execute("commit")
            committed += 1
        [(rows,)] = host.execute("select count(*) from entries")
        [(check,)] = host.execute("pragma integrity_check")
        host.close()
    assert (rows, check) == (committed, "ok")
    # The second process gets the lock as soon as it may.
    assert second() == "got the lock"


def operations() -> set[str]:
    """The names of the whole table, from the generated methods."""
    source = inspect.getsource(_operations)
    return set(re.findall(r'_call\(\s*"([a-z_.]+)"', source))


def requests(snapshot: str, beside: Path) -> dict[str, Any]:
    """What each operation is asked, in the order of the file that every language's tests share."""
    text = REQUESTS.read_text("utf-8").replace("<snapshot>", snapshot).replace("<beside>", str(beside))
    asked = json.loads(text)["requests"]
    assert set(asked) == operations()
    return asked
