"""Two laws: a model that is right gets no finding; one that is wrong gets one that names its culprit."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest

import maskcli
from tests.zoo import IDS, RIGHT, WRONG, Animal, Kind, Side, padded, variants


def cases(kinds: dict[str, Kind]) -> list[Any]:
    """Return names with side and length."""
    distinct = variants(kinds)
    return [
        pytest.param(*case, marks=pytest.mark.slow(share=1 / 4) if case in distinct else pytest.mark.exhaustive)
        for case in variants(kinds, every=True)
    ]


def findings(animal: Animal, side: Side) -> list[Any]:
    options = {"padding": side} if isinstance(animal.data, list) else {}
    report = maskcli.check(animal.data, model=animal.model, **{**options, **animal.options})
    return [found for found in report.findings if found.severity != "info"]


@pytest.mark.parametrize(("name", "side", "length"), cases(RIGHT))
def test_a_right_model_gets_no_finding(name: str, side: Side, length: int | None) -> None:
    found = findings(RIGHT[name].made(side, length), side)
    assert not found, "\n".join(f"{each.code} {each.call}: {each.message}" for each in found)


@pytest.mark.parametrize(("name", "side", "length"), cases(WRONG))
def test_a_wrong_model_gets_a_finding_that_names_the_culprit(name: str, side: Side, length: int | None) -> None:
    kind = WRONG[name]
    found = findings(kind.made(side, length), side)
    said = "\n".join(f"{each.code} {each.call} ({each.type}): {each.message}" for each in found) or "nothing was found"
    named = {each.type for each in found}
    assert named <= {*kind.culprits, *kind.any_of, *kind.also}, said
    assert set(kind.culprits) <= named, said
    assert not kind.any_of or named & set(kind.any_of), said
    assert not kind.codes or {each.code for each in found} & set(kind.codes), said
    assert all(any((each.call or "").endswith(end) for each in found) for end in kind.at), said


def results_by_hand(kind: Kind, replaced: bool) -> tuple[list[Any], Any] | None:
    """Return the outputs of a new model, with the vectors of id 0 ``replaced``, without any help of maskcli.

    Only for models of ids that are padded with 0 alone; None for others.
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
    with warnings.catch_warnings(action="ignore"):  # Keras says of many a layer that it will destroy the mask.
        outputs = animal.model([tokens, tokens != 0] if len(inputs) == 2 else tokens)
    return keras.tree.flatten(outputs), tokens != 0


@pytest.mark.exhaustive  # The truth does not change with maskcli.
@pytest.mark.parametrize("name", sorted(RIGHT))
def test_the_truth_about_right_models_by_hand(name: str) -> None:
    """Other values in the embedding of padding move no result that counts."""
    first, second = (results_by_hand(RIGHT[name], replaced) for replaced in (False, True))
    if first is None or second is None:
        return
    mask = first[1]
    for one, two in zip(first[0], second[0], strict=True):
        carried = getattr(one, "_keras_mask", None)
        timed = len(one.shape) > 2 and tuple(one.shape[:2]) == mask.shape
        told = carried is not None and len(carried.shape) == 2 and len(one.shape) > 2
        counts = mask if timed else np.asarray(carried) if told else np.ones(len(one), bool)
        before, after = (np.asarray(each).astype("float64")[counts] for each in (one, two))
        np.testing.assert_allclose(after, before, rtol=1e-2, atol=1e-2 * np.abs(before).max(initial=1e-30))
