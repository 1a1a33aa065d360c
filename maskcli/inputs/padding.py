"""Decide which timesteps of each input are padding.

The first source that applies to an input decides::

    given           NAME.mask in the data
    mask-input      a mask that the model takes as an input, for the inputs that it masks
    lengths         the lengths of the rows, if they differ
    value           runs of the padding value that the user chose
    masking-layer   the mask_value of the Masking layer that receives the input
    value           runs of 0 at either end of a row, or of a number that clearly fills it

Positions, segments, types, categories and constants are no evidence. They share the validity of the input whose
timesteps they describe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskcli.errors import InputError, UsageError
from maskcli.inputs.columns import DataColumn
from maskcli.inputs.roles import (
    InputRoles,
    MaskedValue,
    holds_whole_numbers,
    is_auxiliary_name,
    is_row_of_numbers,
    match_by_prefix,
)
from maskcli.inputs.tables import DataTable, name_column_errors
from maskcli.records.arrays import Array, Bools
from maskcli.records.inputs import ModelInput, find_primary, is_same_validity
from maskcli.records.sequences import PaddedBatch, have_lengths
from maskcli.records.validity import Validity
from maskcli.sequences.facts import find_unmarked_padding

FEW = 8
"""Distinct values of an input that may be a category of each timestep."""
NARROW = 4
"""Columns of an input that may hold categories, or the places of spans, instead of timesteps."""
FAR = 100
"""How many times as large as all other numbers padding is that may be any number, such as -99999.99."""
STRONG = ("given", "mask-input", "lengths", "masking-layer")
"""Sources that do not depend on the values of ids."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Timed:
    """An input with timesteps, its column, and its validity so far."""

    input: ModelInput
    column: DataColumn

    @property
    def source(self) -> str:
        return self.input.validity.source

    def mark(self, valid: Bools, validity: Validity, cells: Bools | None = None, **changes: Any) -> _Timed:
        """Return the same input with another validity."""
        marked = dataclasses.replace(self.input, valid=valid, validity=validity, cells=cells, **changes)
        return dataclasses.replace(self, input=marked)


def decide_validity(
    inputs: Sequence[ModelInput], columns: Sequence[DataColumn], roles: InputRoles, *, has_model: bool
) -> list[ModelInput]:
    """Return the inputs with the validity of their timesteps.

    Args:
        inputs: of the model, those that have data.
        columns: the column of each input.
        roles: of the inputs in the model.
        has_model: whether there is a model; without one, a mask in the data marks padding by its name.
    """
    entries = [
        _Timed(_adapt_kind(model_input, column, roles, inputs), column)
        for model_input, column in zip(inputs, columns, strict=True)
    ]
    entries = _find_categories(entries, roles)
    masks = [entry for entry in entries if entry.input.kind == "mask"]
    timed = [_decide_own(entry, roles) for entry in entries if _has_timesteps(entry.input)]
    masks = [_turn_inverted(mask, masks, timed, roles) for mask in masks]
    timed = _apply_masks(timed, masks, roles, has_model)
    timed = _mark_auxiliary(timed, roles)
    timed = _share_validity(timed)
    by_name = {entry.input.name: _fill_frame(entry, roles) for entry in timed}
    for mask in masks:
        by_name[mask.input.name] = _agree_with_data(mask.input, list(by_name.values()), masks, roles)
    return [by_name.get(entry.input.name, entry.input) for entry in entries]


def _has_timesteps(model_input: ModelInput) -> bool:
    return model_input.kind in ("ids", "features") and model_input.valid is not None


def _adapt_kind(
    model_input: ModelInput, column: DataColumn, roles: InputRoles, inputs: Sequence[ModelInput]
) -> ModelInput:
    """Return an input with its kind in the model: 0 and 1 may be a mask, and one number a timestep a series."""
    values = model_input.values
    if model_input.name in roles.masks and model_input.kind in ("ids", "static") and column.marked is None:
        return dataclasses.replace(model_input, kind="mask", valid=values.astype(bool))
    if model_input.kind != "static" or values.ndim != 2:
        return model_input
    if model_input.name in roles.input_dims and holds_whole_numbers(model_input):
        # A model that declares no inputs looks up ids that were saved as floats.
        ids = values.astype(np.int32)
        return dataclasses.replace(model_input, values=ids, kind="ids", valid=np.ones(ids.shape, np.bool_))
    is_masked = any(
        model_input.name in masked and other.name == mask and other.values.shape == values.shape
        for mask, masked in roles.masks.items()
        for other in inputs
    )
    is_padded = _is_padded_series(model_input, roles) or _is_padded_alike(model_input, inputs)
    is_padded = is_padded or _is_padded_as_chosen(model_input, column, inputs)
    if is_masked or is_padded or _has_masked_columns(model_input, roles):
        return dataclasses.replace(model_input, kind="features", valid=np.ones(values.shape, np.bool_))
    return model_input


