"""Find the edges between calls: the call that made each tensor that a later call uses, and its mask there.

A tensor is identified by its ``id``. That is not enough where a call returns the very tensor that it received, as
``Dropout`` does in inference: such a tensor has several carriers. The last one counts, or in a functional model the
one that Keras noted when the model was built.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.backends.choice import get_backend
from maskcli.records.inputs import ModelInput
from maskcli.records.trace import Edge
from maskcli.trace.recorder import CallRecord, get_mask
from maskcli.trace.run import Run, list_output_tensors
from maskcli.trace.values import as_float64, get_dtype

_Origin = tuple[str, bool]
"""The path of a call, or the name of an input; whether it is an input."""


def find_edges(run: Run, inputs: Sequence[ModelInput]) -> tuple[Edge, ...]:
    """Return the edges into the shown calls of a run, and then those into its outputs."""
    origins = _Origins(run, inputs)
    calls = (entry for entry in run.recording.entries if entry.index in run.calls_of)
    into_calls = (edge for entry in calls for edge in _find_call_edges(origins, entry))
    return (*into_calls, *_find_output_edges(origins))


class _Origins:
    """Where tensors come from, by ``id``: the calls that returned them, innermost first, or inputs of the model."""

    def __init__(self, run: Run, inputs: Sequence[ModelInput]) -> None:
        self.run = run
        self.history = _KerasHistory(run)
        pairs = zip(run.recording.inputs, inputs, strict=True)
        self.inputs = {id(tensor): model_input.name for tensor, model_input in pairs}
        self.carriers: dict[int, list[CallRecord]] = collections.defaultdict(list)
        for entry in run.recording.ended:
            if entry.parent is None:
                continue
            for tensor in entry.outputs:
                if not any(entry in _list_ancestors(carrier) for carrier in self.carriers[id(tensor)]):
                    self.carriers[id(tensor)].append(entry)

    def find(self, tensor: Any, before: CallRecord | None, hint: Any = None) -> dict[_Origin, None]:
        """Return the calls or inputs that a tensor comes from, in order.

        An operation that is not shown is replaced by its own inputs, back to calls that are shown. If the call itself
        made none of these, the operation is replaced by the layer whose code it is part of.

        Args:
            tensor: an input of a call, or an output of the model.
            before: the call that uses it; None for an output.
            hint: the operation that made it according to Keras, if known.
        """
        origins: dict[_Origin, None] = {}
        visited, pending = set(), [(tensor, before, hint)]
        while pending:
            tensor, before, hint = pending.pop(0)
            if (id(tensor), id(before)) in visited:
                continue
            visited.add((id(tensor), id(before)))
            entry = self._find_carrier(tensor, before, hint)
            if entry is None:
                name = self.inputs.get(id(tensor)) or self._find_cast_input(tensor, before)
                if name is not None:
                    origins[name, True] = None
                continue
            owner = self._find_owner(entry, before)
            if owner is None:
                pending += [(source, entry, None) for source in entry.inputs]
            else:
                origins.update(self._find_inside(entry, owner))
        return origins

    def _find_owner(self, entry: CallRecord, before: CallRecord | None) -> CallRecord | None:
        """Return a call, or the innermost shown one that made it, unless that made the call ``before`` as well."""
        around = _list_ancestors(before)
        owners = (owner for owner in (entry, *_list_ancestors(entry)) if owner.index in self.run.calls_of)
        return next((owner for owner in owners if owner not in around), None)

    def _find_inside(self, entry: CallRecord, owner: CallRecord) -> dict[_Origin, None]:
        """Return the calls inside ``owner`` from which its own code made the result of ``entry``; or ``owner``."""
        path = self.run.names[owner.index]
        if entry is owner or not owner.calls:
            return {(path, False): None}
        origins = {origin: None for source in entry.inputs for origin in self.find(source, entry)}
        inside = {origin: None for origin in origins if not origin[1] and origin[0].startswith(f"{path}/")}
        return inside or {(path, False): None}

    def _find_carrier(self, tensor: Any, before: CallRecord | None, hint: Any) -> CallRecord | None:
        """Return the last call that returned a tensor before a call began, or the one that Keras noted."""
        above = _list_ancestors(before)
        ended = [
            entry
            for entry in self.carriers.get(id(tensor), ())
            if before is None or (entry.index < before.index and entry not in above)
        ]
        last = next(reversed(ended), None)
        return next((entry for entry in ended if entry.operation is hint), last)

    def _find_cast_input(self, tensor: Any, before: CallRecord | None) -> str | None:
        """Return the input that a tensor without a maker is a copy of: Keras casts the arguments of a model."""
        if before is None or not get_backend().has_values(tensor) or not len(tensor.shape):
            return None
        inputs = (source for source in self.run.recording.inputs if id(source) in self.inputs)
        alike = [source for source in inputs if _is_cast(source, tensor)]
        return self.inputs[id(alike[0])] if len(alike) == 1 else None


def _is_cast(source: Any, tensor: Any) -> bool:
    """Return whether a tensor has the numbers of another one, in its own dtype."""
    import keras

    if tuple(source.shape) != tuple(tensor.shape) or "string" in (get_dtype(source), get_dtype(tensor)):
        return False
    cast = keras.ops.cast(source, get_dtype(tensor))
    return np.array_equal(as_float64(cast), as_float64(tensor), equal_nan=True)


class _KerasHistory:
    """The operations that made the inputs of calls, as functional models noted them when they were built.

    A layer has one node for each of its calls, in the order of building. The model runs its nodes from the greatest
    depth to the outputs, so that the n-th recorded call of a layer is its n-th node in that order.
    """

    def __init__(self, run: Run) -> None:
        self.counts: dict[int, int] = {}
        self.nodes: dict[int, dict[int, list[Any]]] = {}
        counter: collections.Counter[tuple[int, int]] = collections.Counter()
        for entry in run.recording.entries:
            if entry.parent is not None and not entry.code:
                key = id(entry.parent), id(entry.operation)
                self.counts[entry.index] = counter[key]
                counter[key] += 1

    def read(self, entry: CallRecord) -> list[Any]:
        """Return the operation that made each input of a call; empty for calls in other models."""
        if entry.parent is None or entry.code:
            return []
        nodes = self._list_nodes(entry.parent.operation).get(id(entry.operation), [])
        count = self.counts[entry.index]
        if count >= len(nodes):
            return []
        return [tensor._keras_history.operation for tensor in nodes[count].arguments.keras_tensors]

    def _list_nodes(self, model: Any) -> dict[int, list[Any]]:
        """Return the nodes of each operation of a functional model, by ``id``."""
        if id(model) not in self.nodes:
            by_depth = getattr(model, "_nodes_by_depth", None) or {}
            nodes = self.nodes[id(model)] = collections.defaultdict(list)
            for depth in sorted(by_depth, reverse=True):
                for node in by_depth[depth]:
                    nodes[id(node.operation)].append(node)
        return self.nodes[id(model)]


def _find_call_edges(origins: _Origins, entry: CallRecord) -> Iterator[Edge]:
    target = origins.run.names[entry.index]
    hints = dict(enumerate(origins.history.read(entry)))
    for position, (tensor, mask) in enumerate(zip(entry.inputs, entry.carried, strict=True)):
        lost = mask is None and id(tensor) in origins.run.flow.lost
        for source, from_input in origins.find(tensor, entry, hints.get(position)):
            yield Edge(source, target, from_input, mask=mask, lost=lost)
    for argument, masks in entry.mask_tensors.items():
        for tensor, mask in zip(masks, entry.mask_values[argument], strict=True):
            if mask is not None and not any(mask is carried for carried in entry.carried):
                for source, from_input in origins.find(tensor, entry):
                    yield Edge(source, target, from_input, mask=mask, argument=argument)


def _find_output_edges(origins: _Origins) -> Iterator[Edge]:
    for name, tensor in list_output_tensors(origins.run.output):
        mask = get_mask(tensor)
        lost = mask is None and id(tensor) in origins.run.flow.lost
        for source, from_input in origins.find(tensor, None):
            yield Edge(source, name, from_input, to_output=True, mask=mask, lost=lost)


def _list_ancestors(entry: CallRecord | None) -> list[CallRecord]:
    return [] if entry is None else entry.parents
