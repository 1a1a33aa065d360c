"""The five results that maskcli was built to show; the README and the guides in docs/ show them too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import maskcli
from tests.conftest import QUESTION, Output


def test_1_the_padded_matrix_and_its_mask(call: Callable[..., Output]) -> None:
    document = call("inspect", "--input-dim", 5000, "--embedding-dim", 16, "--format", "json").json
    assert document["batch"]["tokens"] == [
        [83, 91, 1, 645, 1253, 927],
        [73, 8, 3215, 55, 927, 0],
        [711, 632, 71, 0, 0, 0],
    ]
    assert document["mask"] == [[True] * 6, [True] * 5 + [False], [True] * 3 + [False] * 3]
    assert [sum(row) for row in document["mask"]] == [6, 5, 3]
    import keras

    keras_mask = keras.layers.Embedding(5000, 16, mask_zero=True).compute_mask(np.array(document["batch"]["tokens"]))
    assert np.asarray(keras_mask).tolist() == document["mask"]


def test_2_a_masked_lstm_repeats_itself_and_a_real_zero_is_masked_too(call: Callable[..., Output]) -> None:
    output = call(
        "inspect", "-", "--input-dim", 5, "--embedding-dim", 5, "--units", 3, "--format", "json", stdin="[[1,0,2,0]]"
    )
    values = np.array(output.json["outputs"]["values"][0])
    assert values.shape == (4, 3)
    np.testing.assert_array_equal(values[1], values[0])
    np.testing.assert_array_equal(values[3], values[2])
    assert (values[2] != values[0]).all()
    assert output.json["outputs"]["repeats_previous"] == [[False, True, False, True]]
    warnings = [remark["text"] for remark in output.json["remarks"] if remark["kind"] == "warning"]
    assert len(warnings) == 1
    assert warnings[0].startswith("Id 0 is also a real token, at sample 0, timestep 1, and is masked there")
    shown = call("inspect", "-", "--input-dim", 5, "--embedding-dim", 5, stdin="[[1,0,2,0]]")
    assert "!0" in shown
    assert "□ = t0" in shown


def test_3_neither_the_padding_vector_nor_a_dense_output_at_padding_is_zero(call: Callable[..., Output]) -> None:
    document = call("inspect", "--model", "embedding-dense", "--format", "json").json
    assert all(number != 0 for number in document["embedding"]["padding_vector"])
    assert any("is not zero. mask_zero=True only creates a mask" in remark["text"] for remark in document["remarks"])
    masked = ~np.array(document["mask"])
    assert (np.array(document["outputs"]["values"])[masked] != 0).all()
    assert not np.array(document["outputs"]["repeats_previous"]).any()
    assert document["outputs"]["mask"] == document["mask"]


def test_4_the_masked_loss_is_the_mean_over_valid_timesteps(call: Callable[..., Output]) -> None:
    options = ("-", "--model", "embedding-dense", "--targets", "arange", "--loss", "mse", "--format", "json")
    document = call("loss", *options, stdin="[[1,2,0,0]]").json
    predictions = maskcli.inspect([[1, 2, 0, 0]], model="embedding-dense").outputs[0].values.astype(np.float64)
    targets = np.arange(12).reshape(1, 4, 3)
    by_hand = ((targets - predictions)[0, :2] ** 2).mean()
    assert document["masked"] == pytest.approx(by_hand, rel=1e-6)
    assert document["masked"] == pytest.approx(document["keras_evaluate"], rel=1e-6)
    assert document["unmasked"] == pytest.approx(((targets - predictions) ** 2).mean(), rel=1e-6)
    assert abs(document["unmasked"] - document["masked"]) > 30
    assert (document["valid_timesteps"], document["total_timesteps"]) == (2, 4)


def test_5_three_mask_sources_one_mask(call: Callable[..., Output]) -> None:
    output = call("inspect", "--mask-source", "all", "--format", "json")
    assert output.exit_status == 0
    sources = output.json["mask_sources"]
    assert [source["mask_source"] for source in sources] == ["embedding", "masking", "explicit"]
    assert all(source["mask"] == sources[0]["mask"] for source in sources)
    assert all(source["values"] == sources[0]["values"] for source in sources)
    assert np.array(sources[0]["mask"]).sum(axis=1).tolist() == list(map(len, QUESTION))


@pytest.mark.parametrize("model", ["embedding-lstm", "embedding-dense"])
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_mask_sources_differ_where_a_real_token_is_0(call: Callable[..., Output], model: str, padding: str) -> None:
    options = ("--mask-source", "all", "--model", model, "--padding", padding)
    assert call("inspect", "-", *options, stdin="[[1,2],[3]]").exit_status == 0
    output = call("inspect", "-", *options, "--format", "json", stdin="[[1,0,2],[3]]")
    assert output.exit_status == 1
    assert output.json["mask_sources_agree"] is False
    assert [source["differing_timesteps"] for source in output.json["mask_sources"]] == [0, 0, 1]