def _has_masked_columns(model_input: ModelInput, roles: InputRoles) -> bool:
    """Return whether a ``Masking`` layer looks for a value in rows of numbers, and that is in some of their columns.

    A layer that receives ``(batch, columns)`` masks whole rows. That may be meant where no row has the value in part;
    and 0 may be data.
    """
    masked = roles.masked_values.get(model_input.name)
    if masked is None or not masked.rows:
        return masked is not None
    is_value = _equals(model_input.values, masked.value)
    return masked.value != 0 and bool((is_value.any(axis=1) & ~is_value.all(axis=1)).any())


def _is_padded_series(model_input: ModelInput, roles: InputRoles) -> bool:
    """Return whether rows of numbers that a layer takes as timesteps end, or begin, in runs of one value.

    The columns of a table may go through a convolution, too, and a single 0 at the end of some rows is data.
    """
    if model_input.name not in roles.series:
        return False
    values = model_input.values[..., None]
    return find_unmarked_padding(values, np.ones(values.shape[:2], np.bool_)) is not None


def _is_padded_as_chosen(model_input: ModelInput, column: DataColumn, inputs: Sequence[ModelInput]) -> bool:
    """Return whether rows of numbers end, or begin, in the padding value that the user chose, and no other input does.

    Next to an input with such timesteps, the same value in a row of numbers is more likely data.
    """
    value = column.layout.chosen_value
    if value is None or not is_row_of_numbers(model_input):
        return False
    sequences = [item for item in inputs if _has_timesteps(item)]
    return _ends_in(model_input.values, value) and not any(_ends_in(item.values, value) for item in sequences)


def _ends_in(values: Array, value: float) -> bool:
    return not bool(_trim_runs(_any_cell(~_equals(values, value))).all())


def _is_padded_alike(model_input: ModelInput, inputs: Sequence[ModelInput]) -> bool:
    """Return whether numbers ``(batch, columns)`` are 0 exactly where timesteps of another input are padded with 0."""
    filled = _trim_runs(model_input.values != 0)
    padded = (
        _trim_runs(_any_cell(item.values != 0))
        for item in inputs
        if item.kind in ("ids", "features") and item.values.shape[:2] == filled.shape
    )
    return not filled.all() and any(np.array_equal(filled, valid) for valid in padded)


def find_validity_source(batch: PaddedBatch, valid: Bools) -> Validity:
    """Return the source of the validity of a batch that maskcli padded without a model."""
    if not batch.layout.trim:
        return Validity("given", batch.marked_by or "mask")
    if (batch.mask & ~valid).any():
        return Validity("value", None, float(batch.layout.value))
    return Validity() if batch.mask.all() and not have_lengths(batch.lengths) else Validity("lengths")


# The evidence of one input.


