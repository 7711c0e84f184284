"""In a notebook, whose cells run on the thread of the kernel's event loop."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from scene import Service, children
from test_hazards import gone, wait_until

#: What the client waits for the kernel to be there, for a cell, and for the kernel to end by itself before it is killed.
WAIT_SECONDS = 40

SYNC = """
import asyncio, os
from uplifted_ops import AsyncOps, Ops
settings, root = {settings!r}, {root!r}
with Ops(settings, root=root) as plain:
    try:
        plain.backup.list()
    except RuntimeError as error:
        print(error)
"""
AWAITED = """
ops = AsyncOps(settings, root=root)
print((await ops.status()).service.name)
made = await ops.backup.create()
print(made.outcome, [each.snapshot_id for each in (await ops.backup.list()).snapshots] == [made.snapshot_id])
"""
#: Nobody closes this `ops`, and work of it runs while the kernel ends: so do notebooks.
LEFT = """
left = asyncio.ensure_future(ops.backup.create())
await asyncio.sleep(0)
print(os.getpid())
"""


def stdout(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell printed, which may come in several pieces; nothing else came."""
    assert {(output.output_type, output.get("name")) for output in cell.outputs} == {("stream", "stdout")}, cell.outputs
    return "".join(output.text for output in cell.outputs).splitlines()


@pytest.mark.timeout(150)
async def test_a_notebook_is_told_which_class_to_use_and_awaits_it(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in "HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR":
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    first = SYNC.format(settings=service.with_target, root=str(service.root))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (first, AWAITED, LEFT)])
    client = NotebookClient(notebook, timeout=WAIT_SECONDS, startup_timeout=WAIT_SECONDS, kernel_name="python3")
    with open(tmp_path / "stderr", "w+") as stderr:
        async with client.async_setup_kernel(cwd=str(tmp_path), stderr=stderr):
            for at, cell in enumerate(notebook.cells):
                await client.async_execute_cell(cell, at)
            sync, awaited, left = map(stdout, notebook.cells)
            kernel = client.km.provisioner.process
            workers = children(left[0])
            client.km.shutdown_wait_time = 2 * WAIT_SECONDS
        stderr.seek(0)
        said = stderr.read()
    assert sync == [
        "backup.list was called on a thread that runs an event loop, and would block it: use AsyncOps, and await the same call"
    ]
    assert awaited == ["shop", "complete True"]
    assert int(left[0]) == kernel.pid and workers, "the second backup runs in a worker of the kernel"
    assert kernel.returncode == 0, f"the kernel ends by itself, asked to: {kernel.returncode} {said}"
    assert "Traceback" not in said and "panicked" not in said, said
    wait_until(lambda: all(map(gone, workers)))
