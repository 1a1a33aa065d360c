"""Write repairs that were tried as sentences and as code, in the names of the model."""

from __future__ import annotations

import builtins
import dataclasses
import functools
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from maskcli.conclusions.repair_code import (
    BODIES,
    COPIED,
    EMPTY_WINDOWS,
    FLIPPED,
    GROUPS,
    JOIN_MASKS,
    KEEP_MASK,
    KERNEL,
    MASK_SCORES,
    MASK_TIMESTEPS,
    MATRIX,
    POOL,
    POOLING,
    SHARES,
    STRIDED,
    SUBCLASS,
    WHOLE_WINDOWS,
    WINDOWS,
    WITH_MASK,
    ZERO_PADDED,
)
from maskcli.conclusions.repair_names import (
    RECEIVED,
    label_layer,
    name_code,
    name_input_argument,
    name_layer,
    name_mask_argument,
    rebinds_name,
    write_input,
    write_mask,
)
from maskcli.probes.repair_changes import (
    WHOLE,
    CopyInput,
    FlipResult,
    InvertMask,
    KeepMask,
    MaskedGroups,
    MaskedPooling,
    MaskedScores,
    MaskedSoftmax,
    MaskedWindows,
    MaskInput,
    MaskMissing,
    MaskOrigin,
    PassMask,
    SetAttribute,
    SetInnerMaskZero,
    SetMaskValue,
    SetMaskZero,
    TimeSlice,
    TurnMask,
    ZeroPadding,
    ZeroResult,
    find_joined_masks,
    get_argument,
)
from maskcli.probes.repair_masks import (
    ChangedModel,
    find_axis_validity,
    find_common_padding,
    find_owner,
    is_in_sequence,
    is_own_layer,
)
from maskcli.probes.repairs import Cure
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput, is_same_validity
from maskcli.trace.changes import CallChange, find_in_argument, flatten_arguments, is_graph, is_keras_layer, is_layer
from maskcli.trace.locations import locate_calls
from maskcli.trace.recorder import CallRecord, get_code, list_parameters
from maskcli.trace.values import get_dtype, is_float


@dataclasses.dataclass(frozen=True)
class RepairText:
    """A repair as a sentence, with code between backticks, and as code to paste."""

    kind: str
    call: str | None
    sentence: str
    code: str


_CLASS = re.compile(r"^class (\w+)(.*?)(?=\n\S|\Z)", re.MULTILINE | re.DOTALL)
"""The name and the body of a class in the code of a repair."""


def write_repairs(cure: Cure) -> list[tuple[tuple[CallChange, ...], RepairText]]:
    """Return the text of each repair of a cure, with the changes that it makes: all changes of one call are one."""
    groups: dict[str, list[CallChange]] = {}
    for change in cure.changes:
        groups.setdefault(change.key, []).append(change)
    merged: dict[tuple[object, ...], tuple[tuple[CallChange, ...], RepairText]] = {}
    for key, changes in groups.items():
        text = write_repair(cure.original, changes, cure.changed)
        edit = (text.kind, text.code, _find_edited(cure.original.by_key.get(key)))
        earlier, first = merged.get(edit, ((), text))
        merged[edit] = ((*earlier, *changes), first)
    texts = _number_classes([text for _, text in merged.values()])
    return [(changes, text) for (changes, _), text in zip(merged.values(), texts, strict=True)]


def _number_classes(texts: Sequence[RepairText]) -> list[RepairText]:
    """Return texts in which classes of one name with different code have different names."""
    bodies: dict[str, list[str]] = {}
    numbered = []
    for text in texts:
        renamed = text
        for name, block in _CLASS.findall(text.code):
            body = block.rstrip()
            known = bodies.setdefault(name, [])
            if body not in known:
                known.append(body)
            number = known.index(body) + 1
            if number > 1:
                word = re.compile(rf"\b{name}\b")
                renamed = dataclasses.replace(
                    renamed,
                    sentence=word.sub(f"{name}{number}", renamed.sentence),
                    code=word.sub(f"{name}{number}", renamed.code),
                )
        numbered.append(renamed)
    return numbered


def _find_edited(entry: CallRecord | None) -> object:
    """Return the object that an edit of a call changes: a layer for all its calls, or a class of the user's."""
    if entry is None:
        return None
    owner = find_owner(entry)
    if is_own_layer(owner.operation):
        return get_code(owner.operation)
    return owner.index if owner.code else id(owner.operation)


def write_repair(look: ChangedModel, changes: Sequence[CallChange], changed: ChangedModel | None = None) -> RepairText:
    """Return the text of changes of one call, in the names of the model; ``changed`` is the model under all changes."""
    entry = look.by_key[changes[0].key]
    repaired = None if changed is None else changed.by_key.get(changes[0].key)
    place = _Place(look, entry, changes, entry if repaired is None else repaired)
    parts = [part for part in (WRITERS[type(change)](place, change) for change in changes) if part is not None]
    kinds = list(dict.fromkeys(str(getattr(change, "kind", "change")) for change in changes))
    path = (look.path(entry) or None) if entry.parent is not None else None
    return RepairText(
        kind="pass-mask" if "pass-mask" in kinds else kinds[-1],
        call=path,
        sentence=" ".join(sentence for sentence, _ in parts),
        code="\n\n\n".join(code for _, code in parts),
    )


