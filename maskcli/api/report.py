"""Make the report: inspection, check, loss and leak matrices of a model in one record."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Sequence

from maskcli.api.check import check_model_data, find_causal_request
from maskcli.api.inspect import inspect_model_data
from maskcli.api.keywords import take_keywords
from maskcli.api.loss import explain_loss, load_for_loss
from maskcli.api.loss_evidence import has_targets
from maskcli.api.model_data import ModelAndData, add_labels
from maskcli.api.settings import check_positive
from maskcli.conclusions.verdicts import answer_questions
from maskcli.inputs.arguments import select_rows
from maskcli.inputs.objects import split_data
from maskcli.losses.compile_settings import read_compiled_loss
from maskcli.models.runtime import read_versions, running
from maskcli.probes.leak_matrix import compute_leak_matrices
from maskcli.records.check import CheckReport
from maskcli.records.inputs import find_primary
from maskcli.records.layout import Layout
from maskcli.records.loss import LossReport
from maskcli.records.options import CountProgress, LossOptions, select_options
from maskcli.records.remark import Remark
from maskcli.records.report import Origin, Report
from maskcli.records.requests import ReportRequest
from maskcli.records.trace import Inspection, OutputValues, Unmasked
from maskcli.rules.selection import select_rules
from maskcli.trace.attention import record_attention_masks
from maskcli.trace.outputs import choose_rows, find_fixed_batch
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.state import preserve_state
from maskcli.version import __version__

FEATURES = 64
"""Features of an output that a report holds."""
MOST_NUMBERS = 2**19
"""Numbers that the outputs of these rows may have, for a page to be a page."""
LARGEST_LOSS = 2**20
"""Timesteps whose losses a report holds."""


@take_keywords(ReportRequest)
def report(request: ReportRequest) -> Report:
    """Inspect and check a model with its data, and explain its loss; also trace which padding changes which output.

    Without targets, a model of your own has no loss in its report.

    Raises:
        UsageError: for options that contradict each other or the data, and rules that do not exist.
        InputError: for data, targets or weights that cannot be read, or do not fit.
        ModelError: when a model cannot be loaded, built or run.
    """
    check_positive(samples=request.samples)
    rules = select_rules(request.select, request.ignore)
    parts = split_data(request.data, request.value, request.field, request.model)
    case, options = load_for_loss(parts.inputs, select_options(Layout, request), request, add_labels(request, parts))
    with case.naming():
        sample = _select_sample(case, request.samples)
        has_loss = options.loss is not None or read_compiled_loss(case.model) is not None
        measure = has_loss and has_targets(add_labels(select_options(LossOptions, request), parts))
        causal = find_causal_request(False, request.targets)
        check = check_model_data(case, rules, options=options, measure=measure, causal=causal, quick=request.quick)
        loss, no_loss = _explain_loss(case, options, request.progress)
        inspection = _limit_features(inspect_model_data(sample))
        with running(f"--model {case.about.name}"), preserve_state(case.model):
            attention = record_attention_masks(sample.get_run().trace)
            problem = _explain_unsteadiness(check)
            leaks, no_leaks = ((), problem) if problem else compute_leak_matrices(sample.get_run())
    return Report(
        origin=_describe_origin(case, sample, request.command),
        verdicts=tuple(answer_questions(inspection, check, loss, no_loss)),
        inspection=inspection,
        check=check,
        loss=loss,
        no_loss=no_loss,
        leaks=leaks,
        no_leaks=no_leaks,
        attention=attention,
    )


def _select_sample(case: ModelAndData, samples: int) -> ModelAndData:
    """Return the case with the rows to show: the requested number, or as many as a report has room for."""
    fixed = find_fixed_batch(case.model)
    if fixed is not None:
        return case.first(fixed)
    with running(f"--model {case.about.name}"), preserve_state(case.model):
        # The check will need the same run. If some of its rows make the model raise, one row is tried by itself.
        rows = choose_rows(case.inputs, case.runs.most_rows)
        run = case.runs.get_run(tuple(select_rows(model_input, rows) for model_input in case.inputs))
        if run.recording.error is not None:
            run, rows = ModelRun(case.model, case.first(1).inputs), rows[:1]
        outputs = list_output_tensors(run.trace.output)
    shapes = [tuple(tensor.shape) for _, tensor in outputs]
    of_one_row = [(1, *shape[1:]) if shape[:1] == (len(rows),) else shape for shape in shapes]
    numbers = sum(math.prod((*shape[:-1], min(shape[-1], FEATURES))) for shape in of_one_row if shape)
    return case.first(min(samples, max(1, MOST_NUMBERS // max(1, numbers))))


def _limit_features(inspection: Inspection) -> Inspection:
    """Return an inspection with the first features of wide outputs, and a remark on each output that has more."""
    outputs = tuple(map(_select_features, inspection.outputs))
    wide = [output for output in outputs if output.all_features is not None]
    texts = [
        f"The report holds the first {FEATURES} of the {output.all_features:,} features of {output.call}."
        for output in wide
    ]
    unmasked = [
        _select_unmasked_features(bare, output) for output, (_, bare) in zip(outputs, inspection.beside, strict=True)
    ]
    return dataclasses.replace(
        inspection,
        outputs=outputs,
        unmasked=unmasked[0],
        further_unmasked=tuple(unmasked[1:]),
        remarks=(*inspection.remarks, *(Remark("fact", text) for text in texts)),
    )


def _select_features(output: OutputValues) -> OutputValues:
    wide = output.values.ndim > 1 and output.values.shape[-1] > FEATURES
    # A matrix with validity is (batch, timesteps): its last axis has no features.
    if not wide or (output.valid is not None and output.values.ndim == 2):
        return output
    return dataclasses.replace(output, values=output.values[..., :FEATURES], all_features=output.values.shape[-1])


def _select_unmasked_features(unmasked: Unmasked | None, output: OutputValues) -> Unmasked | None:
    if unmasked is None or output.all_features is None:
        return unmasked
    return dataclasses.replace(unmasked, values=unmasked.values[..., :FEATURES])


def _explain_loss(
    case: ModelAndData, options: LossOptions, progress: CountProgress | None
) -> tuple[LossReport | None, str | None]:
    """Return the loss, or the reason why the report has none."""
    primary = find_primary(case.inputs)
    if primary is not None and primary.valid is not None and primary.valid.size > LARGEST_LOSS:
        size = f"The data has {primary.valid.size:,} timesteps"
        return None, f"{size}, and a report holds the losses of {LARGEST_LOSS:,} at most; `maskcli loss` shows them."
    if options.targets is None and not options.fields and options.loss is None:
        return None, "No targets were given: --targets FILE, or --targets-field NAME of the data."
    if options.loss is None and read_compiled_loss(case.model) is None:
        return None, f"{case.about.name} is not compiled with a loss, and none was named with --loss."
    return explain_loss(case, options, progress), None


def _explain_unsteadiness(check: CheckReport) -> str:
    """Explain why changes of the outputs prove nothing: the model does not run, or two equal runs differ.

    Returns an empty string if the model is steady.
    """
    model = check.examination.model
    if model is None or model.leak is None:
        return "The model does not run on this data."
    probes = model.leak.probes
    if not probes or any(probe.applicable for probe in probes):
        return ""
    reason = next((probe.why for probe in probes if probe.why), None)
    return "The model does not run on this data." if reason is None else f"It could not be tried: {reason}."


def _describe_origin(case: ModelAndData, sample: ModelAndData, command: Sequence[str]) -> Origin:
    settings = case.about.settings
    return Origin(
        command=tuple(command),
        versions={"maskcli": __version__, "python": platform.python_version(), **read_versions()},
        seed=None if settings is None else settings.seed,
        rows=len(case.inputs[0].values),
        samples=len(sample.inputs[0].values),
    )
