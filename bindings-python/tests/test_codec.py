"""How values cross, where the conformance cases cannot look."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from uplifted_ops import _codec, types
from uplifted_ops._codec import Response, WireError

AREA = {
    "undo_id": "u",
    "snapshot_id": "0123456789ab",
    "time": "2025-01-02T03:04:05.123456789Z",
    "undoes": None,
    "paths": ["config", {"bytes": "636f6e6669672fff"}],
    "files": 1,
    "size_bytes": 2**64 - 1,
}


def area(**changes: object) -> types.UndoArea:
    answer = Response[types.RestoreUndoListResponse]("RestoreUndoListResponse")
    return answer.decode({"areas": [AREA | changes]}).areas[0]


def test_times_are_utc_and_file_names_open() -> None:
    decoded = area()
    assert decoded.time == datetime(2025, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    assert decoded.time.tzinfo is UTC
    assert os.fsencode(decoded.paths[1]) == b"config/\xff"
    assert decoded.size_bytes == 2**64 - 1


def test_a_dataclass_becomes_the_json_that_it_came_from() -> None:
    again = _codec.to_wire(area())
    assert again == AREA | {"time": "2025-01-02T03:04:05.123456Z"}


def test_what_a_newer_core_says_is_passed_over() -> None:
    assert area(colour="blue") == area()


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"time": "yesterday"}, r"areas\[0\].time"),
        ({"time": 5}, r"areas\[0\].time"),
        ({"paths": "config"}, r"areas\[0\].paths"),
        ({"paths": [{"hex": "00"}]}, r"areas\[0\].paths\[0\]"),
    ],
)
def test_a_broken_promise_is_named_by_its_place(changes: dict[str, object], place: str) -> None:
    with pytest.raises(WireError, match=place):
        area(**changes)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(WireError, match="'areas'"):
        Response[types.RestoreUndoListResponse]("RestoreUndoListResponse").decode({})


def test_times_need_their_zone() -> None:
    east = timezone(timedelta(hours=2))
    assert _codec.time_to_wire(datetime(2025, 1, 2, 3, tzinfo=east)) == "2025-01-02T01:00:00Z"
    with pytest.raises(ValueError, match="zone"):
        _codec.time_to_wire(datetime(2025, 1, 2))


def test_file_names_of_every_kind() -> None:
    assert _codec.path_to_wire(Path("a/b")) == "a/b"
    assert _codec.path_to_wire("é") == "é"
    assert _codec.path_to_wire(os.fsdecode(b"\xff")) == {"bytes": "ff"}


def test_text_is_no_list() -> None:
    with pytest.raises(TypeError, match=r"\['one'\]"):
        _codec.list_to_wire("one")


def test_only_our_types_become_json() -> None:
    with pytest.raises(TypeError, match="object"):
        _codec.to_wire(object())


def test_frozen_and_keyword_only() -> None:
    progress = types.Progress(stage="x", done_bytes=1, done_files=0)
    assert progress.total_bytes is None
    with pytest.raises(AttributeError):
        progress.stage = "y"  # type: ignore[misc]
    with pytest.raises(TypeError):
        types.Progress("x", 1, 0)  # type: ignore[misc]
