"""Record each call of one eager run of a model: its tensors, its masks and its warnings.

Keras has two entry points, and a mask shows up at either of them, or at both:

- ``Layer.__call__`` receives the tensors, which carry masks as an attribute. The recorder reads these masks at once,
  before and after each call, because a later layer may remove them.
- ``Operation.__call__`` receives the arguments of ``call`` after Keras has filled in the mask arguments.

Between the calls of a model, or of a layer that is not Keras's, runs code of its own. The backend reports the
operations of that code one by one. The inside of a layer of Keras, such as an RNN with its cell, is not recorded by
default.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import dataclasses
import functools
import inspect
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from maskcli.backends.arrays import as_array
from maskcli.backends.choice import get_backend
from maskcli.backends.masks import get_keras_mask
from maskcli.errors import ModelError, RaisedInCall
from maskcli.models.build_sites import Site, describe_frame, find_outer_frame, find_user_frame
from maskcli.models.limits import bound_weights, check_call
from maskcli.records.arrays import Bools
from maskcli.trace.functions import differs_compiled, run_functions
from maskcli.trace.generators import begin_random_run
from maskcli.trace.state import preserve_state
from maskcli.trace.steps import get_reporter


@dataclasses.dataclass(eq=False)
class CallRecord:
    """One call, while it runs and after.

    Tensors are kept, for two reasons: a probe runs the call again, and no two tensors may share an ``id``.

    Attributes:
        operation: the layer or operation; for code outside of layers, TensorFlow's name of it.
        index: its position in the order of beginning, from 0.
        parent: the model or layer that made the call; None for the model itself.
        args: positional arguments as they were passed.
        kwargs: the keyword arguments.
        inputs: the tensors among the arguments, in order, without masks.
        carried: the mask that each of the inputs carried before the call.
        mask_tensors: the masks that reached mask arguments of ``call``, by argument; nested ones are flattened.
        mask_values: the same masks as booleans.
        accepts: the mask arguments that ``call`` has.
        outputs: the tensors that it returned, in order.
        masks_out: the mask that each output carries.
        taken_off: which of the inputs carried a mask before the call and carry none after it.
        warnings: the warnings that Keras gave in this very call.
        pairs: by argument and position there, whether a mask pairs queries with keys, as far as the run shows it.
        calls: whether it made calls that were recorded.
        error: the exception that it raised.
        returned: whether it ended without an error.
        added: whether a change of the model made it, not the model.
        keeps: whether a change of the model put a mask on its result that another call made.
        superseded: whether a change replaces the result of the function that the operation is a part of.
        site: the line of the user's code that made it; None for a call that code of a package made.
        names: the variables of that code, by ``id`` of the input of the model, or of that code, that they hold.
        step: the instruction of that code; a function of a library may run several operations for one.
    """

    operation: Any
    index: int
    parent: CallRecord | None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: list[Any] = dataclasses.field(default_factory=list)
    carried: list[Bools | None] = dataclasses.field(default_factory=list)
    mask_tensors: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    mask_values: dict[str, list[Bools | None]] = dataclasses.field(default_factory=dict)
    accepts: tuple[str, ...] = ()
    outputs: list[Any] = dataclasses.field(default_factory=list)
    masks_out: list[Bools | None] = dataclasses.field(default_factory=list)
    taken_off: list[bool] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    pairs: dict[tuple[str, int], bool] = dataclasses.field(default_factory=dict)
    calls: bool = False
    error: BaseException | None = None
    returned: bool = False
    added: bool = False
    keeps: bool = False
    superseded: bool = False
    site: Site | None = None
    names: dict[int, str] = dataclasses.field(default_factory=dict)
    step: tuple[int, int] | None = None

    @property
    def code(self) -> bool:
        """Whether it is an operation of code outside of layers."""
        return isinstance(self.operation, str)

    @property
    def type(self) -> str:
        """The class name of the layer or operation."""
        return self.operation if isinstance(self.operation, str) else type(self.operation).__name__

    @property
    def name(self) -> str:
        """The name of the layer, or the kind of an operation: Keras counts operations through a whole process."""
        import keras

        if isinstance(self.operation, keras.layers.Layer):
            return str(self.operation.name)
        return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", re.sub(r"V\d$", "", self.type)).lower()

    @property
    def parents(self) -> list[CallRecord]:
        """The calls in whose code it was made, the innermost first; the last is that of the model."""
        parents, parent = [], self.parent
        while parent is not None:
            parents.append(parent)
            parent = parent.parent
        return parents

    @property
    def padding_masks(self) -> list[Bools]:
        """The masks in mask arguments that mark padding, without those that pair queries with keys."""
        return [mask for _, mask, paired in self.list_masks() if not paired]

    @property
    def attention_masks(self) -> list[Bools]:
        """The masks in mask arguments that pair queries with keys."""
        return [mask for _, mask, paired in self.list_masks() if paired]

    @property
    def carried_padding(self) -> list[Bools | None]:
        """The mask of timesteps that each of the inputs carried; None also for a mask of scores."""
        pairs = zip(self.inputs, self.carried, strict=True)
        return [mask if is_padding_mask(mask, tensor.shape) else None for tensor, mask in pairs]

    @property
    def padding_out(self) -> list[Bools | None]:
        """The mask of timesteps that each output carries; None also for a mask of scores."""
        pairs = zip(self.outputs, self.masks_out, strict=True)
        return [mask if is_padding_mask(mask, tensor.shape) else None for tensor, mask in pairs]

    def list_masks(self) -> list[tuple[str, Bools, bool]]:
        """Return the masks in mask arguments, each with its argument, and whether it pairs queries with keys."""
        return [
            (name, mask, self.pairs.get((name, position), self.looks_paired(name, mask)))
            for name, masks in self.mask_values.items()
            for position, mask in enumerate(masks)
            if mask is not None
        ]

    def looks_paired(self, name: str, mask: Bools) -> bool:
        """Return whether a mask pairs queries with keys, by its argument and its shape."""
        import keras

        attention = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
        if name == PAIR_MASK and isinstance(self.operation, attention):
            return True
        shapes = [tuple(tensor.shape) for tensor in self.inputs]
        if mask.ndim == 2:
            return bool(shapes) and all(len(mask) != shape[0] for shape in shapes if shape)
        # Scores have the axes (batch, heads, queries, keys) or (batch, queries, keys); a mask of the weights of a
        # pooling over time, (batch, timesteps, 1), pairs nothing.
        if mask.ndim < 2 or (self.type == "Softmax" and mask.shape[-1] > 1):
            return mask.ndim > 2
        places = mask.shape[:-1] if mask.shape[-1] == 1 else mask.shape
        return not any(places == shape[: len(places)] and mask.ndim <= len(shape) for shape in shapes)


PAIR_MASK = "attention_mask"
"""The argument of Keras's attention layers for a mask that pairs queries with keys."""

