"""A model run by Keras's own ``evaluate``, with each timestep's loss noted as it goes by.

The predictions of one batch at a time are in memory; what is kept is a number for each timestep.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.losses.metrics import MetricPair
from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import MetricReport
from maskcli.trace.state import preserve_state
from maskcli.trace.values import is_float

EAGER_STEPS = 300
"""About as many steps of a recurrent layer as run eagerly in the time that compiling a graph takes."""

Tick = Callable[[int], None]
"""Is told how many rows were done."""


@dataclasses.dataclass(frozen=True, eq=False)
class OutputLoss:
    """One output of a model with what judges it.

    Attributes:
        index: its place among the outputs, flattened.
        name: its name.
        loss: a ``keras.losses.Loss``.
        loss_weight: by which the model multiplies it; None for 1.
        targets: ``(batch, ...)``.
        weights: sample weights, ``(batch, timesteps)`` or ``(batch,)``; None without.
        valid: ``(batch, timesteps)``, the truth about padding; None where it is not known, or there are no timesteps.
        timed: whether the output has timesteps.
        spread: whether the weights are those of samples, repeated for their timesteps.
        metrics: what else judges it.
    """

    index: int
    name: str
    loss: Any
    loss_weight: float | None
    targets: NDArray[Any]
    weights: Floats | None
    valid: Bools | None
    timed: bool
    spread: bool = False
    metrics: tuple[MetricPair, ...] = ()


@dataclasses.dataclass(eq=False)
class RecordedLoss:
    """What was noted of one output; arrays have a row for each row of the data.

    Attributes:
        losses: ``(batch, timesteps)`` or ``(batch,)``, without weights; None where the loss makes one number of a
            batch.
        mask: what the output carried; None without.
        own_mask: what the loss itself put on its losses, such as ``ignore_class``; None without.
        not_finite: predictions that are NaN or infinite, of the same shape as the losses.
        reported: the loss of each batch by Keras, averaged by the rows it has.
    """

    losses: Floats | None = None
    mask: Bools | None = None
    own_mask: Bools | None = None
    not_finite: Bools | None = None
    reported: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What ``evaluate`` returned, and what was noted meanwhile.

    Attributes:
        total: the loss.
        outputs: what was noted of each output.
        regularization: what the model's own losses put on top.
        metrics: what they said.
    """

    total: float
    outputs: tuple[RecordedLoss, ...]
    regularization: float
    metrics: tuple[MetricReport, ...]


def evaluate(
    model: Any,
    data: Any,
    judged: Sequence[OutputLoss],
    batch_size: int,
    *,
    eagerly: bool = False,
    tick: Tick | None = None,
) -> Evaluation:
    """Run ``evaluate`` of a model that has ``model`` inside, compiled anew; ``model`` and its metrics stay as they are.

    Args:
        model: a Keras model.
        data: what it is called with, all rows of it.
        judged: the outputs that have a loss.
        batch_size: of ``evaluate``.
        eagerly: run without compiling a graph, which takes longer than a few steps do.
        tick: is told of progress.
    """
    notes = _Notes(len(judged), len(judged[0].targets), tick)
    judge = _judge(model, judged)
    judge.compile(optimizer=None, loss=None, run_eagerly=eagerly, jit_compile=False)
    given = {
        "data": data,
        "weights": {str(one.index): one.weights for one in judged if one.weights is not None},
        "valid": {str(one.index): one.valid for one in judged if one.valid is not None},
    }
    targets = {str(one.index): one.targets for one in judged}
    metrics = [metric.keras_metric for one in judged for metric in one.metrics]
    with preserve_metrics(model, metrics), contextlib.ExitStack() as watched:
        for loss in {id(one.loss): one.loss for one in judged}.values():
            watched.enter_context(record_losses(loss))
        result = judge.evaluate(
            given, targets, batch_size=batch_size, verbose=0, callbacks=notes.callbacks(judge), return_dict=True
        )
        reports = tuple(metric.report(one.name) for one in judged for metric in one.metrics)
    return Evaluation(float(result["loss"]), tuple(notes.seen), notes.regularization, reports)


@contextlib.contextmanager
def preserve_metrics(model: Any, metrics: Sequence[Any] = ()) -> Iterator[None]:
    """Leave a model, and metrics, as they are while ``evaluate`` runs; the metrics start from nothing."""
    with contextlib.ExitStack() as kept:
        kept.enter_context(preserve_state(model, trained=False))
        for metric in [*model.metrics, *metrics]:
            kept.enter_context(preserve_state(metric))
        for metric in metrics:
            metric.reset_state()
        yield


_SEEN = "_maskcli_losses"
"""The attribute under which a loss keeps the losses of its last call, for as long as it is watched."""


@contextlib.contextmanager
def record_losses(loss: Any) -> Iterator[None]:
    """Keep what each ``call`` of a loss returns, until this closes."""
    call, own = loss.call, loss.__dict__.get("call")

    def noted(y_true: Any, y_pred: Any) -> Any:
        losses = call(y_true, y_pred)
        setattr(loss, _SEEN, losses)
        return losses

    loss.call = noted
    try:
        yield
    finally:
        for name in ("call", _SEEN):
            loss.__dict__.pop(name, None)
        if own is not None:
            loss.call = own


