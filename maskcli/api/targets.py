"""What a model is to predict, and how much each timestep weighs: from arrays, files, or fields of the data."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.api.model_data import ModelAndData
from maskcli.errors import InputError, UsageError
from maskcli.inputs.columns import make_row_array, pad_rows
from maskcli.inputs.targets import GENERATED_TARGETS, make_for_output, read_target_array
from maskcli.losses.registry import match_outputs, to_snake_case
from maskcli.models.factories import is_spec, named_object
from maskcli.records.loss import Targets
from maskcli.trace.outputs import ModelOutput

ALIASES = {"bce": "binary_crossentropy"}


@dataclasses.dataclass(frozen=True, eq=False)
class LossOptions:
    """What a model is to be judged by, as it was asked for."""

    targets: object
    fields: tuple[str, ...]
    loss: object
    loss_options: Mapping[str, Any]
    metrics: tuple[object, ...]
    sample_weight: object
    weight_field: str | None
    class_weight: Mapping[int, float] | None

    @classmethod
    def of(
        cls,
        targets: object,
        fields: str | Sequence[str] | None,
        loss: object,
        loss_options: Mapping[str, Any] | None,
        metrics: Sequence[object],
        sample_weight: object,
        weight_field: str | None,
        class_weight: Mapping[int, float] | None,
    ) -> LossOptions:
        """Return what was asked for in the words of the verbs."""
        listed = () if fields is None else (fields,) if isinstance(fields, str) else tuple(fields)
        return cls(
            targets, listed, loss, dict(loss_options or {}), tuple(metrics), sample_weight, weight_field, class_weight
        )

    @property
    def also(self) -> dict[str, str]:
        """The columns of the data that feed no input, each with the option that named it."""
        fields = dict.fromkeys(self.fields if self.targets is None else (), "--targets-field")
        if self.sample_weight is None and self.weight_field is not None:
            fields[self.weight_field] = "--sample-weight-field"
        return fields

    @property
    def weighs(self) -> bool:
        """Whether timesteps are to be given weights."""
        given = (self.sample_weight, self.weight_field, self.class_weight)
        return any(one is not None for one in given)


def find_loss_form(loss: object) -> str:
    """Return the name of a loss as Keras's functions are named, which says what targets it takes."""
    if isinstance(loss, str):
        return ALIASES.get(loss.lower(), to_snake_case(loss))
    return to_snake_case(getattr(loss, "__name__", None) or type(loss).__name__)


def import_references(given: object, what: str) -> Any:
    """Return what ``package.module:function`` names, also inside lists and dicts; anything else as it is."""
    if isinstance(given, Mapping):
        return {name: import_references(one, what) for name, one in given.items()}
    if isinstance(given, list | tuple):
        return [import_references(one, what) for one in given]
    return named_object(given, what) if isinstance(given, str) and is_spec(given) else given


def load_targets(
    case: ModelAndData,
    asked: LossOptions,
    lanes: Sequence[ModelOutput],
    called: Sequence[str],
    losses: Mapping[int, Any],
) -> list[Targets]:
    """Return the targets of each output that has a loss.

    Args:
        case: a model with its data.
        asked: what it is to be judged by.
        lanes: all its outputs.
        called: by which names the model calls them.
        losses: by the index of each output that has one.

    Raises:
        InputError: for targets that cannot be read, or have other rows than the data.
        UsageError: where none are given, or for another number of outputs.
    """
    judged = [lane for lane in lanes if lane.index in losses]
    given = asked.targets
    if given is None:
        return _of_fields(case, asked, judged)
    if isinstance(given, str) and given in GENERATED_TARGETS:
        shapes = [(len(case.inputs[0].values), *lane.sample.shape[1:]) for lane in judged]
        forms = [find_loss_form(losses[lane.index]) for lane in judged]
        return [
            make_for_output(given, form, shape, case.ragged, case.batch)
            for form, shape in zip(forms, shapes, strict=True)
        ]
    if isinstance(given, str | os.PathLike):
        return _of_file(case, asked, os.fspath(given), judged)
    return _of_memory(case, given, lanes, judged, called)


def _of_fields(case: ModelAndData, asked: LossOptions, judged: Sequence[ModelOutput]) -> list[Targets]:
    if not asked.fields:
        raise UsageError(
            where="--targets",
            expected=f"what {case.about.name} is to predict",
            received="none",
            fix="Name a file, a field of the data with --targets-field, or let arange, zeros or ones make some.",
        )
    fields = _by_output(asked.fields, judged)
    return [
        _for_output(get_field(case, field, "--targets-field"), lane, f"field {field}")
        for field, lane in zip(fields, judged, strict=True)
    ]


def get_field(case: ModelAndData, field: str, option: str) -> NDArray[Any]:
    """Return a field of the data that feeds no input; raise UsageError for data without fields."""
    if field not in case.more:
        raise UsageError(
            where=f"{option} {field}",
            expected="data from one file with fields: records, or an .npz",
            received="data that has none",
            fix=f"Name a file with them, or give them as {option.removesuffix('-field')}.",
        )
    return case.more[field]


def _of_file(case: ModelAndData, asked: LossOptions, path: str, judged: Sequence[ModelOutput]) -> list[Targets]:
    names = tuple(lane.name for lane in judged)
    fields = _by_output(asked.fields, judged) if asked.fields else names if len(names) > 1 else (None,)
    rows = len(case.inputs[0].values)
    return [
        _for_output(
            read_target_array(path, field, case.ragged, case.batch, rows), lane, f"{path} {field or ''}".rstrip()
        )
        for field, lane in zip(fields, judged, strict=True)
    ]


