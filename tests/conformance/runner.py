"""The conformance cases, through the Python package. `README.md` beside this says how they are written.

pytest runs `test_case` for each; alone, ``python runner.py [PART OF A NAME]`` runs them and exits 1 when one fails.
Typed calls go through the generated methods: the request becomes their arguments, their dataclasses become JSON again.
"""

from __future__ import annotations

import inspect
import json
import keyword
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from uplifted_ops import Ops, OpsError, _codec

FOLDER = Path(__file__).resolve().parent
OUT = Path(os.environ.get("CONFORMANCE_OUT", FOLDER.parent.parent / "target" / "conformance"))
HANG = 120.0


class Failed(Exception):
    """A case did not go as it expects."""


def cases(area: str) -> list[tuple[str, dict[str, Any]]]:
    """Every case of `area`, with its file's name, in the order of files and cases."""
    found = []
    for file in sorted((FOLDER / area).glob("*.json")):
        found += [(f"{area}/{file.name}", case) for case in json.loads(file.read_text("utf-8"))]
    return found


def all_cases() -> list[tuple[str, dict[str, Any]]]:
    config = [(file, case) for file, case in cases("config") if file == "config/environment.json"]
    return cases("operations") + config


def name_of(file: str, case: dict[str, Any]) -> str:
    return f"{file}::{case['name']}"


def lacking(case: dict[str, Any]) -> str | None:
    """The first of a case's needs that this machine does not meet."""
    root = os.geteuid() == 0
    met = {"sqlite": True, "root": root, "unprivileged": not root}
    return next((need for need in case.get("needs", []) if not met[need]), None)


