"""Errors say where, what and what to do, and can travel between processes."""

from __future__ import annotations

import pickle

import pytest

from maskcli.errors import ExitCode, InputError, MaskcliError, ModelError, UsageError

pytestmark = pytest.mark.quick


def test_the_message_has_its_parts() -> None:
    error = InputError(expected="a", received="b", fix="Do c.", row=1, value=2)
    assert str(error) == "row 2, value 3: expected a; received b.\nDo c."
    assert str(error.at("x.txt:2")) == "x.txt:2, value 3: expected a; received b.\nDo c."
    assert str(error.at("elsewhere")).startswith("x.txt:2")
    assert str(UsageError(expected="a", received="b", fix="c")) == "expected a; received b.\nc"


def test_each_kind_has_its_exit_code() -> None:
    assert {kind.exit_code for kind in (UsageError, InputError, ModelError)} == {2, 3, 4}
    assert ExitCode.OK == 0
    assert ExitCode.DIFFERENT == 1


def test_errors_can_be_pickled() -> None:
    error = InputError(expected="a", received="b", fix="c", where="x", row=1, value=2)
    again: MaskcliError = pickle.loads(pickle.dumps(error))
    assert type(again) is InputError
    assert str(again) == str(error)
    assert (again.row, again.value) == (1, 2)
