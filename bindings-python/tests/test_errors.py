"""Errors: one class for each kind, with everything that a caller may need."""

from __future__ import annotations

import errno
import pickle
import typing

import pytest

import uplifted_ops
from uplifted_ops import InvalidInputError, NotFoundError, Ops, OpsError, TimedOutError
from uplifted_ops.types import ErrorKind

from scene import Service


def test_each_kind_has_a_class_of_its_own() -> None:
    kinds = set(typing.get_args(ErrorKind))
    classes = {cls.kind: cls for cls in OpsError.__subclasses__()}
    assert classes.keys() == kinds
    builtin = vars(__import__("builtins"))
    for cls in classes.values():
        assert getattr(uplifted_ops, cls.__name__) is cls
        assert cls.__module__ == "uplifted_ops"
        assert cls.__doc__
        assert cls.__name__ not in builtin


def test_an_error_has_all_fields(ops: Ops) -> None:
    with pytest.raises(NotFoundError) as caught:
        ops.backup.verify(snapshot_id="abcdef")
    error = caught.value
    assert error.kind == "not_found"
    assert error.operation == "backup.verify"
    assert error.retryable is False
    assert error.hint
    assert error.hint in str(error)
    assert error.message in str(error)
    assert "abcdef" in error.message


def test_mistakes_are_value_errors_and_deadlines_are_timeouts(ops: Ops) -> None:
    with pytest.raises(ValueError, match="wrong") as caught:
        ops.call("backup.create", {"lable": 1})
    assert isinstance(caught.value, InvalidInputError)
    with pytest.raises(TimeoutError) as late:
        ops.backup.create(timeout=0)
    assert isinstance(late.value, TimedOutError)
    assert late.value.retryable


def test_an_unknown_operation_is_named(ops: Ops) -> None:
    with pytest.raises(NotFoundError, match="backup.create"):
        ops.call("backup.crate")


def test_causes_are_a_chain(service: Service) -> None:
    inside_a_file = service.root / "config" / "app.yaml" / "state"
    with Ops({"state": {"path": str(inside_a_file)}}, root=service.root) as ops, pytest.raises(OpsError) as caught:
        ops.restore.undo_list()
    cause = caught.value.__cause__
    assert isinstance(cause, NotADirectoryError)
    assert cause.errno == errno.ENOTDIR


def test_errors_can_be_pickled(ops: Ops) -> None:
    with pytest.raises(OpsError) as caught:
        ops.call("nope")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is type(caught.value)
    assert str(copy) == str(caught.value)
    assert vars(copy) == vars(caught.value)


def test_wrong_settings_name_the_place(service: Service) -> None:
    with pytest.raises(InvalidInputError, match="backup.level"):
        Ops({"backup": {"level": "high"}}, root=service.root)
    with pytest.raises(TypeError, match="no form in JSON"):
        Ops({"backup": {"level": object()}}, root=service.root)


def test_a_timeout_that_is_no_time_is_refused(ops: Ops) -> None:
    with pytest.raises(InvalidInputError, match="-1"):
        ops.status(timeout=-1)
