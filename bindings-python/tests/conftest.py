"""A service folder, an `Ops` of it, and interpreters of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scene import RunPython, Service
from uplifted_ops import Ops


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.fixture
def ops(service: Service) -> Iterator[Ops]:
    with Ops(service.with_target, root=service.root) as ops:
        yield ops


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """Runs a program in an interpreter of its own, with a hard limit."""

    def run(program: str, *arguments: object, timeout: float = 40) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
        )

    return run
