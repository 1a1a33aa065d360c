"""The run of a model on its data: recorded once, and used by everything that looks at it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence, Set
from typing import Any

import numpy as np

from maskcli.inputs.arguments import pack_arguments
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput, is_same_validity
from maskcli.records.trace import Call
from maskcli.trace.locations import locate_calls
from maskcli.trace.mask_flow import LostMask, MaskFlow, follow_masks
from maskcli.trace.recorder import Alter, CallRecord, Recording, name_paths, record_run

JOINED = 4
"""Results that an operation outside of layers joins, at most, before it is shown."""
PROBED_ROWS = 16
"""Rows that the probes run on: as many different lengths as there are, and two without a valid timestep."""
FEWEST_ROWS = 2
"""The same of a large model: the shortest row and the longest, and one without a valid timestep."""
WORK = 2**34
"""Weights × timesteps × rows up to which the probes run on more rows: a run takes more than about a second then."""
BYTES = 2**28
"""Memory of the results of a run up to which the probes run on more rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A traced run: its calls in order, and the output with the masks that its tensors carry.

    Attributes:
        calls: the calls that are shown.
        output: the output of the model.
        recording: all calls, with their tensors.
        flow: where padding and masks go.
        names: the path of each named call, by its index in the recording.
        calls_of: the shown calls, by index in the recording.
    """

    calls: tuple[Call, ...]
    output: Any
    recording: Recording
    flow: MaskFlow
    names: dict[int, str]
    calls_of: dict[int, Call]


@dataclasses.dataclass(frozen=True, eq=False)
class ModelRun:
    """A model, its inputs, and its run on them, which is recorded when it is first needed and never again.

    Further runs, with other values or other rows, are derived with ``vary`` and are not kept here.

    Attributes:
        model: a Keras model.
        inputs: the inputs that it is called with.
        unfold: whether calls inside layers of Keras are recorded.
    """

    model: Any
    inputs: tuple[ModelInput, ...]
    unfold: bool = False

    @functools.cached_property
    def recording(self) -> Recording:
        """The recorded run; it may have failed."""
        return self.vary()

    @functools.cached_property
    def is_large(self) -> bool:
        """Whether a run of as many rows as the probes may have takes longer than ``WORK`` allows."""
        return is_large_run(self.model, self.inputs)

    @functools.cached_property
    def flow(self) -> MaskFlow:
        """Where padding and masks go; also of a run that failed, up to the error."""
        return follow_masks(self.recording, self.inputs)

    @functools.cached_property
    def trace(self) -> Run:
        """The traced run.

        Raises:
            RaisedInCall: with the exception that the model raises.
        """
        if self.recording.error is not None:
            raise self.recording.make_error()
        return trace_recording(self.recording, self.flow)

    def vary(self, inputs: Sequence[ModelInput] | None = None, alter: Alter | None = None) -> Recording:
        """Record a further run of the model.

        Args:
            inputs: other inputs; None for the same.
            alter: may replace the tensors that a call returned.
        """
        arguments = pack_arguments(self.model, self.inputs if inputs is None else inputs)
        return record_run(self.model, arguments, unfold=self.unfold, alter=alter)

    def adopt(self, inputs: Sequence[ModelInput], recording: Recording) -> ModelRun:
        """Return the run on other inputs, which was recorded already."""
        run = ModelRun(self.model, tuple(inputs), self.unfold)
        vars(run)["recording"] = recording
        return run


@dataclasses.dataclass(eq=False)
class RunCache:
    """The latest run of a model, so that an equal run is never recorded twice in a row.

    Only the latest is kept, because a recording holds all tensors of its run.

    Attributes:
        model: a Keras model.
        most_rows: the number of rows that the probes run on, at most.
        takes_short_rows: whether the model, if it is large, runs on fewer columns where rows are shorter.
    """

    model: Any
    most_rows: int = dataclasses.field(default=PROBED_ROWS, init=False)
    takes_short_rows: bool = dataclasses.field(default=True, init=False)
    _latest: ModelRun | None = dataclasses.field(default=None, init=False)
    _first: ModelRun | None = dataclasses.field(default=None, init=False)

    def get_run(self, inputs: Sequence[ModelInput], unfold: bool = False) -> ModelRun:
        """Return the run on these inputs."""
        latest, first = self._latest, self._first
        if latest is None or latest.unfold is not unfold or not _are_equal(latest.inputs, inputs):
            self._first = None
            latest = ModelRun(self.model, tuple(inputs), unfold)
            if first is not None and not unfold and _have_equal_values(first.inputs, inputs):
                latest = first.adopt(inputs, first.recording)
            self._latest = latest
        return latest

    def record_first(self, inputs: Sequence[ModelInput]) -> Recording:
        """Record a run on inputs whose padding is not known yet; the next run, if it has the same values, is this."""
        self._first = ModelRun(self.model, tuple(inputs))
        return self._first.recording

    def limit_rows(self, inputs: Sequence[ModelInput]) -> None:
        """Let the probes of a large model run on fewer rows: by its weights, and by the memory of the latest run."""
        most = min(self.most_rows, WORK // max(1, count_row_work(self.model, inputs)))
        if self._latest is not None:
            recording, rows = self._latest.recording, len(self._latest.inputs[0].values)
            most = min(most, BYTES * rows // max(1, recording.bytes))
        self.most_rows = max(FEWEST_ROWS, most)


def is_large_run(model: Any, inputs: Sequence[ModelInput]) -> bool:
    """Return whether a run of as many rows as the probes may have takes longer than ``WORK`` allows."""
    return count_row_work(model, inputs) * PROBED_ROWS > WORK


def count_row_work(model: Any, inputs: Sequence[ModelInput]) -> int:
    """Return the weights of a model times the timesteps of a row."""
    weights = sum(math.prod(weight.shape) for weight in model.weights)
    return int(weights * max((x.values.shape[1] for x in inputs if x.valid is not None), default=1))


def _are_equal(old: Sequence[ModelInput], new: Sequence[ModelInput]) -> bool:
    """Return whether two lists of inputs have the same values and the same padding."""
    return _have_equal_values(old, new) and all(
        is_same_validity(a.valid, b.valid) for a, b in zip(old, new, strict=True)
    )


def _have_equal_values(old: Sequence[ModelInput], new: Sequence[ModelInput]) -> bool:
    """Return whether two lists of inputs have the same names, in the same order, and the same values."""
    return len(old) == len(new) and all(
        a.name == b.name and a.values.dtype == b.values.dtype and np.array_equal(a.values, b.values)
        for a, b in zip(old, new, strict=True)
    )


def trace_model(model: Any, inputs: Sequence[ModelInput], unfold: bool = False) -> Run:
    """Run ``model`` once, eagerly and in inference mode, and return the effect of its calls on the mask.

    Args:
        model: a Keras model.
        inputs: the inputs that it is called with.
        unfold: also record the calls inside layers of Keras.

    Raises:
        RaisedInCall: with the exception that the model raises.
    """
    return ModelRun(model, tuple(inputs), unfold).trace


def trace_recording(recording: Recording, flow: MaskFlow, also: Sequence[CallRecord] = ()) -> Run:
    """Return the calls of a recorded run that matter for masks.

    Args:
        recording: the run.
        flow: where padding and masks go in it.
        also: operations outside of layers to show in any case.
    """
    before = [flow.before[entry.index] for entry in also if entry.index in flow.before]
    lost = (*_find_losses_that_matter(recording, flow), *before)
    shown_code = {id(loser) for mask in lost for loser in (mask.at, *mask.again)} | {id(entry) for entry in also}
    shown_code |= _find_joins(recording, shown_code)
    entries = [entry for entry in recording.entries if not entry.code or id(entry) in shown_code]
    names = name_paths(entries)
    returned = [entry for entry in entries if entry.parent is not None and entry.returned]
    locations = locate_calls(recording)
    calls_of = {
        entry.index: dataclasses.replace(_make_call(entry, position, names, flow), location=locations.get(entry.index))
        for position, entry in enumerate(returned)
    }
    return Run(tuple(calls_of.values()), recording.output, recording, flow, names, calls_of)


def _find_joins(recording: Recording, shown: Set[int]) -> set[int]:
    """Return the operations outside of layers, by ``id``, that join so many results that they are shown.

    A hidden operation is replaced by the calls that its inputs come from. After n residual additions in code of one's
    own, each later call would have an edge from all n calls.
    """
    joins: set[int] = set()
    origins: dict[int, frozenset[int]] = {id(tensor): frozenset({id(tensor)}) for tensor in recording.inputs}
    for entry in recording.ended:
        of_entry = frozenset({id(entry)})
        if entry.code and id(entry) not in shown:
            joined = frozenset().union(*(origins.get(id(tensor), frozenset()) for tensor in entry.inputs))
            if len(joined) > JOINED:
                joins.add(id(entry))
            else:
                of_entry = joined
        origins |= dict.fromkeys(map(id, entry.outputs), of_entry)
    return joins


def find_first_mask(calls: Iterable[Call]) -> Bools | None:
    """Return the first mask that appears in a run: the one computed by the model's mask source."""
    masks = (mask for call in calls for mask in (call.mask_in, call.mask_out) if not call.computes_mask)
    return next((mask for mask in masks if mask is not None), None)


