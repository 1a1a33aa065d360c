"""Parts of the trace on small models: wired masks, operations of changes, roles of a dict, edges of copies."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.records.inputs import ModelInput
from maskcli.trace.cells import InputCells
from maskcli.trace.edges import find_edges
from maskcli.trace.embeddings import find_padding_vector
from maskcli.trace.input_roles import examine_inputs
from maskcli.trace.movement import OperationRules
from maskcli.trace.recorder import CallRecord, record_run
from maskcli.trace.run import ModelRun, RunCache

IDS = np.array([[4, 5, 6, 0], [7, 0, 0, 0], [8, 9, 4, 5]], "int32")
VALID = IDS != 0
WORDS = ModelInput("words", IDS, VALID, "ids")


class Weighted(layers.Layer):
    """Layer whose code passes a mask in an argument that belongs to none of its tensors."""

    def call(self, x: Any, attention_mask: Any = None) -> Any:
        return x if attention_mask is None else x * ops.cast(attention_mask, x.dtype)[..., None]


class Keyed(layers.Layer):
    """Layer with a mask for each of its tensors, which Keras fills in."""

    def call(self, first: Any, second: Any, second_mask: Any = None) -> Any:
        return first if second_mask is None else first + second


class PassesMask(keras.Model):
    """Model that computes a mask by hand and passes it to a layer."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.lookup, self.layer = layers.Embedding(10, 3, name="lookup"), layer

    def call(self, words: Any) -> Any:
        x, mask = self.lookup(words), ops.not_equal(words, 0)
        if isinstance(self.layer, Keyed):
            return self.layer(x, x, second_mask=mask)
        return self.layer(x, attention_mask=mask)


@pytest.mark.parametrize(("kind", "loses"), [(Weighted, False), (Keyed, True)])
def test_only_a_mask_that_belongs_to_a_tensor_can_be_lost(kind: Any, loses: bool) -> None:
    """Keras fills in ``second_mask`` of ``second``; ``attention_mask`` is what the user passed, and goes nowhere."""
    run = ModelRun(PassesMask(kind(name="layer")), (WORDS,))
    (output,) = run.recording.entries[0].outputs
    lost = run.flow.lost.get(id(output))
    assert (lost is not None) is loses


def test_layer_in_a_wrapper_has_a_mask_that_the_wrapper_loses() -> None:
    """``TimeDistributed`` never returns the mask that its layer makes of the words of each sentence."""
    ids = np.array([[[3, 4, 0], [5, 0, 0]], [[6, 7, 8], [0, 0, 0]]], "int32")
    sentences = keras.Input((None, 3), dtype="int32", name="sentences")
    lookup = layers.TimeDistributed(layers.Embedding(10, 4, mask_zero=True), name="each")
    model = keras.Model(sentences, layers.Dense(2, name="dense")(lookup(sentences)))
    run = ModelRun(model, (ModelInput("sentences", ids, (ids != 0).any(axis=2), "features", cells=ids != 0),))
    (each,) = [entry for entry in run.recording.entries if entry.name == "each"]
    lost = run.flow.lost[id(each.outputs[0])]
    assert lost.at is each
    np.testing.assert_array_equal(lost.mask, ids != 0)


class TakesDict(keras.Model):
    """Model that takes a dict whose names are not in the order of the alphabet."""

    def __init__(self) -> None:
        super().__init__()
        self.lookup, self.pool = layers.Embedding(10, 3), layers.GlobalAveragePooling1D()

    def call(self, inputs: Any) -> Any:
        return self.pool(self.lookup(inputs["words"]), mask=inputs["keep"])


def test_roles_of_a_dict_belong_to_its_names() -> None:
    """Keras flattens a dict by its names, in whatever order the data come."""
    inputs = (WORDS, ModelInput("keep", VALID.astype("int32"), None, "features"))
    roles = examine_inputs(RunCache(TakesDict()), inputs)
    assert roles.structure == "dict"
    assert roles.input_dims == {"words": 10}
    assert roles.masks == {"keep": {"words"}}


