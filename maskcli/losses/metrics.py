"""Metrics as ``evaluate`` reports them, and copies of them that see valid timesteps alone."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import UsageError, summarize_error
from maskcli.losses.registry import cast_targets, match_outputs
from maskcli.records.arrays import Bools
from maskcli.records.loss import MetricReport
from maskcli.tolerance import METRIC_DIFFERENT
from maskcli.trace.state import preserve_state

PLAIN = (bool, int, float, str, type(None))
"""Types of attributes by which two metrics are compared."""


@dataclasses.dataclass(frozen=True, eq=False)
class MetricPair:
    """A metric, and a copy of it that sees valid timesteps alone; None where there is no telling them apart."""

    name: str
    keras_metric: Any
    of_valid: Any | None
    weighted: bool

    def update(self, targets: Any, tensor: Any, weights: Any, valid: Any) -> None:
        """Add a batch: tensors, the weights that the metric is given if it is ``weighted``, and what is no padding."""
        import tensorflow as tf

        given = weights if self.weighted else None
        self.keras_metric.update_state(targets, tensor, sample_weight=given)
        if self.of_valid is not None:
            kept = None if given is None else tf.boolean_mask(given, valid)
            self.of_valid.update_state(
                tf.boolean_mask(targets, valid), tf.boolean_mask(tensor, valid), sample_weight=kept
            )

    def report(self, output: str) -> MetricReport:
        """Return what it says, of the output of that name."""
        reported = read_result(self.keras_metric)
        valid = None if self.of_valid is None else read_result(self.of_valid)
        return MetricReport(
            name=self.name,
            type=type(self.keras_metric).__name__,
            output=output,
            weighted=self.weighted,
            reported=reported,
            valid=valid,
            differs=valid is not None and not _same(reported, valid),
        )


def make_metric_pairs(
    metrics: Sequence[tuple[Any, bool]], targets: NDArray[Any], predictions: NDArray[Any], valid: Bools | None
) -> tuple[MetricPair, ...]:
    """Return what ``compile`` takes as metrics of one output as metrics that can be updated.

    Args:
        metrics: each with whether it is given the sample weights.
        targets: of some rows, with which they are tried.
        predictions: of these rows.
        valid: ``(rows, timesteps)``, what is no padding; None where that is not known.

    Raises:
        UsageError: for a name that Keras does not know, and metrics that cannot take these targets.
    """
    import keras

    given, made = cast_targets(targets), keras.ops.convert_to_tensor(predictions)
    return tuple(_judged(metric, weighted, given, made, valid) for metric, weighted in metrics)


def _judged(metric: Any, weighted: bool, targets: Any, predictions: Any, valid: Bools | None) -> MetricPair:
    one = make_metric(metric, targets, predictions)
    try:
        _try(one, targets, predictions)
    except Exception as error:
        raise UsageError(
            where=f"--metrics {one.name}",
            expected=f"a metric that takes targets {tuple(targets.shape[1:])} with predictions "
            f"{tuple(predictions.shape[1:])}",
            received=f"{type(error).__name__}: {summarize_error(error)}",
            fix="Leave it out, or give it other targets.",
        ) from None
    copy = None if valid is None or one is metric else make_metric(metric, targets, predictions)
    return MetricPair(str(one.name), one, copy if _takes(copy, targets, predictions, valid) else None, weighted)


def _takes(copy: Any, targets: Any, predictions: Any, valid: Bools | None) -> bool:
    """Return whether a copy takes valid timesteps without the axis of timesteps."""
    import tensorflow as tf

    if copy is None or valid is None or targets.shape[:2] != valid.shape:
        return False
    try:
        _try(copy, tf.boolean_mask(targets, valid), tf.boolean_mask(predictions, valid))
    except Exception:  # It may want the axis that is gone.
        return False
    return True


def _try(metric: Any, targets: Any, predictions: Any) -> None:
    with preserve_state(metric):
        metric.update_state(targets, predictions)
        metric.reset_state()


def make_metric(metric: Any, targets: Any, predictions: Any) -> Any:
    """Return the metric that ``compile`` makes for one output: a new one, unless ``metric`` cannot be made anew.

    Shapes decide what ``accuracy`` is.

    Raises:
        UsageError: for a name that Keras does not know.
    """
    from keras.src.trainers.compile_utils import get_metric

    try:
        return get_metric(_anew(metric), targets, predictions)
    except ValueError:
        raise _unknown(metric) from None


def _anew(metric: Any) -> Any:
    """Return a metric like a given one; that itself where its configuration does not tell all of it."""
    import keras

    if isinstance(metric, type):
        return metric()
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    try:
        made = type(metric).from_config(metric.get_config())
    except Exception:  # What it was made with is not in its configuration.
        return metric
    return made if _plain(made) == _plain(metric) else metric


def _plain(metric: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(metric).items() if isinstance(value, PLAIN) and name != "built"}


def _unknown(metric: Any) -> UsageError:
    import keras

    known = sorted(name for name, kind in vars(keras.metrics).items() if isinstance(kind, type))
    near = difflib.get_close_matches(str(metric), known, n=1)
    return UsageError(
        where="--metrics",
        expected="the name of a metric in keras.metrics, or package.module:function",
        received=repr(metric),
        fix=f"Did you mean {near[0]}?" if near else "keras.metrics lists them.",
    )


def read_metrics(
    metrics: Any, weighted: Any, names: Sequence[str], called: Sequence[str]
) -> list[list[tuple[Any, bool]]]:
    """Return for each output what a model was compiled with, each with whether it is given the sample weights.

    Args:
        metrics: as ``compile`` takes them.
        weighted: those that it takes as ``weighted_metrics``.
        names: of the outputs in their nest.
        called: by which the model calls them.
    """
    found: list[list[tuple[Any, bool]]] = [[] for _ in names]
    for given, weighs in ((metrics, False), (weighted, True)):
        if given:
            parts = [given] if len(names) == 1 else match_outputs(given, names, called, "metrics")
            for own, chosen in zip(found, parts, strict=True):
                own.extend((metric, weighs) for metric in flatten_metrics(chosen))
    return found


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
    """Return what a metric says; of several numbers their mean, as for a score of each class."""
    found = metric.result()
    if isinstance(found, dict):
        found = next(iter(found.values()))
    return float(np.mean(np.asarray(found)))


def _same(one: float, other: float) -> bool:
    if np.isnan(one) or np.isnan(other):
        return bool(np.isnan(one) and np.isnan(other))
    return one == other or abs(one - other) <= METRIC_DIFFERENT.value * max(abs(one), abs(other))