def _by_output(fields: Sequence[str], judged: Sequence[ModelOutput]) -> tuple[str, ...]:
    """Return the field of each output: those that have the names of outputs go by name, others by order."""
    names = tuple(lane.name for lane in judged)
    if len(fields) != len(names):
        raise UsageError(
            where="--targets-field",
            expected=f"one field for each output with a loss: {', '.join(names)}",
            received=", ".join(fields),
            fix="Repeat --targets-field, in the order of the outputs, or with their names.",
        )
    return names if set(fields) == set(names) else tuple(fields)


def _of_memory(
    case: ModelAndData, given: Any, lanes: Sequence[ModelOutput], judged: Sequence[ModelOutput], called: Sequence[str]
) -> list[Targets]:
    """Return targets that were given as ``Model.evaluate`` takes them, or as rows of lists."""
    if isinstance(given, Targets):
        return [given]
    if isinstance(given, list | tuple) and len(lanes) == 1:
        parts = [given]
    elif isinstance(given, list | tuple) and len(given) == len(judged) < len(lanes):
        parts = list(given)
    else:
        every = match_outputs(given, [lane.name for lane in lanes], called, "targets")
        parts = [every[lane.index] for lane in judged]
    return [_given(case, one, lane) for one, lane in zip(parts, judged, strict=True)]


def _given(case: ModelAndData, values: Any, lane: ModelOutput) -> Targets:
    if values is None:
        raise UsageError(
            where="targets",
            expected=f"targets of every output with a loss, {lane.name} among them",
            received=f"none of {lane.name}",
            fix="Give them, or no loss to this output.",
        )
    rows = stack_rows(case, values, "targets")
    return Targets(rows, 0, "given") if isinstance(values, np.ndarray) else _for_output(rows, lane, "given")


def _for_output(values: NDArray[Any], lane: ModelOutput, about: str) -> Targets:
    """Return targets that were read, with an axis for the one unit of predictions ``(batch, timesteps, 1)``.

    Of targets without it Keras 3 squeezes the predictions, and takes the mean over timesteps for that over units.
    """
    if lane.sample.ndim == 3 and lane.sample.shape[-1] == 1 and values.ndim == 2:
        return Targets(values[..., None], 1, f"{about}, one number a timestep")
    return Targets(values, 0, about)


def read_raw_targets(case: ModelAndData, targets: object, field: str | None) -> NDArray[Any] | None:
    """Return targets with a row for each row of the data as they are, of a file, its field or of the data; or None.

    Raises:
        InputError: for a file that cannot be read, or has other rows.
    """
    if targets is None:
        return case.more.get(field or "")
    if isinstance(targets, str | os.PathLike):
        return read_target_array(os.fspath(targets), field, case.ragged, case.batch, len(case.inputs[0].values))
    return np.asarray(targets)


def load_sample_weights(case: ModelAndData, asked: LossOptions) -> Any:
    """Return the sample weights that were given, as they are, or a dict of them by output; None without.

    Raises:
        InputError: for weights that cannot be read, or have other rows than the data.
        UsageError: for a field of data that has none.
    """
    given, field = asked.sample_weight, asked.weight_field
    if given is None:
        return None if field is None else get_field(case, field, "--sample-weight-field")
    if isinstance(given, str | os.PathLike):
        rows = len(case.inputs[0].values)
        return read_target_array(os.fspath(given), field, case.ragged, case.batch, rows, "sample weights")
    if isinstance(given, Mapping):
        return {name: stack_rows(case, one, "sample weights") for name, one in given.items()}
    return stack_rows(case, given, "sample weights")


def stack_rows(case: ModelAndData, values: Any, what: str) -> NDArray[Any]:
    """Return rows in memory as an array; lists with an entry for each token are padded as their sequences are.

    Raises:
        InputError: for rows that are no numbers, or other ones than those of the data.
    """
    rows = len(case.inputs[0].values)
    if isinstance(values, list | tuple):
        arrays = _arrays(values, what)
        if case.batch is not None and case.ragged is not None and _lengths(arrays) == case.ragged.lengths.tolist():
            return pad_rows(arrays, case.batch.layout)[0]
        shapes = {str(array.shape): array for array in arrays}
        if len(shapes) > 1:
            raise _other_rows(what, rows, f"rows of shapes {', '.join(shapes)}")
        values = np.stack(arrays) if arrays else ()
    array = np.asarray(values)
    if array.shape[:1] != (rows,) or array.dtype.kind not in "biuf":
        raise _other_rows(what, rows, f"shape {array.shape}, dtype {array.dtype}")
    return array


def _arrays(rows: Sequence[object], what: str) -> list[NDArray[Any]]:
    try:
        return [make_row_array(row, index) for index, row in enumerate(rows)]
    except InputError as error:
        raise InputError(
            where=f"{what}, row {(error.row or 0) + 1}",
            expected=error.expected,
            received=error.received,
            fix=f"Give {what} as numbers, or as lists of them with an entry for each timestep.",
        ) from None


def _lengths(arrays: Sequence[NDArray[Any]]) -> list[int]:
    return [len(array) if array.ndim else -1 for array in arrays]


def _other_rows(what: str, rows: int, received: str) -> InputError:
    return InputError(
        where=what,
        expected=f"{rows} rows of numbers, as the data has, with an entry for each token or all of one shape",
        received=received,
        fix=f"Give a row of {what} for each row of the data.",
    )