Alter = Callable[[CallRecord, list[Any]], "list[Any] | None"]
"""Receives a call and the tensors that it returned; returns replacements, or None to keep them."""


@dataclasses.dataclass(eq=False)
class Recording:
    """A recorded run.

    Attributes:
        entries: the calls in the order of beginning; the model itself is the first.
        ended: the calls in the order of ending, which is that of the data.
        output: the output of the model; None if it raised.
        error: the exception that it raised.
        inputs: the tensors that the model was called with, flattened.
    """

    entries: list[CallRecord]
    ended: list[CallRecord]
    output: Any
    error: BaseException | None
    inputs: list[Any]

    @functools.cached_property
    def bytes(self) -> int:
        """The memory of all results."""
        results = {id(tensor): tensor for entry in self.entries for tensor in entry.outputs}
        return sum(_count_bytes(tensor) for tensor in results.values())

    def make_error(self) -> Exception:
        """Return the exception of a failed run, with the innermost call that raised it."""
        assert isinstance(self.error, Exception)  # noqa: S101 - only failed runs have an error to make
        failed = [entry for entry in self.entries if entry.error is not None and entry.parent is not None]
        if not failed:
            return self.error
        names = name_paths([entry for entry in self.entries if not entry.code])
        return RaisedInCall(names[failed[-1].index], self.error)


