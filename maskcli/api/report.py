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
from maskcli.api.keywords import take_keywords
from maskcli.api.loss import explain_loss, load_for_loss
from maskcli.api.model_data import ModelAndData
from maskcli.api.settings import check_positive
from maskcli.api.targets import read_raw_targets
from maskcli.conclusions.verdicts import answer_questions
from maskcli.inputs.arguments import select_rows
from maskcli.inputs.targets import GENERATED_TARGETS
from maskcli.losses.compile_settings import read_compiled_loss
from maskcli.losses.registry import is_keras_loss
from maskcli.models.runtime import read_versions, running
from maskcli.probes.leak_matrix import compute_leak_matrices
from maskcli.records.check import CheckReport
from maskcli.records.inputs import find_primary
from maskcli.records.loss import LossReport, Targets
from maskcli.records.options import CountProgress, LossOptions, select_options
from maskcli.records.remark import Remark
from maskcli.records.report import Origin, Report
from maskcli.records.requests import ReportRequest
from maskcli.records.sequences import Layout
from maskcli.records.trace import Inspection, OutputValues
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
    case, options = load_for_loss(request.sequences, select_options(Layout, request), request, request)
    with case.naming():
        few = _select_shown(case, request.samples)
        checked = check_model_data(case, rules, targets=_targets(case, options), loss=_loss(options))
        judged, no_loss = _judged(case, options, request.progress)
        return _report(few, checked, judged, no_loss, _origin(case, few, request.command))


def _select_shown(case: ModelAndData, samples: int) -> ModelAndData:
    """Return the case with the rows to show: the requested number, or as many as a report has room for."""
    fixed = find_fixed_batch(case.model)
    if fixed is not None:
        return case.first(fixed)
    with running(f"--model {case.about.name}"), preserve_state(case.model):
        # The check will need the same run. If some of its rows make the model raise, one row is tried by itself.
        rows = choose_rows(case.inputs)
        run = case.runs.get_run(tuple(select_rows(model_input, rows) for model_input in case.inputs))
        if run.recording.error is not None:
            run, rows = ModelRun(case.model, case.first(1).inputs), rows[:1]
        outputs = list_output_tensors(run.trace.output)
    shapes = [tuple(tensor.shape) for _, tensor in outputs]
    of_one_row = [(1, *shape[1:]) if shape[:1] == (len(rows),) else shape for shape in shapes]
    numbers = sum(math.prod((*shape[:-1], min(shape[-1], FEATURES))) for shape in of_one_row if shape)
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
        attention = record_attention_masks(few.get_run().trace)
        leaks, no_leaks = compute_leak_matrices(few.get_run()) if _is_steady(checked) else ((), _unsteady(checked))
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
    case: ModelAndData, asked: LossOptions, progress: CountProgress | None
) -> tuple[LossReport | None, str | None]:
    """Return the loss, or why there is none: nobody said what the model is to predict."""
    primary = find_primary(case.inputs)
    size = 0 if primary is None or primary.valid is None else primary.valid.size
    if size > LARGEST_LOSS:
        why = f"The data has {size:,} timesteps, and a report holds the losses of {LARGEST_LOSS:,} at most"
        return None, f"{why}; `maskcli loss` shows them."
    if asked.targets is None and not asked.fields and asked.loss is None:
        return None, "No targets were given: --targets FILE, or --targets-field NAME of the data."
    if asked.loss is None and read_compiled_loss(case.model) is None:
        return None, f"{case.about.name} is not compiled with a loss, and none was named with --loss."
    return explain_loss(case, asked, progress), None


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
