"""Errors have a position, the expected and received value and a fix, and can be pickled."""

from __future__ import annotations

import pickle
import time

import pytest

from maskcli.api.spelling import spell_arguments
from maskcli.errors import ExitCode, InputError, MaskcliError, ModelError, UsageError, summarize_error
from maskcli.models.files import explain_error

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
    assert explain_error(TypeError("x" * 150_000 + " of Dense")).startswith("TypeError")
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("Leave --maxlen out, or use --maxlen 5.", "Leave maxlen= out, or use maxlen=5."),
        ("Choose one with --loss mse.", "Choose one with loss='mse'."),
        ("--model train.py:build --weights m.weights.h5.", "model='train.py:build' weights='m.weights.h5'."),
        ("For example --loss-option ignore_class=-1.", "For example loss_options={'ignore_class': -1}."),
        ("Add --model-arg NAME=VALUE.", "Add model_args={NAME: VALUE}."),
        ("Weigh it by --class-weight 1=2.5.", "Weigh it by class_weight={1: 2.5}."),
        ("Use --causal, or --last-only.", "Use causal=True, or return_sequences=False."),
        ("--traceback shows where.", "The traceback shows where."),
        ("--value -5", "value=-5"),
        ("for --mask-source embedding; received", "for mask_source='embedding'; received"),
        ("--loss", "loss"),
        ("--sample and --output stay.", "--sample and --output stay."),
    ],
)
def test_options_are_spelled_as_arguments(text: str, spelled: str) -> None:
    assert spell_arguments(text) == spelled