def list_output_tensors(output: Any) -> list[tuple[str, Any]]:
    """Return the tensors of a model's output, each with its name in the nest: ``logits``, ``states/0``, ``output``."""
    import keras

    flat = keras.tree.flatten_with_path(output)
    return [("/".join(map(str, path)) or "output", tensor) for path, tensor in flat]


def _find_losses_that_matter(recording: Recording, flow: MaskFlow) -> list[LostMask]:
    """Return the lost masks that a later call of a layer, or the output, would have carried."""
    import keras

    tensors = [tensor for entry in recording.entries if not entry.code for tensor in entry.inputs]
    tensors += keras.tree.flatten(recording.output)
    return [flow.lost[id(tensor)] for tensor in tensors if id(tensor) in flow.lost]


def _make_call(entry: CallRecord, index: int, names: dict[int, str], flow: MaskFlow) -> Call:
    import keras

    # Masks that arrive as arguments come first: they are the ones that ``call`` computes with. In a functional model
    # they were wired when it was built; the carried ones are those on the tensors when it ran.
    passed, carried = entry.padding_masks, entry.carried_padding
    mask_in = next((mask for mask in (*passed, *carried) if mask is not None), None)
    mask_out = next(iter(entry.padding_out), None)
    before = flow.before.get(entry.index)
    lost_at, lost_after = (None, None) if before is None else (before.at, before.after)
    attention = tuple({name: None for name, _, paired in entry.list_masks() if paired})
    return Call(
        call=names[entry.index],
        index=index,
        type=entry.type,
        effect=_find_effect(mask_in, mask_out, bool(passed or attention)),
        mask_in=mask_in,
        mask_out=mask_out,
        given=bool(passed),
        computes_mask=entry.index in flow.computing,
        warning="\n".join(entry.warnings) or None,
        masks_in=tuple(carried),
        masks_out=tuple(entry.padding_out),
        mask_arguments={name: tuple(entry.mask_values.get(name, ())) for name in entry.accepts},
        shapes_in=tuple(tuple(tensor.shape) for tensor in entry.inputs),
        shapes_out=tuple(tuple(tensor.shape) for tensor in entry.outputs),
        code=entry.code,
        contains=entry.calls,
        of_model=isinstance(entry.operation, keras.Model),
        lost_at=get_path(names, lost_at),
        lost_after=get_path(names, lost_after),
        takes_off=any(entry.taken_off),
        mask_from=get_path(names, flow.find_mask_maker(entry)),
        lost_again=()
        if before is None
        else tuple(names[later.index] for later in before.again if later.index in names),
        attention_arguments=attention,
        valid=_find_data_validity((*entry.outputs[:1], *entry.inputs), flow),
        valid_in=_find_data_validity(_sort_masked_first(entry), flow),
    )