def _decide_own(entry: _Timed, roles: InputRoles) -> _Timed:
    """Return an input with the padding that its own data marks."""
    column = entry.column
    if column.marked is not None and column.marked.ndim == 2:
        entry = _move_time(entry, find_marked_axis(column.values.shape, column.marked.shape))
    model_input = entry.input
    if column.marked is not None:
        cells = column.marked if column.marked.ndim > 2 else None
        valid = column.marked if cells is None else _any_cell(cells)
        validity = Validity("given", column.marked_by)
        return entry.mark(valid, validity, cells, padding=_find_padding_value(entry, valid, roles))
    layout = column.layout
    masked = _find_masked_value(model_input, roles)
    if column.has_lengths:
        assert column.framed is not None  # noqa: S101 - rows with lengths were padded
        cells = column.framed_cells
        if cells is None and _holds_words(model_input):
            cells = _find_words(model_input.values, layout.value, column.framed)
        padding = _find_fill(entry, roles)
        return entry.mark(column.framed, Validity("lengths"), cells, padding=padding)
    if column.framed_cells is not None:
        return entry.mark(_any_cell(column.framed_cells), Validity("lengths"), column.framed_cells)
    if not layout.trim:
        return entry
    chosen = layout.chosen_value
    decided = _decide_by_values(entry, masked) if chosen is None else _mark_runs(entry, chosen, "value")
    moved = None if decided.input.has_padding else _move_time(entry, roles.time_axes.get(model_input.name, 1))
    if moved is None or moved is entry or not _shows_padding(moved):
        return decided
    return _decide_by_values(moved, masked) if chosen is None else _mark_runs(moved, chosen, "value")


def find_marked_axis(shape: tuple[int, ...], marked: tuple[int, ...]) -> int:
    """Return the axis of an array that a mask ``(batch, timesteps)`` has: 1, or the only other one of its size."""
    fitting = [axis for axis in range(1, len(shape)) if shape[axis] == marked[1]]
    return fitting[0] if len(fitting) == 1 else 1


def _move_time(entry: _Timed, axis: int) -> _Timed:
    """Return an input whose time is on another axis of its array, with that axis as axis 1 of its values."""
    values, model_input = entry.input.values, entry.input
    if axis == 1 or model_input.kind != "features" or entry.column.framed is not None:
        return entry
    moved = np.moveaxis(values, axis, 1)
    valid = np.ones(moved.shape[:2], np.bool_)
    return dataclasses.replace(entry, input=dataclasses.replace(model_input, values=moved, valid=valid, time_axis=axis))


def _shows_padding(entry: _Timed) -> bool:
    """Return whether rows end, or begin, in the value that the user chose, or else in runs of a value."""
    values, chosen = entry.input.values, entry.column.layout.chosen_value
    if chosen is not None:
        return _ends_in(values, chosen)
    runs = find_unmarked_padding(values, np.ones(values.shape[:2], np.bool_))
    return runs is not None and runs.vector is None


def _decide_by_values(entry: _Timed, masked: MaskedValue | None) -> _Timed:
    """Return an input with the padding that its values show: those that the model masks, runs of 0, or of a filler."""
    filler = _find_filler(entry.input)
    if masked is not None and not _is_padded_otherwise(entry, masked.value, filler):
        return _mark_runs(entry, masked.value, "masking-layer", masked.layer, masked.inside)
    return _mark_runs(entry, entry.column.layout.value if filler is None else filler, "value")


def _find_filler(model_input: ModelInput) -> float | None:
    """Return the number other than 0 that fills the ends of rows; None if none clearly does.

    Of fractional features it is a whole number among others that mostly are not, or far larger than all others. Of ids
    it is the only negative number, because no id is negative.
    """
    values = model_input.values
    if values.dtype.kind == "i" and values.size and values.min() < 0:
        return _find_negative_filler(values)
    if values.dtype.kind != "f" or model_input.kind != "features":
        return None
    runs = find_unmarked_padding(values, np.ones(values.shape[:2], np.bool_))
    if runs is None or runs.value == 0 or runs.vector is not None:
        return None
    filler, data = float(runs.value), values[values != runs.value].astype(np.float64)
    is_far = abs(filler) > FAR * np.abs(data).max()
    is_whole = filler == np.round(filler) and (data != np.round(data)).mean() > 1 / 2
    if not np.isfinite([filler, *data]).all() or not (is_far or is_whole):
        return None
    return float(str(values.dtype.type(filler)))  # As the user writes it: 1e20, also of float32.


def _find_negative_filler(values: Array) -> int | None:
    """Return the only negative number of ids, if it fills the ends of rows, or of the timesteps of words."""
    filler = int(values.min())
    is_filler: Bools = values == filler
    if ((values < 0) & ~is_filler).any() or is_filler.all() or (is_filler & _trim_along(~is_filler, -1)).any():
        return None
    # A single one may be an id that was not found.
    return filler if (is_filler[..., 1:] & is_filler[..., :-1]).any() else None


