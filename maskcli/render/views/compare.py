"""A comparison: the answer, the sides, the calls, the outputs, and the findings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from maskcli.records.comparison import (
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
from maskcli.render.tables import LONGEST_NAME, ItemColumn, list_items, make_note, mark_fault, shorten_middle
from maskcli.render.views.check import locate_change, view_findings
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
        ItemColumn("runs", lambda side: mark_fault(_fails(side), "no", "yes"), "left"),
        ItemColumn("leaks", _show_leak, "left"),
        ItemColumn("change", lambda side: make_cell(format_short(side.max_abs_change))),
        ItemColumn(
            "compiled", lambda side: mark_fault(side.compiled_differs, *(format_short(side.compiled_change),) * 2)
        ),
    ]
    if any(side.keras_evaluate is not None for side in comparison.sides):
        columns.append(ItemColumn("evaluate", lambda side: make_cell(format_precise(side.keras_evaluate))))
    tables = list_items(columns, comparison.sides, "side", limits, ("versions",))
    note = "change: the largest of a result by padding; compiled: of a result in a compiled function"
    errors = [(side.name, side.errors[0]) for side in comparison.sides if side.errors]
    texts = (
        Prose((Cell(f"{error.type}: {error.message}"),), (mark("error", f" {name}: "),), 2, 4) for name, error in errors
    )
    return [Heading("Sides"), *tables, make_note(note), *texts]


def _shorten(name: str) -> str:
    return shorten_middle(name, LONGEST_NAME)


def _list_versions(side: ComparedSide) -> str:
    names = ("keras", side.backend or "")
    return ", ".join(f"{name} {side.versions[name]}" for name in names if side.versions.get(name))


def _fails(side: ComparedSide) -> bool:
    return any(error.step in ("load", "run") for error in side.errors)


def _show_leak(side: ComparedSide) -> Cells:
    if side.leak is None:
        return make_cell(DASH, "muted")
    return mark_fault(side.leak == "leaks", "yes", side.leak if side.leak == "unproven" else "no")


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
        columns.append(ItemColumn(_shorten(side.name), partial(_show_effect, index), "left", rule=index == 0))
    for index, side in enumerate(comparison.sides[1:], 1):
        title = f"Δ {_shorten(side.name)}" if len(comparison.sides) > 2 else "Δ"
        columns.append(ItemColumn(title, partial(_show_change, index), rule=index == 1))
    yield from list_items(columns, comparison.calls, "call", limits, ("type",))
    yield make_note("the mask of a call with ! differs from that of the first side")


def _show_effect(index: int, call: ComparedCall) -> Cells:
    item = call.sides[index]
    if item is None:
        return make_cell(DASH, "muted")
    return make_cell(f" {item.effect}", "warning") if item.differs == "mask" else make_cell(item.effect)


def _show_change(index: int, call: ComparedCall) -> Cells:
    item = call.sides[index]
    if item is None or item.differs is None:
        return make_cell(format_short(None if item is None else item.max_abs_change), "muted")
    return make_cell(format_short(item.max_abs_change), "strong")


def _view_outputs(comparison: Comparison, limits: Limits) -> Iterator[Part]:
    pairs = [(item.side, output) for item in comparison.differences for output in item.outputs]
    if not pairs:
        return
    yield Heading("Outputs", f"compared with {comparison.sides[0].name}")
    columns: list[ItemColumn[tuple[str, OutputDifference]]] = [
        ItemColumn("output", lambda pair: make_cell(pair[1].output, "label"), "left"),
        ItemColumn("side", lambda pair: make_cell(_shorten(pair[0])), "left"),
        ItemColumn("Δ", lambda pair: make_cell(format_short(pair[1].max_abs_change))),
        ItemColumn("rounding", lambda pair: make_cell(format_short(pair[1].tolerance), "muted")),
        ItemColumn("differs", lambda pair: mark_fault(pair[1].differs), "left"),
        ItemColumn("at", lambda pair: make_cell(_locate(pair[1])), "left"),
        ItemColumn("mask", lambda pair: mark_fault(pair[1].masks_differ, "differs", "equal"), "left"),
    ]
    yield from list_items(columns, pairs, "output", limits, ("rounding",))


def _locate(output: OutputDifference) -> str:
    """Return the place of a difference; empty for rounding."""
    if not output.differs or output.sample is None:
        return ""
    return locate_change(output.sample, output.timestep, output.at_padding)


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
