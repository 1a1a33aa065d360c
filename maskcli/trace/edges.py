"""What flows from call to call: which call made each tensor that another one takes, and the mask that it carries there.

Tensors are told by their identity, which is not enough where a call returns the very tensor that it was given, as
``Dropout`` does in inference: such a tensor has several carriers, of which the last one counts, or in a functional
model the one that Keras itself noted.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import Any

from maskcli.records.inputs import ModelInput
from maskcli.records.trace import Edge
from maskcli.trace.recorder import CallRecord, get_mask
from maskcli.trace.run import Run, list_output_tensors


def find_edges(run: Run, inputs: Sequence[ModelInput]) -> tuple[Edge, ...]:
    """Return what the shown calls of a run take, and then what its outputs are made of."""
    flow = _Origins(run, inputs)
    calls = (entry for entry in run.watched.entries if entry.index in run.calls_of)
    return (*(edge for entry in calls for edge in _taken(flow, entry)), *_returned(flow))


class _Origins:
    """By ``id`` of a tensor: the calls that returned it, the innermost first, or the input of the model that it is."""

    def __init__(self, run: Run, inputs: Sequence[ModelInput]) -> None:
        self.run = run
        self.inputs = {id(tensor): given.name for tensor, given in zip(run.watched.inputs, inputs, strict=bool(inputs))}
        self.carriers: dict[int, list[CallRecord]] = collections.defaultdict(list)
        for entry in run.watched.ended:
            for tensor in entry.outputs if entry.parent is not None else ():
                if not any(entry in _ancestors(other) for other in self.carriers[id(tensor)]):
                    self.carriers[id(tensor)].append(entry)

    def of(self, tensor: Any, before: CallRecord | None, noted: Any = None) -> dict[tuple[str, bool], None]:
        """Return the paths of the calls that made a tensor, or names of inputs, each with whether it is an input.

        An operation of code that is not shown stands for what it took, as far back as to calls that are shown; or for
        the layer whose code it is, where nothing that this called made it.
        """
        found: dict[tuple[str, bool], None] = {}
        seen, left = set(), [(tensor, before, noted)]
        while left:
            tensor, before, noted = left.pop(0)
            if (id(tensor), id(before)) in seen:
                continue
            seen.add((id(tensor), id(before)))
            entry = self._carrier(tensor, before, noted)
            if entry is None:
                name = self.inputs.get(id(tensor)) or self._cast(tensor, before)
                found.update({} if name is None else {(name, True): None})
                continue
            owner = self._owner(entry, before)
            if owner is None:
                left += [(source, entry, None) for source in entry.inputs]
            else:
                found.update(self._inside(entry, owner))
        return found

    def _owner(self, entry: CallRecord, before: CallRecord | None) -> CallRecord | None:
        """Return a call, or the innermost shown one that made it, unless that made the call ``before`` as well."""
        around = _ancestors(before) if before is not None else []
        owners = (each for each in (entry, *_ancestors(entry)) if each.index in self.run.calls_of)
        return next((each for each in owners if each not in around), None)

    def _inside(self, entry: CallRecord, owner: CallRecord) -> dict[tuple[str, bool], None]:
        """Return the calls of ``owner`` from which its own code made a result in ``entry``; itself without such."""
        path = self.run.names[owner.index]
        if entry is owner or not owner.calls:
            return {(path, False): None}
        made = {name: None for source in entry.inputs for name in self.of(source, entry)}
        within = {name: None for name in made if not name[1] and name[0].startswith(f"{path}/")}
        return within or {(path, False): None}

    def _carrier(self, tensor: Any, before: CallRecord | None, noted: Any) -> CallRecord | None:
        """Return the last call that returned a tensor before a call began, or the one that Keras ``noted``."""
        above = _ancestors(before) if before is not None else []
        done = [
            entry
            for entry in self.carriers.get(id(tensor), ())
            if before is None or (entry.index < before.index and entry not in above)
        ]
        return next((entry for entry in done if entry.operation is noted), done[-1] if done else None)

    def _cast(self, tensor: Any, before: CallRecord | None) -> str | None:
        """Return the input that a tensor of nobody's making is a copy of: Keras casts what a model is called with."""
        if before is None or not hasattr(tensor, "numpy"):
            return None
        own = self.run.watched.inputs
        alike = [other for other in own if id(other) in self.inputs and tuple(other.shape) == tuple(tensor.shape)]
        return self.inputs[id(alike[0])] if len(alike) == 1 and len(tensor.shape) else None


def _taken(flow: _Origins, entry: CallRecord) -> Iterator[Edge]:
    target = flow.run.names[entry.index]
    noted = _noted_by_keras(flow.run, entry)
    for position, (tensor, mask) in enumerate(zip(entry.inputs, entry.carried, strict=True)):
        lost = mask is None and id(tensor) in flow.run.flow.lost
        for source, from_input in flow.of(tensor, entry, noted[position] if position < len(noted) else None):
            yield Edge(source, target, from_input, mask=mask, lost=lost)
    for argument, masks in entry.given.items():
        for tensor, mask in zip(masks, entry.given_masks[argument], strict=True):
            if mask is not None and not any(mask is carried for carried in entry.carried):
                for source, from_input in flow.of(tensor, entry):
                    yield Edge(source, target, from_input, mask=mask, argument=argument)


def _returned(flow: _Origins) -> Iterator[Edge]:
    for name, tensor in list_output_tensors(flow.run.output):
        mask = get_mask(tensor)
        lost = mask is None and id(tensor) in flow.run.flow.lost
        for source, from_input in flow.of(tensor, None):
            yield Edge(source, name, from_input, to_output=True, mask=mask, lost=lost)


def _noted_by_keras(run: Run, entry: CallRecord) -> list[Any]:
    """Return which operation made each input of a call, as a functional model has noted it; nothing of other models."""
    by_depth = getattr(entry.parent.operation, "_nodes_by_depth", None) if entry.parent is not None else None
    if by_depth is None or entry.code:
        return []
    own = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    own = [node for node in own if node.operation is entry.operation]
    before = sum(
        other.parent is entry.parent and other.operation is entry.operation
        for other in run.watched.entries[: entry.index]
    )
    if before >= len(own):
        return []
    return [tensor._keras_history.operation for tensor in own[before].arguments.keras_tensors]


def _ancestors(entry: CallRecord) -> list[CallRecord]:
    found = []
    while entry.parent is not None:
        entry = entry.parent
        found.append(entry)
    return found
