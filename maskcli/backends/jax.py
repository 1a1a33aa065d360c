"""JAX: primitives are reported as they are bound, and differentiated by running the function again."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.base import OperationReports, RecordOperation, Records, Tape, Watch
from maskcli.backends.jax_loops import compile_scans
from maskcli.backends.jax_operations import Bound, Describe, describe_mean, describe_softmax, translate
from maskcli.backends.masks import get_keras_mask, set_keras_mask
from maskcli.backends.promotion import promote_to_float64
from maskcli.records.fields import BackendName


class JaxBackend:
    """JAX as the backend of Keras."""

    name: BackendName = "jax"
    package = "jax"
    title = "JAX"
    is_stateless = True
    has_free_shapes = False
    compiles_steps = True

    def is_eager(self) -> bool:
        """Return whether operations run at once, or are differentiated while they do."""
        from jax._src.interpreters import partial_eval

        return not isinstance(_get_trace(), partial_eval.DynamicJaxprTrace)

    def has_values(self, value: Any) -> bool:
        """Return whether a value is an array of JAX with values, not a tracer."""
        import jax

        return isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer)

    def report_operations(self, record: RecordOperation, records: Records | None = None) -> OperationReports:
        """Return reports of the primitives that are bound."""
        del records  # Tensors never change.
        return _PrimitiveReports(record)

    def shares_memory(self, first: Any, second: Any) -> bool:
        """Return False: tensors never change."""
        del first, second
        return False

    def run_operation(self, type_: str, inputs: Sequence[Any], attrs: Any, n_outputs: int) -> list[Any]:
        """Bind a primitive again."""
        del type_, n_outputs
        results: list[Any] = attrs[-1].bind(list(inputs))  # The reports add what can be called again.
        return results

    def move_cells(
        self, type_: str, inputs: Sequence[Any], attrs: Any, n_outputs: int, cells: dict[int, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """Bind a primitive to numbers of cells instead of elements."""
        import jax.numpy as jnp

        arguments = list(inputs)
        for position, numbers in cells.items():
            arguments[position] = jnp.asarray(numbers, "int32")
        return [np.asarray(result) for result in self.run_operation(type_, arguments, attrs, n_outputs)]

    def record_tape(self, run: Callable[[Watch], Any]) -> Tape:
        """Run a function, which runs again when it is differentiated."""
        return _JaxTape(run)

    def infer(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: only tapes take notes."""
        return contextlib.nullcontext()

    def differentiate_losses(
        self, model: Any, compute: Callable[[], list[Any]], seeds: Sequence[Sequence[NDArray[Any]]], compiled: bool
    ) -> Iterator[list[Any]]:
        """Yield the products of one linearised run with the seeds."""
        import jax
        import jax.numpy as jnp
        import keras

        del compiled  # JAX compiles the loops of recurrent layers in any case.
        variables = model.trainable_variables

        def compute_with(values: Any) -> list[Any]:
            with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
                return compute()

        _, pull = jax.vjp(compute_with, [variable.value for variable in variables])
        for way in seeds:
            (gradients,) = pull([jnp.asarray(factors, "float32") for factors in way])
            yield [np.asarray(gradient) for gradient in gradients]

    def list_compiled_steps(self, model: Any) -> tuple[str, ...]:
        """Return only ``fit`` for a model that is not compiled: JAX differentiates tensors of another kind."""
        return ("fit", "predict") if getattr(model, "jit_compile", True) else ("fit",)

    def compile_model(self, model: Any, shapes: Sequence[Sequence[int | None]] | None = None) -> Callable[[Any], Any]:
        """Return a compiled function of the variables and inputs of the model; or one that is differentiated."""
        import jax
        import keras

        del shapes
        variables = model.trainable_variables + model.non_trainable_variables
        arrays = [variable.value for variable in variables]
        n_trainable = len(model.trainable_variables)

        def run(values: Any, tensors: Any) -> Any:
            with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
                return model(tensors, training=False)

        if "predict" in self.list_compiled_steps(model):
            return functools.partial(jax.jit(run), arrays)

        def differentiate(tensors: Any) -> Any:
            trainable, others = arrays[:n_trainable], arrays[n_trainable:]
            return jax.vjp(lambda values: run([*values, *others], tensors), trainable)[0]

        return differentiate

    def drop_mask(self, tensor: Any) -> Any:
        """Return a copy of an array: Keras keeps the masks of arrays by ``id``."""
        import jax.numpy as jnp

        return jnp.array(tensor, copy=True)

    def select(self, tensor: Any, places: Any) -> Any:
        """Return the elements at the places that are True; not inside a compiled function, whose shapes are fixed."""
        return tensor[np.asarray(places)]

    def read_variable(self, variable: Any) -> NDArray[Any]:
        """Return the value of a variable, without a copy: arrays of JAX never change."""
        import jax

        value = getattr(variable, "value", variable)
        # A run that is differentiated may leave such a value, which is equal to no other.
        return np.empty(0) if isinstance(value, jax.core.Tracer) else np.asarray(value)

    @contextlib.contextmanager
    def keep_values(self, layer: Any) -> Iterator[None]:
        """Give back values that ``evaluate`` took off to save memory, and did not give back because of an error."""
        values = [(variable, variable._value) for variable in getattr(layer, "variables", ())]
        try:
            yield
        finally:
            for variable, value in values:
                if variable._value is None:
                    variable._value = value

    def return_state(self, model: Any) -> None:
        """Bring the values back that ``fit`` holds; it takes them off again before the next step."""
        model.jax_state_sync()

    def is_variable(self, value: Any) -> bool:
        """Return False: JAX has no variables of its own."""
        del value
        return False

    def get_generator(self) -> Any | None:
        """Return None: operations of JAX receive their seeds."""
        return None

    def compile_loops(self, enabled: bool = True) -> contextlib.AbstractContextManager[None]:
        """Compile the loops of recurrent layers once, and not in each run."""
        return compile_scans(enabled)

    def expect_runs(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()

    def run_functions_eagerly(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: functions run as Python while operations are reported."""
        return contextlib.nullcontext()

    def list_called_functions(self, called: list[Any]) -> contextlib.AbstractContextManager[None]:
        """Do nothing: no function runs differently, apart from masks that it would lose."""
        del called
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def allow_float64(self) -> Iterator[None]:
        """Let arrays be of 64 bits, which JAX and Keras have to be asked for."""
        import jax

        with jax.enable_x64(True), promote_to_float64():
            yield

    def silence_tracing(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: JAX does not warn."""
        return contextlib.nullcontext()


class _PrimitiveReports:
    """Reports of the primitives that code binds, while they are on.

    Functions that are compiled by ``jax.jit``, as most of ``jax.numpy`` is, run as Python meanwhile, and loops of
    ``jax.lax`` step by step, so that all primitives are visible.
    """

    def __init__(self, record: RecordOperation) -> None:
        self.record = record
        self.is_paused = False
        self.on: contextlib.ExitStack | None = None

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Ignore the primitives that are bound while this is open."""
        before, self.is_paused = self.is_paused, True
        try:
            yield
        finally:
            self.is_paused = before

    def turn(self, on: bool) -> None:
        """Switch the reports on or off."""
        import jax

        if on and self.on is None:
            self.on = contextlib.ExitStack()
            self.on.enter_context(jax.disable_jit())
            self.on.enter_context(self.patch_primitives())
            self.on.enter_context(self.patch_functions())
        elif self.on is not None and not on:
            stack, self.on = self.on, None
            stack.close()

    @contextlib.contextmanager
    def patch_primitives(self) -> Iterator[None]:
        """Report each primitive, and each function with a derivative of its own as one, while this is open."""
        from jax._src import core, custom_derivatives

        kinds = (
            core.Primitive,
            custom_derivatives.CustomJVPCallPrimitive,
            custom_derivatives.CustomVJPCallPrimitive,
        )
        originals = [kind.bind_with_trace for kind in kinds]
        for kind, original in zip(kinds, originals, strict=True):
            kind.bind_with_trace = self.make_report(original)
        try:
            yield
        finally:
            for kind, original in zip(kinds, originals, strict=True):
                kind.bind_with_trace = original

    @contextlib.contextmanager
    def patch_functions(self) -> Iterator[None]:
        """Report each mean and softmax as one operation, and not as their primitives, while this is open."""
        import jax.nn
        import jax.numpy as jnp

        functions: tuple[tuple[Any, str, Any, Describe], ...] = (
            (jnp, "mean", None, describe_mean),
            (jax.nn, "softmax", -1, describe_softmax),
        )
        originals = [getattr(module, name) for module, name, _, _ in functions]
        for (module, name, axis, describe), compute in zip(functions, originals, strict=True):
            setattr(module, name, self.report_function(compute, axis, describe))
        try:
            yield
        finally:
            for (module, name, _, _), compute in zip(functions, originals, strict=True):
                setattr(module, name, compute)

    def report_function(self, compute: Callable[..., Any], default: Any, describe: Describe) -> Callable[..., Any]:
        """Return a function of an array along axes that reports itself, unless another one calls it."""

        @functools.wraps(compute)
        def compute_and_report(array: Any, axis: Any = default, *args: Any, **kwargs: Any) -> Any:
            is_reported = not self.is_paused and _is_reported(_get_trace(), [array])
            with self.pause():
                result = compute(array, axis, *args, **kwargs)
            if not is_reported or args or kwargs.get("where") is not None:
                return result
            operation = describe(array, axis, functools.partial(compute, axis=axis, **kwargs))
            replaced = self.record(operation.type, operation.inputs, operation.attrs, [result])
            return result if replaced is None else replaced[0]

        return compute_and_report

    def make_report(self, bind: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that binds a primitive and reports it, unless another one binds it."""

        @functools.wraps(bind)
        def bind_and_report(primitive: Any, trace: Any, args: Any, avals: Any, params: Any, /) -> Any:
            if self.is_paused or not _is_reported(trace, args):
                return bind(primitive, trace, args, avals, params)
            with self.pause():  # Binding one primitive may bind others.
                results = bind(primitive, trace, args, avals, params)
            outputs = list(results) if isinstance(results, (list, tuple)) else [results]
            bound = Bound(primitive, functools.partial(bind, primitive), avals, params)
            operation = translate(bound, args, outputs)
            replaced = self.record(operation.type, operation.inputs, operation.attrs, outputs)
            outputs = outputs if replaced is None else list(replaced)
            return outputs if isinstance(results, (list, tuple)) else outputs[0]

        return bind_and_report


def _get_trace() -> Any:
    """Return the trace that works on the primitives that are bound now."""
    from jax._src import core

    return core.trace_ctx.trace


def _is_reported(trace: Any, args: Sequence[Any]) -> bool:
    """Return whether a primitive works on whole arrays now: not on a graph, nor on one element of a batch."""
    import jax
    from jax._src.interpreters import batching, partial_eval

    if isinstance(trace, (partial_eval.DynamicJaxprTrace, batching.BatchTrace)):
        return False
    # Constants become arrays by primitives, too.
    return any(isinstance(value, jax.Array) and value.ndim for value in args)


class _JaxTape:
    """A run that is repeated, with a zero added to each tensor that it watches, to be differentiated."""

    def __init__(self, run: Callable[[Watch], Any]) -> None:
        self.run = run
        self.watched: dict[Any, Any] = {}
        self.result = run(self.watch)

    def watch(self, key: Hashable, tensor: Any) -> Any:
        """Keep a tensor of the first run."""
        if np.issubdtype(np.dtype(tensor.dtype), np.floating) or str(tensor.dtype) == "bfloat16":
            self.watched[key] = tensor
        return tensor

    def differentiate(self, total: Callable[[Any], Any]) -> dict[Any, NDArray[Any]]:
        """Run again, and return the derivatives of the total by the zeros."""
        import jax
        import jax.numpy as jnp

        if total(self.result) is None:
            return {}

        def compute(shifts: dict[Any, Any]) -> Any:
            return total(self.run(lambda key, tensor: _shift(tensor, shifts.get(key))))

        keys = list(self.watched)
        zeros = [jnp.zeros(self.watched[key].shape, self.watched[key].dtype) for key in keys]
        gradients = jax.grad(lambda shifts: compute(dict(zip(keys, shifts, strict=True))))(zeros)
        return {key: np.asarray(gradient) for key, gradient in zip(keys, gradients, strict=True)}


def _shift(tensor: Any, shift: Any) -> Any:
    """Return a tensor plus a shift, under the same mask."""
    if shift is None or shift.shape != tensor.shape:
        return tensor
    shifted = tensor + shift
    set_keras_mask(shifted, get_keras_mask(tensor))
    return shifted
