"""TensorFlow: operations are reported by its callbacks, and differentiated by its tape."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.base import OperationReports, RecordOperation, Records, Tape, Watch
from maskcli.backends.tensorflow_loops import compile_loops, expect_runs
from maskcli.records.fields import BackendName


class TensorflowBackend:
    """TensorFlow as the backend of Keras."""

    name: BackendName = "tensorflow"
    package = "tensorflow"
    title = "TensorFlow"
    is_stateless = False
    has_free_shapes = True
    compiles_steps = True

    def is_eager(self) -> bool:
        """Return whether operations run at once."""
        import tensorflow as tf

        return bool(tf.executing_eagerly())

    def has_values(self, value: Any) -> bool:
        """Return whether a value is an eager tensor, or a variable."""
        return hasattr(value, "numpy")

    def report_operations(self, record: RecordOperation, records: Records | None = None) -> OperationReports:
        """Return reports by TensorFlow's callback for each eager operation."""
        del records  # Tensors never change.
        return _OperationCallbacks(record)

    def shares_memory(self, first: Any, second: Any) -> bool:
        """Return False: tensors never change."""
        del first, second
        return False

    def run_operation(self, type_: str, inputs: Sequence[Any], attrs: Any, n_outputs: int) -> list[Any]:
        """Run an operation with the attributes that TensorFlow reported."""
        from tensorflow.python.eager import context, execute

        return list(execute.execute(type_.encode(), n_outputs, list(inputs), tuple(attrs or ()), context.context()))

    def move_cells(
        self, type_: str, inputs: Sequence[Any], attrs: Any, n_outputs: int, cells: dict[int, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """Run an operation on numbers of cells instead of elements."""
        import tensorflow as tf

        arguments = list(inputs)
        for position, numbers in cells.items():
            arguments[position] = tf.constant(numbers, tf.int32)
        flat = list(attrs or ())
        for index, name in enumerate(flat[::2]):
            if name in ("T", "Tparams", b"T", b"Tparams"):
                flat[2 * index + 1] = int(tf.int32.as_datatype_enum)
        return [np.asarray(result) for result in self.run_operation(type_, arguments, flat, n_outputs)]

    def record_tape(self, run: Callable[[Watch], Any]) -> Tape:
        """Run a function under a ``GradientTape``."""
        return _TensorflowTape(run)

    def infer(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: only tapes take notes."""
        return contextlib.nullcontext()

    def differentiate_losses(
        self, model: Any, compute: Callable[[], list[Any]], seeds: Sequence[Sequence[NDArray[Any]]], compiled: bool
    ) -> Iterator[list[Any]]:
        """Yield the gradients of a tape, by one backward pass for all variables."""
        import tensorflow as tf

        variables = [variable.value for variable in model.trainable_variables]
        factors = [[tf.convert_to_tensor(numbers, tf.float32) for numbers in way] for way in seeds]

        def run_and_differentiate(way: Any) -> Any:
            with tf.GradientTape() as tape:
                values = compute()
            return tape.gradient(values, variables, output_gradients=way)

        if compiled:
            function = tf.function(run_and_differentiate)
            all_gradients = (function(way) for way in factors)
        else:
            with tf.GradientTape(persistent=True) as tape:
                values = compute()
            all_gradients = (tape.gradient(values, variables, output_gradients=way) for way in factors)
        for gradients in all_gradients:
            yield [_read_gradient(gradient) for gradient in gradients if gradient is not None]

    def list_compiled_steps(self, model: Any) -> tuple[str, ...]:
        """Return the steps of a model that is not to run eagerly."""
        return () if getattr(model, "run_eagerly", False) else ("fit", "predict")

    def compile_model(self, model: Any, shapes: Sequence[Sequence[int | None]] | None = None) -> Callable[[Any], Any]:
        """Return a graph of the model."""
        import keras
        import tensorflow as tf

        def run(tensors: Any) -> Any:
            return model(tensors, training=False)

        if shapes is None:
            each_shape: Callable[[Any], Any] = tf.function(run, autograph=False)
            return each_shape
        function = None

        def run_with_shapes(tensors: Any) -> Any:
            nonlocal function
            if function is None:
                flat = zip(shapes, keras.tree.flatten(tensors), strict=True)
                specs = [tf.TensorSpec(shape, tensor.dtype) for shape, tensor in flat]
                signature = keras.tree.pack_sequence_as(tensors, specs)
                function = tf.function(run, autograph=False, input_signature=[signature])
            return function(tensors)

        return run_with_shapes

    def drop_mask(self, tensor: Any) -> Any:
        """Return the identity of a tensor, which has no attributes of Keras."""
        import tensorflow as tf

        return tf.identity(tensor)

    def select(self, tensor: Any, places: Any) -> Any:
        """Return the elements at the places that are True."""
        import tensorflow as tf

        return tf.boolean_mask(tensor, places)

    def read_variable(self, variable: Any) -> NDArray[Any]:
        """Return the value of a variable, without a copy: TensorFlow assigns to new memory while a value is in use."""
        import tensorflow as tf

        # NumPy would copy a variable, but not a tensor. `value` is a method of a variable of TensorFlow.
        value = variable if isinstance(variable, tf.Variable) else getattr(variable, "value", variable)
        return np.asarray(tf.convert_to_tensor(value))

    def keep_values(self, layer: Any) -> contextlib.AbstractContextManager[None]:
        """Do nothing: variables keep their values."""
        del layer
        return contextlib.nullcontext()

    def return_state(self, model: Any) -> None:
        """Do nothing: variables keep their values."""

    def is_variable(self, value: Any) -> bool:
        """Return whether a value is a ``tf.Variable``."""
        import tensorflow as tf

        return isinstance(value, tf.Variable)

    def get_generator(self) -> Any | None:
        """Return the generator of seeds of the eager context; None before it has one."""
        from tensorflow.python.eager import context

        return getattr(context.context(), "_rng", None)

    def compile_loops(self, enabled: bool = True) -> contextlib.AbstractContextManager[None]:
        """Compile the loops of recurrent layers: an eager loop takes milliseconds per timestep."""
        return compile_loops(enabled)

    def expect_runs(self) -> contextlib.AbstractContextManager[None]:
        """Compile every loop in its next run."""
        return expect_runs()

    @contextlib.contextmanager
    def run_functions_eagerly(self) -> Iterator[None]:
        """Let functions that TensorFlow would compile run as Python."""
        import tensorflow as tf

        before = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(before)

    @contextlib.contextmanager
    def list_called_functions(self, called: list[Any]) -> Iterator[None]:
        """Append to a list each ``tf.function`` that is called while this is open."""
        import tensorflow as tf

        function_type = type(tf.function(lambda: None))
        call = function_type.__call__

        @functools.wraps(call)
        def count(function: Any, *args: Any, **kwargs: Any) -> Any:
            called.append(function)
            return call(function, *args, **kwargs)

        function_type.__call__ = count
        try:
            yield
        finally:
            function_type.__call__ = call

    def allow_float64(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: TensorFlow keeps float64."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def silence_tracing(self) -> Iterator[None]:
        """Drop TensorFlow's warnings that functions are traced again, for each number of rows and timesteps."""
        import tensorflow as tf

        logger = tf.get_logger()
        before = logger.level
        logger.setLevel("ERROR")
        try:
            yield
        finally:
            logger.setLevel(before)


class _OperationCallbacks:
    """TensorFlow's callback for each eager operation."""

    def __init__(self, record: RecordOperation) -> None:
        from tensorflow.python.framework import op_callbacks

        self.callbacks, self.record, self.is_on = op_callbacks, record, False
        self.is_paused = False

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Ignore the operations that run while this is open."""
        before, self.is_paused = self.is_paused, True
        try:
            yield
        finally:
            self.is_paused = before

    def turn(self, on: bool) -> None:
        """Switch the callback on or off."""
        if on and not self.is_on:
            self.callbacks.add_op_callback(self.report)
        elif self.is_on and not on:
            self.callbacks.remove_op_callback(self.report)
        self.is_on = on

    def report(
        self, op_type: Any, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None
    ) -> list[Any] | None:
        """Receive one operation; a returned list replaces its outputs."""
        del op_name
        if graph is not None or self.is_paused:
            return None
        type_ = op_type.decode() if isinstance(op_type, bytes) else op_type
        replacements = self.record(type_, inputs, attrs, outputs)
        if replacements is not None:
            outputs[:] = replacements  # TensorFlow ignores a returned list in eager execution.
        return replacements


class _TensorflowTape:
    """A run under a ``GradientTape``."""

    def __init__(self, run: Callable[[Watch], Any]) -> None:
        import tensorflow as tf

        self.watched: dict[Any, Any] = {}

        def watch(key: Hashable, tensor: Any) -> Any:
            self.tape.watch(tensor)
            self.watched[key] = tensor
            return tensor

        with tf.GradientTape(watch_accessed_variables=False) as self.tape:
            self.result = run(watch)

    def differentiate(self, total: Callable[[Any], Any]) -> dict[Any, NDArray[Any]]:
        """Continue the tape to the total, and return its derivatives."""
        import tensorflow as tf

        with self.tape:
            value = total(self.result)
        if value is None:
            return {}
        gradients = self.tape.gradient(value, self.watched)
        return {
            key: np.asarray(tf.convert_to_tensor(gradient))
            for key, gradient in gradients.items()
            if gradient is not None
        }


def _read_gradient(gradient: Any) -> NDArray[Any]:
    """Return a gradient as an array; of an embedding only the rows that were looked up, in order of their ids."""
    import tensorflow as tf

    if isinstance(gradient, tf.IndexedSlices):
        ids, places = np.unique(np.asarray(gradient.indices), return_inverse=True)
        gradient = tf.math.unsorted_segment_sum(gradient.values, places.ravel(), len(ids))
    return np.asarray(gradient)