def get_recorded_losses(loss: Any, value: Any) -> Any:
    """Return the losses of which a watched loss just made ``value``, with two axes at the most.

    Any further axes are averaged. A loss whose own ``__call__`` never asks its ``call`` shows ``value`` alone.
    """
    import keras

    losses = getattr(loss, _SEEN, value)
    rank = len(losses.shape)
    return losses if rank <= 2 else keras.ops.mean(losses, axis=tuple(range(2, rank)))


def _judge(model: Any, judged: Sequence[OutputLoss]) -> Any:
    """Return a model that calls ``model``, judges its outputs, and hands out what is to be noted with its logs."""
    import keras

    class Judge(keras.Model):  # type: ignore[misc]
        """What ``evaluate`` is called of."""

        def __init__(self) -> None:
            super().__init__(name="judge")
            self.inner = model
            self.autocast = False  # The model inside casts for itself.

        def call(self, given: Any, training: bool | None = None) -> Any:
            """Return what the model returns; ``evaluate`` asks for no training."""
            del training
            return self.inner(given["data"], training=False)

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            """Return the losses of all outputs, and what the model adds, as ``Model.compute_loss`` adds them up."""
            del sample_weight, training
            self.noted, total = _judge_outputs(judged, x, y, y_pred)
            if self.losses:
                self.noted["regularization"] = keras.ops.sum([keras.ops.sum(loss) for loss in self.losses])
                total = total + self.noted["regularization"]
            return total

        def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            """Update the metrics, and return with the logs what is to be noted."""
            logs = super().compute_metrics(x, y, y_pred, sample_weight)
            _update_metrics(judged, x, y, y_pred)
            return {**logs, RECORDED: self.noted}

    return Judge()


RECORDED = "noted"


def _judge_outputs(judged: Sequence[OutputLoss], x: Any, y: Any, y_pred: Any) -> tuple[dict[str, Any], Any]:
    import keras

    tensors, total = keras.tree.flatten(y_pred), 0.0
    noted: dict[str, Any] = {"rows": keras.ops.shape(tensors[0])[0]}
    for position, one in enumerate(judged):
        key, tensor = str(one.index), tensors[one.index]
        value = one.loss(y[key], tensor, x["weights"].get(key))
        total = total + (value if one.loss_weight is None else value * one.loss_weight)
        noted.update({f"{position}/{name}": found for name, found in _of_output(one, tensor, value).items()})
    return noted, total


def _of_output(one: OutputLoss, tensor: Any, value: Any) -> dict[str, Any]:
    """Return the tensors that are to be noted of one output and one batch."""
    import keras

    losses = get_recorded_losses(one.loss, value)
    found = {"value": keras.ops.mean(value), "losses": losses}
    for name, mask in (("mask", tensor), ("own_mask", losses)):
        if getattr(mask, "_keras_mask", None) is not None:
            found[name] = mask._keras_mask
    if is_float(tensor):
        wild = keras.ops.logical_not(keras.ops.isfinite(tensor))
        found["not_finite"] = keras.ops.any(wild, axis=tuple(range(2 if one.timed else 1, len(tensor.shape))))
    return found


def _update_metrics(judged: Sequence[OutputLoss], x: Any, y: Any, y_pred: Any) -> None:
    import keras

    tensors = keras.tree.flatten(y_pred)
    for one in judged:
        key = str(one.index)
        for metric in one.metrics:
            metric.update(y[key], tensors[one.index], x["weights"].get(key), x["valid"].get(key))


class _Notes:
    """Gathers what each batch gives into arrays with a row for each row of the data."""

    def __init__(self, outputs: int, rows: int, tick: Tick | None) -> None:
        self.seen = [RecordedLoss() for _ in range(outputs)]
        self.rows, self.tick = rows, tick
        self.done, self.regularization = 0, 0.0

    def callbacks(self, judge: Any) -> Any:
        """Return the list that ``evaluate`` calls; a callback in a list of Keras's own gets numbers only."""
        import keras

        notes = self

        class Batches(keras.callbacks.CallbackList):  # type: ignore[misc]
            """Is handed the logs of each batch."""

            def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
                """Take what was noted out of the logs."""
                del batch
                notes.take({name: np.asarray(value) for name, value in logs.pop(RECORDED).items()})

        return Batches(model=judge)

    def take(self, noted: dict[str, NDArray[Any]]) -> None:
        """Add what a batch gave."""
        size = int(noted["rows"])
        for position, seen in enumerate(self.seen):
            own = {name.partition("/")[2]: value for name, value in noted.items() if name.startswith(f"{position}/")}
            seen.reported += float(own.pop("value")) * size / self.rows
            if not own["losses"].ndim:
                del own["losses"]
            for name, values in own.items():
                self.put(seen, name, values)
        self.regularization += float(noted.get("regularization", 0.0)) * size / self.rows
        self.done += size
        if self.tick is not None:
            self.tick(self.done)

    def put(self, seen: RecordedLoss, name: str, values: NDArray[Any]) -> None:
        """Put the values of a batch where its rows are."""
        held = getattr(seen, name)
        if held is None:
            held = np.zeros((self.rows, *values.shape[1:]), np.float64 if name == "losses" else bool)
            setattr(seen, name, held)
        held[self.done : self.done + len(values)] = values