def record_run(model: Any, inputs: Any, *, unfold: bool = False, alter: Alter | None = None) -> Recording:
    """Run ``model`` on ``inputs`` once, eagerly and in inference mode, and record all calls.

    Args:
        model: a Keras model; the model and Keras are left unchanged, also after an error.
        inputs: the arguments of the model.
        unfold: also record the calls inside layers of Keras, such as an RNN or Bidirectional.
        alter: may replace the tensors that a call returned.
    """
    import keras

    recorder = _Recorder(unfold, alter)
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    recorder.model_inputs = frozenset(map(id, keras.tree.flatten(tensors)))
    output, error = None, None
    try:
        with get_backend().infer(), get_backend().compile_loops(not unfold), bound_weights():
            if not model.built:
                _build(model, tensors)
            with preserve_state(model, trained=False), run_functions(model) as called, recorder.patch_keras():
                begin_random_run(model)
                output = model(tensors, training=False)
            unchanged = alter is None and recorder.changed is None
            if unchanged and differs_compiled(model, called, output, lambda: model(tensors, training=False)):
                return record_run(model, inputs, unfold=unfold)
    except Exception as exception:
        error = exception if recorder.refusal is None else recorder.refusal  # Keras replaces exceptions of layers.
    if recorder.reporter is not None:
        recorder.reporter.calls = len(recorder.ended)
    return Recording(recorder.entries, recorder.ended, output, error, keras.tree.flatten(tensors))


def _build(model: Any, tensors: Any) -> None:
    """Let a model call its layers to learn their shapes; an error is ignored here, for the run will raise it again."""
    with preserve_state(model), warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
        model(tensors, training=False)


def get_mask(tensor: Any) -> Bools | None:
    """Return the mask that a tensor carries, as booleans, or None."""
    return convert_mask(get_keras_mask(tensor))


def convert_mask(mask: Any) -> Bools | None:
    """Return a mask as booleans; None if there is none, or if it is a tensor of a graph, which has no values yet."""
    if mask is None or not (get_backend().has_values(mask) or isinstance(mask, np.ndarray)):
        return None
    try:
        return as_array(mask).astype(bool)
    except NotImplementedError:  # A tensor of a graph.
        return None


def is_padding_mask(mask: Bools | None, shape: Any) -> bool:
    """Return whether a mask that a tensor of this shape carries marks its timesteps, or places inside them."""
    if mask is None or mask.ndim < 3:
        return mask is not None
    return mask.ndim < len(shape) and mask.shape == tuple(shape[: mask.ndim])


