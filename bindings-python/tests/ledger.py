"""A store of a database of our own: a text file of checksummed lines. An example of a whole plugin in one file."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

from uplifted_ops import CorruptError, InvalidInputError, NotFoundError, RefusedError
from uplifted_ops.plugins import IntegrityReport, StoreCapability, StoreSnapshot, StoreStats

MAGIC = "ledger 1"
FILE = "shop.ledger"


def line(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def damaged_lines(data: bytes) -> list[str]:
    """What is wrong with a ledger, line by line."""
    problems = []
    for number, row in enumerate(data.decode("utf-8", "replace").splitlines()[1:], 2):
        checksum, _, text = row.partition(" ")
        if line(text) != f"{checksum} {text}\n":
            problems.append(f"line {number} is damaged")
    return problems


class LedgerStore:
    """Appends are whole lines under a lock of `flock`, so whoever holds that lock reads one moment."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.capability = StoreCapability(kind="ledger", file=file)

    def stats(self) -> StoreStats:
        data = self._read(self.file)
        return StoreStats(size_bytes=len(data), details={"rows": data.count(b"\n") - 1})

    def verify(self, depth: str) -> IntegrityReport:
        return self._report(self._read(self.file))

    def snapshot_to(self, folder: Path) -> StoreSnapshot:
        data = self._read(self.file)
        (folder / FILE).write_bytes(data)
        return StoreSnapshot(files=[FILE], details={"rows": data.count(b"\n") - 1})

    def check_copy(self, folder: Path, depth: str) -> IntegrityReport:
        return self._report(self._read(folder / FILE))

    def restore_from(self, folder: Path) -> None:
        copy = folder / FILE
        if problems := damaged_lines(self._read(copy)):
            raise CorruptError(f"the copy is damaged: {problems[0]}", hint="restore another snapshot")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "ab") as live:
            try:
                fcntl.flock(live, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RefusedError(
                    f"{self.file} is open in another process", hint="stop the service, then restore"
                ) from None
            beside = self.file.with_suffix(".new")
            shutil.copyfile(copy, beside)
            with open(beside, "rb") as written:
                os.fsync(written.fileno())
            beside.replace(self.file)

    @staticmethod
    def _report(data: bytes) -> IntegrityReport:
        problems = damaged_lines(data)
        return IntegrityReport(ok=not problems, problems=problems[:100])

    @staticmethod
    def _read(file: Path) -> bytes:
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"there is no ledger {file}") from None
        except IsADirectoryError:
            raise InvalidInputError(f"{file} is a folder, and no ledger", hint="name a ledger") from None
        if not data.startswith(MAGIC.encode() + b"\n"):
            raise InvalidInputError(f"{file} is no ledger", hint="name a ledger")
        return data


class LedgerScene:
    """What the suite of stores needs around it."""

    def open(self, folder: Path) -> LedgerStore:
        return LedgerStore(folder / FILE)

    def commit(self, folder: Path, rows: int) -> None:
        file = folder / FILE
        with open(file, "a", encoding="utf-8") as live:
            if live.tell() == 0:
                live.write(MAGIC + "\n")
            begin = self.rows(folder) if file.stat().st_size else 0
            live.writelines(line(f"row {number}") for number in range(begin, begin + rows))

    def rows(self, folder: Path) -> int:
        return (folder / FILE).read_bytes().count(b"\n") - 1

    def hold_open(self, folder: Path) -> Held:
        return Held(folder / FILE)


class Held:
    """The ledger, open in another process."""

    PROGRAM = (
        "import fcntl, sys; file = open(sys.argv[1], 'ab'); fcntl.flock(file, fcntl.LOCK_SH); "
        "print('held', flush=True); sys.stdin.read()"
    )

    def __init__(self, file: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", self.PROGRAM, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def release(self) -> None:
        self.process.communicate(timeout=20)
