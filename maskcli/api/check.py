"""A model with its data, judged by rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.api.acceptance import accept_findings, read_call_selectors
from maskcli.api.evidence import collect_evidence
from maskcli.api.keywords import take_keywords
from maskcli.api.loss import load_for_loss
from maskcli.api.loss_evidence import add_measured_losses, has_targets
from maskcli.api.model_data import (
    ModelAndData,
    add_labels,
    find_origin,
    load_builtin,
    load_dataset,
    load_user_model,
    names_builtin,
)
from maskcli.api.repairs import RepairResult, leave_untried, try_repairs
from maskcli.api.settings import check_name, check_positive
from maskcli.api.targets import check_label_files
from maskcli.errors import UsageError
from maskcli.inputs.objects import DataParts, split_data
from maskcli.losses.compile_settings import read_compiled_loss, read_compiled_metrics
from maskcli.losses.registry import import_references, is_keras_loss
from maskcli.models.factories import is_spec
from maskcli.models.load import reload_model
from maskcli.models.runtime import read_versions, running
from maskcli.records.check import CheckReport, Examination
from maskcli.records.data import DataFacts, DataOrigin
from maskcli.records.evidence import Lookup
from maskcli.records.inputs import ModelInput, select_shown_batch, summarize_inputs
from maskcli.records.layout import Layout
from maskcli.records.options import FAIL_ON, BuiltinOptions, FailOn, LossOptions, select_options
from maskcli.records.requests import CheckRequest
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.rules.rule import Rule
from maskcli.rules.selection import find_ignored, is_failing, judge_all, select_rules
from maskcli.sequences.facts import collect_array_facts, collect_facts, find_unmarked_padding
from maskcli.trace.state import preserve_state
from maskcli.trace.steps import name_step, report_steps

NO_LOSS = "The targets of the data were not used: the model is not compiled with a loss, and none was named."


@take_keywords(CheckRequest)
def check(request: CheckRequest) -> CheckReport:
    """Check a model and its data against the rules, which judge by recorded runs and measurements.

    Raises:
        UsageError: for options that contradict each other or the data, and rules that do not exist.
        InputError: for data that cannot be read.
        ModelError: when a model cannot be loaded or run, or takes other data.
    """
    check_name("--fail-on", request.fail_on, FAIL_ON)
    check_positive(batch_size=request.batch_size)
    rules = select_rules(request.select, request.ignore, "data" if request.data_only else None)
    read_call_selectors(request.ignore_calls)
    if request.data_only:
        return accept_findings(_check_data(request, rules), request)
    parts = split_data(request.data, request.value, request.field, request.model)
    case, options = _load(request, parts)
    if parts.targets is not None and _find_loss(case, options) is None:
        case, options = case.add_note(NO_LOSS), dataclasses.replace(options, targets=None, sample_weight=None)
    causal = find_causal_request(request.causal, request.targets)
    with case.naming(), report_steps(request.progress):
        report = check_model_data(
            case, rules, request.fail_on, options, input_dim=request.input_dim, causal=causal, quick=request.quick
        )
    return accept_findings(report, request)


def _load(request: CheckRequest, parts: DataParts) -> tuple[ModelAndData, LossOptions]:
    """Load a model with its data; a built-in model with targets is built for them, as by ``loss``."""
    layout, options = select_options(Layout, request), add_labels(select_options(LossOptions, request), parts)
    if isinstance(options.loss, str) and not is_spec(options.loss) and not is_keras_loss(options.loss):
        raise UsageError(
            where="--loss",
            expected="the name of a Keras loss, such as mse or sparse_categorical_crossentropy",
            received=repr(options.loss),
            fix="keras.losses lists them.",
        )
    check_label_files(options)
    if names_builtin(request.model):
        builtin = select_options(BuiltinOptions, request)
        if has_targets(options):
            return load_for_loss(parts.inputs, layout, builtin, options)
        return load_builtin(parts.inputs, layout, builtin), options
    case = load_user_model(parts.inputs, layout, request, options.extra_columns)
    return case, options


def is_shift(targets: object) -> bool:
    """Return whether the targets are the next tokens of the data."""
    return isinstance(targets, str) and targets == "shift"


def find_causal_request(causal: bool, targets: object) -> str | None:
    """Return the reason why the user means a model to be causal; None if there is none.

    A model that sees the next token learns nothing from predicting it.
    """
    if causal:
        return "--causal"
    return "--targets shift" if is_shift(targets) else None


def _check_data(request: CheckRequest, rules: tuple[Rule, ...]) -> CheckReport:
    data = load_dataset(
        split_data(request.data, request.value, request.field).inputs, (), select_options(Layout, request)
    )
    facts = tuple(_facts(data.inputs, data.batch, data.ragged, (), request.input_dim))
    origin = find_origin(request.data, data.inputs).count(len(data.inputs[0].values))
    report = _report(rules, Examination(facts, None, summarize_inputs(data.inputs)), request.fail_on, origin)
    return _add_words(report, data.inputs, data.batch)


def check_model_data(
    case: ModelAndData,
    rules: tuple[Rule, ...],
    fail_on: FailOn = "warning",
    options: LossOptions | None = None,
    *,
    measure: bool = True,
    input_dim: int | None = None,
    causal: str | None = None,
    quick: bool = False,
) -> CheckReport:
    """Check a model with its data against ``rules``; raise as ``check`` does.

    Args:
        case: a model with its data.
        rules: the rules that judge.
        fail_on: the lowest severity that fails the check.
        options: the targets and losses; None for the compiled loss without targets.
        measure: whether to measure the losses with targets, if there are any.
        input_dim: the vocabulary size, if no Embedding looks up the ids.
        causal: the reason why the user means the model to be causal.
        quick: whether only the probes run that decide, without a search for repairs.
    """
    options = LossOptions() if options is None else options
    measured = measure and has_targets(options)
    if is_shift(options.targets) and _find_loss(case, options) is None:
        measured = False  # The next tokens are also the way to request a causal model, with or without a loss.
    with running(f"--model {case.about.name}"), preserve_state(case.model):
        evidence = collect_evidence(
            case.runs,
            case.inputs,
            name=case.about.name,
            loss=None if measured else _find_loss(case, options),
            metrics=None if measured else read_compiled_metrics(case.model),
            reload=reload_model if case.about.source in ("factory", "object", "kerashub") else None,
            notes=case.about.notes,
            causal=causal,
            side=case.side,
            quick=quick,
            segments=case.segments,
        )
    if measured and evidence.leak is not None:
        with preserve_state(case.model):
            evidence = add_measured_losses(case, evidence, options)
    facts = tuple(_facts(case.inputs, case.batch, case.ragged, evidence.lookups, input_dim))
    examination = Examination(facts, evidence, summarize_inputs(case.inputs))
    report = _report(rules, examination, fail_on, case.data, case, quick)
    return _add_words(report, case.inputs, case.batch)


def _find_loss(case: ModelAndData, options: LossOptions) -> Any:
    """Return the loss of the options, or the compiled one; None without any."""
    loss = import_references(options.loss, "a loss")
    return read_compiled_loss(case.model) if loss is None else loss


def _add_words(report: CheckReport, inputs: Sequence[ModelInput], batch: PaddedBatch | None) -> CheckReport:
    """Add the timesteps of data with words, next to which a reader finds the places of findings."""
    if report.data.words is None:
        return report
    return dataclasses.replace(report, batch=select_shown_batch(inputs, batch))


def _facts(
    inputs: Sequence[ModelInput],
    batch: PaddedBatch | None,
    ragged: RaggedSequences | None,
    lookups: Sequence[Lookup],
    input_dim: int | None,
) -> Iterator[DataFacts]:
    """Yield the facts of each input of ids; of positions, segments and categories, which have no padding, the range.

    Features have facts only if they look padded.
    """
    for ids in inputs:
        if ids.kind != "ids":
            unmarked = find_unmarked_padding(ids.values, ids.valid) if _may_be_unmarked(ids) else None
            if unmarked is not None:
                yield DataFacts(name=ids.name, shape=ids.values.shape[:2], unmarked=unmarked)
            continue
        of_ids = [lookup for lookup in lookups if lookup.input == ids.name]
        dims = _find_input_dim(input_dim, of_ids)
        if ids.auxiliary or ids.counts_up or ids.valid is None:
            if of_ids and ids.values.ndim == 2:
                everywhere = np.ones(ids.values.shape, np.bool_)
                facts = collect_array_facts(ids.values, everywhere, name=ids.name, value=ids.padding_id, **dims)
                yield dataclasses.replace(facts, inner_padding=None, unmarked=None)
        elif batch is not None and ragged is not None and np.array_equal(batch.tokens, ids.values):
            facts = collect_facts(ragged, batch, valid=ids.valid, name=ids.name, **dims)
            yield facts if _may_be_unmarked(ids) else dataclasses.replace(facts, unmarked=None)
        else:
            facts = collect_array_facts(ids.values, ids.valid, name=ids.name, value=ids.padding_id, **dims)
            yield facts if _may_be_unmarked(ids) else dataclasses.replace(facts, unmarked=None)


def _may_be_unmarked(item: ModelInput) -> bool:
    """Return whether an input may have padding that nothing marks; a mask or lengths show all padding."""
    is_shown = item.validity.source in ("given", "mask-input", "lengths")
    return item.kind in ("ids", "features") and not item.auxiliary and not is_shown


def _find_input_dim(input_dim: int | None, lookups: Sequence[Lookup]) -> dict[str, Any]:
    """Return the vocabulary size and its source: the smallest Embedding that looks up the ids, or the user."""
    if lookups:
        smallest = min(lookups, key=lambda lookup: lookup.input_dim)
        return {"input_dim": smallest.input_dim, "input_dim_from": smallest.call}
    return {"input_dim": input_dim, "input_dim_from": None if input_dim is None else "--input-dim"}


def _report(
    rules: tuple[Rule, ...],
    examination: Examination,
    fail_on: FailOn,
    origin: DataOrigin,
    case: ModelAndData | None = None,
    quick: bool = False,
) -> CheckReport:
    result = RepairResult(judge_all(rules, examination))
    if quick:
        result = leave_untried(result.findings)
    elif case is not None and examination.model is not None:
        with running(f"--model {case.about.name}"), preserve_state(case.model), name_step("repairs"):
            result = try_repairs(case, examination.model, result.findings)
    findings = result.findings
    return CheckReport(
        model=case.about if case is not None else None,
        versions=read_versions() if case is not None else {},
        checked=tuple(rule.code for rule in rules),
        findings=findings,
        passed=not is_failing(findings, fail_on),
        fail_on=fail_on,
        examination=examination,
        repairs=result.repairs,
        attempts=result.attempts,
        ignored=find_ignored(rules, examination),
        quick=quick,
        data=origin,
    )
