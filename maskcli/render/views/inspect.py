"""The mask in a model: the batch, the path of the mask, the outputs, and the same weights without a mask."""

from __future__ import annotations

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.trace import Inspection
from maskcli.render.numbers import DASH, format_short, make_fixed_formatter
from maskcli.render.parts import (
    KIND_ROLES,
    Cells,
    Heading,
    Limits,
    Part,
    Role,
    Section,
    Table,
    Text,
    make_cell,
    make_sections,
    suggest_next,
)
from maskcli.render.tables import (
    LONGEST_NAME,
    NARROWEST_NAME,
    TOKEN,
    ItemColumn,
    elide_axis,
    fill_table,
    find_room,
    format_vector,
    label_tokens,
    list_items,
    make_elision_note,
    make_glyphs,
    make_legend,
    make_mask_field,
    make_token_fields,
    shorten_middle,
)
from maskcli.render.timesteps import KindArray, TimestepKind, count_kinds, find_timestep_kinds
from maskcli.render.views.answers import answer_inspection, find_mask_creator, introduce_model, select_further_remarks
from maskcli.render.views.outputs import (
    convert_ids,
    has_timesteps,
    note_other_shape,
    view_first_output,
    view_further_outputs,
)
from maskcli.render.views.trace import view_mask_path
from maskcli.render.views.validity import view_validity

MASK_SOURCES = {
    "embedding": "from Embedding(mask_zero=True): id ≠ 0",
    "masking": "from Masking(0.0): the vector is not all zero",
    "explicit": "passed explicitly: all but the padding",
    "none": "no mask source",
    "all": "from Embedding(mask_zero=True); all three below",
}


def view(inspection: Inspection, limits: Limits) -> list[Section]:
    """Return all sections, in the order of a reader's questions."""
    return make_sections(
        ("about", [introduce_model(inspection.model)]),
        ("answer", answer_inspection(inspection)),
        ("inputs", _view_inputs(inspection, limits)),
        ("batch", _view_batch(inspection, limits)),
        ("validity", view_validity(inspection.inputs)),
        ("embedding", _view_embedding(inspection, limits)),
        ("mask-path", view_mask_path(inspection.trace, limits)),
        ("outputs", view_first_output(inspection, limits)),
        ("further-outputs", view_further_outputs(inspection.outputs[1:], limits)),
        ("mask-sources", _view_mask_sources(inspection, limits)),
        ("remarks", select_further_remarks(inspection.remarks)),
        ("next", suggest_next(_choose_next(inspection))),
    )


def _choose_next(inspection: Inspection) -> str:
    """Return the command that goes on from here: to the cause of a lost mask, or to the loss."""
    lost = inspection.mask is None or inspection.output_mask is None
    if lost and inspection.valid is not None and not inspection.valid.all():
        return "`maskcli check` with the same arguments finds where padding leaks, and tries repairs."
    return "`maskcli loss` with the same arguments compares the masked with the unmasked loss."


# The inputs.


def _view_inputs(inspection: Inspection, limits: Limits) -> list[Part]:
    if len(inspection.inputs) < 2 or inspection.model.settings is not None:
        return []
    width = max(NARROWEST_NAME, limits.width - 50)
    fields: list[ItemColumn[ModelInput]] = [
        ItemColumn("input", lambda model_input: make_cell(shorten_middle(model_input.name, width), "label"), "left"),
        ItemColumn("shape", lambda model_input: make_cell(model_input.values.shape), "left"),
        ItemColumn("dtype", lambda model_input: make_cell(model_input.values.dtype), "left"),
        ItemColumn("kind", lambda model_input: make_cell(model_input.kind), "left"),
        ItemColumn("padded timesteps", _count_padding),
    ]
    return list_items(fields, inspection.inputs, "input", limits)


def _count_padding(model_input: ModelInput) -> Cells:
    valid = model_input.valid
    if valid is None:
        return make_cell(DASH, "muted")
    return make_cell(f"{int((~valid).sum()):,} of {valid.size:,}")


# The batch and its mask.


def _view_batch(inspection: Inspection, limits: Limits) -> list[Part]:
    primary = inspection.primary
    if primary is None or primary.valid is None:
        return []
    mask = inspection.mask if has_timesteps(inspection.mask, primary.valid) else None
    kinds = find_timestep_kinds(primary.valid, mask)
    subject = "Tokens" if primary.kind == "ids" else "Timesteps"
    several = sum(model_input.valid is not None and model_input.kind != "mask" for model_input in inspection.inputs) > 1
    name = f" of {primary.name}" if several else ""
    # The answer above names the call that creates the mask of a user's own model.
    origin = describe_mask_origin(inspection) if inspection.model.settings is not None else ""
    heading = Heading(f"{subject} and mask{name} {primary.values.shape!s}", origin)
    return [
        heading,
        *_tabulate_batch(inspection, primary, kinds, mask, limits),
        *_make_batch_legend(primary, kinds, mask, limits),
        *note_other_shape(inspection.mask, primary.valid, "The mask"),
    ]


