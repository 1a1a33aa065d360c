"""The library's face."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import pytest

import maskcli
from maskcli.errors import ModelError, UsageError
from tests.conftest import QUESTION, Output


def test_pad_takes_lists_arrays_and_ragged_sequences() -> None:
    ragged = maskcli.RaggedSequences(values=np.array([1, 2, 3]), row_splits=np.array([0, 2, 3]))
    for sequences in ([[1, 2], [3]], [np.array([1, 2]), (3,)], ragged):
        batch = maskcli.pad(sequences)
        assert batch.tokens.tolist() == [[1, 2], [3, 0]]
        assert batch.mask.tolist() == [[True, True], [True, False]]
        assert batch.lengths.tolist() == [2, 1]
        assert batch.tokens.dtype == np.int32
    assert maskcli.pad(np.array([[1, 2], [3, 0]])).tokens.tolist() == [[1, 2], [3, 0]]


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        maskcli.pad([[1]]).tokens = np.zeros((1, 1))  # type: ignore[misc]


def test_dir_lists_the_functions() -> None:
    assert {"pad", "inspect", "loss", "RaggedSequences", "PaddedBatch"} <= set(dir(maskcli))
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = maskcli.nosuch


def test_inspect_and_loss_return_records() -> None:
    inspection = maskcli.inspect(QUESTION, input_dim=5000, embedding_dim=16)
    assert inspection.mask is not None
    assert inspection.mask.sum(axis=1).tolist() == [6, 5, 3]
    report = maskcli.loss([[1, 2], [3]], targets=[[0.5, 1.0], [2.0]], model="embedding-dense")
    assert report.model.settings.units == 1
    assert report.first.counted.sum() == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "nosuch"},
            "expected a built-in model .embedding-lstm, embedding-dense., a .keras .* received 'nosuch'",
        ),
        ({"mask_source": "nosuch"}, "one of embedding, masking, explicit, none, all; received 'nosuch'"),
        ({"padding": "left"}, "padding 'pre' or 'post'; received 'left'"),
        ({"truncating": "left"}, "truncating 'pre' or 'post'; received 'left'"),
    ],
)
def test_unknown_names_are_value_errors(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maskcli.inspect([[1]], **options)  # type: ignore[arg-type]


def test_unknown_loss_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"received 'hinged'.\nDid you mean hinge."):
        maskcli.loss([[1]], loss="hinged")


LAST = "LSTM receives the mask; all 4 masked outputs repeat the previous output."
ZERO = "The vector of id 0 was set to zero here, because Masking(0.0) looks for zero vectors. mask_zero does not set it to zero."
CHANGE = "Disabling the mask leaves outputs at valid timesteps unchanged; at padding they change by up to "


@pytest.mark.parametrize(
    ("source", "remarks"),
    [
        (
            "embedding",
            [
                "The vector of padding id 0 is not zero. mask_zero=True only creates a mask. It does not zero the vector, "
                "and layers that ignore the mask still compute with it.",
                LAST,
                CHANGE,
            ],
        ),
        ("masking", [ZERO, LAST, CHANGE]),
        ("explicit", ["The vector of padding id 0 is not zero.", LAST, CHANGE]),
        (
            "none",
            ["No mask: the model treats 4 padded timesteps as data.", "The vector of padding id 0 is not zero."],
        ),
        (
            "all",
            [
                ZERO,
                LAST,
                CHANGE,
                "With equal weights, the mask sources embedding, masking, explicit give the same mask and the same outputs.",
            ],
        ),
    ],
)
def test_remarks_of_each_mask_source(source: str, remarks: list[str]) -> None:
    result = maskcli.inspect(QUESTION, mask_source=source)
    assert [remark.text.partition("by up to ")[0] for remark in result.remarks] == [
        text.partition("by up to ")[0] for text in remarks
    ]
    assert [remark.kind for remark in result.remarks] == [
        "warning" if text.startswith("No mask") else "fact" for text in remarks
    ]


def test_errors_spell_options_as_their_caller(call: Callable[..., Output]) -> None:
    with pytest.raises(UsageError, match=r"^value: .*\n.* or use mask_source='explicit'\.$"):
        maskcli.inspect([[1, 2]], value=9)
    assert "or use --mask-source explicit." in call("inspect", "-", "--value", 9, stdin="1 2\n").stderr


def test_wrong_models_are_explained() -> None:
    for model, message in (
        (None, r"received None\.\nPass a model, or leave model= out"),
        (
            test_records_are_frozen,
            r"the function test_records_are_frozen\.\nCall it: model=test_records_are_frozen\(\)",
        ),
        (dict, r"the class dict"),
    ):
        with pytest.raises(ModelError, match=message):
            maskcli.check([[1, 2]], model=model)


def test_model_in_the_place_of_the_data_is_explained() -> None:
    model = keras.Sequential([keras.layers.Embedding(5, 2)])
    with pytest.raises(
        TypeError, match=r"check\(\) takes one argument without a name, data, .*check\(data, model=model\)"
    ):
        maskcli.check(model, [[1, 2]])  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"received a Keras model\.\nPass the data first"):
        maskcli.check(model)


def test_builtin_names_may_have_underscores() -> None:
    for name in ("embedding-dense", "embedding_dense"):
        assert maskcli.inspect([[1, 2]], model=name).model.name == "embedding-dense"
    assert maskcli.loss([[1, 2]], model="embedding_lstm").model.name == "embedding-lstm"
