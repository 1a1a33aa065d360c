"""Follow the mask through a model that runs on data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from maskcli.api.keywords import take_keywords
from maskcli.api.model_data import ModelAndData, load_builtin, load_user_model, make_builtin_inputs, names_builtin
from maskcli.backends.arrays import as_array
from maskcli.conclusions import remarks
from maskcli.inputs.arguments import pack_arguments
from maskcli.inputs.objects import split_data
from maskcli.models.build import BuiltModel, build_twin
from maskcli.models.runtime import read_versions, running
from maskcli.records.inputs import find_primary
from maskcli.records.layout import Layout
from maskcli.records.options import MASK_GIVING, select_options
from maskcli.records.requests import InspectRequest
from maskcli.records.trace import EmbeddingRow, Inspection, OutputValues, SourceResult, Unmasked
from maskcli.trace import timesteps
from maskcli.trace.edges import find_edges
from maskcli.trace.embeddings import find_padding_vector
from maskcli.trace.outputs import collect_outputs
from maskcli.trace.run import Run, find_first_mask, list_output_tensors, trace_model
from maskcli.trace.state import preserve_state
from maskcli.trace.unmasked import compute_unmasked_outputs


@take_keywords(InspectRequest)
def inspect(request: InspectRequest) -> Inspection:
    """Run a model on its data and follow the mask through it.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for sequences that cannot be padded, or ids that an Embedding cannot look up.
        ModelError: when a model cannot be loaded, built or run, or takes other data.
    """
    layout, data = (
        select_options(Layout, request),
        split_data(request.data, request.value, request.field, request.model).inputs,
    )
    if names_builtin(request.model):
        case = load_builtin(data, layout, request, request.return_sequences)
    else:
        fields = request.targets_field or ()
        names = (fields,) if isinstance(fields, str) else fields
        case = load_user_model(data, layout, request, dict.fromkeys(names, "--targets-field"))
    return inspect_model_data(case, request.unfold)


def inspect_model_data(case: ModelAndData, unfold: bool = False) -> Inspection:
    """Follow the mask through a model with its data; raises as ``inspect`` does."""
    with running(f"--model {case.about.name}"), preserve_state(case.model):
        run = case.get_run(unfold).trace
        outputs = _make_outputs(run, case)
        mask = find_first_mask(run.calls)
        unmasked = (None,) * len(outputs) if mask is None else _compare_unmasked(case, outputs)
        results = _compare_sources(case, run)
    agree = timesteps.do_sources_agree(results, outputs[0].values.shape[1]) if results else None
    row = _find_embedding_row(case, run)
    primary = find_primary(case.inputs)
    return Inspection(
        model=case.about,
        versions=read_versions(),
        inputs=case.inputs,
        batch=case.batch,
        mask=mask,
        embedding=row,
        trace=run.calls,
        outputs=outputs,
        unmasked=unmasked[0],
        mask_sources=results,
        mask_sources_agree=agree,
        remarks=(
            *(remarks.remark_on_mask(primary, mask) if primary is not None else ()),
            *(remarks.remark_on_embedding(row, case.about.settings) if row is not None else ()),
            *remarks.remark_on_outputs(outputs[0], mask, run.calls),
            *remarks.remark_on_unmasked(unmasked[0], outputs[0]),
            *(remarks.remark_on_sources(results, agree) if agree is not None else ()),
            *remarks.remark_on_notes(case.about.notes),
        ),
        edges=find_edges(run, case.inputs),
        further_unmasked=unmasked[1:],
        data=case.data,
    )


def _make_outputs(run: Run, case: ModelAndData) -> tuple[OutputValues, ...]:
    pairs = zip(collect_outputs(run), list_output_tensors(run.output), strict=True)
    return tuple(
        timesteps.make_output_values(
            output.call or case.about.name, as_array(tensor), output.mask, output.valid, output.name
        )
        for output, (_, tensor) in pairs
    )


def _compare_unmasked(case: ModelAndData, outputs: Sequence[OutputValues]) -> tuple[Unmasked | None, ...]:
    """Return the changes of each output without any mask; None for an output that has none to compare with."""
    tensors = compute_unmasked_outputs(case.model, pack_arguments(case.model, case.inputs))
    if tensors is None:
        return (None,) * len(outputs)
    values = [as_array(tensor) for tensor in tensors]
    return tuple(
        timesteps.compare_unmasked(output, bare) if bare.shape == output.values.shape else None
        for output, bare in zip(outputs, values, strict=True)
    )


def _find_embedding_row(case: ModelAndData, run: Run) -> EmbeddingRow | None:
    row = find_padding_vector(run, case.inputs)
    if row is None or case.about.settings is None:
        return row
    return dataclasses.replace(row, set_to_zero=case.about.settings.zero_padding_row)


def _compare_sources(case: ModelAndData, run: Run) -> tuple[SourceResult, ...]:
    """Return the results of the three mask sources, if all were requested."""
    if case.built is None or case.about.settings is None or case.about.settings.mask_source != "all":
        return ()
    results = [timesteps.compare_source(MASK_GIVING[0], find_first_mask(run.calls), as_array(run.output), None)]
    for source in MASK_GIVING[1:]:
        twin = _trace_twin(build_twin(case.built, source), case)
        mask = find_first_mask(twin.calls)
        results.append(timesteps.compare_source(source, mask, as_array(twin.output), results[0]))
    return tuple(results)


def _trace_twin(built: BuiltModel, case: ModelAndData) -> Run:
    assert case.batch is not None and case.inputs[0].valid is not None  # noqa: S101 - a built-in model has both
    return trace_model(built.keras_model, make_builtin_inputs(built, case.batch, case.inputs[0].valid))