def _mark_runs(entry: _Timed, value: float, source: Any, of: str | None = None, inside: bool = False) -> _Timed:
    """Return an input with padding where its timesteps have this value, or with ``inside`` the places in them."""
    model_input, framed = entry.input, entry.column.framed
    values = model_input.values
    frame: Bools = np.ones(values.shape[:2], np.bool_) if framed is None else framed
    if values.dtype.kind == "b":
        return entry  # An attention mask: none of its values is padding.
    cells: Bools | None = None
    if _holds_words(model_input):
        valid = frame & _trim_runs(_any_cell(~_equals(values, value)))
        cells = _find_words(values, value, frame)
        valid = valid if cells is None else _any_cell(cells)
    elif inside and values.ndim == 4:
        vectors: Bools = np.asarray((~_equals(values, value)).any(axis=-1))
        cells = _trim_along(vectors, 2) & frame[..., None]
        valid = _any_cell(cells)
    else:
        filled = _any_cell(~_equals(values, value))
        # Data may be 0 as well, but hardly any other value that a layer masks.
        valid = frame & (filled if source == "masking-layer" and value != 0 else _trim_runs(filled))
    if source == "value" and not (frame & ~valid).any() and cells is None:
        validity = Validity() if frame.all() else Validity("lengths")
        return entry.mark(frame, validity, padding=value)
    return entry.mark(valid, Validity(source, of, float(value)), cells, padding=value)


def _is_padded_otherwise(entry: _Timed, masked: float, filler: float | None) -> bool:
    """Return whether rows end in several timesteps of 0 or a filler, and none has the value that the model masks.

    A single timestep of 0 may be data.
    """
    values = entry.input.values
    if not _any_cell(~_equals(values, masked)).all():
        return False
    if filler is not None:
        return True
    padding = ~_trim_runs(_any_cell(~_equals(values, entry.column.layout.value)))
    return bool((padding[:, 1:] & padding[:, :-1]).any())


def _find_masked_value(model_input: ModelInput, roles: InputRoles) -> MaskedValue | None:
    """Return the value that the model masks; for ids, whose padding is 0, only one that rows begin or end with."""
    masked = roles.masked_values.get(model_input.name)
    if masked is None or model_input.kind != "ids":
        return masked
    is_at_ends = model_input.values.ndim > 1 and _equals(model_input.values[:, [0, -1]], masked.value).any()
    return MaskedValue(masked.layer, int(masked.value)) if is_at_ends and masked.value != 0 else None


def _equals(values: Array, value: float) -> Bools:
    """Return where numbers are a value, in their own dtype."""
    if isinstance(value, float) and np.isnan(value):
        return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, np.bool_)
    with np.errstate(over="ignore"):
        wanted = values.dtype.type(value) if values.dtype.kind == "f" else value
    equal: Bools = values == wanted
    return equal


def _trim_runs(filled: Bools) -> Bools:
    """Return False in the runs at either end of axis 1 that are not ``filled``."""
    return _trim_along(filled, 1)


def _trim_along(filled: Bools, axis: int) -> Bools:
    from_start = np.logical_or.accumulate(filled, axis=axis)
    from_end = np.flip(np.logical_or.accumulate(np.flip(filled, axis), axis=axis), axis)
    inside: Bools = from_start & from_end
    return inside


def _trim_cells(values: Array, value: float) -> Bools:
    """Return False in the runs of a value at either end of the cells of each timestep, such as words of a sentence."""
    return _trim_along(~_equals(values, value), values.ndim - 1)


def _find_words(values: Array, value: float, frame: Bools) -> Bools | None:
    """Return which ids inside timesteps are words; None if none of these timesteps has padding next to words.

    Such are pairs of nodes that an edge joins, which have no padding inside, although padded edges are ``(-1, -1)``.
    """
    cells: Bools = _trim_cells(values, value) & _expand(frame, values)
    words = cells.reshape(*cells.shape[:2], -1)
    return cells if (words.any(axis=2) & ~words.all(axis=2)).any() else None


def _any_cell(cells: Bools) -> Bools:
    valid: Bools = np.asarray(cells.any(axis=tuple(range(2, cells.ndim))))
    return valid


def _expand(valid: Bools, values: Array) -> Bools:
    return valid.reshape(*valid.shape, *(1,) * (values.ndim - 2))


