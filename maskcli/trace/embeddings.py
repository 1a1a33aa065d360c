"""Which Embedding looks up which ids, and the vector that it has for the padding id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.records.evidence import Lookup
from maskcli.records.inputs import ModelInput
from maskcli.records.trace import EmbeddingRow
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import Recording, name_paths
from maskcli.trace.run import Run


def find_padding_vector(run: Run, inputs: Sequence[ModelInput]) -> EmbeddingRow | None:
    """Return the vector of the padding id of the first input of ids that goes into an Embedding; None without one."""
    import keras

    paddings = [given.padding for given in inputs if given.kind == "ids" and not given.counts_up]
    for entry in run.watched.ended:
        layer = entry.operation
        if not paddings or not isinstance(layer, keras.layers.Embedding):
            continue
        vectors = np.asarray(layer.embeddings)
        if not any(id(tensor) in run.flow.valid for tensor in entry.inputs) or not 0 <= paddings[0] < len(vectors):
            continue
        return EmbeddingRow(run.names[entry.index], paddings[0], vectors[paddings[0]], set_to_zero=False)
    return None


def find_lookups(watched: Recording, flow: MaskFlow, inputs: Sequence[ModelInput]) -> Iterator[Lookup]:
    """Yield the Embeddings that look up the ids of an input, the one that raised among them."""
    import keras

    names = name_paths([entry for entry in watched.entries if not entry.code])
    for entry in watched.entries:
        if not isinstance(entry.operation, keras.layers.Embedding):
            continue
        for tensor in entry.inputs:
            position = _input_of(tensor, watched, flow)
            if position is not None and inputs[position].kind == "ids":
                yield Lookup(inputs[position].name, names[entry.index], int(entry.operation.input_dim))


def _input_of(tensor: Any, watched: Recording, flow: MaskFlow) -> int | None:
    """Return which input a tensor is, as it came or cast to another dtype."""
    while True:
        position = next((index for index, given in enumerate(watched.inputs) if given is tensor), None)
        maker = flow.maker.get(id(tensor))
        if position is not None or maker is None or maker.type != "Cast":
            return position
        tensor = maker.inputs[0]


def has_unknown_ids(found: Sequence[Lookup], inputs: Sequence[ModelInput]) -> bool:
    """Return whether an input has ids that an Embedding which looks them up does not know."""
    by_name = {given.name: given.values for given in inputs}
    return any(bool((by_name[each.input] < 0).any() or (by_name[each.input] >= each.input_dim).any()) for each in found)
