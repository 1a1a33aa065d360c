"""Evaluation of a model by Keras's own ``evaluate``, which records the loss of each timestep.

Only the predictions of one batch are in memory at a time. One number for each timestep is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.backends.choice import get_backend
from maskcli.backends.masks import get_keras_mask
from maskcli.inputs.arguments import pack_arguments
from maskcli.losses.binding import OutputLoss, combine_counted, split_timesteps
from maskcli.losses.recording import get_recorded_losses, record_losses
from maskcli.records.arrays import Bools, Floats
from maskcli.records.inputs import ModelInput
from maskcli.records.loss import MetricReport
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.state import preserve_state
from maskcli.trace.unmasked import strip_masks
from maskcli.trace.values import is_float

EAGER_STEPS = 300
"""About as many steps of a recurrent layer as run eagerly in the time that compiling a graph takes."""
UNMASKED_NUMBERS = 2**23
"""Most numbers in the outputs of a batch of the run without masks."""
UNMASKED_ROWS = 2048
"""Most rows of such a batch; larger batches are not faster."""
_RECORDS = "records"
"""Key of the recorded tensors in the logs of a batch."""

CountRows = Callable[[int], None]
"""Receives the number of rows that were evaluated."""


@dataclasses.dataclass(eq=False)
class RecordedLoss:
    """The recorded losses of one output; arrays have a row for each row of the data.

    Attributes:
        losses: ``(batch, timesteps)`` or ``(batch,)``, without weights; None if the loss makes one number of a batch.
        mask: the mask of the output; None without a mask.
        own_mask: the mask that the loss puts on its losses, for example by ``ignore_class``; None without one.
        not_finite: True where predictions are NaN or infinite, in the shape of the losses.
        reported: the loss that Keras reports for this output: the mean over batches, weighted by their rows.
    """

    losses: Floats | None = None
    mask: Bools | None = None
    own_mask: Bools | None = None
    not_finite: Bools | None = None
    reported: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class LossRun:
    """A model, its inputs and its losses, with the record of one ``evaluate``.

    Attributes:
        model: a Keras model.
        inputs: all rows of its inputs.
        losses: its outputs that have a loss.
        batch_size: that of ``evaluate``.
        total: the loss that ``evaluate`` computed from these losses.
        reported: the loss that the model's own ``evaluate`` reports; differs from ``total`` only with custom steps.
        custom_steps: whether ``evaluate`` of the model runs a step that is not Keras's.
        recorded: recorded losses, one for each of ``losses``.
        regularization: the part of ``total`` that the model adds itself, such as weight regularization.
        metrics: results of the metrics.
    """

    model: Any
    inputs: tuple[ModelInput, ...]
    losses: tuple[OutputLoss, ...]
    batch_size: int
    total: float
    reported: float
    custom_steps: bool
    recorded: tuple[RecordedLoss, ...]
    regularization: float
    metrics: tuple[MetricReport, ...]

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return len(self.losses[0].targets.values)

    @property
    def timesteps(self) -> int:
        """Largest number of timesteps of an input or an output; 1 if none has timesteps."""
        return count_timesteps(self.inputs, self.losses)


def count_timesteps(inputs: Sequence[ModelInput], losses: Sequence[OutputLoss]) -> int:
    """Return the largest number of timesteps of an input or an output; 1 if none has timesteps."""
    shapes = [model_input.valid.shape for model_input in inputs if model_input.valid is not None]
    shapes += [output_loss.output.sample.shape for output_loss in losses if output_loss.output.timed]
    return max((shape[1] for shape in shapes), default=1)


def evaluate(
    model: Any,
    inputs: tuple[ModelInput, ...],
    losses: tuple[OutputLoss, ...],
    batch_size: int,
    count_rows: CountRows | None = None,
) -> LossRun:
    """Evaluate a model with these losses, and record the loss of each timestep.

    The model is called by another one, which is compiled with these losses. The model and its metrics stay unchanged.
    """
    rows = len(losses[0].targets.values)
    recorder = _BatchRecorder(len(losses), rows, count_rows)
    outer = _wrap_model(model, losses)
    # A graph computes faster than eager steps, but compiling it takes seconds.
    is_small = -(-rows // batch_size) * count_timesteps(inputs, losses) <= EAGER_STEPS
    outer.compile(optimizer=None, loss=None, **_choose_compilation(model, losses, is_small))
    data = {
        "data": pack_arguments(model, inputs),
        "weights": {_key(item): item.weights for item in losses if item.weights is not None},
        "valid": {_key(item): item.valid for item in losses if item.valid is not None},
    }
    targets = {_key(item): item.targets.values for item in losses}
    metrics = [metric.keras_metric for item in losses for metric in item.metrics]
    with preserve_metrics(model, metrics), contextlib.ExitStack() as recording:
        recording.enter_context(
            get_backend().compile_loops()
        )  # Eager steps look at losses only, not into recurrent layers.
        for loss in {id(item.loss): item.loss for item in losses}.values():  # Outputs may share a loss.
            recording.enter_context(record_losses(loss))
        result = outer.evaluate(
            data, targets, batch_size=batch_size, verbose=0, callbacks=recorder.make_callbacks(outer), return_dict=True
        )
        reports = tuple(metric.report(item.output.name) for item in losses for metric in item.metrics)
    total = float(result["loss"])
    return LossRun(
        model,
        inputs,
        losses,
        batch_size,
        total=total,
        reported=total,
        custom_steps=False,
        recorded=tuple(recorder.recorded),
        regularization=recorder.regularization,
        metrics=reports,
    )


def _choose_compilation(model: Any, losses: Sequence[OutputLoss], is_small: bool) -> dict[str, bool]:
    """Return the arguments of ``compile`` that decide how a step runs: as in the model's own ``evaluate``."""
    # XLA cannot select the valid timesteps of a batch for the copies of the metrics.
    selects = any(metric.of_valid is not None for item in losses for metric in item.metrics)
    is_eager = getattr(model, "run_eagerly", False) or not get_backend().compiles_steps
    if is_small or is_eager or (selects and get_backend().is_stateless):
        return {"run_eagerly": True, "jit_compile": False}
    return {"run_eagerly": False, "jit_compile": bool(model.jit_compile) and not selects}


