"""Two laws: a right model gets no finding; a wrong one gets a finding that names its culprit."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest

import maskcli
from tests.zoo import IDS, RIGHT, WRONG, Animal, Kind, Side, padded, variants

pytestmark = [pytest.mark.any_backend, pytest.mark.slow(share=1 / 2)]


IN_TENSORFLOW = (
    "attention_in_tf",
    "functional_with_tf",
    "position_table",
    "square_einsum",
    "subclassed",
    "tf_function",
)
"""Beginnings of the names of kinds whose code calls TensorFlow; the other backends do not run them."""
OTHER_CULPRITS = {
    # The lookup is one function on PyTorch, which TensorFlow computes by several operations.
    ("torch", "gathered_by_count"): {"GatherV2"},
    ("jax", "gathered_by_count"): {"GatherByCount"},
    # With the initial weights that JAX draws, the precision is the same with and without padding.
    ("jax", "metrics"): {"Recall"},
    # TensorFlow raises an error for this mask. JAX runs the model, and padding changes no result.
    ("jax", "mask_of_words_in_rnn"): set(),
}
"""By backend and kind, the types of calls that are culprits there, and not those of TensorFlow."""
FAILS = {
    ("torch", "layer_norm_time"): "normalized_shape",
    ("torch", "reversed_by_hand"): "step must be greater than zero",
}
"""By backend and kind, the error of Keras for layers and slices that it cannot compute there."""
BACKEND = keras.backend.backend()


def cases(kinds: dict[str, Kind]) -> list[Any]:
    """Return names with side and length."""
    distinct = variants(kinds)
    return [
        pytest.param(*case, marks=pytest.mark.slow(share=1 / 8) if case in distinct else pytest.mark.exhaustive)
        for case in variants(kinds, every=True)
        if runs_here(case[0])
    ]


def runs_here(name: str) -> bool:
    """Return whether the code of a kind runs on the backend of this process."""
    return BACKEND == "tensorflow" or not name.startswith(IN_TENSORFLOW)


def findings(animal: Animal, side: Side) -> list[Any]:
    options = {"padding": side} if isinstance(animal.data, list) else {}
    report = maskcli.check(animal.data, model=animal.model, **{**options, **animal.options})
    return [finding for finding in report.findings if finding.severity != "info"]


@pytest.mark.parametrize(("name", "side", "length"), cases(RIGHT))
def test_right_model_gets_no_finding(name: str, side: Side, length: int | None) -> None:
    results = findings(RIGHT[name].made(side, length), side)
    unexpected = [finding for finding in results if finding.code not in RIGHT[name].codes]
    assert not unexpected, "\n".join(f"{finding.code} {finding.call}: {finding.message}" for finding in unexpected)


@pytest.mark.parametrize(("name", "side", "length"), cases(WRONG))
def test_wrong_model_gets_finding_at_culprit(name: str, side: Side, length: int | None) -> None:
    kind = WRONG[name]
    if (BACKEND, name) in FAILS:
        with pytest.raises(Exception, match=FAILS[BACKEND, name]):
            findings(kind.made(side, length), side)
        return
    results = findings(kind.made(side, length), side)
    lines = [f"{finding.code} {finding.call} ({finding.type}): {finding.message}" for finding in results]
    message = "\n".join(lines) or "there is no finding"
    types = {finding.type for finding in results}
    if (BACKEND, name) in OTHER_CULPRITS:
        assert types == OTHER_CULPRITS[BACKEND, name], message
        return
    assert types <= {*kind.culprits, *kind.any_of, *kind.also}, message
    assert set(kind.culprits) <= types, message
    assert not kind.any_of or types & set(kind.any_of), message
    assert not kind.codes or {finding.code for finding in results} & set(kind.codes), message
    assert all(any((finding.call or "").endswith(end) for finding in results) for end in kind.at), message


def results_by_hand(kind: Kind, replaced: bool) -> tuple[list[Any], Any] | None:
    """Return the outputs of a new model, with the vectors of id 0 ``replaced``, without help of maskcli.

    Returns None unless the model takes ids that are padded only with 0.
    """
    side, length = kind.sides[0], kind.lengths[0]
    animal = kind.made(side, length)
    if not isinstance(animal.data, list) or not animal.model.built:
        return None
    inputs = getattr(animal.model, "inputs", None) or ()
    fixed = inputs[0].shape[1] if inputs else None
    tokens = padded(animal.data, side, fixed or animal.options.get("maxlen") or max(map(len, animal.data)))
    for layer in animal.model._flatten_layers():
        if replaced and isinstance(layer, keras.layers.Embedding) and layer.input_dim == IDS:
            vectors = np.asarray(layer.embeddings).copy()
            vectors[0] += 3.0 * (1.0 + np.abs(vectors).max()) * np.sign(0.5 - np.arange(vectors.shape[1]) % 2)
            layer.embeddings.assign(vectors)
    with warnings.catch_warnings(action="ignore"):  # Keras warns of many layers that they destroy the mask.
        outputs = animal.model([tokens, tokens != 0] if len(inputs) == 2 else tokens)
    return keras.tree.flatten(outputs), tokens != 0


@pytest.mark.exhaustive  # The truth does not change with maskcli.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")  # JAX has float32 in its place.
@pytest.mark.parametrize("name", sorted(filter(runs_here, RIGHT)))
def test_right_models_by_hand(name: str) -> None:
    """Other values in the embedding of padding change no result that counts."""
    first, second = (results_by_hand(RIGHT[name], replaced) for replaced in (False, True))
    if first is None or second is None:
        return
    mask = first[1]
    for old, new in zip(first[0], second[0], strict=True):
        carried = keras.src.backend.get_keras_mask(old)
        counts = np.ones(len(old), bool)
        if len(old.shape) > 2 and tuple(old.shape[:2]) == mask.shape:
            counts = mask
        elif carried is not None and len(carried.shape) == 2 and len(old.shape) > 2:
            counts = keras.ops.convert_to_numpy(carried)
        before, after = (keras.ops.convert_to_numpy(tensor).astype("float64")[counts] for tensor in (old, new))
        np.testing.assert_allclose(after, before, rtol=1e-2, atol=1e-2 * np.abs(before).max(initial=1e-30))