def _holds_words(model_input: ModelInput) -> bool:
    """Return whether timesteps consist of ids, such as the words of a sentence."""
    return model_input.values.ndim > 2 and model_input.values.dtype.kind in "iu"


def _find_fill(entry: _Timed, roles: InputRoles) -> float:
    """Return the value with which maskcli pads an input: that of the user, or that which the model masks."""
    masked, layout = roles.masked_values.get(entry.input.name), entry.column.layout
    if entry.input.kind == "ids" or layout.chosen_value is not None or masked is None:
        return layout.value
    return masked.value


def _find_padding_value(entry: _Timed, valid: Bools, roles: InputRoles) -> float:
    """Return the value of the padding in marked data; that of more padding where the data shows none."""
    padding = entry.input.values[~valid]
    if padding.size and (padding == padding.flat[0]).all():
        value = padding.flat[0]
        return int(value) if entry.input.kind == "ids" else float(value)
    return _find_fill(entry, roles)


def _fill_frame(entry: _Timed, roles: InputRoles) -> ModelInput:
    """Return an input whose rows are padded with its padding value; arrays in the data stay unchanged."""
    model_input, column = entry.input, entry.column
    if column.framed is None or column.batch is not None or model_input.values.dtype.kind == "b":
        return model_input
    fill, places = _find_fill(entry, roles), ~column.framed
    if model_input.values.dtype.kind in "iu":
        fill = int(fill) if float(fill).is_integer() else 0
    values = model_input.values.copy()
    values[places] = fill
    if column.framed_cells is not None:
        values[~column.framed_cells] = fill
    return dataclasses.replace(model_input, values=values)


# Evidence that inputs share.


def _apply_masks(timed: Sequence[_Timed], masks: Sequence[_Timed], roles: InputRoles, has_model: bool) -> list[_Timed]:
    """Return the inputs, where masks among the inputs mark the padding of those that they mask."""
    result = []
    for entry in timed:
        mask = next((mask for mask in masks if entry.input.name in _list_masked(mask, masks, timed, roles)), None)
        if mask is None or entry.source == "given":
            result.append(entry)
            continue
        valid = _read_mask(mask.input)
        validity = Validity("mask-input" if has_model else "given", mask.input.name)
        cells = entry.input.cells
        if cells is not None:
            cells = cells & _expand(valid, cells)
        result.append(entry.mark(valid, validity, cells, padding=_find_padding_value(entry, valid, roles)))
    return result


def _read_mask(mask: ModelInput) -> Bools:
    """Return ``(batch, timesteps)``, True where a mask marks valid timesteps."""
    valid: Bools = mask.values.astype(bool) != mask.inverted
    return valid


def _turn_inverted(mask: _Timed, masks: Sequence[_Timed], timed: Sequence[_Timed], roles: InputRoles) -> _Timed:
    """Return a mask that is marked as inverted if it is True exactly at the padding that the ids themselves show."""
    masked = _list_masked(mask, masks, timed, roles)
    flags = mask.input.values.astype(bool)
    for entry in timed:
        ids, has_evidence = entry.input, entry.source in ("lengths", "value")
        if ids.name in masked and ids.kind == "ids" and has_evidence and is_same_validity(ids.valid, ~flags):
            return dataclasses.replace(mask, input=dataclasses.replace(mask.input, inverted=True, padding=1))
    return mask


def _list_masked(mask: _Timed, masks: Sequence[_Timed], timed: Sequence[_Timed], roles: InputRoles) -> list[str]:
    """Return the inputs that a mask is for: by the model, or else by their names, or else by their axes."""
    same = [entry.input.name for entry in timed if entry.input.values.shape[:2] == mask.input.values.shape]
    by_model = [name for name in same if name in roles.masks.get(mask.input.name, ())]
    if by_model:
        return by_model
    names = [other.input.name for other in masks]
    claimed = {name for other in names for name in roles.masks.get(other, ())}
    free = [name for name in same if name not in claimed]
    if len(masks) == 1:
        return free
    return match_by_prefix(mask.input.name, free, names) or free