def evaluate_unmasked(run: LossRun, count_rows: CountRows | None = None) -> LossRun | None:
    """Evaluate the same weights without any mask. Returns None if the model cannot run without masks."""
    width = max(item.output.sample[0].size for item in run.losses)
    batch_size = run.batch_size
    if find_fixed_batch(run.model) is None:
        # Without masks the batch size does not matter, so the batches are as large as memory allows.
        fitting = min(UNMASKED_ROWS, UNMASKED_NUMBERS // max(1, width))
        batch_size = min(run.rows, max(batch_size, fitting, 1))
    try:
        with strip_masks():
            return evaluate(run.model, run.inputs, _drop_metrics(run.losses), batch_size, count_rows)
    except Exception:  # A layer may need its mask.
        return None


def evaluate_again(run: LossRun, batch_size: int) -> float:
    """Return the loss that the model's own ``evaluate`` reports with another batch size."""
    if run.custom_steps:
        return evaluate_custom(run, batch_size)
    return evaluate(run.model, run.inputs, _drop_metrics(run.losses), batch_size).total


def evaluate_custom(run: LossRun, batch_size: int) -> float:
    """Return the loss that ``evaluate`` of a model with custom steps reports; all its outputs must have a loss."""
    weights = [item.weights for item in run.losses]
    with preserve_metrics(run.model):
        result = run.model.evaluate(
            pack_arguments(run.model, run.inputs),
            _nest_arrays(run.losses, [item.targets.values for item in run.losses]),
            sample_weight=None if weights[0] is None else _nest_arrays(run.losses, weights),
            batch_size=batch_size,
            verbose=0,
            return_dict=True,
        )
        run.model.reset_metrics()
    return float(result["loss"])


def _drop_metrics(losses: Sequence[OutputLoss]) -> tuple[OutputLoss, ...]:
    return tuple(dataclasses.replace(item, metrics=()) for item in losses)


def _nest_arrays(losses: Sequence[OutputLoss], arrays: Sequence[Any]) -> Any:
    """Return the arrays of the outputs as custom steps expect them: one array, a dict, or a list."""
    names = [item.output.name for item in losses]
    if names == ["output"]:
        return arrays[0]
    if any("/" in name or name.isdigit() for name in names):
        return list(arrays)
    return dict(zip(names, arrays, strict=True))


def _key(output_loss: OutputLoss) -> str:
    return str(output_loss.output.index)


@contextlib.contextmanager
def preserve_metrics(model: Any, metrics: Sequence[Any] = ()) -> Iterator[None]:
    """Restore a model and ``metrics`` when the context closes; inside it the metrics start from zero."""
    with contextlib.ExitStack() as states:
        states.enter_context(preserve_state(model, trained=False))
        for metric in [*model.metrics, *metrics]:
            states.enter_context(preserve_state(metric))
        for metric in metrics:
            metric.reset_state()
        yield


def _wrap_model(model: Any, losses: Sequence[OutputLoss]) -> Any:
    """Return a Keras model that calls ``model`` and records its losses in the logs."""
    import keras

    class RecordingModel(keras.Model):  # type: ignore[misc]
        """Computes the losses of the model inside."""

        def __init__(self) -> None:
            super().__init__(name="recording_model")
            self.inner = model
            self.autocast = False  # The model inside casts for itself.
            if get_backend().is_stateless:
                pairs = [metric for item in losses for metric in item.metrics]
                self.item_metrics = [part for pair in pairs for part in (pair.keras_metric, pair.of_valid) if part]

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            """Call the model in inference mode."""
            del training
            return self.inner(inputs["data"], training=False)

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            """Add up the losses of the outputs and those of the model, as ``Model.compute_loss`` does."""
            del sample_weight, training
            self.records, total = _compute_losses(losses, x, y, y_pred)
            if self.losses:
                self.records["regularization"] = keras.ops.sum([keras.ops.sum(loss) for loss in self.losses])
                total = total + self.records["regularization"]
            return total

        def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            """Update the metrics, and return the logs with the records."""
            logs = super().compute_metrics(x, y, y_pred, sample_weight)
            _update_metrics(losses, x, y, y_pred, self.records)
            return {**logs, _RECORDS: self.records}

    return RecordingModel()


def _compute_losses(losses: Sequence[OutputLoss], x: Any, y: Any, y_pred: Any) -> tuple[dict[str, Any], Any]:
    import keras

    tensors, total = keras.tree.flatten(y_pred), 0.0
    records: dict[str, Any] = {"rows": keras.ops.shape(tensors[0])[0]}
    for position, item in enumerate(losses):
        tensor = tensors[item.output.index]
        value = item.loss(y[_key(item)], tensor, x["weights"].get(_key(item)))
        total = total + value * item.factor
        records.update(
            {f"{position}/{name}": part for name, part in _list_records(item, y[_key(item)], tensor, value).items()}
        )
    return records, total


def _list_records(output_loss: OutputLoss, targets: Any, tensor: Any, value: Any) -> dict[str, Any]:
    """Return the tensors to record of one output and one batch."""
    import keras

    losses = get_recorded_losses(output_loss.loss, value)
    if output_loss.by_timestep:
        losses = split_timesteps(output_loss.loss, targets, tensor)
    records = {"value": keras.ops.mean(value), "losses": losses}
    for name, masked in (("mask", tensor), ("own_mask", losses)):
        if get_keras_mask(masked) is not None:
            records[name] = get_keras_mask(masked)
    if is_float(tensor):
        not_finite = keras.ops.logical_not(keras.ops.isfinite(tensor))
        first_axis = 2 if output_loss.output.timed else 1
        records["not_finite"] = keras.ops.any(not_finite, axis=tuple(range(first_axis, len(tensor.shape))))
    return records


def _update_metrics(losses: Sequence[OutputLoss], x: Any, y: Any, y_pred: Any, records: dict[str, Any]) -> None:
    import keras

    tensors = keras.tree.flatten(y_pred)
    for position, item in enumerate(losses):
        key = _key(item)
        counted = combine_counted(x["valid"].get(key), records.get(f"{position}/own_mask"))
        for metric in item.metrics:
            metric.update(y[key], tensors[item.output.index], x["weights"].get(key), counted)


class _BatchRecorder:
    """Collects the records of batches into arrays of all rows."""

    def __init__(self, outputs: int, rows: int, count_rows: CountRows | None) -> None:
        self.recorded = [RecordedLoss() for _ in range(outputs)]
        self.rows, self.count_rows = rows, count_rows
        self.done, self.regularization = 0, 0.0

    def make_callbacks(self, model: Any) -> Any:
        """Return the callback list for ``evaluate``; an ordinary callback would receive only numbers."""
        import keras

        recorder = self

        class RecordingCallbacks(keras.callbacks.CallbackList):  # type: ignore[misc]
            """Receives the logs of each batch."""

            def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
                """Take the records out of the logs."""
                del batch
                recorder.add_batch({name: as_array(value) for name, value in logs.pop(_RECORDS).items()})

        return RecordingCallbacks(model=model)

    def add_batch(self, records: dict[str, NDArray[Any]]) -> None:
        """Add the records of a batch."""
        size = int(records["rows"])
        for position, recorded in enumerate(self.recorded):
            prefix = f"{position}/"
            parts = {name.removeprefix(prefix): value for name, value in records.items() if name.startswith(prefix)}
            recorded.reported += float(parts.pop("value")) * size / self.rows
            if not parts["losses"].ndim:  # The loss makes one number of the batch.
                del parts["losses"]
            for name, values in parts.items():
                self._store(recorded, name, values)
        self.regularization += float(records.get("regularization", 0.0)) * size / self.rows
        self.done += size
        if self.count_rows is not None:
            self.count_rows(self.done)

    def _store(self, recorded: RecordedLoss, name: str, values: NDArray[Any]) -> None:
        """Store the values of a batch at its rows."""
        array = getattr(recorded, name)
        if array is None:
            array = np.zeros((self.rows, *values.shape[1:]), np.float64 if name == "losses" else bool)
            setattr(recorded, name, array)
        array[self.done : self.done + len(values)] = values
