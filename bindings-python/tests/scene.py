"""A small service folder, and what tests look at beside it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Protocol
from subprocess import CompletedProcess


class RunPython(Protocol):
    """The fixture `run_python`."""

    def __call__(self, program: str, *arguments: object, timeout: float = 40) -> CompletedProcess[str]: ...


class Service:
    """A service with a database in WAL mode and one file."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "service"
        self.backups = folder / "backups"
        self.database = self.root / "data" / "uplifted.db"
        self.database.parent.mkdir(parents=True)
        (self.root / "config").mkdir()
        (self.root / "config" / "app.yaml").write_text("name: café\n", encoding="utf-8")
        connection = sqlite3.connect(self.database)
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table entries (id integer primary key, text text)")
        connection.executemany("insert into entries (text) values (?)", [(f"row {n}",) for n in range(200)])
        connection.commit()
        connection.close()

    @property
    def settings(self) -> dict[str, Any]:
        """Settings without a target."""
        return {
            "service": {"name": "shop"},
            "store": [{"name": "main", "kind": "sqlite", "path": "data/uplifted.db"}],
            "backup": {"include": ["data", "config"]},
        }

    @property
    def with_target(self) -> dict[str, Any]:
        """Settings with a folder as the target."""
        return self.settings | {"target": [{"name": "local", "kind": "fs", "path": str(self.backups)}]}

    def grow(self, size_bytes: int) -> None:
        """Adds a file that takes a while to back up."""
        (self.root / "data" / "big.bin").write_bytes(os.urandom(size_bytes))


def children(pid: int | str = "self") -> list[int]:
    """The living child processes of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            pass
    return found
