"""Unpacks the tests of `prometheus_client` and changes what they import: `prometheus_client` becomes `uplifted_ops.prometheus_client`.

    peer_imports.py SDIST FOLDER NAME…

What is imported and not there fails only when it is used, so that one such name fails the tests that use it and no others.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import tarfile
from pathlib import Path
from typing import Any, NoReturn

PEER = "prometheus_client"
OURS = f"uplifted_ops.{PEER}"

#: What the tests take from the inside of their package to look with, or to set what we have no other way of.
TOOLS: dict[tuple[str, str | None], Any] = {
    # The signature of what a decorator returned.
    (f"{OURS}.decorator", "getargspec"): lambda function: (
        list(inspect.signature(function).parameters), None, None, None,
    ),
    # Names are the classic ones, always.
    (f"{OURS}.validation", "enable_legacy_validation"): lambda: None,
    (f"{OURS}.validation", "disable_legacy_validation"): lambda: None,
    # `_created` series are not written, ever.
    (f"{OURS}.metrics", "_get_use_created"): lambda: False,
}  # fmt: skip


class NotThere:
    """What stands for a name that we do not have."""

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def _fail(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError(f"{self.__dict__['_name']} is not there")

    __getattr__ = __setattr__ = __call__ = __iter__ = __eq__ = _fail  # type: ignore[assignment]


def find(module: str, name: str | None = None) -> Any:
    """What a module of ours has under this name, or is; or what fails once it is used."""
    if (module, name) in TOOLS:
        return TOOLS[module, name]
    try:
        found = importlib.import_module(module)
        if name is None:
            return found
        return getattr(found, name) if hasattr(found, name) else importlib.import_module(f"{module}.{name}")
    except ImportError:
        return NotThere(f"{module}.{name}" if name else module)


class _Imports(ast.NodeTransformer):
    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if node.level or (node.module or "").split(".")[0] != PEER:
            return node
        module = f"{OURS}{(node.module or '').removeprefix(PEER)}"
        return [_found(module, alias.name, alias.asname or alias.name) for alias in node.names]

    def visit_Import(self, node: ast.Import) -> Any:
        if not any(alias.name.split(".")[0] == PEER for alias in node.names):
            return node
        return [_found(f"uplifted_ops.{alias.name}", None, alias.asname or alias.name) for alias in node.names]

    def visit_Constant(self, node: ast.Constant) -> Any:
        # What `unittest.mock` is to replace.
        if isinstance(node.value, str) and node.value.startswith(f"{PEER}."):
            return ast.Constant(f"uplifted_ops.{node.value}")
        return node


def _found(module: str, name: str | None, called: str) -> ast.stmt:
    arguments = ", ".join(repr(text) for text in (module, name) if text is not None)
    return ast.parse(f"{called} = __import__('peer_imports').find({arguments})").body[0]


def rewrite(sdist: Path, folder: Path, names: list[str]) -> None:
    """Writes the changed tests of these names, and what lies beside them, into the folder."""
    with tarfile.open(sdist) as archive:
        for member in archive:
            _, _, path = member.name.partition("/tests/")
            if not path or not member.isfile() or (path.endswith(".py") and path not in names):
                continue
            file = archive.extractfile(member)
            assert file is not None
            content = file.read()
            if path.endswith(".py"):
                content = ast.unparse(ast.fix_missing_locations(_Imports().visit(ast.parse(content)))).encode()
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
