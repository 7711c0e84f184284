"""The service's own work: a ledger in SQLite, and a thread that keeps it busy.

It knows nothing about operations. The tables are those of the other hosts in `examples/`, so all of them can
work on one folder, also at the same time.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

ACCOUNTS = 1000
OPENING = 1000

TABLES = """
CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY, transfer INTEGER NOT NULL, account INTEGER NOT NULL,
    delta INTEGER NOT NULL, note TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entry_by_account ON entry (account, seq);
CREATE TABLE IF NOT EXISTS counter (last_transfer INTEGER NOT NULL);
"""


class Ledger:
    """Accounts and transfers between them. The balances always add up to what was paid in."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = wal")
        self._connection.execute("PRAGMA synchronous = normal")
        with self._transaction() as connection:
            for statement in filter(str.strip, TABLES.split(";")):
                connection.execute(statement)
            (self._accounts,) = connection.execute("SELECT count(*) FROM account").fetchone()
            if self._accounts == 0:
                self._accounts = ACCOUNTS
                owners = ((id, f"owner {id}", OPENING) for id in range(1, ACCOUNTS + 1))
                connection.executemany("INSERT INTO account VALUES (?, ?, ?)", owners)
                connection.execute("INSERT INTO counter VALUES (0)")

    def transfer(self) -> int:
        """Moves money between two accounts. The transfer's number, once it is committed."""
        payer, payee = random.sample(range(1, self._accounts + 1), 2)
        amount = random.randint(1, 97)
        with self._transaction() as connection:
            (last,) = connection.execute("SELECT last_transfer FROM counter").fetchone()
            for nth, account, delta in ((1, payer, -amount), (2, payee, amount)):
                connection.execute(
                    "INSERT INTO entry VALUES (?, ?, ?, ?, ?)", (2 * last + nth, last + 1, account, delta, "python")
                )
                connection.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (delta, account))
            connection.execute("UPDATE counter SET last_transfer = ?", (last + 1,))
        return int(last) + 1

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


class Writer:
    """Makes ``rate`` transfers a second, on a thread of its own, for as long as it is entered."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._pause = 1 / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="writer")
        #: Transfers that were committed.
        self.transactions = 0
        #: The number of the last one.
        self.last_transfer = 0

    def __enter__(self) -> Self:
        # Opened here, so that a service without its database does not start.
        self._ledger = Ledger(self._path)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        with closing(self._ledger) as ledger:
            while not self._stop.wait(self._pause):
                self.last_transfer = ledger.transfer()
                self.transactions += 1