def _mark_auxiliary(timed: Sequence[_Timed], roles: InputRoles) -> list[_Timed]:
    """Return the inputs, where segments, positions and the like are marked as such."""
    return [
        dataclasses.replace(entry, input=dataclasses.replace(entry.input, auxiliary=_is_auxiliary(entry, timed, roles)))
        for entry in timed
    ]


def _is_auxiliary(entry: _Timed, timed: Sequence[_Timed], roles: InputRoles) -> bool:
    """Return whether the values of an input describe the timesteps of another one and are no evidence of padding."""
    others = [other for other in timed if other is not entry and _have_same_axes(entry, other)]
    model_input = entry.input
    if model_input.kind != "ids" or not others:
        return False
    if model_input.counts_up or _is_constant(model_input.values):
        return True
    ids = [other for other in others if other.input.kind == "ids" and not other.input.counts_up]
    if is_auxiliary_name(model_input.name):
        return any(not is_auxiliary_name(other.input.name) for other in others)
    return any(_describes(entry, other, roles) for other in ids)


def _have_same_axes(first: _Timed, second: _Timed) -> bool:
    return first.input.values.shape[:2] == second.input.values.shape[:2]


def _is_constant(values: Array) -> bool:
    return bool((values == values.flat[0]).all())


def _describes(entry: _Timed, other: _Timed, roles: InputRoles) -> bool:
    """Return whether an input of few distinct ids has 0 as a category, where ``other`` has tokens."""
    first, second = entry.input, other.input
    if is_auxiliary_name(second.name) or _is_constant(second.values) or second.valid is None:
        return False
    kinds, other_kinds = len(np.unique(first.values)), len(np.unique(second.values))
    dim, other_dim = roles.input_dims.get(first.name), roles.input_dims.get(second.name)
    if dim is None or other_dim is None:
        dim, other_dim = kinds, other_kinds
    if dim >= other_dim or (kinds > FEW and 4 * dim > other_dim):
        return False
    padding = _equals(first.values, entry.column.layout.value)
    inside = (padding & _trim_runs(~padding)).any()
    return bool(inside or _is_contradicted(entry, other))


def _share_validity(timed: Sequence[_Timed]) -> list[_Timed]:
    """Return the inputs, where those without evidence have the validity of another input with their timesteps."""
    result = []
    for entry in timed:
        giver = _find_giver(entry, timed)
        if giver is None:
            result.append(_clear_auxiliary(entry))
            continue
        valid, cells = giver.input.valid, entry.input.cells
        assert valid is not None  # noqa: S101 - the givers have timesteps
        if cells is not None:
            cells = cells & _expand(valid, cells)
        validity = dataclasses.replace(giver.input.validity, of=giver.input.validity.of or giver.input.name)
        result.append(entry.mark(valid, validity, cells))
    return result


def _clear_auxiliary(entry: _Timed) -> _Timed:
    """Return an input, without evidence from values that are none."""
    if not entry.input.auxiliary or entry.source in STRONG:
        return entry
    return entry.mark(np.ones_like(entry.input.valid), Validity())


def _find_giver(entry: _Timed, timed: Sequence[_Timed]) -> _Timed | None:
    """Return the input whose validity another one shares; None if its own evidence counts."""
    if entry.source in STRONG:
        return None
    others = [
        other for other in timed if other is not entry and _have_same_axes(entry, other) and not other.input.auxiliary
    ]
    is_describing = entry.input.kind == "features" or entry.input.auxiliary
    if is_describing and entry.column.layout.chosen_value is None:
        given = _choose_giver(entry, [other for other in others if other.source == "given"])
        if given is not None:
            return given
    ids = [other for other in others if other.input.kind == "ids"]
    if entry.input.auxiliary:
        return _choose_giver(entry, ids or others)
    if entry.source == "none" and entry.input.kind == "features":
        return _choose_giver(entry, [other for other in (*ids, *others) if other.source != "none"])
    if entry.input.kind == "features":
        padded = [*ids, *(item for item in others if item.source != "none")]
        return next((item for item in padded if _is_contradicted(entry, item)), None)
    return None