def get_path(names: dict[int, str], entry: CallRecord | None) -> str | None:
    """Return the path of a call; None without a call, or if the call is not named."""
    return None if entry is None else names.get(entry.index)


def _sort_masked_first(entry: CallRecord) -> list[Any]:
    """Return the inputs of a call, those that carried a mask first."""
    pairs = list(zip(entry.inputs, entry.carried_padding, strict=True))
    return [tensor for masked in (True, False) for tensor, mask in pairs if (mask is not None) is masked]


def _find_data_validity(tensors: Sequence[Any], flow: MaskFlow) -> Bools | None:
    """Return which timesteps of the first tensor with timesteps are valid; None where that is an estimate.

    An estimate is the validity of other timesteps than those of the inputs, as of strided layers.
    """
    first = next((tensor for tensor in tensors if id(tensor) in flow.valid), None)
    if first is None:
        return None
    valid = flow.valid[id(first)]
    return valid if id(first) in flow.exact or any(valid is truth for truth in flow.truths) else None


def _find_effect(mask_in: Bools | None, mask_out: Bools | None, is_passed: bool) -> str:
    if is_passed:
        return "uses"
    if mask_in is None:
        return "none" if mask_out is None else "creates"
    if mask_out is None:
        return "drops"
    return "passes" if np.array_equal(mask_in, mask_out) else "changes"
