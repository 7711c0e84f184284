"""The worker: found without configuration, started fast, refused by name where it cannot be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

import uplifted_ops
from scene import RunPython, Service, children
from uplifted_ops import Ops, UnsupportedError, _native, _worker


def test_the_worker_is_this_interpreter(ops: Ops) -> None:
    before = set(children())
    assert ops.store.verify().stores[0].ok
    [worker] = set(children()) - before
    command = Path(f"/proc/{worker}/cmdline").read_bytes().decode().split("\0")
    assert command[0] == sys.executable
    assert command[1] == "-I"
    assert _native.__file__ in command


def test_the_services_own_modules_are_not_in_the_way(service: Service, run_python: RunPython, tmp_path: Path) -> None:
    for name in ("logging", "json", "importlib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the module of the service was imported')\n")
    program = (
        "import os, sys; sys.path.remove('')\n"
        "from uplifted_ops import Ops\n"
        "settings = {'store': [{'name': 'main', 'kind': 'sqlite', 'path': 'data/uplifted.db'}]}\n"
        "os.environ['PYTHONPATH'] = os.getcwd(); os.environ['PYTHONSTARTUP'] = 'logging.py'\n"
        "with Ops(settings, root=sys.argv[1]) as ops: print(ops.store.verify().stores[0].ok)\n"
    )
    done = run_python(program, service.root)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_a_worker_starts_fast(service: Service) -> None:
    """The target is 100 ms; the limit here is a hang guard. `-s` shows the number."""
    best = float("inf")
    settings = service.settings | {"worker": {"idle_seconds": 0}}
    with Ops(settings, root=service.root) as ops:
        for _ in range(5):
            began = time.perf_counter()
            ops.store.stats()
            best = min(best, time.perf_counter() - began)
    print(f"a cold operation takes {best * 1000:.1f} ms, the worker's start among it")
    assert best < 5


def test_a_frozen_application_is_told_what_to_set(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(UnsupportedError, match="frozen") as caught:
        Ops(root=service.root)
    assert "worker.command" in str(caught.value)
    command = [sys.executable, "-m", "uplifted_ops"]
    with Ops(service.settings | {"worker": {"command": command}}, root=service.root) as ops:
        assert ops.store.verify().stores[0].ok


def test_a_native_module_without_a_file_is_told_what_to_set(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "__file__", "/nowhere/archive.zip/_native.abi3.so")
    with pytest.raises(UnsupportedError, match=re.escape("worker.command")):
        Ops(root=service.root)


def test_a_server_that_embeds_python_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.path.realpath(sys.executable)
    for wrong in ("/usr/bin/uwsgi", "", None):
        monkeypatch.setattr(sys, "executable", wrong)
        program = _worker.command()[0]
        assert os.path.basename(program).startswith("python")
        assert os.path.realpath(program) == real
    monkeypatch.setattr(sys, "exec_prefix", "/nowhere")
    monkeypatch.setattr(sys, "base_exec_prefix", "/nowhere")
    with pytest.raises(LookupError, match="sys.executable"):
        _worker.command()


def test_a_zip_file_is_named(tmp_path: Path, run_python: RunPython) -> None:
    archive = tmp_path / "app.zip"
    package = Path(uplifted_ops.__file__).parent
    with zipfile.ZipFile(archive, "w") as file:
        for source in package.rglob("*"):
            if source.suffix in (".py", ".so"):
                file.write(source, Path("uplifted_ops") / source.relative_to(package))
    done = run_python("import sys; sys.path.insert(0, sys.argv[1])\nimport uplifted_ops", archive)
    assert done.returncode == 1
    assert "a zip file cannot hold it" in done.stderr


def test_a_free_threaded_build_is_refused_by_name(run_python: RunPython) -> None:
    done = run_python("import sys; sys.abiflags = 't'\nimport uplifted_ops")
    assert done.returncode == 1
    assert "free-threaded" in done.stderr


def test_nothing_links_libpython_and_no_fault_point_is_inside() -> None:
    binary = Path(_native.__file__ or "").read_bytes()
    assert b"libpython" not in binary
    assert b"UPLIFTED_OPS_FAULT" not in binary
    assert ".abi3." in (_native.__file__ or "")


@pytest.mark.parametrize("program", ["module", "script"])
def test_the_command_line(service: Service, program: str) -> None:
    script = Path(sysconfig.get_path("scripts")) / "uplifted-ops"
    command = [sys.executable, "-m", "uplifted_ops"] if program == "module" else [str(script)]
    base = [*command, "--root", str(service.root)]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*base, *arguments], capture_output=True, text=True, timeout=40)

    assert run("init").returncode == 0
    (service.root / "ops.toml").write_text(
        f'[[store]]\nname = "main"\nkind = "sqlite"\npath = "data/uplifted.db"\n'
        f'[[target]]\nname = "local"\nkind = "fs"\npath = "{service.backups}"\n[backup]\ninclude = ["data"]\n'
    )
    made = run("call", "backup.create")
    assert made.returncode == 0, made.stdout + made.stderr
    assert '"outcome":"complete"' in made.stdout.replace(" ", "")
    wrong = run("call", "backup.verify", '{"snapshot_id": "abcdef"}')
    assert wrong.returncode == 2
    assert '"not_found"' in wrong.stdout


def test_importing_costs_little() -> None:
    """The target is 60 ms; the limit here is a hang guard. `-s` shows the number."""
    best = float("inf")
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "from uplifted_ops import Ops"],
            capture_output=True,
            text=True,
            timeout=40,
        )
        lines = [line for line in done.stderr.splitlines() if "|" in line and "uplifted_ops" in line]
        # The package itself, and `_ops`, which is imported with the first use of `Ops`.
        top = [int(line.split("|")[1]) for line in lines if line.split("|")[2].strip() in ("uplifted_ops", "uplifted_ops._ops")]
        assert top, done.stderr
        best = min(best, sum(top) / 1000)
        imported = {line.split("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
        assert "asyncio" not in imported
        assert "uplifted_ops.types" not in imported
    print(f"importing takes {best:.1f} ms")
    assert best < 5000