class Scene:
    """What a case is given: a folder of a service, made from a description."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        beside = Path(self._folder.name).resolve()
        self.root = beside / "uplifted"
        self.root.mkdir()
        self.names = {"root": str(self.root), "beside": str(beside)}
        self.settings: dict[str, Any] = {}
        self.environment: dict[str, str] = {}
        if "like" in given:
            self.add(json.loads((FOLDER / "services.json").read_text("utf-8"))[given["like"]])
        self.add(given)

    def add(self, given: dict[str, Any]) -> None:
        given = self.filled(given)
        for name, content in given.get("files", {}).items():
            self._file(self.root / name, content)
        for name, content in given.get("named_in_hex", {}).items():
            self._file(self.root / os.fsdecode(bytes.fromhex(name)), content)
        for name, sql in given.get("databases", {}).items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.root / name)
            connection.executescript(sql)
            connection.close()
        for name, patch in given.get("patches", {}).items():
            with open(self.root / name, "r+b") as file:
                file.seek(patch["at"])
                file.write(bytes.fromhex(patch["hex"]))
        merge(self.settings, given.get("settings", {}))
        self.environment.update(given.get("environment", {}))

    def _file(self, path: Path, content: Any) -> None:
        if content is None:
            return shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict) and "link" in content:
            return path.symlink_to(content["link"])
        if isinstance(content, dict) and content.get("folder"):
            return path.mkdir()
        path.write_bytes(content_of(content))
        if isinstance(content, dict) and "mode" in content:
            path.chmod(int(content["mode"], 8))

    def ops(self) -> Ops:
        """An `Ops` on the scene. The environment is read when it is made."""
        before = dict(os.environ)
        try:
            for name in [name for name in os.environ if name.upper().startswith(("UPLIFTED_", "OTHER_"))]:
                del os.environ[name]
            os.environ.update(self.environment)
            return Ops(self.settings, root=self.root)
        finally:
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)

    def filled(self, value: Any) -> Any:
        """`value` with what the scene knows in place of `<name>`, in keys and in texts."""
        if isinstance(value, str):
            for name, text in self.names.items():
                value = value.replace(f"<{name}>", text)
            return value
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if isinstance(value, dict):
            return {self.filled(name): self.filled(item) for name, item in value.items()}
        return value


def merge(into: dict[str, Any], over: dict[str, Any]) -> None:
    for name, value in over.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = value


def content_of(content: Any) -> bytes:
    if isinstance(content, str):
        return content.encode()
    return content["text"].encode() if "text" in content else bytes.fromhex(content["hex"])


def run(case: dict[str, Any]) -> None:
    scene = Scene(case.get("given", {}))
    ops: Ops | None = None
    try:
        for number, step in enumerate(case.get("steps", [case]), 1):
            if "steps" in case:
                scene.add(step.get("given", {}))
            if step.get("reopen") and ops is not None:
                ops.close()
                ops = None
            try:
                ops = ops or opened(scene, step["expect"])
                if ops is not None:
                    one(scene, ops, step)
            except Failed as error:
                raise Failed(f"step {number}: {error}") from error
    finally:
        if ops is not None:
            ops.close()


def opened(scene: Scene, expect: dict[str, Any]) -> Ops | None:
    """An `Ops`, or nothing where the case expects that there can be none."""
    try:
        return scene.ops()
    except OpsError as error:
        if "error" not in expect:
            raise Failed(f"failed: {error!r}") from error
        told(mismatch(scene.filled(expect["error"]), body(error), "error"))
        return None


def one(scene: Scene, ops: Ops, step: dict[str, Any]) -> None:
    request = integers(scene.filled(step["call"]["request"]))
    name = step["call"]["operation"]
    expect = scene.filled(step["expect"])
    events: list[Any] = []
    healthy = None
    try:
        if step["call"].get("typed", True):
            response = typed(ops, name, request, events)
        else:
            response, healthy = ops.call(name, request, on_progress=events.append, timeout=HANG)
    except OpsError as error:
        if "error" not in expect:
            raise Failed(f"failed: {error!r}") from error
        told(mismatch(expect["error"], body(error), "error"))
    else:
        if "error" in expect:
            raise Failed(f"answered {response}")
        told(mismatch(expect.get("response", "<any>"), response, "response"))
        if healthy is not None:
            told(mismatch(expect.get("healthy", True), healthy, "healthy"))
        for kept, pointer in step.get("keep", {}).items():
            found = response
            for part in pointer.split("/")[1:]:
                found = found[int(part) if isinstance(found, list) else part]
            scene.names[kept] = found
    told(mismatch(expect.get("progress", "<any>"), events, "progress"))
    for path, content in expect.get("files", {}).items():
        found = (scene.root / path).read_bytes() if (scene.root / path).exists() else None
        if found != (None if content is None else content_of(content)):
            raise Failed(f"the file {path} holds {found!r}")
    for path, (sql, pattern) in expect.get("rows", {}).items():
        connection = sqlite3.connect(scene.root / path)
        told(mismatch(pattern, connection.execute(sql).fetchone()[0], path))
        connection.close()


def typed(ops: Ops, name: str, request: dict[str, Any], events: list[Any]) -> Any:
    """Calls the generated method, and gives its dataclass back as JSON."""
    *group, verb = (f"{part}_" if keyword.iskeyword(part) else part for part in name.split("."))
    method = getattr(getattr(ops, group[0]) if group else ops, verb)
    parameters = inspect.signature(method).parameters
    arguments = {}
    for field, value in request.items():
        field = f"{field}_" if keyword.iskeyword(field) else field
        arguments[field] = argument(value, str(parameters[field].annotation))
    answer = method(**arguments, on_progress=lambda event: events.append(_codec.to_wire(event)), timeout=HANG)
    return _codec.to_wire(answer)


def argument(value: Any, annotation: str) -> Any:
    """What a person would pass for a wire value."""
    if isinstance(value, list):
        return [argument(item, annotation) for item in value]
    if isinstance(value, dict) and set(value) == {"bytes"}:
        return os.fsdecode(bytes.fromhex(value["bytes"]))
    if isinstance(value, str) and "datetime" in annotation:
        return datetime.fromisoformat(value)
    return Path(value) if isinstance(value, str) and "PathLike" in annotation else value


def body(error: OpsError) -> dict[str, Any]:
    fields = ("kind", "message", "hint", "retryable", "operation", "context")
    return {field: getattr(error, field) for field in fields}


def run_config(case: dict[str, Any]) -> None:
    """A case of `config/environment.json` through `config.show`."""
    pairs = case["given"].get("environment", [])
    odd = [name for name, value in pairs if not name or "=" in name or "\0" in name + value]
    # An operating system takes neither, and gives no order to two spellings of a name.
    if odd or len({name.lower() for name, _ in pairs}) < len(pairs):
        return
    texts = {"ops.toml": case["given"].get("file"), ".env": case["given"].get("dotenv")}
    files = {name: text for name, text in texts.items() if text is not None}
    scene = Scene({"files": files, "environment": dict(pairs)})
    expect = case["expect"]
    try:
        with scene.ops() as ops:
            shown = {setting.key: setting.value for setting in ops.config.show().settings}
    except OpsError as error:
        text = f"{error.message} {error.hint or ''}"
        missing = next((part for part in expect.get("error", ["kind"]) if part not in text), None)
        if missing is not None:
            raise Failed(f"{text!r} does not say {missing!r}") from error
        return
    if "error" in expect:
        raise Failed("it was accepted")
    for key, value in expect.get("settings", {}).items():
        if key in shown and shown[key] not in (value, "***"):
            raise Failed(f"{key} is {shown[key]!r} and not {value!r}")


def mismatch(pattern: Any, value: Any, place: str) -> str | None:
    """Why `value` does not match `pattern`."""
    differs = f"{place}: {value!r} is not {pattern!r}"
    if isinstance(pattern, str) and pattern.startswith("<") and pattern.endswith(">"):
        return None if placeholder(pattern, value) else differs
    if isinstance(pattern, dict) and len(pattern) == 1 and next(iter(pattern)).startswith("<"):
        word, inner = next(iter(pattern.items()))
        return special(word, inner, value, place)
    if isinstance(pattern, dict) and isinstance(value, dict):
        found = (mismatch(inner, value.get(name), f"{place}.{name}") for name, inner in pattern.items())
        return next(filter(None, found), None)
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            return differs
        pairs = enumerate(zip(pattern, value, strict=True))
        found = (mismatch(inner, item, f"{place}[{index}]") for index, (inner, item) in pairs)
        return next(filter(None, found), None)
    return None if pattern == value and isinstance(pattern, bool) == isinstance(value, bool) else differs


def placeholder(word: str, value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = value if isinstance(value, str) else ""
    return {
        "<any>": lambda: True,
        "<text>": lambda: bool(text),
        "<id>": lambda: bool(re.fullmatch("[0-9a-f]{12}", text)),
        "<time>": lambda: bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text)),
        "<number>": lambda: number,
        "<integer>": lambda: number and isinstance(value, int),
        "<boolean>": lambda: isinstance(value, bool),
    }[word]()


def special(word: str, inner: Any, value: Any, place: str) -> str | None:
    lacks = f"{place}: {value!r} lacks {word} {inner!r}"
    if word == "<each>" and isinstance(value, list):
        found = (mismatch(inner, item, f"{place}[{index}]") for index, item in enumerate(value))
        return next(filter(None, found), None)
    fits = {
        "<each>": lambda: False,
        "<some>": lambda: isinstance(value, list) and any(mismatch(inner, item, place) is None for item in value),
        "<none>": lambda: isinstance(value, list) and all(mismatch(inner, item, place) for item in value),
        "<length>": lambda: isinstance(value, list) and len(value) == inner,
        "<contains>": lambda: isinstance(value, str) and inner in value,
        "<integer>": lambda: isinstance(value, int) and str(value) == inner,
    }[word]()
    return None if fits else lacks


def integers(value: Any) -> Any:
    """`{"<integer>": "…"}` in a request as the integer."""
    if isinstance(value, dict):
        if "<integer>" in value:
            return int(value["<integer>"])
        return {name: integers(item) for name, item in value.items()}
    return [integers(item) for item in value] if isinstance(value, list) else value


def told(reason: str | None) -> None:
    if reason is not None:
        raise Failed(reason)


def outcome(file: str, case: dict[str, Any]) -> tuple[str, str | None]:
    """The status of a case, and why it failed."""
    need = lacking(case)
    if need is not None:
        return f"skipped: {need}", None
    try:
        (run_config if file.startswith("config/") else run)(case)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    return "ok", None


def write_list(statuses: dict[str, str]) -> None:
    """Writes what `compare.py` compares."""
    OUT.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} -> {status}\n" for name, status in statuses.items()]
    (OUT / "python.txt").write_text("".join(lines), "utf-8")


def main(only: str = "") -> int:
    statuses, failures = {}, 0
    for file, case in all_cases():
        if only in (name := name_of(file, case)):
            statuses[name], why = outcome(file, case)
            if why is not None:
                failures += 1
                print(f"{name}\n    {why}", file=sys.stderr)
    if not only:
        write_list(statuses)
    print(f"{len(statuses)} cases, {failures} failed")
    return 1 if failures or not statuses else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
