"""All that is known of a model with its data in one record: what a page shows a colleague."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from maskcli.api.check import check_model_data
from maskcli.api.inspect import inspect_model_data
from maskcli.api.loss import BatchSizes, CountProgress, explain_loss, load_for_loss
from maskcli.api.model_data import ModelAndData
from maskcli.api.settings import check_positive
from maskcli.api.targets import LossOptions, read_raw_targets
from maskcli.conclusions.verdicts import answer_questions
from maskcli.inputs.arguments import pack_arguments
from maskcli.inputs.targets import GENERATED_TARGETS
from maskcli.losses.compile_settings import read_compile_settings
from maskcli.losses.registry import is_keras_loss
from maskcli.models.runtime import read_versions, running
from maskcli.probes.leak_matrix import compute_leak_matrices
from maskcli.records.check import CheckReport
from maskcli.records.inputs import find_primary
from maskcli.records.loss import LossReport, Targets
from maskcli.records.remark import Remark
from maskcli.records.report import Origin, Report
from maskcli.records.sequences import Layout, Side
from maskcli.records.trace import Inspection, OutputValues
from maskcli.rules.selection import select_rules
from maskcli.trace.attention import record_attention_masks
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.run import list_output_tensors, trace_model
from maskcli.trace.state import preserve_state
from maskcli.version import __version__

SAMPLES = 32
"""Rows that are shown closely."""
FEATURES = 64
"""Features of an output that a report holds."""
MOST_NUMBERS = 2**19
"""Numbers that the outputs of these rows may have, for a page to be a page."""
LARGEST_LOSS = 2**20
"""Timesteps whose losses a report holds."""


def report(
    sequences: object,
    *,
    model: object = "embedding-lstm",
    samples: int = SAMPLES,
    targets: object = None,
    targets_field: str | Sequence[str] | None = None,
    loss: object = None,
    loss_options: Mapping[str, Any] | None = None,
    metrics: Sequence[object] = (),
    sample_weight: object = None,
    sample_weight_field: str | None = None,
    class_weight: Mapping[int, float] | None = None,
    batch_size: int | None = None,
    batch_sizes: Sequence[int] = (),
    shuffles: int = 20,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    mask_source: str = "embedding",
    input_dim: int | None = None,
    embedding_dim: int = 4,
    units: int | None = None,
    zero_output_for_mask: bool = False,
    seed: int = 0,
    custom_objects: Sequence[str] = (),
    unsafe_load: bool = False,
    maxlen: int | None = None,
    padding: Side = "post",
    truncating: Side = "post",
    value: int = 0,
    dtype: str = "int32",
    trim: bool = True,
    command: Sequence[str] = (),
    progress: CountProgress | None = None,
) -> Report:
    """Inspect, check and judge a model with its data, and see which padding moves what, and who attends to whom.

    Args:
        sequences: as for ``inspect``.
        model: as for ``inspect``.
        samples: rows, the first ones, that are shown timestep by timestep; ``check`` and ``loss`` see all.
        targets: as for ``loss``; of a model of your own without any there is no loss.
        targets_field: as for ``loss``, and so the rest.
        loss: a loss, or its name.
        loss_options: arguments of the loss.
        metrics: metrics, or their names.
        sample_weight: a file, or an array.
        sample_weight_field: its field.
        class_weight: weights of timesteps by the class that their target is.
        batch_size: of Keras's ``evaluate``.
        batch_sizes: sizes to set side by side, with gradients.
        shuffles: orders of the data that are tried for each of them.
        select: rules to judge by, as for ``check``.
        ignore: rules to leave out.
        mask_source: of a built-in model, and so the rest.
        input_dim: of its Embedding.
        embedding_dim: length of its vectors.
        units: width of its outputs.
        zero_output_for_mask: masked outputs are zero (LSTM).
        seed: of the weights.
        custom_objects: modules whose classes and functions a model file names.
        unsafe_load: whether code that is in a model file may run.
        maxlen: as for ``pad``, and so the rest.
        padding: where padding goes.
        truncating: where a long sequence is cut.
        value: the padding id.
        dtype: of the tokens.
        trim: whether runs of ``value`` at either end of a row are padding that it came with.
        command: the command line that asked for it.
        progress: is told how many rows were run for the loss, of how many.

    Raises:
        UsageError: for options that contradict each other or the data, and rules that do not exist.
        InputError: for data, targets or weights that cannot be read, or do not fit.
        ModelError: when a model cannot be loaded, built or run.
    """
    check_positive(samples=samples)
    rules, cuts = select_rules(select, ignore), BatchSizes(batch_size, tuple(batch_sizes), shuffles)
    asked = LossOptions.of(
        targets, targets_field, loss, loss_options, metrics, sample_weight, sample_weight_field, class_weight
    )
    case, asked = load_for_loss(
        sequences,
        model,
        Layout(padding, truncating, maxlen, value, dtype, trim),
        asked,
        cuts,
        units=units,
        custom_objects=custom_objects,
        unsafe_load=unsafe_load,
        mask_source=mask_source,
        input_dim=input_dim,
        embedding_dim=embedding_dim,
        zero_output_for_mask=zero_output_for_mask,
        seed=seed,
    )
    with case.naming():
        few = _shown(case, samples)
        checked = check_model_data(case, rules, targets=_targets(case, asked), loss=_loss(asked))
        judged, no_loss = _judged(case, asked, cuts, progress)
        return _report(few, checked, judged, no_loss, _origin(case, few, command))


def _shown(case: ModelAndData, samples: int) -> ModelAndData:
    """Return the case with the rows that are shown: as many as asked for, or whose outputs a report has room for."""
    fixed = find_fixed_batch(case.model)
    if fixed is not None:
        return case.first(fixed)
    one = case.first(1)
    with running(f"--model {case.about.name}"), preserve_state(case.model):
        outputs = list_output_tensors(
            trace_model(case.model, pack_arguments(case.model, one.inputs), one.inputs).output
        )
    shapes = (tuple(tensor.shape) for _, tensor in outputs)
    numbers = sum(math.prod((*shape[:-1], min(shape[-1], FEATURES))) for shape in shapes if shape)
    return case.first(min(samples, max(1, MOST_NUMBERS // max(1, numbers))))


def _narrowed(inspection: Inspection) -> Inspection:
    """Return an inspection with the first features of wide outputs alone, and a remark on each that has more."""
    outputs = tuple(map(_narrow, inspection.outputs))
    wide = [output for output in outputs if output.all_features is not None]
    told = (
        f"The report holds the first {FEATURES} of the {output.all_features:,} features of {output.call}."
        for output in wide
    )
    unmasked = [
        dataclasses.replace(bare, values=bare.values[..., :FEATURES])
        if bare is not None and output.all_features is not None
        else bare
        for output, (_, bare) in zip(outputs, inspection.beside, strict=True)
    ]
    return dataclasses.replace(
        inspection,
        outputs=outputs,
        unmasked=unmasked[0],
        further_unmasked=tuple(unmasked[1:]),
        remarks=(*inspection.remarks, *(Remark("fact", text) for text in told)),
    )


def _narrow(output: OutputValues) -> OutputValues:
    wide = output.values.ndim > 1 and output.values.shape[-1] > FEATURES
    if not wide or (output.valid is not None and output.values.ndim == 2):
        return output
    return dataclasses.replace(output, values=output.values[..., :FEATURES], all_features=output.values.shape[-1])


def _report(
    few: ModelAndData, checked: CheckReport, judged: LossReport | None, no_loss: str | None, origin: Origin
) -> Report:
    inspection = _narrowed(inspect_model_data(few))
    with running(f"--model {few.about.name}"), preserve_state(few.model):
        attention = record_attention_masks(trace_model(few.model, pack_arguments(few.model, few.inputs), few.inputs))
        leaks, no_leaks = (
            compute_leak_matrices(few.model, few.inputs) if _is_steady(checked) else ((), _unsteady(checked))
        )
    return Report(
        origin=origin,
        verdicts=tuple(answer_questions(inspection, checked, judged, no_loss)),
        inspection=inspection,
        check=checked,
        loss=judged,
        no_loss=no_loss,
        leaks=leaks,
        no_leaks=no_leaks,
        attention=attention,
    )


def _judged(
    case: ModelAndData, asked: LossOptions, cuts: BatchSizes, progress: CountProgress | None
) -> tuple[LossReport | None, str | None]:
    """Return the loss, or why there is none: nobody said what the model is to predict."""
    primary = find_primary(case.inputs)
    size = 0 if primary is None or primary.valid is None else primary.valid.size
    if size > LARGEST_LOSS:
        why = f"The data has {size:,} timesteps, and a report holds the losses of {LARGEST_LOSS:,} at most"
        return None, f"{why}; `maskcli loss` shows them."
    if asked.targets is None and not asked.fields and asked.loss is None:
        return None, "No targets were given: --targets FILE, or --targets-field NAME of the data."
    if asked.loss is None and read_compile_settings(case.model).loss is None:
        return None, f"{case.about.name} is not compiled with a loss, and none was named with --loss."
    return explain_loss(case, asked, cuts, progress), None


def _targets(case: ModelAndData, asked: LossOptions) -> NDArray[Any] | None:
    """Return the targets of the one output of a model of the user's own, for the rules that judge its loss."""
    if isinstance(asked.targets, Targets) or len(asked.fields) > 1 or isinstance(asked.targets, Mapping | list):
        return None
    made = isinstance(asked.targets, str) and asked.targets in GENERATED_TARGETS
    return None if made else read_raw_targets(case, asked.targets, asked.fields[0] if asked.fields else None)


def _loss(asked: LossOptions) -> str | None:
    return asked.loss if isinstance(asked.loss, str) and is_keras_loss(asked.loss) else None


def _is_steady(checked: CheckReport) -> bool:
    """Return whether two equal runs of the model agree, without which no change says anything."""
    seen = checked.examination.model
    leak = None if seen is None else seen.leak
    return leak is not None and (not leak.probes or any(probe.applicable for probe in leak.probes))


def _unsteady(checked: CheckReport) -> str:
    seen = checked.examination.model
    why = [probe.why for probe in seen.leak.probes if probe.why] if seen is not None and seen.leak is not None else []
    return f"It could not be tried: {why[0]}." if why else "The model does not run on this data."


def _origin(case: ModelAndData, few: ModelAndData, command: Sequence[str]) -> Origin:
    settings, rows = case.about.settings, len(case.inputs[0].values)
    return Origin(
        command=tuple(command),
        versions={"maskcli": __version__, "python": platform.python_version(), **read_versions()},
        seed=None if settings is None else settings.seed,
        rows=rows,
        samples=len(few.inputs[0].values),
    )
