"""Write repairs that were tried as sentences and as code, in the names of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from maskcli.inputs.arguments import read_input_specs
from maskcli.probes.repair_changes import (
    WHOLE,
    InvertMask,
    KeepMask,
    MaskedPooling,
    MaskedSoftmax,
    MaskInput,
    MaskOrigin,
    PassMask,
    SetAttribute,
    SetMaskValue,
    SetMaskZero,
    TimeSlice,
    TurnMask,
    ZeroPadding,
    get_argument,
)
from maskcli.probes.repair_masks import ChangedModel, find_maker, find_owner
from maskcli.probes.repairs import Cure
from maskcli.trace.changes import CallChange, is_graph, is_layer
from maskcli.trace.recorder import CallRecord, list_parameters


@dataclasses.dataclass(frozen=True)
class RepairText:
    """A repair as a sentence, with code between backticks, and as code to paste."""

    kind: str
    call: str | None
    sentence: str
    code: str


def write_repairs(cure: Cure) -> list[tuple[tuple[CallChange, ...], RepairText]]:
    """Return the text of each repair of a cure, with the changes that it makes: all changes of one call are one."""
    groups: dict[str, list[CallChange]] = {}
    for change in cure.changes:
        groups.setdefault(change.key, []).append(change)
    return [(tuple(changes), write_repair(cure.original, changes)) for changes in groups.values()]


def write_repair(look: ChangedModel, changes: Sequence[CallChange]) -> RepairText:
    """Return the text of changes of one call, in the names of the model."""
    entry = look.by_key[changes[0].key]
    place = _Place(look, entry, changes)
    parts = [part for part in (WRITERS[type(change)](place, change) for change in changes) if part is not None]
    kinds = list(dict.fromkeys(str(getattr(change, "kind", "change")) for change in changes))
    path = (look.path(entry) or None) if entry.parent is not None else None
    return RepairText(
        kind="pass-mask" if "pass-mask" in kinds else kinds[-1],
        call=path,
        sentence=" ".join(sentence for sentence, _ in parts),
        code="\n\n".join(code for _, code in parts),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Place:
    """The call that a repair changes, with all changes of it."""

    look: ChangedModel
    entry: CallRecord
    changes: Sequence[CallChange]

    @property
    def name(self) -> str:
        """The name of the layer in the code that calls it."""
        return name_layer(self.entry)


def _write_passed_masks(place: _Place, change: PassMask) -> tuple[str, str] | None:
    passed = [other for other in place.changes if isinstance(other, PassMask)]
    if passed[0] is not change:
        return None
    masks = [f"{other.argument}={_write_passed_mask(place, other)}" for other in passed]
    code = f"{place.name}(..., {', '.join(masks)})"
    return f"Pass the mask in the call of {place.name}: `{code}`.", code


def _write_passed_mask(place: _Place, change: PassMask) -> str:
    mask = write_mask(place.look, place.entry, change.origin)
    if change.form == "keys":
        return f"{mask}[:, None, :]"
    return f"[None, {mask}]" if change.form == "list" else mask


def _write_mask_value(place: _Place, change: SetMaskValue) -> tuple[str, str]:
    code = f"keras.layers.{place.entry.type}({change.value:.9g})"
    return f"Let {place.name} look for the value of the padding: `{code}`.", code


def _write_masked_features(place: _Place, change: MaskInput) -> tuple[str, str]:
    del place
    code = f"{change.name} = keras.layers.Masking({change.value:.9g})({change.name})"
    return f"Mask the padding of {change.name} where it enters the model: `{code}`.", code


def _write_zeroing(place: _Place, change: ZeroPadding) -> tuple[str, str]:
    line = f"x = ZeroPadded()({_write_masked_input(place.look, place.entry, change.origin)})"
    return f"Set padding to zero before {place.name}: `{line}`.", f"{ZERO_PADDED}\n\n\n{line}  # before {place.name}"


def _write_attribute(place: _Place, change: SetAttribute) -> tuple[str, str]:
    code = f"{place.entry.type}(..., {change.name}={change.value})"
    return f"Build {place.name} with `{code}`.", code


def _write_inverted_mask(place: _Place, change: InvertMask) -> tuple[str, str] | None:
    if any(isinstance(other, TurnMask) for other in place.changes):
        return None
    mask = 'keras.ops.logical_not(keras.ops.cast(M, "bool"))'
    return _write_attention_mask(place.name, change.argument, mask, "Invert the attention mask")


def _write_turned_mask(place: _Place, change: TurnMask) -> tuple[str, str]:
    mask = get_argument(place.entry, change.argument)
    turned = "M[:, None, :]" if len(mask.shape) == 2 else "keras.ops.swapaxes(M, -1, -2)"
    action = "Lay the attention mask along the keys"
    if any(isinstance(other, InvertMask) for other in place.changes):
        turned, action = f'keras.ops.logical_not(keras.ops.cast({turned}, "bool"))', f"{action} and invert it"
    return _write_attention_mask(place.name, change.argument, turned, action)


def name_layer(entry: CallRecord) -> str:
    """Return the name of a layer in the code that calls it: ``self.encoder`` in a layer or model with own code."""
    parent = None if entry.parent is None else entry.parent.operation
    if entry.code or parent is None or is_graph(parent):
        return entry.name
    for attribute, value in vars(parent).items():
        if value is entry.operation and not attribute.startswith("_"):
            return f"self.{attribute}"
    return entry.name


def write_mask(look: ChangedModel, entry: CallRecord, origin: MaskOrigin) -> str:
    """Return the expression of a mask in the code that makes a call."""
    if origin.kind == "input":
        return _write_input(look, origin.position)
    if origin.kind == "arriving":
        record = look.by_key[origin.key]
        tensors = [tensor for tensor in record.inputs if id(tensor) in look.flow.valid]
        maker = find_maker(look, tensors[0])[0] if tensors else None
        return "mask" if maker is None or maker.kind == "arriving" else write_mask(look, entry, maker)
    source = look.by_key[origin.key]
    tensor = next((x for x in source.inputs if id(x) in look.flow.valid), source.inputs[0])
    return f"{name_layer(source)}.compute_mask({_write_tensor(look, source, tensor)})"


def _write_input(look: ChangedModel, position: int) -> str:
    """Return the name of an input of the model in its code."""
    item = look.context.inputs[position]
    parent = look.context.base.entries[0]
    if is_graph(parent.operation):
        specs = read_input_specs(look.context.model)
        return specs[position].name if position < len(specs) else item.name
    parameter = next(iter(list_parameters(type(parent.operation).call)), "inputs")
    return parameter if len(look.context.inputs) == 1 else f'{parameter}["{item.name}"]'


def _write_tensor(look: ChangedModel, entry: CallRecord, tensor: Any) -> str:
    """Return the name of an input tensor of a call in the code that makes the call."""
    for position, source in enumerate(look.context.base.inputs):
        if source is tensor and (entry.parent is None or entry.parent.parent is None):
            return _write_input(look, position)
    parent = entry.parent
    if parent is not None and parent.parent is not None:
        if is_graph(parent.operation):
            pairs = zip(parent.inputs, parent.operation.inputs, strict=False)
            return next((str(symbol.name) for source, symbol in pairs if source is tensor), "x")
        names = list_parameters(type(parent.operation).call)
        pairs = zip(names, parent.args, strict=False)
        return next((name for name, source in pairs if source is tensor), "x")
    return "x"


def _write_masked_input(look: ChangedModel, entry: CallRecord, origin: MaskOrigin) -> str:
    """Return the arguments of a layer that takes a tensor and its mask; Keras passes the mask that a tensor carries."""
    if origin.kind == "arriving" and is_layer(entry):
        return "x"
    carried = look.by_key[origin.key].carried if origin.kind == "arriving" else []
    if carried and carried[0] is not None:
        return "x"
    return f"x, mask={write_mask(look, entry, origin)}"


ZERO_PADDED = """class ZeroPadded(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x, mask=None):
        if mask is None:
            return x
        mask = keras.ops.reshape(mask, (*keras.ops.shape(mask), *[1] * (len(x.shape) - 2)))
        return keras.ops.where(mask, x, 0.0)"""
KEEP_MASK = """class KeepMask(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return inputs[0]

    def compute_mask(self, inputs, mask=None):
        return mask[1]{cut}"""
SUBCLASS = """class Masked{type}({base}):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return {result}"""
JOIN_MASKS = """class Masked{type}({base}):
    def compute_mask(self, inputs, mask=None):
        masks = [item for item in mask or [] if item is not None]
        joined = masks[0] if masks else None
        for item in masks[1:]:
            joined = keras.ops.logical_and(joined, item)
        return joined"""
POOLING = """class {name}(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x, mask=None):
{body}

    def compute_mask(self, inputs, mask=None):
        return None"""
BODIES = {
    "max": ("MaskedMax", ["if mask is not None:", "    x = keras.ops.where(mask[..., None], x, -1e9)",
                          "return keras.ops.max(x, axis=1)"]),
    "min": ("MaskedMin", ["if mask is not None:", "    x = keras.ops.where(mask[..., None], x, 1e9)",
                          "return keras.ops.min(x, axis=1)"]),
    "sum": ("MaskedSum", ["if mask is not None:", "    x = keras.ops.where(mask[..., None], x, 0.0)",
                          "return keras.ops.sum(x, axis=1)"]),
    "last": ("LastValid", ["positions = keras.ops.arange(keras.ops.shape(x)[1])",
                           "last = keras.ops.max(keras.ops.where(mask, positions, 0), axis=1)",
                           "return keras.ops.take_along_axis(x, last[:, None, None], axis=1)[:, 0]"]),
    "first": ("FirstValid", ['first = keras.ops.argmax(keras.ops.cast(mask, "int32"), axis=1)',
                             "return keras.ops.take_along_axis(x, first[:, None, None], axis=1)[:, 0]"]),
}  # fmt: skip
MASK_SCORES = """class MaskScores(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, scores, mask=None):
        if mask is None:
            return scores
        return keras.ops.where({mask}, scores, -1e9)"""


def _write_cut(cut: TimeSlice) -> str:
    """Return a slice of the time axis of a mask as code; empty for the whole axis."""
    if cut == WHOLE:
        return ""
    start, stop, step = ("" if part is None else str(part) for part in cut)
    return f"[:, {start}:{stop}:{step}]" if step else f"[:, {start}:{stop}]"


def _write_base(entry: CallRecord) -> str:
    """Return the name of a layer's class as code."""
    return f"keras.layers.{entry.type}" if type(entry.operation).__module__.startswith("keras") else entry.type


def _write_kept_mask(place: _Place, change: KeepMask) -> tuple[str, str]:
    look, entry = place.look, place.entry
    name, cut = name_layer(entry), _write_cut(change.cut)
    if not is_layer(entry):
        source = _find_last_masked(look, change.origin)
        line = "y = KeepMask()([y, x])"
        where = f"y is the result of {name}, x the result of {source}"
        return (
            f"Let the result of {look.path(entry)} keep the mask of {source}: `{line}`, where {where}.",
            f"{KEEP_MASK.format(cut=cut)}\n\n\n{line}  # {where}",
        )
    is_list = bool(entry.args) and isinstance(entry.args[0], (list, tuple))
    if any(entry.taken_off):
        line = "x = KeepMask()([x, y])"
        where = f"x is the input of {name}, y the tensor with the mask before it"
        return (
            f"Let the input of {name} keep its mask: `{line}`, where {where}.",
            f"{KEEP_MASK.format(cut=cut)}\n\n\n{line}  # {where}",
        )
    if is_list:
        code = JOIN_MASKS.format(type=entry.type, base=_write_base(entry))
        return f"Replace {name} by `Masked{entry.type}(...)`, which keeps the mask of the masked inputs.", code
    if entry.type == "Lambda" and not cut:
        code = "keras.layers.Lambda(..., mask=lambda inputs, mask: mask)"
        return f"Let {name} keep the mask: `{code}`.", code
    if not type(entry.operation).__module__.startswith("keras"):
        line = "self.supports_masking = True"
        keeps = not cut and not entry.operation.supports_masking
        if keeps:
            return (
                f"Let {name} keep the mask: set `{line}` in `{entry.type}.__init__`.",
                f"{line}  # in {entry.type}.__init__",
            )
        method = f"def compute_mask(self, inputs, mask=None):\n    return None if mask is None else mask{cut}"
        return (
            f"Let {name} keep the mask: set `{line}` in `{entry.type}.__init__`, and define `compute_mask`.",
            f"{line}  # in {entry.type}.__init__\n\n{method}",
        )
    result = f"None if mask is None else mask{cut}" if cut else "mask"
    code = SUBCLASS.format(type=entry.type, base=_write_base(entry), result=result)
    return f"Let {name} keep the mask: replace it by `Masked{entry.type}(...)` with the same arguments.", code


def _find_last_masked(look: ChangedModel, origin: MaskOrigin) -> str:
    """Return the path of the last call whose result has the mask."""
    if origin.kind == "call":
        return look.path(look.by_key[origin.key])
    maker = look.flow.find_mask_maker(look.by_key[origin.key])
    return "its input" if maker is None or not look.path(maker) else look.path(maker)


def _write_mask_zero(place: _Place, change: SetMaskZero) -> tuple[str, str]:
    entry, name, value = place.entry, place.name, change.value
    if not is_layer(entry):
        code = WITH_MASK.format(value=value)
        return f"Let the vectors of {name} carry a mask: `x = WithMask()([x, ids])`.", code
    if value == 0 and entry.type == "Embedding" and not getattr(entry.operation, "mask_zero", True):
        code = "keras.layers.Embedding(..., mask_zero=True)"
        return f"Let {name} make a mask: `{code}`.", code
    code = SUBCLASS.format(type=entry.type, base=_write_base(entry), result=f"keras.ops.not_equal(inputs, {value})")
    return f"Let {name} mask id {value}: replace it by `Masked{entry.type}(...)` with the same arguments.", code


WITH_MASK = """class WithMask(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return inputs[0]

    def compute_mask(self, inputs, mask=None):
        return keras.ops.not_equal(inputs[1], {value})


x = WithMask()([x, ids])"""


def _write_pooling(place: _Place, change: MaskedPooling) -> tuple[str, str]:
    look, entry = place.look, place.entry
    name, arguments = look.path(entry), _write_masked_input(look, entry, change.origin)
    if change.how == "mean":
        code = f"keras.layers.GlobalAveragePooling1D()({arguments})"
        return f"Replace {name} by a mean over valid timesteps: `{code}`.", code
    class_name, lines = BODIES[change.how]
    body = "\n".join(f"        {line}" for line in lines)
    line = f"{class_name}()({arguments})"
    return (
        f"Replace {name} by `{line}`, which leaves padding out.",
        f"{POOLING.format(name=class_name, body=body)}\n\n\n{line}  # instead of {name}",
    )


def _write_softmax(place: _Place, change: MaskedSoftmax) -> tuple[str, str]:
    look, entry = place.look, place.entry
    scores = entry.inputs[0]
    rank = len(scores.shape)
    # Code transposes scores for a softmax over another axis than the last; in the code of the layer, time is axis 1.
    axis = rank + change.axis
    if entry.code and axis == rank - 1 and rank == 3 and scores.shape[1] != scores.shape[2]:
        axis = 1
    index = ", ".join(":" if position in (0, axis) else "None" for position in range(rank))
    mask = f"mask[{index}]"
    name = look.path(entry)
    owner = find_owner(entry)
    if owner is not entry:
        line = f"scores = keras.ops.where({mask}, scores, -1e9)"
        call = f"{owner.type}.call(self, ..., mask=None)"
        return (
            f"In `{call}`, leave padding out of the softmax: `{line}` before it.",
            f"{line}  # in {call}, before softmax",
        )
    line = f"x = MaskScores()({_write_masked_input(look, entry, change.origin)})"
    return (
        f"Leave padding out of {name}: `{line}` before it.",
        f"{MASK_SCORES.format(mask=mask)}\n\n\n{line}  # before {name}",
    )


def _write_attention_mask(name: str, argument: str, mask: str, action: str) -> tuple[str, str]:
    code = f"{name}(..., {argument}={mask})"
    where = f"M is the mask that {name} receives now"
    return f"{action}: `{code}`, where {where}.", f"{code}  # {where}"


WRITERS: dict[type, Callable[[_Place, Any], tuple[str, str] | None]] = {
    PassMask: _write_passed_masks,
    KeepMask: _write_kept_mask,
    SetMaskZero: _write_mask_zero,
    SetMaskValue: _write_mask_value,
    MaskInput: _write_masked_features,
    ZeroPadding: _write_zeroing,
    MaskedPooling: _write_pooling,
    MaskedSoftmax: _write_softmax,
    InvertMask: _write_inverted_mask,
    TurnMask: _write_turned_mask,
    SetAttribute: _write_attribute,
}
"""By kind of change, the function that writes its sentence and its code; None if another change has them."""