def _choose_giver(entry: _Timed, others: Sequence[_Timed]) -> _Timed | None:
    """Return the input whose padding an input seems to share, by default the first; None without any.

    Two inputs, of an encoder and a decoder, may have the same axes by chance. At its own padding, an input holds the
    padding value, or at least a single one.
    """

    def count_doubts(other: _Timed) -> int:
        assert other.input.valid is not None  # noqa: S101 - these inputs have timesteps
        padding = entry.input.values[~other.input.valid]
        is_same = not padding.size or _is_constant(padding)
        return int(not is_same) + int(not _equals(padding, entry.column.layout.value).all())

    return min(others, key=count_doubts, default=None)


def _is_contradicted(entry: _Timed, first: _Timed) -> bool:
    """Return whether the padding of an input cannot be padding, because ``first`` has ids there.

    It cannot in a row that would be empty, or on a side where ``first`` has none.
    """
    valid, of_first = entry.input.valid, first.input.valid
    if valid is None or of_first is None:
        return False
    is_empty = ~valid.any(axis=1) & of_first.any(axis=1)
    before, after = _find_padded_sides(valid)
    first_before, first_after = _find_padded_sides(of_first)
    is_elsewhere = (before and first_after and not first_before) or (after and first_before and not first_after)
    return is_elsewhere or bool(is_empty.any())


def _find_padded_sides(valid: Bools) -> tuple[bool, bool]:
    """Return whether any non-empty row has padding before, and after, its tokens."""
    rows = valid[valid.any(axis=1)]
    return bool((~rows[:, 0]).any()), bool((~rows[:, -1]).any())


def _find_categories(entries: Sequence[_Timed], roles: InputRoles) -> list[_Timed]:
    """Return the inputs, where categories of a fixed width next to longer sequences have no timesteps."""
    widths = [entry.input.values.shape[1] for entry in entries if _has_timesteps(entry.input)]
    longest, masked = max(widths, default=0), frozenset().union(*roles.masks.values())
    return [
        dataclasses.replace(entry, input=dataclasses.replace(entry.input, valid=None))
        if entry.input.name not in masked
        and (_is_category(entry, longest, roles) or _starts_with_category(entry, entries))
        and not _is_of_others(entry, entries)
        else entry
        for entry in entries
    ]


def _starts_with_category(entry: _Timed, entries: Sequence[_Timed]) -> bool:
    """Return whether few columns start with 0, where the padding of longer sequences is at the end of their rows."""
    sides = _find_sides_of_ids(entry)
    if sides != (True, False) or entry.input.values.shape[1] > NARROW:
        return False
    longer = [other for other in entries if other.input.values.shape[1:2] > entry.input.values.shape[1:2]]
    return any(_find_sides_of_ids(other) == (False, True) for other in longer)


def _find_sides_of_ids(entry: _Timed) -> tuple[bool, bool] | None:
    """Return whether rows of ids have padding before, and after, their tokens, by their values; None for others."""
    column, values = entry.column, entry.input.values
    if entry.input.kind != "ids" or values.ndim != 2 or column.marked is not None:
        return None
    if column.has_lengths:
        is_pre = column.layout.padding == "pre"
        return is_pre, not is_pre
    return _find_padded_sides(_trim_runs(~_equals(values, column.layout.value)))


def _is_of_others(entry: _Timed, entries: Sequence[_Timed]) -> bool:
    """Return whether an input is named like segments or positions, and another one has its timesteps."""
    others = [other for other in entries if other is not entry and _have_same_axes(entry, other)]
    return is_auxiliary_name(entry.input.name) and any(not is_auxiliary_name(other.input.name) for other in others)


def _is_category(entry: _Timed, longest: int, roles: InputRoles) -> bool:
    """Return whether an input has categories instead of timesteps.

    The model takes their columns one by one, or 0 is one of them: it is found between others, or at both ends of rows.
    """
    column, values = entry.column, entry.input.values
    if entry.input.kind != "ids" or values.ndim != 2 or values.shape[1] >= longest:
        return False
    if column.marked is not None or column.has_lengths:
        return False
    filled = ~_equals(values, column.layout.value)
    valid = _trim_runs(filled)
    if entry.input.name in roles.columns and (roles.columns[entry.input.name] or valid.all()):
        return True
    before, after = _find_padded_sides(valid)
    return values.shape[1] == 1 or bool((valid & ~filled).any()) or (before and after)


# Masks among the inputs.


