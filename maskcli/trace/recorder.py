"""A model run eagerly with every call watched: what came in, what truly reached it, what went out.

``Layer.__call__`` sees the tensors, whose masks are read at once, before and after each call, since a later layer may
take them off. ``Operation.__call__`` sees the arguments that Keras filled in. What a model or a layer of the user's own
does between its calls, TensorFlow reports operation by operation. What a layer of Keras does inside itself, such as an
RNN with its cell, is its own business unless it is asked for.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.errors import RaisedInCall
from maskcli.records.arrays import Bools
from maskcli.trace.state import preserve_state


@dataclasses.dataclass(eq=False)
class CallRecord:
    """One call, while it runs and after.

    Tensors are kept: a probe runs the call again, and no two tensors may share an ``id``.

    Attributes:
        operation: the layer or operation; for code that no layer owns, the name of TensorFlow's operation.
        index: its position in the order of beginning, from 0.
        parent: the model or layer that made the call; None for the model itself.
        args: positional arguments as they were passed.
        kwargs: the others.
        inputs: the tensors among them, in order, without those that are passed as masks.
        carried: the mask that each of the inputs carried before the call.
        given: masks that reached mask arguments of ``call``, by argument; nested ones are flattened.
        accepts: the mask arguments that ``call`` has.
        outputs: the tensors that came out, in order.
        masks_out: the mask that each of them carries.
        taken_off: which of the inputs carried a mask before the call and carry none behind it.
        warnings: what Keras warned of in this very call.
        calls: whether it made calls that were watched.
        error: what it raised.
        returned: whether it came to its end.
    """

    operation: Any
    index: int
    parent: CallRecord | None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: list[Any] = dataclasses.field(default_factory=list)
    carried: list[Bools | None] = dataclasses.field(default_factory=list)
    given: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    given_masks: dict[str, list[Bools | None]] = dataclasses.field(default_factory=dict)
    accepts: tuple[str, ...] = ()
    outputs: list[Any] = dataclasses.field(default_factory=list)
    masks_out: list[Bools | None] = dataclasses.field(default_factory=list)
    taken_off: list[bool] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    calls: bool = False
    error: BaseException | None = None
    returned: bool = False

    @property
    def code(self) -> bool:
        """Whether it is an operation of code that no layer owns."""
        return isinstance(self.operation, str)

    @property
    def type(self) -> str:
        """The class name of the layer or operation."""
        return self.operation if isinstance(self.operation, str) else type(self.operation).__name__

    @property
    def own_name(self) -> str:
        """The name of the layer, or the kind of an operation, whose names Keras counts through a whole process."""
        import keras

        if isinstance(self.operation, keras.layers.Layer):
            return str(self.operation.name)
        return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", re.sub(r"V\d$", "", self.type)).lower()


WHO_SEES_WHOM = "attention_mask"
"""The mask argument that says which timestep may look at which, and not which ones are padding."""

Alter = Callable[[CallRecord, list[Any]], "list[Any] | None"]
"""Gets a call and the tensors that it returned; returns those to go on with, or None to leave them."""


@dataclasses.dataclass(eq=False)
class Recording:
    """A watched run.

    Attributes:
        entries: in the order of beginning; the model itself is the first.
        ended: the same in the order of ending, which is that of the data.
        output: what the model returned; None when it raised.
        error: what it raised.
        inputs: the tensors that the model was called with, flattened.
    """

    entries: list[CallRecord]
    ended: list[CallRecord]
    output: Any
    error: BaseException | None
    inputs: list[Any]

    def raised(self) -> Exception:
        """Return what the model raised, with the innermost call that did; the error alone where no call did."""
        assert isinstance(self.error, Exception)  # noqa: S101 - asked for after an error only
        failed = [entry for entry in self.entries if entry.error is not None and entry.parent is not None]
        if not failed:
            return self.error
        return RaisedInCall(
            name_paths([entry for entry in self.entries if not entry.code])[failed[-1].index], self.error
        )


def record_run(
    model: Any, inputs: Any, *, unfold: bool = False, strip: bool = False, alter: Alter | None = None
) -> Recording:
    """Run ``model`` on ``inputs`` once, eagerly and in inference mode, and return all that was called.

    Args:
        model: a Keras model; it and Keras are left as they were, also after an error.
        inputs: what it is called with.
        unfold: also look into layers of Keras that call others, such as an RNN or Bidirectional.
        strip: take every mask away as soon as it appears, so that no call ever sees one.
        alter: may replace the tensors that a call returned.
    """
    import keras

    watcher = _Watcher(unfold, strip, alter)
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    output, error = None, None
    try:
        if not model.built:
            _build(model, tensors)
        with preserve_state(model, trained=False), _eagerly(), watcher.watching():
            output = model(tensors, training=False)
    except Exception as raised:
        error = raised
    return Recording(watcher.entries, watcher.ended, output, error, keras.tree.flatten(tensors))


def _build(model: Any, tensors: Any) -> None:
    """Let a model call its layers to learn their shapes, with nothing in them; what it raises it will raise again."""
    with preserve_state(model), warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
        model(tensors, training=False)


def get_mask(tensor: Any) -> Bools | None:
    """Return the mask that a tensor carries, as booleans, or None."""
    return convert_mask(getattr(tensor, "_keras_mask", None))


def convert_mask(mask: Any) -> Bools | None:
    """Return a mask as booleans; None for none, and for one of a graph, which has no values yet."""
    if mask is None or not (hasattr(mask, "numpy") or isinstance(mask, np.ndarray)):
        return None
    try:
        return np.asarray(mask).astype(bool)
    except NotImplementedError:  # A tensor of a graph.
        return None


class _Watcher:
    def __init__(self, unfold: bool, strip: bool, alter: Alter | None) -> None:
        import keras
        import tensorflow as tf

        self.executing_eagerly = tf.executing_eagerly
        self.layer_type, self.operation_type, self.model_type = keras.layers.Layer, keras.Operation, keras.Model
        self.flatten = keras.tree.flatten
        self.unfold, self.strip, self.alter = unfold, strip, alter
        self.entries: list[CallRecord] = []
        self.ended: list[CallRecord] = []
        self.stack: list[CallRecord] = []
        self.log: list[warnings.WarningMessage] = []
        self.masks: dict[int, tuple[Any, Bools | None]] = {}
        self.code = _CodeWatch(self.on_code)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch all calls until this closes."""
        layer_type, operation_type = self.layer_type, self.operation_type
        call_layer, call_operation = layer_type.__call__, operation_type.__call__

        @functools.wraps(call_layer)
        def watch_layer(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.looked_into():
                return call_layer(layer, *args, **kwargs)
            return self.run(call_layer, layer, args, kwargs)

        @functools.wraps(call_operation)
        def watch_operation(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(operation, layer_type):
                if self.stack and self.stack[-1].operation is operation:
                    args, kwargs = self.arrived(self.stack[-1], args, kwargs)
                return call_operation(operation, *args, **kwargs)
            if not self.looked_into():
                return call_operation(operation, *args, **kwargs)
            return self.run(call_operation, operation, args, kwargs)

        with warnings.catch_warnings(record=True) as self.log:
            warnings.simplefilter("always")
            layer_type.__call__, operation_type.__call__ = watch_layer, watch_operation
            try:
                yield
            finally:
                layer_type.__call__, operation_type.__call__ = call_layer, call_operation
                self.code.off()

    def looked_into(self) -> bool:
        """Return whether what is called now is somebody's business: not so inside a layer of Keras."""
        return self.executing_eagerly() and (not self.stack or self.opens(self.stack[-1].operation))

    def opens(self, operation: Any) -> bool:
        """Return whether the calls that ``operation`` makes are watched."""
        if not isinstance(operation, self.layer_type):
            return False
        return self.unfold or isinstance(operation, self.model_type) or not _is_keras_own(type(operation))

    def run(self, call: Callable[..., Any], operation: Any, args: Any, kwargs: Any) -> Any:
        """Run a call and note what came in and what went out."""
        entry = self.begin(operation, args, kwargs)
        warned = len(self.log)
        self.stack.append(entry)
        self.code.turn(self.in_own_code())
        try:
            output = call(operation, *args, **kwargs)
        except BaseException as error:
            entry.error = error
            raise
        finally:
            self.stack.pop()
            self.code.turn(self.in_own_code())
        entry.warnings = [str(warning.message) for warning in self.log[warned:]]
        del self.log[warned:]
        return self.end(entry, output)

    def in_own_code(self) -> bool:
        """Return whether what runs now is the code of a model, or of a layer that is none of Keras's."""
        if not self.stack:
            return False
        top = self.stack[-1].operation
        if not isinstance(top, self.layer_type):
            return False
        return isinstance(top, self.model_type) or not _is_keras_own(type(top))

    def begin(self, operation: Any, args: Any, kwargs: Any) -> CallRecord:
        """Note what a call is given."""
        parent = self.stack[-1] if self.stack else None
        if parent is not None:
            parent.calls = True
        named = {name: value for name, value in kwargs.items() if not _names_mask(name)}
        inputs = [tensor for tensor in self.flatten((args, named)) if _is_tensor(tensor)]
        entry = CallRecord(operation, len(self.entries), parent, args, kwargs, inputs, [self.mask(x) for x in inputs])
        self.entries.append(entry)
        return entry

    def arrived(self, entry: CallRecord, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Note the masks that reach ``call``; return its arguments, without them when masks are stripped."""
        names = list_parameters(type(entry.operation).call)
        entry.accepts = tuple(name for name in names if _names_mask(name))
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        for name in entry.accepts:
            masks = [mask for mask in self.flatten(given.get(name)) if mask is not None]
            if masks:
                entry.given[name] = masks
                entry.given_masks[name] = [self.known(mask) for mask in masks]
        if not self.strip:
            return args, kwargs
        return drop_mask_arguments(names, args, kwargs)

    def end(self, entry: CallRecord, output: Any) -> Any:
        """Note what a call returned; return what the model goes on with."""
        import keras

        tensors = [tensor for tensor in self.flatten(output) if _is_tensor(tensor)]
        changed = self.altered(entry, tensors)
        if changed is not None:
            replaced = iter(changed)
            output = keras.tree.map_structure(lambda leaf: next(replaced) if _is_tensor(leaf) else leaf, output)
            tensors = changed
        if self.strip:
            for tensor in tensors:
                if self.mask(tensor) is not None:
                    tensor._keras_mask = None
        entry.outputs, entry.masks_out = tensors, [self.mask(tensor) for tensor in tensors]
        entry.taken_off = [
            had is not None and getattr(tensor, "_keras_mask", None) is None
            for tensor, had in zip(entry.inputs, entry.carried, strict=True)
        ]
        entry.returned = True
        self.ended.append(entry)
        return output

    def altered(self, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return what takes the place of the tensors, if anything does; the making of it is not watched."""
        if self.alter is None:
            return None
        self.code.turn(False)
        try:
            return self.alter(entry, tensors)
        finally:
            self.code.turn(self.in_own_code())

    def on_code(self, type_: str, inputs: Sequence[Any], attrs: Any, outputs: Sequence[Any]) -> list[Any] | None:
        """Note an operation of code that no layer owns."""
        tensors = [x for x in inputs if _is_tensor(x)]
        entry = CallRecord(type_, len(self.entries), self.stack[-1], tuple(inputs), {"attrs": attrs}, tensors)
        entry.carried = [self.mask(tensor) for tensor in entry.inputs]
        entry.outputs = list(outputs)
        entry.masks_out = [None] * len(entry.outputs)
        entry.returned = True
        changed = self.alter(entry, entry.outputs) if self.alter is not None else None
        if changed is not None:
            entry.outputs = changed
        self.entries.append(entry)
        self.ended.append(entry)
        return changed

    def mask(self, tensor: Any) -> Bools | None:
        """Return the mask that a tensor carries."""
        mask = getattr(tensor, "_keras_mask", None)
        return None if mask is None else self.known(mask)

    def known(self, mask: Any) -> Bools | None:
        """Return a mask as booleans, read from the device once, however many calls see it."""
        if id(mask) not in self.masks:
            self.masks[id(mask)] = (mask, convert_mask(mask))
        return self.masks[id(mask)][1]


class _CodeWatch:
    """TensorFlow's own report of each operation that runs eagerly; without it, code between layers stays unseen."""

    def __init__(self, note: Callable[[str, Sequence[Any], Any, Sequence[Any]], list[Any] | None]) -> None:
        from tensorflow.python.framework import op_callbacks

        self.callbacks, self.note, self.is_on = op_callbacks, note, False

    def turn(self, on: bool) -> None:
        if on is not self.is_on:
            (self.callbacks.add_op_callback if on else self.callbacks.remove_op_callback)(self.report)
            self.is_on = on

    def off(self) -> None:
        self.turn(False)

    def report(
        self, op_type: Any, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None
    ) -> list[Any] | None:
        """Take TensorFlow's report; what is returned takes the place of the outputs."""
        del op_name
        if graph is not None:
            return None
        return self.note(op_type.decode() if isinstance(op_type, bytes) else op_type, inputs, attrs, outputs)


@contextlib.contextmanager
def _eagerly() -> Iterator[None]:
    """Let functions that TensorFlow would compile run as Python, so that their calls are seen."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def name_paths(entries: Sequence[CallRecord]) -> dict[int, str]:
    """Return a name for each entry by index: the path of names that lead to it, and its count when called again.

    Layers come first, so that an operation of the same name does not make the only call of a layer its second.
    """
    import keras

    counts: collections.Counter[str] = collections.Counter()
    found: dict[int, str] = {}
    for entry in sorted(entries, key=lambda entry: not isinstance(entry.operation, keras.layers.Layer)):
        if entry.parent is None:
            found[entry.index] = ""
            continue
        above = found[entry.parent.index]
        path = f"{above}/{entry.own_name}" if above else entry.own_name
        counts[path] += 1
        found[entry.index] = path if counts[path] == 1 else f"{path}#{counts[path]}"
    return found


@functools.cache
def list_parameters(call: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments of a layer's ``call``, without ``self``."""
    return tuple(inspect.signature(call).parameters)[1:]


def drop_mask_arguments(names: Sequence[str], args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the arguments of a ``call`` with these ``names``, less the masks that tell of padding."""
    none = {name for name in names if _names_mask(name) and name != WHO_SEES_WHOM}
    named = [None if name in none else arg for name, arg in zip(names, args, strict=False)]
    return (*named, *args[len(named) :]), {name: None if name in none else arg for name, arg in kwargs.items()}


def _names_mask(name: str) -> bool:
    """Return whether an argument is a mask; ``use_causal_mask`` is a switch."""
    return name == "mask" or (name.endswith("_mask") and not name.startswith("use_"))


def _is_keras_own(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "keras"


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")
