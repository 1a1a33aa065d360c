"""One side of a comparison: load a model with its data, run it, and collect everything that is compared."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskcli.api.evidence import choose_probed_rows
from maskcli.api.loss import evaluate_losses, load_for_loss
from maskcli.api.loss_evidence import has_targets
from maskcli.api.model_data import ModelAndData, load_builtin, load_user_model, names_builtin
from maskcli.backends.choice import expect_many_runs, get_backend
from maskcli.errors import MaskcliError, ModelError, RaisedInCall, summarize_error
from maskcli.inputs.arguments import pack_arguments, select_rows
from maskcli.losses.compile_settings import read_compiled_loss
from maskcli.models.limits import bound_weights
from maskcli.models.runtime import quiet_stdout, read_versions, running
from maskcli.models.weight_arrays import assign_weight_arrays, read_weight_arrays
from maskcli.probes.compiled import probe_compiled
from maskcli.probes.context import ProbeContext, make_context
from maskcli.probes.empty_rows import examine_empty_rows
from maskcli.probes.leak import probe_leak
from maskcli.probes.side import collect_side
from maskcli.records.arrays import Array
from maskcli.records.fields import Versions
from maskcli.records.inputs import summarize_inputs
from maskcli.records.layout import Layout
from maskcli.records.loss import LossOutput
from maskcli.records.options import BuiltinOptions, LossOptions, select_options
from maskcli.records.requests import CompareRequest
from maskcli.records.sides import ModelSide, SideError, SideLoss, SideWeight
from maskcli.trace.run import RunCache
from maskcli.trace.state import preserve_state

NO_LOSS = "The targets were not used: the model is not compiled with a loss, and none was named."
NOT_LOADED: NDArray[np.int64] = np.zeros(0, np.int64)


@dataclasses.dataclass(eq=False)
class LoadedSide:
    """A model that was loaded with its data.

    Attributes:
        case: the model and its data.
        options: the targets and losses.
        quick: whether only the probes run that decide.
    """

    case: ModelAndData
    options: LossOptions
    quick: bool

    def choose_rows(self) -> NDArray[np.intp]:
        """Return the rows of the data that are compared, as for a check: the model may run on fewer if it is large."""
        with running(f"--model {self.case.about.name}"), preserve_state(self.case.model):
            rows, _ = choose_probed_rows(self.case.runs, self.case.inputs)
        return rows

    @property
    def weights(self) -> list[tuple[str, Array]]:
        """The name and the value of each weight."""
        return read_weight_arrays(self.case.model)

    def assign_weights(self, arrays: list[Array]) -> None:
        """Take the weights of another side; raise ModelError if the model has others."""
        assign_weight_arrays(self.case.model, arrays, f"--model {self.case.about.name}")
        self.case = dataclasses.replace(self.case, runs=RunCache(self.case.model))  # Earlier runs had other weights.


def load_side(request: CompareRequest) -> LoadedSide:
    """Load a model with its data, and let it make its weights.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for data or targets that cannot be read.
        ModelError: for a model that cannot be loaded, or takes other data.
    """
    layout, options = select_options(Layout, request), select_options(LossOptions, request)
    if names_builtin(request.model):
        builtin = select_options(BuiltinOptions, request)
        if has_targets(options):
            case, options = load_for_loss(request.data, layout, builtin, options)
        else:
            case = load_builtin(request.data, layout, builtin)
    else:
        case = load_user_model(request.data, layout, request, options.extra_columns)
    if not case.model.built:
        _build(case)
    return LoadedSide(case, options, request.quick)


def _build(case: ModelAndData) -> None:
    """Call a model once, so that it makes its variables; an error is ignored, because the run raises it again."""
    first = [select_rows(model_input, slice(0, 1)) for model_input in case.inputs]
    with contextlib.suppress(Exception), preserve_state(case.model), quiet_stdout(), bound_weights():
        case.model(pack_arguments(case.model, first), training=False)


@expect_many_runs()
def examine_side(loaded: LoadedSide, rows: NDArray[np.intp], keeps_weights: bool = False) -> ModelSide:
    """Run a model on some rows of its data, and collect everything that is compared.

    Args:
        loaded: the model and its data.
        rows: of the data.
        keeps_weights: whether the values of weights are collected, too.

    Raises:
        InputError: for targets that do not fit.
    """
    case = loaded.case
    name = f"--model {case.about.name}"
    with case.naming(), running(name), preserve_state(case.model), warnings.catch_warnings(action="ignore"):
        some = tuple(select_rows(model_input, rows) for model_input in case.inputs)
        side = ModelSide(
            model=case.about.identity,
            versions=read_versions(),
            rows=np.asarray(rows, np.int64),
            notes=case.about.notes,
            inputs=summarize_inputs(case.inputs),
            data=case.data,
        )
        run = case.runs.get_run(some)
        if run.recording.error is not None:
            return dataclasses.replace(side, errors=(describe_error("run", run.recording.make_error()),))
        calls, outputs = collect_side(run)
        result = probe_leak(run, rows, case.side, loaded.quick)
        context = make_context(run, rows)
        compiled = probe_compiled(_use_tolerance(context, result.context), also_keras=True)
        empty = examine_empty_rows(result.probed, result.replaced)
        side = dataclasses.replace(
            side,
            calls=calls,
            outputs=outputs,
            leak=result.leak,
            compiled=compiled.difference,
            compiled_change=compiled.max_abs_change,
            compiled_why=compiled.why,
            compiled_fails=compiled.fails,
            not_finite=None if empty is None else empty.not_finite,
            weights=_list_weights(loaded, keeps_weights),
        )
    return _add_losses(side, loaded)


def _use_tolerance(context: ProbeContext, measured: ProbeContext) -> ProbeContext:
    """Return the context with the tolerance of another one, if that is of the same run."""
    if measured.run is not context.run:
        return context
    return dataclasses.replace(context, tolerance=measured.tolerance)


def _list_weights(loaded: LoadedSide, keeps_values: bool) -> tuple[SideWeight, ...]:
    return tuple(SideWeight(path, array.shape, array if keeps_values else None) for path, array in loaded.weights)


def _add_losses(side: ModelSide, loaded: LoadedSide) -> ModelSide:
    """Return a side with the losses of its targets, if there are any; all rows count."""
    case, options = loaded.case, loaded.options
    if not has_targets(options):
        return side
    if options.loss is None and read_compiled_loss(case.model) is None:
        return dataclasses.replace(side, notes=(*side.notes, NO_LOSS))
    try:
        with case.naming():
            reported, outputs = evaluate_losses(case, options)
    except ModelError as error:
        return dataclasses.replace(side, errors=(describe_error("evaluate", error.__cause__ or error),))
    return dataclasses.replace(side, keras_evaluate=reported, losses=tuple(map(_make_loss, outputs)))


def _make_loss(output: LossOutput) -> SideLoss:
    return SideLoss(output.name, output.loss, output.masked, output.unmasked)


def make_failed_side(step: str, error: Exception) -> ModelSide:
    """Return the side of a model that cannot be loaded."""
    described = describe_error(step, error)
    return ModelSide(model=None, versions=_read_versions(), rows=NOT_LOADED, errors=(described,))


def _read_versions() -> Versions:
    return read_versions() if "keras" in sys.modules else {}


def describe_error(step: str, error: BaseException) -> SideError:
    """Return the error of a model, in the words of the library that raised it."""
    cause: BaseException = error
    call = None
    if isinstance(error, RaisedInCall):
        cause, call = error.error, error.call
    elif isinstance(error, MaskcliError) and error.__cause__ is not None:
        cause = error.__cause__
    cause = _find_first(cause)
    text = summarize_error(cause)
    if isinstance(cause, MaskcliError):
        text = f"expected {cause.expected}; received {cause.received}"
    return SideError(step, type(cause).__name__, text, call, of_tensorflow=_comes_from_tensorflow(cause))


def _find_first(error: BaseException) -> BaseException:
    """Return the exception of JAX that Keras could not raise again with more text, which is an error of its own."""
    while isinstance(error, AttributeError) and "_error_repr" in str(error) and error.__context__ is not None:
        error = error.__context__
    return error


def _comes_from_tensorflow(error: BaseException) -> bool:
    """Return whether code of TensorFlow raised an error while Keras runs on another backend."""
    if "tensorflow" not in sys.modules or get_backend().name == "tensorflow":
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return any("tensorflow" in Path(frame.filename).parts for frame in frames)