def write_weights(inputs: Sequence[ModelInput], valid: Bools | None, loss_type: str | None) -> RepairText | None:
    """Return the text of sample weights that leave padding out of a loss.

    Args:
        inputs: the inputs of the model, on some rows.
        valid: the validity of the output on these rows.
        loss_type: the class name of a loss of Keras; None for other losses.

    Returns:
        None if the timesteps of the output are not those of an input.
    """
    source = next((item for item in inputs if valid is not None and is_same_validity(item.valid, valid)), None)
    if source is None or source.valid is None:
        return None
    mask, value = f"{source.name}_mask", find_common_padding(source.values, source.valid)
    if source.kind in ("ids", "features") and value is not None:
        # An array without a name is called `input`, which is a function of Python.
        array = "x" if source.name in dir(builtins) else source.name
        differs = f"{array} != {value:.9g}"
        mask = differs if source.values.ndim == 2 else f"({differs}).any(axis=-1)"
    reduction = 'reduction="mean_with_sample_weight"'
    name = "YourLoss" if loss_type is None else f"keras.losses.{loss_type}"
    loss = f"loss={name}({reduction})"
    fit = 'model.fit(x, y, sample_weight=mask.astype("float32"))'
    return RepairText(
        kind="loss-weights",
        call=None,
        sentence=f"Compile with `{name}` and `{reduction}`, and pass weights: `{fit}`, where `mask = {mask}`.",
        code=f"mask = {mask}\nmodel.compile({loss})  # with its other arguments\n{fit}",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Place:
    """The call that a repair changes, with all changes of it, and the same call in the model under all repairs."""

    look: ChangedModel
    entry: CallRecord
    changes: Sequence[CallChange]
    repaired: CallRecord

    @property
    def name(self) -> str:
        """The name of the layer in the code that calls it."""
        return name_layer(self.entry)

    @property
    def label(self) -> str:
        """The name of the layer in the code of the model, with the attributes that lead to it."""
        return label_layer(self.look, self.entry)


def _write_passed_masks(place: _Place, change: PassMask) -> tuple[str, str] | None:
    passed = [other for other in place.changes if isinstance(other, PassMask)]
    if passed[0] is not change:
        return None
    if len(passed) == 1 and change.form == "plain" and _is_made_outside(place, change.origin):
        around = _Inside(place, change.origin)
        line = f"{place.name}(..., {change.argument}={around.mask})"
        sentence = f"Pass the mask in the call of {place.label}, in `{around.call}`: `{line}`."
        return around.add_passed_mask(sentence, f"{line}  # in {around.call}")
    masks = [f"{other.argument}={_write_passed_mask(place, other)}" for other in passed]
    code = f"{place.name}(..., {', '.join(masks)})"
    parent = place.entry.parent
    where = f"  # in {name_code(parent)}" if parent is not None and is_own_layer(parent.operation) else ""
    which = _tell_calls_apart(place)
    if which and not where:
        where = f"  # the call {which}"
    subject = f"{place.label} {which}".strip()
    sentence = f"Pass the mask in the call of {subject}: `{code}`."
    if is_in_sequence(place.entry):
        sentence = f"Write the Sequential as a functional model, whose code can pass a mask. {sentence}"
        where = "  # in a functional model of the same layers"
    received = re.search(rf"\b{RECEIVED}(\w+)", code)
    if received is not None and parent is not None:
        kept = f"{received[0]} = {received[1]}"
        sentence = f"Begin `{name_code(parent)}` with `{kept}`. {sentence}"
        code = f"{kept}  # first line of {name_code(parent)}\n{code}"
    return sentence, code + where


def _tell_calls_apart(place: _Place) -> str:
    """Return which call of a layer that is called several times is meant; empty for other layers.

    The calls of a functional model run in another order than in its code, so that their numbers are no help.
    """
    entry = place.entry
    calls = [other for other in place.look.context.base.ended if other.operation is entry.operation]
    if len(calls) < 2 or not is_layer(entry):
        return ""
    if line := _write_line(place):
        return line.strip()
    makers = [place.look.flow.maker.get(id(tensor)) for tensor in entry.inputs]
    names = [place.look.path(maker) for maker in makers if maker is not None]
    return f"on the result of {names[0]}" if names and names[0] else ""


def _is_made_outside(place: _Place, origin: MaskOrigin) -> bool:
    """Return whether a call in the code of a layer needs a mask that other code makes."""
    parent, owner = place.entry.parent, find_owner(place.entry)
    if parent is None or not is_own_layer(parent.operation):
        return False
    if origin.kind == "arriving":
        return origin.key == place.look.key(owner) and owner is not place.entry
    return origin.kind == "call" and place.look.by_key[origin.key].parent is not parent


def _write_passed_mask(place: _Place, change: PassMask) -> str:
    mask = write_mask(place.look, place.entry, change.origin)
    if change.form == "keys":
        return f"{mask}[:, None, :]"
    return f"[None, {mask}]" if change.form == "list" else mask


def _write_mask_value(place: _Place, change: SetMaskValue) -> tuple[str, str]:
    code = f"keras.layers.{place.entry.type}({change.value:.9g})"
    return f"Let {place.name} look for the value of the padding: `{code}`.", code


def _write_filled_features(place: _Place, change: MaskMissing) -> tuple[str, str]:
    value = f"{change.value:.9g}"
    code = f"x = np.where(np.isnan(x), {value}, x)  # the data of {place.name}\n\n\nkeras.layers.Masking({value})"
    return (
        f"{place.label} never matches, because NaN equals nothing: fill NaN in the data with a value below all others, "
        f"`np.where(np.isnan(x), {value}, x)`, and use `keras.layers.Masking({value})`."
    ), code


def _write_masked_features(place: _Place, change: MaskInput) -> tuple[str, str]:
    rank = place.look.context.inputs[change.position].values.ndim
    if rank != 3:
        return _write_masked_timesteps(place, change, rank)
    layer = f"keras.layers.Masking({change.value:.9g})"
    if place.entry.type == "Sequential":
        return (
            f"Mask the padding where it enters the model: add `{layer}` as the first layer.",
            f"{layer}  # first layer",
        )
    line, comment = _write_replaced_input(place, change, layer)
    return f"Mask the padding of {change.name} where it enters the model: `{line}`.", f"{line}{comment}"


def _write_replaced_input(place: _Place, change: MaskInput, layer: str) -> tuple[str, str]:
    """Return the line that applies a layer to an input, and a comment.

    In a graph, ``keras.Model`` still needs the input by its own name.
    """
    base = place.look.context.base
    source = base.inputs[change.position]
    user = next((entry for entry in base.entries[1:] if any(tensor is source for tensor in entry.inputs)), None)
    name = write_input(place.look, change.position, user)
    if not is_graph(place.entry.operation):
        return f"{name} = {layer}({name})", ""
    masked = f"masked_{name}"
    return (
        f"{masked} = {layer}({name})",
        f"  # {name} is that keras.Input; use {masked} after it, but not in keras.Model",
    )


def _write_masked_timesteps(place: _Place, change: MaskInput, rank: int) -> tuple[str, str]:
    """Return the text of frames, of which ``Masking`` masks parts, or of single numbers, of which it masks rows."""
    name, differs = ("MaskSeries" if rank == 2 else "MaskFrames"), f"keras.ops.not_equal(x, {change.value:.9g})"
    mask = differs if rank == 2 else f"keras.ops.any({differs}, axis={tuple(range(2, rank))})"
    definition = MASK_TIMESTEPS.format(type=name, mask=mask)
    if place.entry.type == "Sequential":
        sentence = f"Mask the padded timesteps where they enter the model: add `{name}()` as the first layer."
        return sentence, f"{definition}\n\n\n{name}()  # first layer"
    line, comment = _write_replaced_input(place, change, f"{name}()")
    sentence = f"Mask the padded timesteps of {change.name} where they enter the model: `{line}`."
    return sentence, f"{definition}\n\n\n{line}{comment}"


def _write_zeroing(place: _Place, change: ZeroPadding) -> tuple[str, str]:
    if find_owner(place.entry) is not place.entry:
        valids = place.look.flow.list_input_validity(place.entry)
        inside = _Inside(place, change.origin, next(iter(valids), None))
        line = f"x = keras.ops.where({inside.mask}[..., None], x, 0.0)"
        note = inside.describe_exception()
        sentence = f"In `{inside.call}`, set padding to zero before {place.name}: `{line}`{note}."
        comment = f"in {inside.call}, where x is the input of {place.name}"
        return inside.add_passed_mask(sentence, inside.write_line(line, comment))
    line = f"x = ZeroPadded()({_write_masked_input(place.look, place.entry, change.origin)})"
    where = f"before {place.name} {_tell_calls_apart(place)}".strip()
    return f"Set padding to zero {where}: `{line}`.", f"{ZERO_PADDED}\n\n\n{line}  # {where}"


def _write_flip(place: _Place, change: FlipResult) -> tuple[str, str]:
    del change
    line = "x = Flipped()(x)"
    sentence = f"Turn the result of {place.label} round, so that it fits its mask: `{line}` after it."
    return sentence, f"{FLIPPED}\n\n\n{line}  # x is the result of {place.name}"


def _write_copies(place: _Place, change: CopyInput) -> tuple[str, str]:
    maker = place.look.flow.maker.get(id(place.entry.inputs[change.position]))
    around = [] if maker is None else [maker, *maker.parents]
    maker = next((call for call in around if call.parent is place.entry.parent), None)
    source = "an input" if maker is None else f"the result of {name_layer(maker)}"
    line = f"Copied()(x)  # in the call of {place.name} only, instead of x, {source}"
    sentence = (
        f"Pass {place.label} a copy, because attention in its code takes the mask off: `Copied()(x)` instead of x, "
        f"{source}, in that call only."
    )
    return sentence, f"{COPIED}\n\n\n{line}"


def _write_attribute(place: _Place, change: SetAttribute) -> tuple[str, str]:
    code = f"{place.entry.type}(..., {change.name}={change.value})"
    return f"Build {place.label} with `{code}`.", code


def _write_inner_lookup(place: _Place, change: SetInnerMaskZero) -> tuple[str, str]:
    code = "keras.layers.Embedding(..., mask_zero=True)"
    return f"Let {' and '.join(change.names)}, inside {place.label}, make a mask: `{code}`.", code


def _write_windows(place: _Place, change: MaskedWindows) -> tuple[str, str]:
    first, shares = ("-1e9", EMPTY_WINDOWS) if change.how == "max" else ("0.0", SHARES)
    code = WINDOWS.format(type=place.entry.type, base=_write_base(place.entry), value=first, shares=shares)
    action = f"Leave padding out of the windows of {place.label}"
    return _replace_call(place, change.origin, action, code)


def _write_groups(place: _Place, change: MaskedGroups) -> tuple[str, str]:
    template = GROUPS if hasattr(place.entry.operation, "groups") else MATRIX
    code = template.format(type=place.entry.type, base=_write_base(place.entry))
    return _replace_call(place, change.origin, f"Leave padding out of the statistics of {place.label}", code)


def _replace_call(place: _Place, origin: MaskOrigin, action: str, code: str) -> tuple[str, str]:
    """Return the text of a layer with another class, which may not receive the mask with its input."""
    owner = find_owner(place.entry)
    if owner is not place.entry and origin.kind == "arriving" and origin.key == place.look.key(owner):
        valids = place.look.flow.list_input_validity(place.entry)
        around = _Inside(place, origin, next(iter(valids), None))
        line = f"{place.name}(..., mask={around.mask})"
        sentence = (
            f"{action}: {_replace_class(place.entry)}, and pass the mask in its call, in `{around.call}`: `{line}`."
        )
        return around.add_passed_mask(sentence, f"{code}\n\n\n{line}  # in {around.call}")
    arguments = _write_masked_input(place.look, place.entry, origin)
    if arguments == "x":
        return f"{action}: {_replace_class(place.entry)}.", code
    line = f"{place.name}({arguments.replace('x, ', '..., ')})"
    sentence = f"{action}: {_replace_class(place.entry)}, and pass the mask in its call: `{line}`."
    return sentence, f"{code}\n\n\n{line}"


def _replace_class(entry: CallRecord) -> str:
    return f"replace it by `Masked{entry.type}(...)` with the same arguments"


def _write_inverted_mask(place: _Place, change: InvertMask) -> tuple[str, str] | None:
    if any(isinstance(other, TurnMask) for other in place.changes):
        return None
    if is_own_layer(place.entry.operation):
        passed = get_argument(place.entry, change.argument)
        is_number = hasattr(passed, "dtype") and get_dtype(passed) != "bool"
        line = "mask = 1 - mask" if is_number else "mask = keras.ops.logical_not(mask)"
        call = name_code(place.entry)
        return (
            f"`{call}` takes the mask for its opposite: begin it with `{line}`, or use `mask` the other way round.",
            f"{line}  # first line of {call}, if mask is not None",
        )
    mask = 'keras.ops.logical_not(keras.ops.cast(M, "bool"))'
    return _write_attention_mask(place.name, change.argument, mask, "Invert the attention mask")


def _write_turned_mask(place: _Place, change: TurnMask) -> tuple[str, str]:
    # The mask may only arrive under other repairs.
    passed = (get_argument(entry, change.argument) for entry in (place.entry, place.repaired))
    mask = next((mask for mask in passed if mask is not None), None)
    turned = "M[:, None, :]" if mask is None or len(mask.shape) == 2 else "keras.ops.swapaxes(M, -1, -2)"
    action = "Lay the attention mask along the keys"
    if any(isinstance(other, InvertMask) for other in place.changes):
        turned, action = f'keras.ops.logical_not(keras.ops.cast({turned}, "bool"))', f"{action} and invert it"
    return _write_attention_mask(place.name, change.argument, turned, action)


@dataclasses.dataclass(frozen=True, eq=False)
class _Inside:
    """The code of a layer that makes a call and needs a mask for it; maybe in the code of further layers."""

    place: _Place
    origin: MaskOrigin
    valid: Bools | None = None

    @property
    def look(self) -> ChangedModel:
        """The model without changes."""
        return self.place.look

    @functools.cached_property
    def layers(self) -> list[CallRecord]:
        """The layers, not of Keras, whose code leads to the call, the outermost first."""
        layers: list[CallRecord] = []
        item = self.place.entry.parent
        while item is not None and is_own_layer(item.operation):
            layers.insert(0, item)
            item = item.parent
        return layers

    @property
    def mask(self) -> str:
        """The mask as an expression."""
        if self._received is not None:
            return f'keras.ops.cast({self._received}, "bool")'
        argument, expression = self._names
        return expression.replace(argument, self._kept, 1) if self._is_rebound else expression

    @functools.cached_property
    def _received(self) -> str | None:
        """The argument in which the code receives a mask that is an input of the model already; None without one."""
        is_input = self.origin.kind == "input"
        name = name_input_argument(self.look, self.layers[-1], self.origin.position) if is_input else None
        return name if name is not None and name.isidentifier() and not self._rebinds(name) else None

    def _rebinds(self, name: str) -> bool:
        code = get_code(self.layers[-1].operation)
        return rebinds_name(getattr(code, "call", code), name)

    @functools.cached_property
    def _is_rebound(self) -> bool:
        """Whether the code gives the name of the mask to something else, such as the mask with more axes."""
        return self._received is None and self._rebinds(self._names[0])

    @property
    def _kept(self) -> str:
        return f"{RECEIVED}{self._names[0]}"

    @property
    def _may_be_missing(self) -> bool:
        """Whether the class is called elsewhere, maybe without a mask."""
        layer = self.layers[-1]
        if self._received is not None:
            return False
        calls = sum(get_code(other.operation) is get_code(layer.operation) for other in self.look.context.base.ended)
        # Keras calls the function of a Lambda without a mask, too, to learn the shape of its result.
        return calls > 1 or layer.type == "Lambda"

    def write_line(self, line: str, comment: str) -> str:
        """Return a line of the code that needs the mask, with the lines that it needs before it."""
        code = f"{line}  # {comment}"
        argument = self._kept if self._is_rebound else self._names[0]
        if self._may_be_missing:
            code = f"if {argument} is not None:\n    {code}"
        return f"{self._kept} = {self._names[0]}  # first line of {self.call}\n{code}" if self._is_rebound else code

    def describe_exception(self) -> str:
        """Return the part of a sentence that names the calls without a mask; empty if there are none."""
        note = f", where `{self._kept}` is `{self._names[0]}` as it was received" if self._is_rebound else ""
        argument = self._kept if self._is_rebound else self._names[0]
        return f"{note}, unless `{argument}` is None" if self._may_be_missing else note

    @functools.cached_property
    def _names(self) -> tuple[str, str]:
        repaired = self.place.repaired
        for _ in self.layers:
            repaired = repaired.parent or repaired
        taken = {name for layer in self.layers for name in list_parameters(type(layer.operation).call)}
        return name_mask_argument(self.look, self.layers[0], self.origin, self.valid, repaired, taken)

    @property
    def call(self) -> str:
        """The signature of the code that makes the call."""
        return self._write_signature(self.layers[-1]) if self._received is None else name_code(self.layers[-1])

    def _write_signature(self, layer: CallRecord) -> str:
        return name_code(layer, self._names[0])

    def add_passed_mask(self, sentence: str, code: str) -> tuple[str, str]:
        """Return the text of a change in the code, with the arguments of the calls that lead there."""
        if self._received is not None:
            return sentence, code
        outer, argument = self.layers[0], self._names[0]
        for layer, inner in zip(self.layers, self.layers[1:], strict=False):
            passed, signature = f"{name_layer(inner)}(..., {argument}={argument})", self._write_signature(layer)
            sentence = f"{sentence} Pass the mask on in `{signature}`: `{passed}`."
            code = f"{code}\n{passed}  # in {signature}"
        if self.origin.kind != "arriving":
            passed = f"{name_layer(outer)}(..., {argument}={write_mask(self.look, outer, self.origin)})"
            sentence, code = f"{sentence} Pass the mask in the call: `{passed}`.", f"{code}\n{passed}"
        return sentence, code


def _write_masked_input(look: ChangedModel, entry: CallRecord, origin: MaskOrigin) -> str:
    """Return the arguments of a layer that takes a tensor and its mask; Keras passes the mask that a tensor carries."""
    if origin.kind == "arriving" and is_layer(entry):
        return "x"
    record = look.by_key[origin.key] if origin.kind == "arriving" else None
    # Other repairs may let the tensor carry its mask.
    comes_to_carry = record is entry and not entry.padding_masks
    if comes_to_carry or (record is not None and record.carried and record.carried[0] is not None):
        return "x"
    return f"x, mask={write_mask(look, entry, origin)}"


def _write_cut(cut: TimeSlice) -> str:
    """Return a slice of the time axis of a mask as code; empty for the whole axis."""
    if cut == WHOLE:
        return ""
    start, stop, step = ("" if part is None else str(part) for part in cut)
    return f"[:, {start}:{stop}:{step}]" if step else f"[:, {start}:{stop}]"


def _write_form(change: KeepMask, mask: str) -> str:
    """Return the code of the mask that a call returns, made of that of its input."""
    form = f"{mask}{_write_cut(change.cut)}"
    if change.inside:
        return f"keras.ops.any({mask}, axis=-1)"
    if change.repeats > 1:
        return f"keras.ops.repeat({form}, {change.repeats}, axis=1)"
    if change.suffix:
        added = f"[[0, 0], [{change.prefix}, {change.suffix}]]"
        return f'keras.ops.cast(keras.ops.pad(keras.ops.cast({form}, "int32"), {added}, constant_values=1), "bool")'
    if change.prefix:
        return f"keras.ops.concatenate([keras.ops.ones_like({form}[:, :{change.prefix}]), {form}], axis=1)"
    return form


def _write_base(entry: CallRecord) -> str:
    """Return the name of a layer's class as code."""
    return f"keras.layers.{entry.type}" if type(entry.operation).__module__.startswith("keras") else entry.type


def _write_kept_mask(place: _Place, change: KeepMask) -> tuple[str, str] | None:
    entry = place.entry
    form, name, label = _write_form(change, "mask"), name_layer(entry), place.label
    if change.origin.kind == "call" or (is_layer(entry) and _has_mask_further_on(place.repaired)):
        return _write_mask_of_tensor(place, change)
    if not is_layer(entry) or any(entry.taken_off):
        return _write_removed_mask(place, change)
    if is_keras_layer(entry.operation, "Masking"):
        return f"Remove {label}, which replaces the mask of its input.", f"# remove {name}: its input has the mask"
    if bool(entry.args) and isinstance(entry.args[0], (list, tuple)):
        return _write_joined_masks(place)
    if entry.type == "Lambda":
        result = "mask" if form == "mask" else f"None if mask is None else {form}"
        code = f"keras.layers.Lambda(..., mask=lambda inputs, mask: {result})"
        return f"Let {label} keep the mask: `{code}`.", code
    if is_own_layer(entry.operation):
        return _write_own_mask(entry, label, form)
    result = "mask" if form == "mask" else f"None if mask is None else {form}"
    code = SUBCLASS.format(type=entry.type, base=_write_base(entry), result=result)
    size = next((name for name in ("kernel_size", "pool_size") if hasattr(entry.operation, name)), None)
    if change.cut != WHOLE and size is not None:
        window = KERNEL if size == "kernel_size" else POOL
        template = STRIDED if change.cut[1] is None else WHOLE_WINDOWS
        code = template.format(type=entry.type, base=_write_base(entry), window=window)
    return f"Let {label} keep the mask: {_replace_class(entry)}.", code


def _has_mask_further_on(entry: CallRecord) -> bool:
    """Return whether a layer is called with tensors of which not the first one has a mask, so that Keras keeps none."""
    count = sum(hasattr(leaf, "shape") for leaf in flatten_arguments(entry.args[:1]))
    first, further = entry.carried[:count], entry.carried[count:]
    return any(mask is not None for mask in further) and count > 0 and all(mask is None for mask in first)


def _write_removed_mask(place: _Place, change: KeepMask) -> tuple[str, str]:
    """Return the text of an operator, or of a layer inside of which the mask is taken off the input."""
    entry = place.entry
    if not is_own_layer(entry.operation) or any(mask is not None for mask in entry.masks_out):
        return _write_mask_of_tensor(place, change)
    if isinstance(entry.args[0] if entry.args else None, (list, tuple)):
        sentence, code = _write_joined_masks(place)
    else:
        sentence, code = _write_own_mask(entry, place.label, _write_form(change, "mask"))
    is_copied = any(isinstance(other, CopyInput) for other in place.changes)
    if is_copied or not _is_used_later(place.look, entry):
        return sentence, code
    kept_sentence, kept_code = _write_mask_of_tensor(place, change)
    return f"{sentence} {kept_sentence}", f"{code}\n\n\n{kept_code}"


def _is_used_later(look: ChangedModel, entry: CallRecord) -> bool:
    """Return whether a later call of the same code takes an input of this one, without its mask by then."""
    inputs = set(map(id, entry.inputs))
    later = (other for other in look.context.base.ended if other.index > entry.index and other.parent is entry.parent)
    return any(inputs & set(map(id, other.inputs)) for other in later)


def _write_joined_masks(place: _Place) -> tuple[str, str]:
    """Return the text of a layer that joins the masks of its inputs, as the trial did."""
    entry, label = place.entry, place.label
    carried = entry.carried if any(mask is not None for mask in entry.carried) else place.repaired.carried
    masks = [(position, mask) for position, mask in enumerate(carried) if mask is not None]
    joined = [f"mask[{masks[item][0]}]" for item in find_joined_masks([mask.shape for _, mask in masks])]
    if len(joined) == len(masks):
        code = JOIN_MASKS.format(type=entry.type, base=_write_base(entry))
    else:
        result = functools.reduce(lambda before, mask: f"keras.ops.logical_and({before}, {mask})", joined)
        code = SUBCLASS.format(type=entry.type, base=_write_base(entry), result=f"None if mask is None else {result}")
    if is_own_layer(entry.operation):  # All its calls need the mask, and are made by one class.
        method = textwrap.dedent(code[code.index("    def compute_mask") :])
        sentence = f"Let {label} keep the mask of the masked inputs: define `compute_mask` in class `{entry.type}`."
        return sentence, f"# in class {entry.type}\n{method}"
    return f"Replace {label} by `Masked{entry.type}(...)`, which keeps the mask of the masked inputs.", code


def _write_mask_of_tensor(place: _Place, change: KeepMask) -> tuple[str, str]:
    """Return the text of a tensor that gets the mask of another: after an operator, or of an input that lost it."""
    name, form = name_layer(place.entry), _write_form(change, "mask[1]")
    # Classes with different code need different names.
    keeper = "KeepMask"
    if form != "mask[1]":
        keeper = "KeepLongerMask" if change.prefix or change.suffix or change.repeats > 1 else "KeepCutMask"
    code = KEEP_MASK.format(name=keeper, form=form)
    if is_layer(place.entry) and change.origin.kind != "call" and _has_mask_further_on(place.repaired):
        line = f"y = {keeper}()([y, x])"
        where = f"y is the result of {name}{_write_line(place)}, x the argument of that call that has the mask"
        sentence = f"Let the result of {place.label} keep the mask of its argument: `{line}`, where {where}."
    elif is_layer(place.entry) and change.origin.kind != "call":
        line = f"x = {keeper}()([x, y])"
        where = f"x is the input of {name}, y the tensor with the mask before it"
        if any(mask is not None for mask in place.entry.masks_out):  # The layer would take the mask off again.
            where = f"x is the input of {name} and y its result, after the call"
        sentence = f"Let the input of {place.label} keep its mask: `{line}`, where {where}."
    else:
        source = _find_last_masked(place.look, change.origin)
        line = f"y = {keeper}()([y, x])"
        where = f"y is the result of {name}{_write_line(place)}, x the result of {source}"
        sentence = f"Let the result of {place.label} keep the mask of {source}: `{line}`, where {where}."
    return sentence, f"{code}\n\n\n{line}  # {where}"


def _write_line(place: _Place) -> str:
    """Return the line of an operation, whose name the user has not chosen; empty if it is unknown."""
    location = locate_calls(place.look.context.base).get(place.entry.index)
    return "" if location is None else f" in line {location.line}"


def _write_own_mask(entry: CallRecord, label: str, form: str) -> tuple[str, str]:
    """Return the text of a layer, not of Keras, that keeps its mask."""
    line = "self.supports_masking = True"
    if form == "mask" and not entry.operation.supports_masking:
        return (
            f"Let {label} keep the mask: set `{line}` in `{entry.type}.__init__`.",
            f"{line}  # in {entry.type}.__init__",
        )
    result = f"None if mask is None else {form}"
    return (
        f"Let {label} keep the mask: define `compute_mask` in class `{entry.type}`.",
        f"# in class {entry.type}\ndef compute_mask(self, inputs, mask=None):\n    return {result}",
    )


def _find_last_masked(look: ChangedModel, origin: MaskOrigin) -> str:
    """Return the path of the last call whose result has the mask."""
    if origin.kind == "call":
        return look.path(look.by_key[origin.key])
    maker = look.flow.find_mask_maker(look.by_key[origin.key])
    return "its input" if maker is None or not look.path(maker) else look.path(maker)


def _write_mask_zero(place: _Place, change: SetMaskZero) -> tuple[str, str]:
    entry, name, value = place.entry, place.label, change.value
    if not is_layer(entry):
        code = WITH_MASK.format(value=value)
        return f"Let the vectors of {name} carry a mask: `x = WithMask()([x, ids])`.", code
    if is_own_layer(entry.operation):
        ids = _write_first_argument(entry, change.position)
        result = f"keras.ops.not_equal({ids}, {value})"
        if change.inside:
            result = f"keras.ops.any({result}, axis=-1)"
        if entry.type == "Lambda":
            code = f"keras.layers.Lambda(..., mask=lambda inputs, mask: {result})"
            return f"Let {name} mask id {value}: `{code}`.", code
        code = f"# in class {entry.type}\ndef compute_mask(self, inputs, mask=None):\n    return {result}"
        return f"Let {name} mask id {value}: define `compute_mask` in class `{entry.type}`.", code
    lookup = getattr(entry.operation, "layer", None)
    wraps = is_keras_layer(entry.operation, "TimeDistributed") and is_keras_layer(lookup, "Embedding")
    if wraps and value == 0:
        code = "keras.layers.Embedding(..., mask_zero=True)"
        action = "by its Embedding, which takes ids of any rank, and let it make a mask"
        return f"Replace {name} {action}: `{code}`.", f"{code}  # without TimeDistributed"
    if value == 0 and is_keras_layer(entry.operation, "Embedding"):
        code = f"{_write_base(entry)}(..., mask_zero=True)"
        return f"Let {name} make a mask: `{code}`.", code
    result = f"keras.ops.not_equal(inputs, {value})"
    if change.inside:
        result = f"keras.ops.any({result}, axis=-1)"
    code = SUBCLASS.format(type=entry.type, base=_write_base(entry), result=result)
    return f"Let {name} mask id {value}: replace it by `Masked{entry.type}(...)` with the same arguments.", code


def _write_first_argument(entry: CallRecord, position: int) -> str:
    """Return an input of a layer as ``compute_mask`` receives it: a part of the first argument of ``call``."""
    found = find_in_argument(entry, entry.inputs[position])
    return "inputs" + "".join(f"[{step!r}]" for step in found)


def _write_pooling(place: _Place, change: MaskedPooling) -> tuple[str, str]:
    look, entry, owner = place.look, place.entry, find_owner(place.entry)
    first = entry if change.source is None else look.by_key[change.source]
    source = next((x for x in first.inputs if id(x) in look.flow.valid and is_float(x)), first.inputs[0])
    inside = id(source) in look.flow.valid and look.flow.valid[id(source)].ndim > 2
    name, where = look.path(entry), ""
    around = _Inside(place, change.origin, look.flow.valid.get(id(source)))
    if owner is entry:
        arguments = _write_masked_input(look, entry, change.origin)
    else:  # No tensor that code computes carries the mask that its layer received.
        name, arguments = _name_function(place, change), f"x, mask={around.mask}"
        where = f" in `{around.call}`"
    if change.how == "mean" and not inside and len(source.shape) == 3:
        keeps_axis = len(entry.outputs[0].shape) == len(source.shape)
        options = "keepdims=True" if keeps_axis else ""
        code = f"keras.layers.GlobalAveragePooling1D({options})({arguments})"
        sentence = f"Replace {name}{where} by a mean over valid timesteps: `{code}`."
        if owner is entry:
            return sentence, code
        return around.add_passed_mask(sentence, f"{code}  # instead of {name}{where.replace('`', '')}")
    class_name, lines = BODIES[change.how]
    axis = 2 if inside else 1
    spread = ", None" * (len(source.shape) - axis - 2)  # One more for each axis between time and features.
    lines = [re.sub(r"(\[(?:\.\.\.|:, None), None)\]", rf"\1{spread}]", line) for line in lines]
    body = "\n".join(f"        {line}" for line in lines).format(axis=axis)
    kept = "None if mask is None else keras.ops.any(mask, axis=-1)" if inside else "None"
    pooled = [*source.shape[:axis], *source.shape[axis + 1 :]]
    line = _fit_pooled(f"{class_name}()({arguments})", pooled, entry.outputs[0].shape, change.how)
    sentence = f"Replace {name}{where} by `{line}`, which leaves padding out."
    code = f"{POOLING.format(name=class_name, body=body, mask=kept)}\n\n\n"
    code += f"{line}  # instead of {name}{where.replace('`', '')}"
    return (sentence, code) if owner is entry else around.add_passed_mask(sentence, code)


def _fit_pooled(line: str, pooled: Sequence[int], shape: Sequence[int], how: str) -> str:
    """Return code that pools timesteps, with what gives its result the shape of the one that it replaces."""
    rest = list(pooled)
    while len(rest) > len(shape):
        line = f"keras.ops.{how}({line}, axis=1)" if how in ("mean", "max", "min", "sum", "prod") else f"{line}[:, 0]"
        del rest[1]
    if rest == list(shape):
        return line
    for at in range(1, len(shape)):
        if [*rest[:at], 1, *rest[at:]] == list(shape):
            return f"{line}[{':, ' * at}None]"
    return f"keras.ops.reshape({line}, {(-1, *shape[1:])})"


def _name_function(place: _Place, change: MaskedPooling) -> str:
    """Return the name of an operation, or of a function that is several of them; with its line if it has namesakes."""
    name = place.look.path(place.entry).rpartition("/")[2] if change.source is None else change.how
    return f"{name}{_write_line(place)}" if _has_namesakes(place) and change.source is None else name


def _has_namesakes(place: _Place) -> bool:
    """Return whether the code that makes an operation makes others of its kind."""
    entry, calls = place.entry, place.look.context.base.ended
    return sum(other.code and other.parent is entry.parent and other.type == entry.type for other in calls) > 1


def _write_softmax(place: _Place, change: MaskedSoftmax) -> tuple[str, str]:
    look, entry = place.look, place.entry
    at = len(entry.inputs[0].shape) + change.axis
    rank, axis = _find_axis_in_code(look, entry, at)
    index = ", ".join(":" if position in (0, axis) else "None" for position in range(rank))
    name, owner = look.path(entry), find_owner(entry)
    spread = "" if rank == 2 else f"[{index}]"
    if owner is not entry:
        inside = _Inside(place, change.origin, find_axis_validity(look, entry.inputs[0], at))
        line = f"scores = keras.ops.where({inside.mask}{spread}, scores, -1e9)"
        note = inside.describe_exception()
        which = f" over axis {axis}{_write_line(place)}" if _has_namesakes(place) else ""
        sentence = f"In `{inside.call}`, leave padding out of the softmax{which}: `{line}` before it{note}."
        comment = f"in {inside.call}, before softmax{which}, whose input are the scores"
        return inside.add_passed_mask(sentence, inside.write_line(line, comment))
    mask = write_mask(look, entry, change.origin)
    if mask != "mask" and rank > 2 and (axis != rank - 1 or _is_merged(look, entry)):
        # A Softmax returns the mask that is passed to it, and a merge of others would not fit it.
        scores = f"keras.ops.where({mask}{spread}, scores, -1e9)"
        line = f"weights = keras.ops.softmax({scores}, axis={axis})"
        where = f"instead of {name}, whose input are the scores"
        return f"Leave padding out of {name}: `{line}`.", f"{line}  # {where}"
    if mask != "mask":
        line = f"weights = keras.layers.Softmax(axis=-1)(scores, mask={mask}{spread})"
        where = f"instead of {name}, whose input are the scores"
        return f"Leave padding out of {name}: `{line}`.", f"{line}  # {where}"
    line = "x = MaskScores()(x)"
    return (
        f"Leave padding out of {name}: `{line}` before it.",
        f"{MASK_SCORES.format(mask=f'mask{spread}')}\n\n\n{line}  # before {name}",
    )


def _is_merged(look: ChangedModel, entry: CallRecord) -> bool:
    """Return whether a layer such as ``Multiply``, but not ``Dot``, takes the result of a call, and its mask."""
    results = set(map(id, entry.outputs))
    users = (other for other in look.context.base.ended if results & set(map(id, other.inputs)))
    return any(".merging." in type(user.operation).__module__ and user.type != "Dot" for user in users)


def _write_scores(place: _Place, change: MaskedScores) -> tuple[str, str]:
    look, entry = place.look, place.entry
    rank, name = len(entry.outputs[0].shape), look.path(entry).rpartition("/")[2]
    index = ", ".join(":" if position in (0, change.axis) else "None" for position in range(rank))
    spread = "" if rank == 2 else f"[{index}]"
    if find_owner(entry) is not entry:
        inside = _Inside(place, change.origin, find_axis_validity(look, entry.outputs[0], change.axis))
        line = f"scores = keras.ops.where({inside.mask}{spread}, scores, -1e9)"
        sentence = f"In `{inside.call}`, leave padding out of the scores that {name} returns: `{line}`"
        code = inside.write_line(line, f"in {inside.call}, where scores is the result of {name}")
        return inside.add_passed_mask(f"{sentence}{inside.describe_exception()}.", code)
    line = f"scores = keras.ops.where({write_mask(look, entry, change.origin)}{spread}, scores, -1e9)"
    sentence = f"Leave padding out of the scores that {name} returns: `{line}`."
    return sentence, f"{line}  # where scores is the result of {name}"


def _write_zeroed_result(place: _Place, change: ZeroResult) -> tuple[str, str]:
    look, entry = place.look, place.entry
    rank, name = len(entry.outputs[0].shape), look.path(entry).rpartition("/")[2]
    index = ", ".join(":" if position in (0, change.axis) else "None" for position in range(rank))
    spread = "" if rank == 2 else f"[{index}]"
    valid = look.flow.valid.get(id(entry.outputs[0]))
    if change.axis > 1:
        valid = find_axis_validity(look, entry.outputs[0], change.axis)
    inside = _Inside(place, change.origin, valid)
    line = f"x = keras.ops.where({inside.mask}{spread}, x, 0.0)"
    note = inside.describe_exception()
    sentence = f"In `{inside.call}`, set padding to zero in x, the result of {name}: `{line}`{note}."
    code = inside.write_line(line, f"in {inside.call}, where x is the result of {name}")
    return inside.add_passed_mask(sentence, code)


def _find_axis_in_code(look: ChangedModel, entry: CallRecord, axis: int) -> tuple[int, int]:
    """Return the rank of the scores of a softmax and its axis, before code transposes them to have it last."""
    scores = entry.inputs[0]
    valid, maker = find_axis_validity(look, scores, axis), look.flow.maker.get(id(scores))
    if not entry.code or valid is None or maker is None or maker.type != "Transpose":
        return len(scores.shape), axis
    source = maker.inputs[0]
    axes = [other for other in range(1, len(source.shape)) if source.shape[other] == scores.shape[axis]]
    same = [other for other in axes if is_same_validity(find_axis_validity(look, source, other), valid)]
    return len(source.shape), (same or [axis])[0]


def _write_attention_mask(name: str, argument: str, mask: str, action: str) -> tuple[str, str]:
    code = f"{name}(..., {argument}={mask})"
    where = f"M is the mask that {name} receives now"
    return f"{action}: `{code}`, where {where}.", f"{code}  # {where}"


WRITERS: dict[type, Callable[[_Place, Any], tuple[str, str] | None]] = {
    PassMask: _write_passed_masks,
    KeepMask: _write_kept_mask,
    SetMaskZero: _write_mask_zero,
    SetMaskValue: _write_mask_value,
    MaskMissing: _write_filled_features,
    MaskInput: _write_masked_features,
    ZeroPadding: _write_zeroing,
    ZeroResult: _write_zeroed_result,
    MaskedPooling: _write_pooling,
    MaskedScores: _write_scores,
    MaskedSoftmax: _write_softmax,
    FlipResult: _write_flip,
    CopyInput: _write_copies,
    InvertMask: _write_inverted_mask,
    TurnMask: _write_turned_mask,
    SetAttribute: _write_attribute,
    SetInnerMaskZero: _write_inner_lookup,
    MaskedWindows: _write_windows,
    MaskedGroups: _write_groups,
}
"""By kind of change, the function that writes its sentence and its code; None if another change has them."""