def _tabulate_batch(
    inspection: Inspection, primary: ModelInput, kinds: KindArray, drawn_mask: Bools | None, limits: Limits
) -> list[Part]:
    """Return the timesteps next to their mask; a mask of another shape has no column."""
    rows = elide_axis(kinds.shape[0], limits.rows, "sequence")
    tokens = label_tokens(convert_ids(primary), inspection.data.words) if primary.kind == "ids" else None

    def make_table(room: int | None) -> list[Part]:
        timesteps = elide_axis(kinds.shape[1], room, "timestep")
        if tokens is not None:
            fields = make_token_fields(tokens, kinds, timesteps)
        else:  # Features have no token to show.
            fields = [
                ItemColumn("sample", lambda row: make_cell(row, "label")),
                ItemColumn("valid", lambda row: make_glyphs(timesteps, lambda at: KIND_ROLES[kinds[row, at]]), "left"),
            ]
        if inspection.mask is None or drawn_mask is not None:
            fields.append(make_mask_field("mask", drawn_mask, timesteps))
        return [fill_table(fields, rows), *make_elision_note(rows.note, timesteps.note)]

    narrowest = (1 if tokens is None else TOKEN) + (drawn_mask is not None)
    return make_table(find_room(make_table, kinds.shape[1], limits, narrowest))


def _make_batch_legend(primary: ModelInput, kinds: KindArray, mask: Bools | None, limits: Limits) -> list[Part]:
    """Return the meanings of the glyphs that occur."""
    entries: list[tuple[Role, str]] = []
    if primary.kind != "ids":
        entries.append(("on", "valid, counts"))
    elif mask is not None and mask.any():
        entries.append(("on", "counts"))
    if mask is not None and not mask.all():
        entries.append(("off", "masked"))
    marked = [kind for kind in count_kinds(kinds) if kind != TimestepKind.VALID]
    entries += [(KIND_ROLES[kind], kind.label) for kind in marked]
    return make_legend(entries, limits)


def describe_mask_origin(inspection: Inspection) -> str:
    """Return the origin of the mask in a few words."""
    if inspection.model.settings is not None:
        return MASK_SOURCES[inspection.model.settings.mask_source]
    creator = find_mask_creator(inspection.trace)
    if creator is not None:
        return f"created by {shorten_middle(creator.call, LONGEST_NAME)} ({creator.type})"
    if inspection.mask is None:
        return "no mask source"
    if any(model_input.kind == "mask" for model_input in inspection.inputs):
        return "passed as an input"
    return "created in the model's own code"


def _view_embedding(inspection: Inspection, limits: Limits) -> list[Part]:
    row = inspection.embedding
    if row is None:
        return []
    vector, number = row.padding_vector, make_fixed_formatter(row.padding_vector)

    def make_line(room: int | None) -> list[Part]:
        features = elide_axis(len(vector), room, "feature")
        return [Text(make_cell(f"[{format_vector(vector, features, number)}]"))]

    heading = Heading(f"Embedding vector of padding id {row.padding_id}")
    return [heading, *make_line(find_room(make_line, len(vector), limits, narrowest=2))]


# The mask sources.


def _view_mask_sources(inspection: Inspection, limits: Limits) -> list[Part]:
    results, primary = inspection.mask_sources, inspection.primary
    if not results or primary is None:
        return []
    rows = elide_axis(primary.values.shape[0], limits.rows, "sequence")
    # The first source is the reference of the comparison.
    changes = (make_cell(format_short(result.max_abs_difference)) for result in results[1:])
    last_row = (make_cell("output change", "label"), make_cell("–"), *changes)

    def make_table(room: int | None) -> list[Part]:
        timesteps = elide_axis(primary.values.shape[1], room, "timestep")
        masks = (make_mask_field(result.mask_source, result.mask, timesteps) for result in results)
        table = fill_table([ItemColumn("", lambda row: make_cell(row, "label")), *masks], rows)
        return [Table(table.columns, (*table.rows, last_row)), *make_elision_note(rows.note, timesteps.note)]

    heading = Heading(
        "The three mask sources, with equal weights",
        "masks and outputs are equal" if inspection.mask_sources_agree else "masks or outputs differ",
    )
    return [heading, *make_table(find_room(make_table, primary.values.shape[1], limits, narrowest=1))]
