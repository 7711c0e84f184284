"""The README's examples run."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from scene import Service

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
REPOSITORY = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def run(service: Service) -> Any:
    """Runs an example on a service folder of its own."""
    (service.root / "ops.toml").write_text(
        '[[store]]\nname = "main"\nkind = "sqlite"\npath = "data/uplifted.db"\n'
        f'[[target]]\nname = "local"\nkind = "fs"\npath = "{service.backups}"\n[backup]\ninclude = ["data"]\n'
    )
    namespace: dict[str, Any] = {"asyncio": asyncio}

    def run(example: str) -> dict[str, Any]:
        exec(compile(example.replace("/opt/uplifted", str(service.root)), "README.md", "exec"), namespace)
        return namespace

    return run


def test_the_embedding_in_five_lines(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(EXAMPLES[0].strip().splitlines()) == 5
    run(EXAMPLES[0])
    printed = capsys.readouterr().out.split()
    assert printed[1:] == ["complete", "pass"] or printed[1:] == ["complete", "warn"]


def test_the_repository_shows_the_same_five_lines() -> None:
    assert re.findall(r"```python\n(.*?)```", REPOSITORY, flags=re.DOTALL) == [EXAMPLES[0]]


def test_every_other_example(run: Any) -> None:
    run(EXAMPLES[0])
    for example in EXAMPLES[1:]:
        found = run(example)
    asyncio.run(found["nightly"]())
    with found["ops"] as ops:
        assert any(check.name == "queue" and check.message == "3 jobs wait" for check in ops.health.check().checks)
