"""Metrics as ``evaluate`` reports them, and copies of them that receive only the timesteps that count."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.backends.choice import get_backend
from maskcli.backends.masks import set_keras_mask
from maskcli.errors import UsageError, summarize_error
from maskcli.losses.registry import cast_targets, match_outputs, suggest_name
from maskcli.records.arrays import Bools
from maskcli.records.loss import MetricReport
from maskcli.records.wording import METRIC_REMEDY
from maskcli.tolerance import METRIC_DIFFERENT
from maskcli.trace.state import preserve_state

PLAIN = (bool, int, float, str, type(None))
"""Types of attributes by which two metrics are compared."""


@dataclasses.dataclass(frozen=True, eq=False)
class MetricPair:
    """A metric, and a copy of it that receives only valid timesteps whose targets the loss does not ignore.

    Attributes:
        name: name of the metric.
        keras_metric: the metric as ``evaluate`` updates it.
        of_valid: the copy; None if these timesteps are unknown, or if the metric cannot be copied or updated with them.
        weighted: whether the metric receives the sample weights.
    """

    name: str
    keras_metric: Any
    of_valid: Any | None
    weighted: bool

    def update(self, targets: Any, tensor: Any, weights: Any, valid: Any) -> None:
        """Update with a batch of tensors. ``valid`` is True at timesteps that count."""
        if not self.weighted:
            weights = None
        self.keras_metric.update_state(targets, tensor, sample_weight=weights)
        if self.of_valid is not None:
            if weights is not None:
                weights = get_backend().select(weights, valid)
            self.of_valid.update_state(
                get_backend().select(targets, valid), get_backend().select(tensor, valid), sample_weight=weights
            )

    def report(self, output: str) -> MetricReport:
        """Return the results, as those of the output of that name."""
        reported, valid = read_result(self.keras_metric), None
        if self.of_valid is not None:
            valid = read_result(self.of_valid)
        return MetricReport(
            name=self.name,
            type=type(self.keras_metric).__name__,
            output=output,
            weighted=self.weighted,
            reported=reported,
            valid=valid,
            differs=valid is not None and not _are_equal(reported, valid),
        )


def make_metric_pairs(
    metrics: Sequence[tuple[Any, bool]],
    targets: NDArray[Any],
    predictions: NDArray[Any],
    valid: Bools | None,
    mask_shape: Sequence[int] | None = None,
) -> tuple[MetricPair, ...]:
    """Make metrics that can be updated from the ``compile`` arguments of one output.

    Args:
        metrics: each with whether it receives the sample weights.
        targets: those of some rows, to try the metrics with.
        predictions: those of the same rows.
        valid: ``(rows, timesteps)``, or ``(rows,)`` without timesteps, True where the loss counts; None if unknown.
        mask_shape: of the mask that the predictions carry; None without one.

    Raises:
        UsageError: for a name that Keras does not know, and for metrics that cannot take these targets, or the mask.
    """
    import keras

    some, tensor = cast_targets(targets), keras.ops.convert_to_tensor(predictions)
    if mask_shape is not None:
        mask = np.ones((len(predictions), *mask_shape[1:]), np.bool_)
        masked = keras.ops.convert_to_tensor(predictions)
        set_keras_mask(masked, keras.ops.convert_to_tensor(mask))
        for metric, _ in metrics:
            _check_mask(make_metric(metric, some, tensor), some, tensor, masked)
    return tuple(_make_pair(metric, weighted, some, tensor, valid) for metric, weighted in metrics)


def _check_mask(metric: Any, targets: Any, predictions: Any, masked: Any) -> None:
    """Raise UsageError for a metric that only a mask stops, which Keras passes to it as weights."""
    try:
        _try_update(metric, targets, predictions)
    except Exception:  # Another check reports this.
        return
    try:
        _try_update(metric, targets, masked)
    except Exception as error:
        raise UsageError(
            where=f"metric {metric.name}",
            expected="a metric that takes the mask which the output carries",
            received=f"{type(error).__name__}: {summarize_error(error).rstrip('.')}, as fit and evaluate would",
            fix=METRIC_REMEDY,
        ) from None


def _make_pair(argument: Any, weighted: bool, targets: Any, predictions: Any, valid: Bools | None) -> MetricPair:
    metric = make_metric(argument, targets, predictions)
    try:
        _try_update(metric, targets, predictions)
    except Exception as error:
        raise UsageError(
            where=f"--metrics {metric.name}",
            expected=f"a metric that takes targets {tuple(targets.shape[1:])} with predictions "
            f"{tuple(predictions.shape[1:])}",
            received=f"{type(error).__name__}: {summarize_error(error)}",
            fix="Remove this metric, or pass other targets.",
        ) from None
    pair = MetricPair(str(metric.name), metric, None, weighted)
    # make_metric returns the argument itself if it cannot be copied; a second one would share its state.
    if valid is None or metric is argument:
        return pair
    copy = make_metric(argument, targets, predictions)
    if not _accepts_valid_timesteps(copy, targets, predictions, valid):
        return pair
    return dataclasses.replace(pair, of_valid=copy)


def _accepts_valid_timesteps(metric: Any, targets: Any, predictions: Any, valid: Bools) -> bool:
    """Return whether a metric takes valid timesteps as rows, without the axis of timesteps."""
    if tuple(targets.shape[: valid.ndim]) != valid.shape:
        return False
    try:
        _try_update(metric, get_backend().select(targets, valid), get_backend().select(predictions, valid))
    except Exception:  # It may need the axis of timesteps.
        return False
    return True


def _try_update(metric: Any, targets: Any, predictions: Any) -> None:
    with preserve_state(metric):
        metric.update_state(targets, predictions)
        metric.reset_state()


def make_metric(argument: Any, targets: Any, predictions: Any) -> Any:
    """Return the metric that ``compile`` makes for one output; a new one, unless ``argument`` cannot be copied.

    Shapes decide which metric ``accuracy`` is.

    Raises:
        UsageError: for a name that Keras does not know.
    """
    from keras.src.trainers.compile_utils import get_metric

    try:
        return get_metric(_copy_metric(argument), targets, predictions)
    except ValueError:
        raise _make_unknown_metric_error(argument) from None


def _copy_metric(metric: Any) -> Any:
    """Return a new metric with the same configuration, or ``metric`` if its configuration is incomplete."""
    import keras

    if isinstance(metric, type):
        return metric()
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    try:
        copy = type(metric).from_config(metric.get_config())
    except Exception:  # The configuration lacks an argument of the constructor.
        return metric
    return copy if _list_plain_attributes(copy) == _list_plain_attributes(metric) else metric


def _list_plain_attributes(metric: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(metric).items() if isinstance(value, PLAIN) and name != "built"}


def _make_unknown_metric_error(metric: Any) -> UsageError:
    import keras

    names = sorted(name for name, kind in vars(keras.metrics).items() if isinstance(kind, type))
    return UsageError(
        where="--metrics",
        expected="the name of a metric in keras.metrics, or package.module:function",
        received=repr(metric),
        fix=suggest_name(str(metric), names, "See keras.metrics for the names."),
    )


def read_metrics(
    metrics: Any, weighted: Any, names: Sequence[str], output_names: Sequence[str]
) -> list[list[tuple[Any, bool]]]:
    """Return for each output the compiled metrics, each with whether it receives the sample weights.

    Args:
        metrics: the argument of ``compile``.
        weighted: its ``weighted_metrics``.
        names: names of the outputs in their nest.
        output_names: names that the model gives them.
    """
    by_output: list[list[tuple[Any, bool]]] = [[] for _ in names]
    for argument, is_weighted in ((metrics, False), (weighted, True)):
        if argument:
            parts = [argument]
            if len(names) > 1:
                parts = match_outputs(argument, names, output_names, "metrics")
            for metrics_of_output, part in zip(by_output, parts, strict=True):
                metrics_of_output.extend((metric, is_weighted) for metric in flatten_metrics(part))
    return by_output


def flatten_metrics(metrics: Any) -> Iterator[Any]:
    """Yield the metrics in a nest of lists and dicts."""
    if isinstance(metrics, Mapping):
        metrics = list(metrics.values())
    if isinstance(metrics, list | tuple):
        for metric in metrics:
            yield from flatten_metrics(metric)
    elif metrics is not None:
        yield metrics


def read_result(metric: Any) -> float:
    """Return the result of a metric; of several numbers, such as a score for each class, their mean."""
    result = metric.result()
    if isinstance(result, dict):
        result = next(iter(result.values()))
    return float(np.mean(as_array(result)))


def _are_equal(first: float, second: float) -> bool:
    if np.isnan(first) or np.isnan(second):
        return bool(np.isnan(first) and np.isnan(second))
    return first == second or abs(first - second) <= METRIC_DIFFERENT.value * max(abs(first), abs(second))