class OwnCode(keras.Model):
    """Model whose code runs an operation of the backend after a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x) * 2.0


def test_operations_of_a_replacement_are_not_recorded() -> None:
    """A run in which results are replaced has the same calls as the run without replacements."""
    model, x = OwnCode(), np.ones((2, 3), "float32")

    def double(_: CallRecord, tensors: list[Any]) -> list[Any]:
        return [ops.exp(tensor) for tensor in tensors]

    plain, altered = record_run(model, x), record_run(model, x, alter=double)
    assert altered.error is None
    assert [entry.type for entry in altered.entries] == [entry.type for entry in plain.entries]


@pytest.mark.parametrize(
    ("shape", "paired"),
    [((3, 4, 1), False), ((3, 4, 2), True), ((3, 5, 1), True), ((3, 1, 4), True), ((3, 4, 5), False)],
)
def test_mask_of_weights_of_a_pooling_pairs_nothing(shape: tuple[int, ...], paired: bool) -> None:
    """A mask ``(batch, timesteps, 1)`` marks timesteps; one of other sizes than its tensor pairs queries with keys."""
    entry = CallRecord(layers.Dense(2), 0, None, inputs=[np.ones((3, 4, 5), "float32")])
    assert entry.looks_paired("mask", np.ones(shape, bool)) is paired


class LeavesBackend(keras.Model):
    """Model whose code copies its input by NumPy, which no operation of the backend shows."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2, name="dense")

    def call(self, frames: Any) -> Any:
        return self.dense(ops.convert_to_tensor(np.array(frames)))


def test_copy_that_no_call_made_comes_from_the_input_of_its_shape() -> None:
    inputs = (ModelInput("frames", np.ones((2, 4, 3), "float32"), np.ones((2, 4), bool), "features"),)
    edges = find_edges(ModelRun(LeavesBackend(), inputs).trace, inputs)
    assert [(edge.source, edge.target, edge.from_input) for edge in edges] == [
        ("frames", "dense", True),
        ("dense", "output", False),
    ]


class TakesFirstTimestep(keras.Model):
    """Takes the first timestep by an index of three numbers, as many as the other input has, and divides by it."""

    def __init__(self) -> None:
        super().__init__()
        self.lookup, self.head = layers.Embedding(10, 3), layers.Dense(2, name="head")

    def call(self, inputs: Any) -> Any:
        return self.head(self.lookup(inputs["words"])[:, 0, None]) / inputs["scale"][:, None, None]


def test_index_of_a_slice_is_no_copy_of_an_input() -> None:
    words = ModelInput("words", WORDS.values[[0, 0, 0]], np.ones((3, 4), bool), "ids")
    scale = ModelInput("scale", np.array([2.0, 3.0, 4.0], "float32"), None, "features")
    inputs = (scale, words)
    edges = find_edges(ModelRun(TakesFirstTimestep(), inputs).trace, inputs)
    assert "head" not in {edge.target for edge in edges if edge.source == "scale"}


def test_vector_of_the_padding_id_is_that_of_the_model() -> None:
    """Only the built-in models have it set to zero; a model of the user keeps its own vector."""
    tokens = keras.Input((4,), dtype="int32", name="words")
    model = keras.Model(tokens, layers.Embedding(10, 3, name="lookup")(tokens))
    row = find_padding_vector(ModelRun(model, (WORDS,)).trace, (WORDS,))
    assert row is not None
    assert (row.layer, row.padding_id, row.set_to_zero) == ("lookup", 0, False)
    np.testing.assert_array_equal(row.padding_vector, model.get_layer("lookup").get_weights()[0][0])


class Sorted(layers.Layer):
    """Layer that sorts features by their values, so that no operation shows where each of them comes from."""

    def call(self, x: Any) -> Any:
        return ops.sort(x, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def test_timesteps_of_a_wrapper_are_known_whatever_its_layer_does() -> None:
    """``TimeDistributed`` keeps the timesteps of its input, here turned, also around a layer that cannot be followed."""
    frames = keras.Input((None, 3), name="frames")
    turned = layers.Lambda(lambda x: x[:, ::-1], name="turn")(frames)
    model = keras.Model(frames, layers.TimeDistributed(Sorted(), name="each")(turned))
    inputs = (ModelInput("frames", np.arange(36, dtype="float32").reshape(3, 4, 3), VALID, "features"),)
    run = ModelRun(model, inputs).trace
    (each,) = [call for call in run.calls if call.call == "each"]
    assert each.valid is not None
    np.testing.assert_array_equal(each.valid, VALID[:, ::-1])


def test_padding_without_its_value_is_not_followed() -> None:
    """``PadV2`` takes a value for new places; in a form without it, the places of its result are unknown."""
    cells = InputCells([WORDS])
    rules, x = OperationRules(cells), np.ones((3, 4), "float32")
    widths = np.array([[0, 0], [1, 0]], "int32")
    labels = rules.label_outputs("PadV2", [x, widths], (), [np.ones((3, 5), "float32")], [cells.label_input(0), ()])
    assert rules.unknown
    np.testing.assert_array_equal(labels[0][0], rules.mix()[0])
