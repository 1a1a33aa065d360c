"""A comparison: the answer, the sides, the calls, the outputs, and the findings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from maskcli.records.comparison import (
    CallOnSide,
    ComparedCall,
    ComparedPart,
    ComparedSide,
    Comparison,
    OutputDifference,
    SideDifference,
)
from maskcli.records.remark import Remark
from maskcli.records.wording import format_count
from maskcli.render.numbers import DASH, format_precise, format_short
from maskcli.render.parts import (
    BLANK,
    Cell,
    Cells,
    Heading,
    Limits,
    Part,
    Prose,
    Section,
    make_cell,
    make_remarks,
    make_sections,
    mark,
    suggest_next,
)
from maskcli.render.tables import LONGEST_NAME, ItemColumn, list_items, make_note, shorten_middle
from maskcli.render.views.check import view_findings
from maskcli.render.views.validity import view_validity

PARTS: dict[ComparedPart, str] = {
    "errors": "errors",
    "calls": "calls",
    "weights": "weights",
    "masks": "masks",
    "outputs": "outputs",
    "leaks": "leaks",
    "losses": "losses",
    "compiled": "the compiled function",
}
DIFFERENCES = {
    "mask": "its mask differs",
    "result": "its result differs",
    "shape": "its shape differs",
    "missing": "only one side has it",
    "error": "it raises an error",
}
LEAKS = {"leaks": "yes", "clean": "no", "unproven": "unproven"}


def view(comparison: Comparison, limits: Limits) -> list[Section]:
    """Return the answer, then the tables from which it follows."""
    return make_sections(
        ("about", [_introduce(comparison)]),
        ("answer", make_remarks(list(_answer(comparison)))),
        ("inputs", _view_inputs(comparison)),
        ("sides", _view_sides(comparison, limits)),
        ("mask-path", _view_calls(comparison, limits)),
        ("outputs", _view_outputs(comparison, limits)),
        ("weights", _view_weights(comparison, limits)),
        ("findings", view_findings(comparison.findings)),
        ("result", _view_result(comparison)),
        ("next", suggest_next(_choose_next(comparison))),
    )


def _introduce(comparison: Comparison) -> Heading:
    if comparison.kind == "models":
        return Heading(" and ".join(side.name for side in comparison.sides), "compared")
    model = next(side.model for side in comparison.sides if side.model is not None)
    names = ", ".join(side.name for side in comparison.sides)
    return Heading(model.name, f"{model.type}, with equal weights on {names}")


# The answer.


def _answer(comparison: Comparison) -> Iterator[Remark]:
    for difference in comparison.differences:
        yield Remark("fact" if difference.equal else "warning", _summarize(difference))
        if difference.cause is not None and not comparison.findings:  # A finding has it, too.
            yield Remark("fact", difference.cause.text)
    for side in comparison.sides:
        if side.compiled_differs:
            text = f"{side.name}: the compiled function, which fit and predict run, differs from the call by"
            yield Remark("warning", f"{text} {format_short(side.compiled_change)}.")
        yield from (Remark("fact", f"{side.name}: {note}") for note in side.notes)


def _summarize(difference: SideDifference) -> str:
    """Return whether two sides are equal, or in which parts and from which call on they differ."""
    if difference.equal:
        return f"{difference.side} equals {difference.first}, within rounding."
    text = f"{difference.side} differs from {difference.first} in {join_parts(difference)}"
    call = difference.first_call
    if call is None:
        return f"{text}."
    return f"{text}, first at {call.call} ({call.type}): {DIFFERENCES[call.differs]}."


def join_parts(difference: SideDifference) -> str:
    """Return the parts in which two sides differ, in words."""
    words = [PARTS[part] for part in difference.parts]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _view_inputs(comparison: Comparison) -> Iterator[Part]:
    probed, total = len(comparison.rows), comparison.data.rows
    yield Heading("Data", f"{probed:,} of {format_count(total, 'row')} compared")
    yield from view_validity(comparison.inputs)


# The sides.


def _view_sides(comparison: Comparison, limits: Limits) -> list[Part]:
    columns: list[ItemColumn[ComparedSide]] = [
        ItemColumn("side", lambda side: make_cell(_shorten(side.name), "label"), "left"),
        ItemColumn("versions", lambda side: make_cell(_list_versions(side), "muted"), "left"),
        ItemColumn("runs", _show_running, "left"),
        ItemColumn("leaks", _show_leak, "left"),
        ItemColumn("change", lambda side: make_cell(format_short(side.max_abs_change))),
        ItemColumn("compiled", _show_compiled, "right"),
    ]
    if any(side.keras_evaluate is not None for side in comparison.sides):
        columns.append(ItemColumn("evaluate", lambda side: make_cell(format_precise(side.keras_evaluate))))
    tables = list_items(columns, comparison.sides, "side", limits, ("versions",))
    note = "change: the largest of a result by padding; compiled: of a result in a compiled function"
    errors = [_show_error(side) for side in comparison.sides if side.errors]
    return [Heading("Sides"), *tables, make_note(note), *errors]


def _shorten(name: str) -> str:
    return shorten_middle(name, LONGEST_NAME)


def _list_versions(side: ComparedSide) -> str:
    names = ("keras", side.backend or "")
    return ", ".join(f"{name} {side.versions[name]}" for name in names if side.versions.get(name))


def _show_running(side: ComparedSide) -> Cells:
    steps = {error.step for error in side.errors}
    return make_cell(" no", "error") if steps & {"load", "run"} else make_cell("yes")


def _show_leak(side: ComparedSide) -> Cells:
    if side.leak is None:
        return make_cell(DASH, "muted")
    return make_cell(" yes", "error") if side.leak == "leaks" else make_cell(LEAKS[side.leak])


def _show_compiled(side: ComparedSide) -> Cells:
    text = format_short(side.compiled_change)
    return make_cell(f" {text}", "error") if side.compiled_differs else make_cell(text)


def _show_error(side: ComparedSide) -> Part:
    error = side.errors[0]
    return Prose((Cell(f"{error.type}: {error.message}"),), (mark("error", f" {side.name}: "),), 2, 4)


# Calls and outputs.


def _view_calls(comparison: Comparison, limits: Limits) -> Iterator[Part]:
    if not comparison.calls:
        return
    yield Heading("Calls", "effect on the mask, and the largest difference from the first side")
    columns: list[ItemColumn[ComparedCall]] = [
        ItemColumn("call", lambda call: make_cell(_shorten(call.call), "label"), "left"),
        ItemColumn("type", lambda call: make_cell(call.type, "muted"), "left"),
    ]
    for index, side in enumerate(comparison.sides):
        columns.append(_make_effect_column(index, side))
    for index, side in enumerate(comparison.sides[1:], 1):
        columns.append(_make_change_column(index, side, len(comparison.sides) > 2))
    yield from list_items(columns, comparison.calls, "call", limits, ("type",))
    yield make_note("the mask of a call with ! differs from that of the first side")


def _make_effect_column(index: int, side: ComparedSide) -> ItemColumn[ComparedCall]:
    def show(call: ComparedCall) -> Cells:
        item = call.sides[index]
        if item is None:
            return make_cell(DASH, "muted")
        return make_cell(f" {item.effect}", "warning") if item.differs == "mask" else make_cell(item.effect)

    return ItemColumn(_shorten(side.name), show, "left", rule=index == 0)


def _make_change_column(index: int, side: ComparedSide, is_one_of_several: bool) -> ItemColumn[ComparedCall]:
    def show(call: ComparedCall) -> Cells:
        item = call.sides[index]
        change = format_short(None if item is None else item.max_abs_change)
        return make_cell(change, "strong") if _differs(item) else make_cell(change, "muted")

    return ItemColumn(f"Δ {_shorten(side.name)}" if is_one_of_several else "Δ", show, rule=index == 1)


def _differs(call: CallOnSide | None) -> bool:
    return call is not None and call.differs is not None


@dataclasses.dataclass(frozen=True)
class _OutputLine:
    """An output of one side."""

    side: str
    output: OutputDifference


def _view_outputs(comparison: Comparison, limits: Limits) -> Iterator[Part]:
    lines = [_OutputLine(item.side, output) for item in comparison.differences for output in item.outputs]
    if not lines:
        return
    yield Heading("Outputs", f"compared with {comparison.sides[0].name}")
    columns: list[ItemColumn[_OutputLine]] = [
        ItemColumn("output", lambda line: make_cell(line.output.output, "label"), "left"),
        ItemColumn("side", lambda line: make_cell(_shorten(line.side)), "left"),
        ItemColumn("Δ", lambda line: make_cell(format_short(line.output.max_abs_change))),
        ItemColumn("rounding", lambda line: make_cell(format_short(line.output.tolerance), "muted")),
        ItemColumn("differs", _show_answer, "left"),
        ItemColumn("at", lambda line: make_cell(_locate(line.output)), "left"),
        ItemColumn("mask", _show_masks, "left"),
    ]
    yield from list_items(columns, lines, "output", limits, ("rounding",))


def _show_answer(line: _OutputLine) -> Cells:
    return make_cell(" yes", "error") if line.output.differs else make_cell("no")


def _show_masks(line: _OutputLine) -> Cells:
    return make_cell(" differs", "error") if line.output.masks_differ else make_cell("equal")


def _locate(output: OutputDifference) -> str:
    """Return the place of a difference; empty for rounding."""
    if not output.differs or output.sample is None:
        return ""
    if output.timestep is None:
        return f"sample {output.sample}"
    padded = "padded " if output.at_padding else ""
    return f"sample {output.sample}, {padded}t{output.timestep}"


def _view_weights(comparison: Comparison, limits: Limits) -> Iterator[Part]:
    weights = [weight for difference in comparison.differences for weight in difference.weights]
    if not weights:
        return
    yield Heading("Weights", f"{format_count(len(weights), 'weight')} with other values or shapes")
    names = [_shorten(side.name) for side in comparison.sides]
    yield from list_items(
        [
            ItemColumn("weight", lambda weight: make_cell(weight.weight, "label"), "left"),
            ItemColumn(names[0], lambda weight: make_cell(_show_shape(weight.shapes[0])), "left"),
            ItemColumn(names[-1], lambda weight: make_cell(_show_shape(weight.shapes[1])), "left"),
            ItemColumn("Δ", lambda weight: make_cell(format_short(weight.max_abs_change))),
        ],
        weights,
        "weight",
        limits,
    )


def _show_shape(shape: tuple[int, ...] | None) -> str:
    return DASH if shape is None else str(list(shape))


# The end.


def _view_result(comparison: Comparison) -> Iterator[Part]:
    yield BLANK
    different = [difference for difference in comparison.differences if not difference.equal]
    if not different:
        text = "equal: masks, outputs, leaks and losses agree within rounding"
    else:
        text = "; ".join(f"{item.side} differs in {join_parts(item)}" for item in different)
    yield Prose((Cell(text, "strong"),))


def _choose_next(comparison: Comparison) -> str:
    if comparison.findings:
        code = comparison.findings[0].code
        return f"`maskcli explain {code}` explains this rule, with a bad and a good example."
    return "`maskcli check` judges one of them by the rules."