def _agree_with_data(
    mask: ModelInput, inputs: Sequence[ModelInput], masks: Sequence[_Timed], roles: InputRoles
) -> ModelInput:
    """Return a mask with the validity of the data that it masks, with which it may disagree."""
    own = dataclasses.replace(mask, valid=_read_mask(mask), validity=Validity("mask-input"))
    same = [
        entry
        for entry in inputs
        if entry.kind != "mask" and entry.valid is not None and entry.values.shape[:2] == mask.values.shape
    ]
    of_mask = [entry for entry in same if entry.validity.of == mask.name]
    of_model = [entry for entry in same if entry.name in roles.masks.get(mask.name, ())]
    by_prefix = match_by_prefix(mask.name, [entry.name for entry in same], [other.input.name for other in masks])
    of_name = [entry for entry in same if entry.name in by_prefix]
    if of_mask:
        return dataclasses.replace(own, valid=of_mask[0].valid)
    source = find_primary(of_model or of_name or same)
    if source is None or source.validity.source != "given":
        return own
    return dataclasses.replace(own, valid=source.valid, validity=source.validity)


# Values that contradict the options.


def check_values(inputs: Sequence[ModelInput], columns: Sequence[DataColumn], table: DataTable) -> None:
    """Check numbers that are not finite, and the padding value that the user chose.

    Raises:
        InputError: for NaN or infinity at a valid timestep.
        UsageError: for a padding value that no full array has.
    """
    for model_input, column in zip(inputs, columns, strict=True):
        with name_column_errors(table, column.name):
            _check_finite(model_input)
    _check_chosen_value(list(zip(inputs, columns, strict=True)))


def _check_finite(model_input: ModelInput) -> None:
    values = model_input.values
    if values.dtype.kind != "f":
        return
    wrong = ~np.isfinite(values)
    if model_input.valid is not None:
        wrong &= _expand(model_input.valid, values)
    if not wrong.any():
        return
    at = tuple(np.argwhere(wrong)[0])
    raise InputError(
        row=int(at[0]),
        expected=f"finite numbers that {values.dtype} holds, except at padding",
        received=f"{values[at]} at {[int(index) for index in at]}",
        fix=f"Replace NaN and infinity, or mark padding: with --value {values[at]}, or in {model_input.name}.mask.",
    )


def _check_chosen_value(pairs: Sequence[tuple[ModelInput, DataColumn]]) -> None:
    arrays = {
        model_input.name: model_input.values
        for model_input, column in pairs
        if (_has_timesteps(model_input) or is_row_of_numbers(model_input))
        and not column.has_lengths
        and (column.framed is None or column.framed.all())
        and model_input.validity.source not in ("given", "mask-input")
    }
    value = next((column.layout.chosen_value for _, column in pairs), None)
    if arrays and value is not None and not any(_equals(values, value).any() for values in arrays.values()):
        raise _make_absence_error(value, arrays)


def check_batch_value(batch: PaddedBatch) -> None:
    """Raise UsageError for a padding value that the user chose, if a batch of full rows does not have it."""
    value = batch.layout.chosen_value
    is_full = batch.marked_by is None and not have_lengths(batch.lengths) and bool(batch.mask.all())
    if value is not None and is_full and not _equals(batch.tokens, value).any():
        raise _make_absence_error(value, {"tokens": batch.tokens})


def _make_absence_error(value: float, arrays: Mapping[str, Array]) -> UsageError:
    return UsageError(
        where=f"--value {value:g}",
        expected=f"the value of the padding in {', '.join(arrays)}",
        received="a value that does not occur there",
        fix=_suggest_value(arrays) or "Leave --value out if the rows have no padding.",
    )


def _suggest_value(arrays: Mapping[str, Array]) -> str | None:
    """Return a fix that names the value in which several rows end, or start; None if there is none."""
    for name, array in arrays.items():
        for timestep, verb in ((-1, "end"), (0, "start")):
            edge = array[:, timestep].reshape(len(array), -1)
            same = edge[(edge == edge[:, :1]).all(axis=1), 0]
            values, counts = np.unique(same, return_counts=True)
            if len(counts) and counts.max() > 1:
                text = str(values[counts.argmax()]).removesuffix(".0")
                return f"Rows of {name} {verb} in {text}: use --value {text} if that is padding."
    return None
