"""A model with its data, judged by rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.api.evidence import collect_evidence
from maskcli.api.keywords import take_keywords
from maskcli.api.model_data import ModelAndData, load_builtin, load_dataset, load_user_model, names_builtin
from maskcli.api.repairs import RepairResult, try_repairs
from maskcli.api.settings import check_name
from maskcli.api.targets import read_raw_targets
from maskcli.errors import UsageError
from maskcli.losses.compile_settings import read_compiled_loss, read_compiled_metrics
from maskcli.losses.registry import is_keras_loss
from maskcli.models.load import reload_model
from maskcli.models.runtime import read_versions, running
from maskcli.records.check import CheckReport, Examination
from maskcli.records.data import DataFacts
from maskcli.records.evidence import Lookup
from maskcli.records.inputs import ModelInput
from maskcli.records.options import FAIL_ON, BuiltinOptions, FailOn, select_options
from maskcli.records.requests import CheckRequest
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences
from maskcli.rules.base import Rule
from maskcli.rules.selection import is_failing, judge_all, select_rules
from maskcli.sequences.facts import collect_array_facts, collect_facts
from maskcli.trace.state import preserve_state


@take_keywords(CheckRequest)
def check(request: CheckRequest) -> CheckReport:
    """Check a model and its data against the rules, which judge by recorded runs and measurements.

    Raises:
        UsageError: for options that contradict each other or the data, and rules that do not exist.
        InputError: for data that cannot be read.
        ModelError: when a model cannot be loaded or run, or takes other data.
    """
    check_name("--fail-on", request.fail_on, FAIL_ON)
    rules = select_rules(request.select, request.ignore)
    if request.data_only:
        return _check_data(request, rules)
    layout = select_options(Layout, request)
    if names_builtin(request.model):
        case = load_builtin(request.sequences, layout, select_options(BuiltinOptions, request))
    else:
        columns = {}
        if request.targets is None and request.targets_field is not None:
            columns = {request.targets_field: "--targets-field"}
        case = load_user_model(request.sequences, layout, request, columns)
    if request.loss is not None and not is_keras_loss(request.loss):
        raise UsageError(
            where="--loss",
            expected="the name of a Keras loss, such as mse or sparse_categorical_crossentropy",
            received=repr(request.loss),
            fix="keras.losses lists them.",
        )
    targets = None if is_shift(request.targets) else read_raw_targets(case, request.targets, request.targets_field)
    with case.naming():
        causal = find_causal_request(request.causal, request.targets)
        return check_model_data(case, rules, request.fail_on, targets, request.loss, request.input_dim, causal)


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
    data = load_dataset(request.sequences, (), select_options(Layout, request))
    facts = tuple(_facts(data.inputs, data.batch, data.ragged, (), request.input_dim))
    data_rules = tuple(rule for rule in rules if rule.about == "data")
    return _report(data_rules, Examination(facts, None), request.fail_on)


def check_model_data(
    case: ModelAndData,
    rules: tuple[Rule, ...],
    fail_on: FailOn = "warning",
    targets: NDArray[Any] | None = None,
    loss: str | None = None,
    input_dim: int | None = None,
    causal: str | None = None,
) -> CheckReport:
    """Check a model with its data against ``rules``; raise as ``check`` does.

    ``causal`` is the reason why the user means the model to be causal.
    """
    with running(f"--model {case.about.name}"), preserve_state(case.model):
        evidence = collect_evidence(
            case.runs,
            case.inputs,
            name=case.about.name,
            targets=targets,
            loss=read_compiled_loss(case.model) if loss is None else loss,
            metrics=read_compiled_metrics(case.model),
            reload=reload_model if case.about.source in ("factory", "object") else None,
            notes=case.about.notes,
            causal=causal,
        )
    facts = tuple(_facts(case.inputs, case.batch, case.ragged, evidence.lookups, input_dim))
    return _report(rules, Examination(facts, evidence), fail_on, case)


def _facts(
    inputs: Sequence[ModelInput],
    batch: PaddedBatch | None,
    ragged: RaggedSequences | None,
    lookups: Sequence[Lookup],
    input_dim: int | None,
) -> Iterator[DataFacts]:
    """Yield the facts of each input of ids with padding of its own, unlike positions and segments."""
    for index, ids in enumerate(inputs):
        shares_validity = any(earlier.valid is ids.valid for earlier in inputs[:index])
        if ids.kind != "ids" or ids.counts_up or shares_validity:
            continue
        dims = _find_input_dim(input_dim, [lookup for lookup in lookups if lookup.input == ids.name])
        if batch is not None and ragged is not None and np.array_equal(batch.tokens, ids.values):
            yield collect_facts(ragged, batch, name=ids.name, **dims)
        elif ids.valid is not None:
            yield collect_array_facts(ids.values, ids.valid, name=ids.name, value=ids.padding, **dims)


def _find_input_dim(input_dim: int | None, lookups: Sequence[Lookup]) -> dict[str, Any]:
    """Return the vocabulary size and its source: the smallest Embedding that looks up the ids, or the user."""
    if lookups:
        smallest = min(lookups, key=lambda lookup: lookup.input_dim)
        return {"input_dim": smallest.input_dim, "input_dim_from": smallest.call}
    return {"input_dim": input_dim, "input_dim_from": None if input_dim is None else "--input-dim"}


def _report(
    rules: tuple[Rule, ...], examination: Examination, fail_on: FailOn, case: ModelAndData | None = None
) -> CheckReport:
    result = RepairResult(judge_all(rules, examination))
    if case is not None and examination.model is not None:
        with running(f"--model {case.about.name}"), preserve_state(case.model):
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
    )
