"""What happens to the mask when data runs through a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from maskcli.api.model_data import ModelAndData, load_builtin, load_user_model, make_builtin_inputs, names_builtin
from maskcli.conclusions import remarks
from maskcli.inputs.arguments import pack_arguments
from maskcli.models.build import BuiltModel, build_twin
from maskcli.models.mask_sources import MASK_GIVING
from maskcli.models.runtime import read_versions, running
from maskcli.records.inputs import find_primary
from maskcli.records.sequences import Layout, Side
from maskcli.records.trace import EmbeddingRow, Inspection, OutputValues, SourceResult, Unmasked
from maskcli.trace import timesteps
from maskcli.trace.edges import find_edges
from maskcli.trace.embeddings import find_padding_vector
from maskcli.trace.outputs import collect_outputs
from maskcli.trace.recorder import record_run
from maskcli.trace.run import Run, find_first_mask, list_output_tensors, trace_model
from maskcli.trace.state import preserve_state


def inspect(
    sequences: object,
    *,
    model: object = "embedding-lstm",
    mask_source: str = "embedding",
    input_dim: int | None = None,
    embedding_dim: int = 4,
    units: int = 3,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    seed: int = 0,
    custom_objects: Sequence[str] = (),
    unsafe_load: bool = False,
    unfold: bool = False,
    maxlen: int | None = None,
    padding: Side = "post",
    truncating: Side = "post",
    value: int = 0,
    dtype: str = "int32",
    trim: bool = True,
) -> Inspection:
    """Run a model on its data and return what happened to the mask.

    Args:
        sequences: as ``pad`` takes them; for a model of your own also arrays by the names of its inputs, with
            ``NAME.mask`` for what is valid.
        model: the name of a built-in model, a ``.keras`` or ``.h5`` file, ``package.module:function``, or a Keras
            model.
        mask_source: of a built-in model: ``embedding``, ``masking``, ``explicit``, ``none``, or ``all`` to set the
            first three side by side, with the padding row of one embedding zero in each.
        input_dim: of the Embedding of a built-in model, and so the rest; None takes the largest id + 1.
        embedding_dim: length of its vectors.
        units: width of the outputs.
        return_sequences: an output for each timestep, or the last one alone (LSTM).
        zero_output_for_mask: masked outputs are zero, instead of the output before (LSTM).
        seed: of the weights; it also seeds Python's, NumPy's and TensorFlow's generators, as
            ``keras.utils.set_random_seed`` does.
        custom_objects: modules whose classes and functions a model file names.
        unsafe_load: whether code that is in a model file may run.
        unfold: also show the calls inside Keras's own layers, such as the halves of Bidirectional.
        maxlen: as for ``pad``, and so the rest.
        padding: where padding goes.
        truncating: where a long sequence is cut.
        value: the padding id.
        dtype: of the tokens.
        trim: whether runs of ``value`` at either end of a row are padding that it came with.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for sequences that cannot be padded, or ids that an Embedding cannot look up.
        ModelError: when a model cannot be loaded, built or run, or takes other data.
    """
    layout = Layout(padding, truncating, maxlen, value, dtype, trim)
    if names_builtin(model):
        case = load_builtin(
            sequences,
            layout,
            name=str(model),
            mask_source=mask_source,
            input_dim=input_dim,
            embedding_dim=embedding_dim,
            units=units,
            return_sequences=return_sequences,
            zero_output_for_mask=zero_output_for_mask,
            seed=seed,
        )
    else:
        case = load_user_model(sequences, model, layout, custom_objects=custom_objects, unsafe_load=unsafe_load)
    return inspect_model_data(case, unfold)


def inspect_model_data(case: ModelAndData, unfold: bool = False) -> Inspection:
    """Return what happens to the mask in a model with its data; raise as ``inspect`` does."""
    with running(f"--model {case.about.name}"), preserve_state(case.model):
        given = pack_arguments(case.model, case.inputs)
        run = trace_model(case.model, given, case.inputs, unfold)
        outputs = _outputs(run, case)
        mask = find_first_mask(run.calls)
        unmasked = (None,) * len(outputs) if mask is None else _unmasked(case, given, outputs)
        results = _compared(case, run)
    agree = timesteps.do_sources_agree(results, outputs[0].values.shape[1]) if results else None
    row = _embedding_row(case, run)
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
    )


def _outputs(run: Run, case: ModelAndData) -> tuple[OutputValues, ...]:
    seen = zip(collect_outputs(run), list_output_tensors(run.output), strict=True)
    return tuple(
        timesteps.make_output_values(
            output.call or case.about.name, np.asarray(tensor), output.mask, output.valid, output.name
        )
        for output, (_, tensor) in seen
    )


def _unmasked(case: ModelAndData, given: object, outputs: Sequence[OutputValues]) -> tuple[Unmasked | None, ...]:
    """Return the outputs of a run in which every mask is taken away as it appears; None for what cannot run."""
    plain = record_run(case.model, given, strip=True)
    if plain.error is not None:
        return (None,) * len(outputs)
    values = [np.asarray(tensor) for _, tensor in list_output_tensors(plain.output)]
    return tuple(
        timesteps.compare_unmasked(output, bare) if bare.shape == output.values.shape else None
        for output, bare in zip(outputs, values, strict=True)
    )


def _embedding_row(case: ModelAndData, run: Run) -> EmbeddingRow | None:
    row = find_padding_vector(run, case.inputs)
    if row is None or case.about.settings is None:
        return row
    return dataclasses.replace(row, set_to_zero=case.about.settings.zero_padding_row)


def _compared(case: ModelAndData, run: Run) -> tuple[SourceResult, ...]:
    """Return the results of the three mask sources, where all were asked for."""
    if case.built is None or case.about.settings is None or case.about.settings.mask_source != "all":
        return ()
    results = [timesteps.compare_source(MASK_GIVING[0], find_first_mask(run.calls), np.asarray(run.output), None)]
    for source in MASK_GIVING[1:]:
        other = build_twin(case.built, source)
        ran = _run_of(other, case)
        results.append(timesteps.compare_source(source, find_first_mask(ran.calls), np.asarray(ran.output), results[0]))
    return tuple(results)


def _run_of(built: BuiltModel, case: ModelAndData) -> Run:
    assert case.batch is not None and case.inputs[0].valid is not None  # noqa: S101 - a built-in model has both
    inputs = make_builtin_inputs(built, case.batch, case.inputs[0].valid)
    return trace_model(built.keras_model, pack_arguments(built.keras_model, inputs), inputs)
