"""Errors have a position, the expected and received value and a fix, and can be pickled."""

from __future__ import annotations

import pickle
import time

import pytest

from maskcli.errors import ExitCode, InputError, MaskcliError, ModelError, UsageError, summarize_error
from maskcli.models.files import reason

pytestmark = pytest.mark.quick


def test_error_message_has_its_parts() -> None:
    error = InputError(expected="a", received="b", fix="Do c.", row=1, value=2)
    assert str(error) == "row 2, value 3: expected a; received b.\nDo c."
    assert str(error.at("x.txt:2")) == "x.txt:2, value 3: expected a; received b.\nDo c."
    assert str(error.at("elsewhere")).startswith("x.txt:2")
    assert str(UsageError(expected="a", received="b", fix="c")) == "expected a; received b.\nc"


def test_error_classes_have_exit_codes() -> None:
    assert {kind.exit_code for kind in (UsageError, InputError, ModelError)} == {2, 3, 4}
    assert ExitCode.OK == 0
    assert ExitCode.DIFFERENT == 1


def test_errors_can_be_pickled() -> None:
    error = InputError(expected="a", received="b", fix="c", where="x", row=1, value=2)
    again: MaskcliError = pickle.loads(pickle.dumps(error))
    assert type(again) is InputError
    assert str(again) == str(error)
    assert (again.row, again.value) == (1, 2)


def test_long_messages_take_no_time() -> None:
    """A model file can make Keras's messages long; searching all of these would take half a minute."""
    start = time.process_time()
    assert summarize_error(ValueError("{{ " * 40_000)).startswith("{{ {{")
    assert reason(TypeError("x" * 150_000 + " of Dense")).startswith("TypeError")
    assert time.process_time() - start < 5
