"""Parts of the probes with small models: masks, gradients, repairs and comparisons of which the result is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from maskcli.backends.masks import get_keras_mask
from maskcli.models.load import reload_model
from maskcli.probes.attention_masks import _is_equal
from maskcli.probes.content import fill_with_content
from maskcli.probes.context import ProbeResult, make_context
from maskcli.probes.future_matrix import find_validity
from maskcli.probes.gradients import _sum_outputs
from maskcli.probes.leak import _add_earlier_calls, probe_leak
from maskcli.probes.repair_changes import KeepMask, MaskedPooling, MaskOrigin
from maskcli.probes.repair_masks import _misaligns
from maskcli.probes.repairs import RepairSearch
from maskcli.probes.saving import probe_saving
from maskcli.probes.side import _read_values
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Probe
from maskcli.trace.run import ModelRun

IDS = np.array([[3, 1, 4, 2, 6], [5, 2, 7, 0, 0], [6, 0, 0, 0, 0]], "int32")
VALID = IDS != 0
WORDS = ModelInput("words", IDS, VALID, "ids")
ROWS = np.arange(3)


def make_words() -> Any:
    return keras.Input((None,), dtype="int32", name="words")


@pytest.mark.parametrize("with_cells", [True, False])
def test_filled_input_is_valid_everywhere(with_cells: bool) -> None:
    """Padding gets content, inside timesteps as well, and all places are valid then."""
    characters = np.array([[[1, 2], [3, 0]], [[4, 0], [0, 0]]])
    cells = (characters != 0) if with_cells else None
    given = ModelInput("characters", characters, (characters != 0).any(axis=2), "ids", cells=cells)
    filled = fill_with_content(given, np.random.default_rng(1))
    assert filled is not None
    assert filled.valid is not None
    assert filled.valid.all()
    if with_cells:
        assert filled.cells is not None
        assert (filled.cells.shape, filled.cells.all()) == (characters.shape, True)
        assert filled.values.all()
    else:
        assert filled.cells is None
        assert filled.values[1, 1].any()
    assert (filled.values[characters != 0] == characters[characters != 0]).all()


@pytest.mark.parametrize(
    ("carried", "mask", "misaligned"),
    [
        (VALID, VALID, True),
        (VALID[:, ::-1], VALID, False),
        (None, VALID, False),
        (np.ones_like(VALID), np.ones_like(VALID), False),
    ],
    ids=["kept", "another", "none", "all"],
)
def test_call_that_turns_timesteps_and_not_their_mask(carried: Any, mask: Any, misaligned: bool) -> None:
    """The mask that arrived marks padding as valid then, and valid timesteps as padding."""
    output = np.ones((3, 5, 2))
    entry: Any = SimpleNamespace(
        inputs=[output[:, ::-1]], outputs=[output], carried=[carried], masks_out=[mask], padding_masks=[]
    )
    flow = SimpleNamespace(valid={id(output): VALID[:, ::-1]}, exact={id(output)})
    look: Any = SimpleNamespace(flow=flow)
    assert _misaligns(look, entry) is misaligned


@pytest.mark.parametrize(
    ("dtype", "read"), [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_values_are_read_without_loss(dtype: str, read: str) -> None:
    numbers = np.array([[0.5, -3.0], [1.5, 256.0]])
    values = _read_values(tf.constant(numbers, dtype=dtype))
    assert values.dtype == read
    np.testing.assert_array_equal(values, numbers)


@pytest.mark.parametrize(
    ("side", "found", "expected"),
    [
        ("post", [4, 2], {"two": 0.5, "four": 0.75}),
        ("post", [2, 4], {"four": 0.75}),
        ("post", [], {"four": 0.75}),
        ("pre", [4, 2], {"four": 0.75}),
    ],
    ids=["earlier", "later", "none", "pre-padding"],
)
def test_calls_that_only_a_later_probe_shows(side: str, found: list[int], expected: dict[str, float]) -> None:
    """An earlier call of a later probe comes first, unless padding is at the start of rows."""
    entries: dict[int, Any] = {index: SimpleNamespace(index=index) for index in (1, 2, 3, 4)}
    context: Any = SimpleNamespace(
        side=side,
        base=SimpleNamespace(ended=list(entries.values())),
        trace=SimpleNamespace(names={1: "one", 2: "two", 3: "three", 4: "four"}),
    )
    results = [ProbeResult(Probe("replace", True, True, 0.5, 1e-6), entries[index]) for index in found]
    results.append(ProbeResult(Probe("alone", True, False, 0.0, 1e-6), entries[1]))
    results.append(ProbeResult(Probe("columns", True, True, 0.5, 1e-6)))
    calls = _add_earlier_calls(context, results, {"four": 0.75})
    assert list(calls.items()) == list(expected.items())


@pytest.mark.parametrize("parts", [False, True])
def test_pooled_result_has_a_mask_only_for_parts_of_timesteps(parts: bool) -> None:
    """The mean of the characters of each word has the mask of the words; the mean of the words has none."""
    values = np.arange(30, dtype="float32").reshape(3, 5, 2)
    mask = np.repeat(VALID[:, None], 2, axis=1) if parts else VALID
    source = tf.constant(np.repeat(values[:, None], 2, axis=1) if parts else values)
    run: Any = SimpleNamespace(list_arriving=lambda *_: [tf.constant(mask)])
    entry: Any = SimpleNamespace(inputs=[source])
    change = MaskedPooling("/mean#1", "mean", MaskOrigin("arriving", "/mean#1"))
    results = change.change_result(run, entry, [tf.zeros((3, 2, 2) if parts else (3, 2))])
    assert results is not None
    (pooled,) = results
    expected = np.stack([row[valid].mean(axis=0) for row, valid in zip(values, VALID, strict=True)])
    np.testing.assert_allclose(np.asarray(pooled), np.repeat(expected[:, None], 2, axis=1) if parts else expected)
    carried = get_keras_mask(pooled)
    if parts:
        np.testing.assert_array_equal(np.asarray(carried), np.ones((3, 2), bool))
    else:
        assert carried is None


def test_each_timestep_may_see_itself() -> None:
    """Masks of pairs are equal if one of them only opens the diagonal as well, in the rows that count."""
    keys = VALID[:, None, :] & np.ones((3, 5, 1), bool)
    opened = keys | np.eye(5, dtype=bool)
    relevant = np.array([True, True, False])
    assert _is_equal(keys, keys, relevant)
    assert _is_equal(opened, keys, relevant)
    assert not _is_equal(keys, opened, relevant)
    assert not _is_equal(opened[:, :4], keys[:, :4], relevant)
    for row, equal in enumerate([False, False, True]):
        other = opened.copy()
        other[row, 0, 1] ^= True
        assert _is_equal(other, keys, relevant) == equal


@keras.saving.register_keras_serializable("maskcli_tests")
class Turning(layers.Layer):
    """Turns its mask, until it is saved."""

    turns = False

    def call(self, x: Any) -> Any:
        return x * 2.0

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        del inputs
        return ~mask if self.turns else mask


@pytest.mark.filterwarnings("ignore:Layer 'smooth':UserWarning")
@pytest.mark.parametrize("lost", [True, False])
def test_change_of_a_mask_after_saving_has_a_name(lost: bool) -> None:
    series = np.random.default_rng(2).uniform(1, 2, (3, 5, 2)).astype("float32") * VALID[..., None]
    smooth: Any = layers.Conv1D(4, 3, padding="same", name="smooth") if lost else Turning(name="smooth")
    if lost:
        smooth.supports_masking = True
    else:
        smooth.turns = True
    model = keras.Sequential([keras.Input((None, 2), name="series"), layers.Masking(), smooth, layers.GRU(3)])
    result = probe_saving(ModelRun(model, [ModelInput("series", series, VALID, "features")]), reload_model)
    assert result is not None
    assert (result.survives, result.call) == (False, "smooth")
    assert result.what == ("no mask" if lost else "another mask")


@pytest.mark.parametrize("pooled", [False, True])
def test_differentiated_sum_has_valid_results_of_the_rows(pooled: bool) -> None:
    """Other numbers at padding leave the sum as it is, and other valid numbers do not; other rows have no sum."""
    keras.utils.set_random_seed(2)
    words = make_words()
    x = layers.Embedding(9, 4, mask_zero=True)(words)
    model = keras.Model(words, layers.LSTM(3, return_sequences=not pooled)(x))
    context = make_context(ModelRun(model, (WORDS,)), ROWS)
    output = np.asarray(context.base.output)

    def sum_of(values: Any, rows: Any = ROWS) -> Any:
        recording: Any = SimpleNamespace(error=None, output=tf.constant(values))
        return _sum_outputs(recording, rows, context)

    total = float(sum_of(output))
    assert total
    if not pooled:
        assert float(sum_of(np.where(VALID[..., None], output, 9.0))) == pytest.approx(total)
    assert float(sum_of(output + np.float32(1.0))) != pytest.approx(total)
    assert sum_of(output[:2]) is None
    parts = [float(sum_of(output[rows], rows)) for rows in (ROWS[:2], ROWS[2:])]
    assert sum(parts) == pytest.approx(total, rel=1e-4)


class Scale(layers.Layer):
    """Loses its mask."""

    def call(self, x: Any) -> Any:
        return x * 2.0


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_edit_of_a_class_is_kept_as_a_whole() -> None:
    """Padding enters at one of two layers of the class; an edit of the class changes both, or none."""
    keras.utils.set_random_seed(2)
    words = make_words()
    x = layers.Embedding(9, 4, mask_zero=True)(words)
    tags = layers.Dense(2, name="tags")(Scale(name="second")(x))
    model = keras.Model(words, [layers.LSTM(3, name="rnn")(Scale(name="first")(x)), tags])
    leak = probe_leak(ModelRun(model, (WORDS,)), ROWS).leak
    assert leak.leaks
    search = RepairSearch(model, (WORDS,), ROWS, leak)
    kept = tuple(KeepMask(key, MaskOrigin("arriving", key)) for key in ("/first#1", "/second#1"))
    assert search._drop_needless(kept) == kept
    other = KeepMask("/tags#1", MaskOrigin("arriving", "/tags#1"))
    assert search._drop_needless((*kept, other)) == kept
    gone = KeepMask("/gone#1", MaskOrigin("arriving", "/gone#1"))
    assert search._drop_needless((gone, *kept)) == kept


@pytest.mark.parametrize(("timesteps", "lengths"), [(4, [4, 2, 0]), (6, [6, 3, 1]), (2, None)])
def test_timesteps_that_were_not_followed(timesteps: int, lengths: list[int] | None) -> None:
    """Of about as many timesteps as an input: those count that are valid whichever end is missing, or was added."""
    tensor = np.ones((3, timesteps, 7))
    flow = SimpleNamespace(valid={}, pooled=set(), positions=SimpleNamespace(get_labels=lambda _: ()))
    context: Any = SimpleNamespace(flow=flow, inputs=(WORDS,))
    valid = find_validity(context, tensor)
    if lengths is None:
        assert valid is None
    else:
        assert valid is not None
        np.testing.assert_array_equal(valid, np.arange(timesteps) < np.array(lengths)[:, None])
