"""Find the Embeddings that look up ids, and the vector of the padding id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from maskcli.backends.arrays import as_array
from maskcli.records.evidence import Lookup
from maskcli.records.inputs import ModelInput
from maskcli.records.trace import EmbeddingRow
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import Recording, name_paths
from maskcli.trace.run import Run


def find_padding_vector(run: Run, inputs: Sequence[ModelInput]) -> EmbeddingRow | None:
    """Return the padding id's vector of the first Embedding that looks up an input of ids; None if there is none."""
    import keras

    paddings = [
        model_input.padding_id for model_input in inputs if model_input.kind == "ids" and not model_input.counts_up
    ]
    for entry in run.recording.ended:
        layer = entry.operation
        if not paddings or not isinstance(layer, keras.layers.Embedding):
            continue
        vectors = as_array(layer.embeddings)
        if not any(id(tensor) in run.flow.valid for tensor in entry.inputs) or not 0 <= paddings[0] < len(vectors):
            continue
        return EmbeddingRow(run.names[entry.index], paddings[0], vectors[paddings[0]], set_to_zero=False)
    return None


def find_lookups(recording: Recording, flow: MaskFlow, inputs: Sequence[ModelInput]) -> Iterator[Lookup]:
    """Yield the Embeddings that look up the ids of an input, including one that raised."""
    import keras

    names = name_paths([entry for entry in recording.entries if not entry.code])
    for entry in recording.entries:
        if not isinstance(entry.operation, keras.layers.Embedding):
            continue
        for tensor in entry.inputs:
            position = _find_input(tensor, recording, flow)
            if position is not None and inputs[position].kind == "ids":
                yield Lookup(inputs[position].name, names[entry.index], int(entry.operation.input_dim))


def _find_input(tensor: Any, recording: Recording, flow: MaskFlow) -> int | None:
    """Return the position of the input that a tensor is, unchanged or cast to another dtype."""
    while True:
        position = next((index for index, source in enumerate(recording.inputs) if source is tensor), None)
        maker = flow.maker.get(id(tensor))
        if position is not None or maker is None or maker.type != "Cast":
            return position
        tensor = maker.inputs[0]


def has_unknown_ids(lookups: Sequence[Lookup], inputs: Sequence[ModelInput]) -> bool:
    """Return whether an input has ids that an Embedding which looks them up does not know."""
    ids = {model_input.name: model_input.values for model_input in inputs}
    return any(
        bool((ids[lookup.input] < 0).any() or (ids[lookup.input] >= lookup.input_dim).any()) for lookup in lookups
    )
