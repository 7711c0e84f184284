"""The tests of `prometheus_client` itself, after a change of import. What differs on purpose is in `peer/differences.toml`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PEER = Path(__file__).parent / "peer"
#: Those of instruments, registries, the page, and default metrics. The rest is of what we have not: the bridges, the parsers, the
#: files of the multi-process mode.
NAMES = [f"test_{name}.py" for name in "core exposition asgi wsgi gc_collector platform_collector process_collector".split()]


def _sdist() -> Path:
    """The package with its tests, beside the environment: downloaded once."""
    folder = Path(sys.prefix).parent / "peer"
    package, _, version = (PEER / "requirements.txt").read_text("utf-8").splitlines()[1].split()[0].partition("==")
    sdist = folder / f"{package}-{version}.tar.gz"
    if not sdist.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        chosen = ["--no-binary", package, "--require-hashes", "--requirement", PEER / "requirements.txt"]
        subprocess.run([*pip, *chosen, "--dest", folder], check=True, timeout=240)
    return sdist


@pytest.mark.timeout(400)
def test_their_own_tests_pass_but_for_what_differs_on_purpose(tmp_path: Path) -> None:
    subprocess.run([sys.executable, PEER / "peer_imports.py", _sdist(), tmp_path, *NAMES], check=True, timeout=60)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "peer_differences", "-p", "no:cacheprovider", "-W", "ignore", "--timeout=60",
         "--tb=short", "--rootdir", tmp_path, "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PEER), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=150,
    )  # fmt: skip
    print(ran.stdout[-10_000:], ran.stderr[-2_000:])
    assert ran.returncode == 0