class RunChanges(Protocol):
    """Changes of the calls of one run; see ``maskcli.trace.changes``."""

    def begin(self, entry: CallRecord) -> None:
        """Change the arguments of a call that begins."""

    def end(self, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return replacements of the tensors that a call returned; None to keep them."""


_start_changes: contextvars.ContextVar[Callable[[], RunChanges] | None] = contextvars.ContextVar(
    "start_changes", default=None
)


@contextlib.contextmanager
def change_runs(start: Callable[[], RunChanges] | None) -> Iterator[None]:
    """Let all runs that are recorded inside have the changes that ``start`` returns for each of them."""
    token = _start_changes.set(start)
    try:
        yield
    finally:
        _start_changes.reset(token)


@contextlib.contextmanager
def wrap_changes(wrap: Callable[[RunChanges | None], RunChanges]) -> Iterator[None]:
    """Let all runs that are recorded inside have the changes that ``wrap`` makes of those they would have anyway."""
    start = _start_changes.get()
    with change_runs(lambda: wrap(None if start is None else start())):
        yield


class _Recorder:
    """Patches Keras while a model runs, and keeps a record of each call."""

    def __init__(self, unfold: bool, alter: Alter | None) -> None:
        import keras

        backend = get_backend()
        self.executing_eagerly = backend.is_eager
        self.layer_type, self.operation_type = keras.layers.Layer, keras.Operation
        self.flatten = keras.tree.flatten
        self.unfold, self.alter = unfold, alter
        self.entries: list[CallRecord] = []
        self.ended: list[CallRecord] = []
        self.stack: list[CallRecord] = []
        self.log: list[warnings.WarningMessage] = []
        self.masks: dict[int, tuple[Any, Bools | None]] = {}
        self.code_reports = backend.report_operations(self.record_code, self)
        start = _start_changes.get()
        self.changed = None if start is None else start()
        self.reporter = get_reporter()
        self.refusal: ModelError | None = None
        self.model_inputs: frozenset[int] = frozenset()

    @contextlib.contextmanager
    def patch_keras(self) -> Iterator[None]:
        """Record all calls until this closes."""
        layer_type, operation_type = self.layer_type, self.operation_type
        call_layer, call_operation = layer_type.__call__, operation_type.__call__

        # A layer passes both entry points: ``Layer.__call__``, which collects the masks that its tensors carry and
        # fills them into free mask arguments, calls ``Operation.__call__``, which calls ``call``. The outer one makes
        # the record. The inner one adds the masks that arrive, including those of functional models: such a model
        # computes masks when it is *built*, and keeps them as arguments of its nodes. When it *runs*, they arrive as
        # arguments, even if the tensors carry no mask any more. Both kinds are recorded, in ``carried`` and
        # ``mask_tensors``.
        @functools.wraps(call_layer)
        def record_layer(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.is_recording():
                return call_layer(layer, *args, **kwargs)
            return self.run(call_layer, layer, args, kwargs)

        @functools.wraps(call_operation)
        def record_operation(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(operation, layer_type):
                if self.stack and self.stack[-1].operation is operation:
                    self.record_arrival(self.stack[-1], args, kwargs)
                return call_operation(operation, *args, **kwargs)
            if not self.is_recording():
                return call_operation(operation, *args, **kwargs)
            return self.run(call_operation, operation, args, kwargs)

        with warnings.catch_warnings(record=True) as self.log:
            warnings.simplefilter("always")
            layer_type.__call__, operation_type.__call__ = record_layer, record_operation
            try:
                yield
            finally:
                layer_type.__call__, operation_type.__call__ = call_layer, call_operation
                self.code_reports.turn(False)
                # The reports refer to this recorder. In a circle, the tensors of the run would stay in memory until
                # Python's garbage collector finds it, which may be some runs later.
                del self.code_reports

    def is_recording(self) -> bool:
        """Return whether a call that begins now is recorded: not inside a layer of Keras, nor in a graph."""
        if not self.executing_eagerly():
            return False
        return not self.stack or self.unfolds(self.stack[-1].operation)

    def unfolds(self, operation: Any) -> bool:
        """Return whether the calls that ``operation`` makes are recorded."""
        return has_own_code(operation) or (self.unfold and isinstance(operation, self.layer_type))

    def run(self, call: Callable[..., Any], operation: Any, args: Any, kwargs: Any) -> Any:
        """Run a call and record its inputs and outputs."""
        entry = self.begin(operation, args, kwargs)
        warned = len(self.log)
        self.stack.append(entry)
        self.code_reports.turn(self.is_in_own_code())
        try:
            self.refusal = check_call(operation, entry.args, entry.kwargs)
            if self.refusal is not None:
                raise self.refusal
            output = call(operation, *entry.args, **entry.kwargs)
        except BaseException as error:
            entry.error = error
            raise
        finally:
            self.stack.pop()
            self.code_reports.turn(self.is_in_own_code())
        # Calls inside this one took their own warnings off the log, so that the new ones are of this call.
        entry.warnings = [str(warning.message) for warning in self.log[warned:]]
        del self.log[warned:]
        return self.end(entry, output)

    def is_in_own_code(self) -> bool:
        """Return whether the running code is that of a model, or of a layer that is not Keras's."""
        return bool(self.stack) and has_own_code(self.stack[-1].operation)

    def begin(self, operation: Any, args: Any, kwargs: Any) -> CallRecord:
        """Record the arguments of a call."""
        parent = self.stack[-1] if self.stack else None
        if parent is not None:
            parent.calls = True
        keywords = {name: value for name, value in kwargs.items() if not is_mask_argument(name)}
        inputs = [tensor for tensor in self.flatten((args, keywords)) if _is_tensor(tensor)]
        entry = CallRecord(operation, len(self.entries), parent, args, kwargs, inputs)
        if self.changed is not None:
            self.changed.begin(entry)
            entry.index = len(self.entries)  # A change may have run operations, which are recorded before the call.
        entry.carried = [self.read_mask(tensor) for tensor in inputs]
        self.locate(entry)
        self.entries.append(entry)
        return entry

    def locate(self, entry: CallRecord) -> None:
        """Record the line of the user's code that makes a call now, in the code of the call that makes it."""
        if not self.stack or not has_own_code(self.stack[-1].operation):
            return
        frame = sys._getframe(2)
        if frame.f_code is RUN:
            frame = frame.f_back  # type: ignore[assignment]
        user = find_user_frame(frame, RUN)
        if user is None:
            user = find_outer_frame(frame, RUN)
            entry.step = None if user is None else (id(user), user.f_lasti)
        else:
            entry.site, entry.step = describe_frame(user), (id(user), user.f_lasti)
            variables = {} if user.f_code.co_name == "<module>" else user.f_locals
            named = self.model_inputs.union(map(id, self.stack[-1].inputs))
            entry.names = {id(value): name for name, value in variables.items() if id(value) in named}

    def record_arrival(self, entry: CallRecord, args: Any, kwargs: dict[str, Any]) -> None:
        """Record the masks that reach ``call``."""
        names = list_parameters(type(entry.operation).call)
        entry.accepts = tuple(name for name in names if is_mask_argument(name))
        # A Lambda takes any mask, but passes it to its function only if that has the argument.
        if not getattr(entry.operation, "_fn_expects_mask_arg", True):
            entry.accepts = ()
        by_name = {**dict(zip(names, args, strict=False)), **kwargs}
        for name in entry.accepts:
            masks = [mask for mask in self.flatten(by_name.get(name)) if mask is not None]
            if masks:
                entry.mask_tensors[name] = masks
                entry.mask_values[name] = [self.convert_once(mask) for mask in masks]

    def end(self, entry: CallRecord, output: Any) -> Any:
        """Record the results of a call; return those with which the model goes on."""
        import keras

        tensors = [tensor for tensor in self.flatten(output) if _is_tensor(tensor)]
        replacements = self.replace(entry, tensors)
        if replacements is not None:
            remaining = iter(replacements)
            output = keras.tree.map_structure(lambda leaf: next(remaining) if _is_tensor(leaf) else leaf, output)
            tensors = replacements
        entry.outputs, entry.masks_out = tensors, [self.read_mask(tensor) for tensor in tensors]
        entry.taken_off = [
            mask is not None and get_keras_mask(tensor) is None
            for tensor, mask in zip(entry.inputs, entry.carried, strict=True)
        ]
        entry.returned = True
        self.ended.append(entry)
        if self.reporter is not None:
            self.reporter.count(len(self.ended))
        return output

    def replace(self, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return replacements of the tensors, if any; the operations that make them are not recorded."""
        if self.alter is None and self.changed is None:
            return None
        self.code_reports.turn(False)
        try:
            return self.find_replacements(entry, tensors)
        finally:
            self.code_reports.turn(self.is_in_own_code())

    def find_replacements(self, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the results of changes of this call, and then of ``alter``; None to keep the tensors."""
        changed = None if self.changed is None else self.changed.end(entry, tensors)
        if self.alter is None:
            return changed
        altered = self.alter(entry, tensors if changed is None else changed)
        return changed if altered is None else altered

    def record_code(self, type_: str, inputs: Sequence[Any], attrs: Any, outputs: Sequence[Any]) -> list[Any] | None:
        """Record an operation of code outside of layers; return replacements of its outputs, if any."""
        tensors = [tensor for tensor in inputs if _is_tensor(tensor)]
        entry = CallRecord(type_, len(self.entries), self.stack[-1], tuple(inputs), {"attrs": attrs}, tensors)
        self.locate(entry)
        entry.carried = [self.read_mask(tensor) for tensor in entry.inputs]
        entry.outputs = list(outputs)
        entry.returned = True
        if self.changed is not None:
            self.changed.begin(entry)
        with self.code_reports.pause():
            replacements = self.find_replacements(entry, entry.outputs)
        if replacements is not None:
            entry.outputs = replacements
        entry.masks_out = [self.read_mask(tensor) for tensor in entry.outputs]
        self.entries.append(entry)
        self.ended.append(entry)
        return replacements

    def list_tensors(self) -> Iterator[Any]:
        """Yield the tensors of the calls so far."""
        for entry in self.entries:
            yield from (leaf for leaf in self.flatten((entry.args, entry.kwargs, entry.outputs)) if _is_tensor(leaf))
            yield from (mask for masks in entry.mask_tensors.values() for mask in masks)

    def replace_tensors(self, copies: dict[int, Any]) -> None:
        """Let the calls so far refer to other tensors, by ``id``."""
        import keras

        def replace(leaf: Any) -> Any:
            return copies.get(id(leaf), leaf)

        for entry in self.entries:
            entry.args, entry.kwargs, entry.inputs, entry.outputs, entry.mask_tensors = keras.tree.map_structure(
                replace, (entry.args, entry.kwargs, entry.inputs, entry.outputs, entry.mask_tensors)
            )
        for key in copies:
            self.masks.pop(key, None)

    def read_mask(self, tensor: Any) -> Bools | None:
        """Return the mask that a tensor carries."""
        mask = get_keras_mask(tensor)
        return None if mask is None else self.convert_once(mask)

    def convert_once(self, mask: Any) -> Bools | None:
        """Return a mask as booleans, copied from the device once however many calls receive it."""
        if id(mask) not in self.masks:
            self.masks[id(mask)] = (mask, convert_mask(mask))  # The mask is kept, so that its id stays its own.
        return self.masks[id(mask)][1]


RUN = _Recorder.run.__code__
"""The code between a call and the code of the call that makes it."""


def name_paths(entries: Sequence[CallRecord]) -> dict[int, str]:
    """Return the path of each entry by index: the names that lead to it, with a count for each repetition.

    Layers come first, so that an operation of the same name does not make the only call of a layer its second.
    """
    import keras

    counts: collections.Counter[str] = collections.Counter()
    paths: dict[int, str] = {}
    for entry in sorted(entries, key=lambda entry: not isinstance(entry.operation, keras.layers.Layer)):
        if entry.parent is None:
            paths[entry.index] = ""
            continue
        above = paths[entry.parent.index]
        path = f"{above}/{entry.name}" if above else entry.name
        counts[path] += 1
        paths[entry.index] = path if counts[path] == 1 else f"{path}#{counts[path]}"
    return paths


def is_attention(entry: CallRecord) -> bool:
    """Return whether a call is that of a layer of Keras that attends."""
    import keras

    layers = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention, keras.layers.Attention)
    return isinstance(entry.operation, layers)


@functools.cache
def list_parameters(call: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments of a layer's ``call``, without ``self``."""
    return tuple(inspect.signature(call).parameters)[1:]


def is_mask_argument(name: str) -> bool:
    """Return whether an argument is a mask; ``use_causal_mask`` is a switch."""
    return name == "mask" or (name.endswith("_mask") and not name.startswith("use_"))


def has_own_code(operation: Any) -> bool:
    """Return whether an operation is a model, a Lambda or a layer that is not Keras's, whose code may be anyone's."""
    import keras

    if not isinstance(operation, keras.layers.Layer):
        return False
    return isinstance(operation, (keras.Model, keras.layers.Lambda)) or not is_of_keras(type(operation))


def get_code(layer: Any) -> Any:
    """Return the holder of a layer's code: the function of a Lambda, which another Lambda may share, or a class."""
    import keras

    return layer.function if isinstance(layer, keras.layers.Lambda) else type(layer)


def is_of_keras(kind: type) -> bool:
    """Return whether a class is one of Keras."""
    return kind.__module__.partition(".")[0] == "keras"


def _count_bytes(tensor: Any) -> int:
    """Return the memory of a tensor; 0 for one without a definite shape, such as a ragged one."""
    dimensions = tuple(tensor.shape)
    size = getattr(tensor.dtype, "size", None) or getattr(tensor.dtype, "itemsize", 0)
    return 0 if None in dimensions or not isinstance(size, int) else math.prod(dimensions) * size


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")
