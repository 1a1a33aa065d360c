"""A model with its data, judged by rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.api.evidence import collect_evidence
from maskcli.api.model_data import ModelAndData, load_builtin, load_dataset, load_user_model, names_builtin
from maskcli.api.settings import check_name
from maskcli.api.targets import read_raw_targets
from maskcli.errors import UsageError
from maskcli.losses.compile_settings import read_compile_settings
from maskcli.losses.registry import is_keras_loss
from maskcli.models.load import saved_and_loaded
from maskcli.models.runtime import read_versions, running
from maskcli.records.check import FAIL_ON, CheckReport, Examination, FailOn
from maskcli.records.data import DataFacts
from maskcli.records.evidence import Lookup
from maskcli.records.inputs import ModelInput
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences, Side
from maskcli.rules.base import Rule
from maskcli.rules.selection import is_failing, judge_all, select_rules
from maskcli.sequences.facts import collect_array_facts, collect_facts
from maskcli.trace.state import preserve_state


def check(
    sequences: object,
    *,
    model: object = "embedding-lstm",
    data_only: bool = False,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: FailOn = "warning",
    targets: object = None,
    targets_field: str | None = None,
    loss: str | None = None,
    mask_source: str = "embedding",
    input_dim: int | None = None,
    custom_objects: Sequence[str] = (),
    unsafe_load: bool = False,
    maxlen: int | None = None,
    padding: Side = "post",
    truncating: Side = "post",
    value: int = 0,
    dtype: str = "int32",
    trim: bool = True,
) -> CheckReport:
    """Judge a model with its data by rules, each of which decides by what was seen and measured.

    Args:
        sequences: as for ``inspect``.
        model: as for ``inspect``.
        data_only: judge the data alone; no TensorFlow is loaded.
        select: rules to judge by: codes, beginnings of codes, or names; none selects all.
        ignore: rules to leave out.
        fail_on: the report has not ``passed`` with findings of this severity, ``error`` or ``warning``, or above.
        targets: rows of targets, or the path of a file of them, for what rules say of the loss and the metrics.
        targets_field: the field or array of the data that holds them.
        loss: the name of a Keras loss, instead of the one that the model is compiled with.
        mask_source: of a built-in model.
        input_dim: ids that the Embedding is to know; None takes that of the model.
        custom_objects: modules whose classes and functions a model file names.
        unsafe_load: whether code that is in a model file may run.
        maxlen: as for ``pad``, and so the rest.
        padding: where padding goes.
        truncating: where a long sequence is cut.
        value: the padding id.
        dtype: of the tokens.
        trim: whether runs of ``value`` at either end of a row are padding that it came with.

    Raises:
        UsageError: for options that contradict each other or the data, and rules that do not exist.
        InputError: for data that cannot be read.
        ModelError: when a model cannot be loaded or run, or takes other data.
    """
    check_name("--fail-on", fail_on, FAIL_ON)
    layout = Layout(padding, truncating, maxlen, value, dtype, trim)
    rules = select_rules(select, ignore)
    if data_only:
        data = load_dataset(sequences, (), layout)
        facts = tuple(_facts(data.inputs, data.batch, data.ragged, (), input_dim))
        judging = tuple(rule for rule in rules if rule.about == "data")
        return _report(judging, Examination(facts, None), fail_on)
    if names_builtin(model):
        case = _builtin(sequences, layout, str(model), mask_source, input_dim)
    else:
        case = load_user_model(
            sequences,
            model,
            layout,
            custom_objects=custom_objects,
            unsafe_load=unsafe_load,
            also={} if targets is not None or targets_field is None else {targets_field: "--targets-field"},
        )
    if loss is not None and not is_keras_loss(loss):
        raise UsageError(
            where="--loss",
            expected="the name of a Keras loss, such as mse or sparse_categorical_crossentropy",
            received=repr(loss),
            fix="keras.losses lists them.",
        )
    aims = read_raw_targets(case, targets, targets_field)
    with case.naming():
        return check_model_data(case, rules, fail_on, aims, loss, input_dim)


def _builtin(sequences: object, layout: Layout, name: str, mask_source: str, input_dim: int | None) -> ModelAndData:
    return load_builtin(
        sequences,
        layout,
        name=name,
        mask_source=mask_source,
        input_dim=input_dim,
        embedding_dim=4,
        units=3,
        return_sequences=True,
        zero_output_for_mask=False,
        seed=0,
    )


def check_model_data(
    case: ModelAndData,
    rules: tuple[Rule, ...],
    fail_on: FailOn = "warning",
    targets: NDArray[Any] | None = None,
    loss: str | None = None,
    input_dim: int | None = None,
) -> CheckReport:
    """Return what ``rules`` find in a model with its data; raise as ``check`` does."""
    compiled = read_compile_settings(case.model)
    with running(f"--model {case.about.name}"), preserve_state(case.model):
        evidence = collect_evidence(
            case.model,
            case.inputs,
            name=case.about.name,
            targets=targets,
            loss=compiled.loss if loss is None else loss,
            metrics=compiled.metrics,
            reload=saved_and_loaded if case.about.source in ("factory", "object") else None,
            notes=case.about.notes,
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
    """Yield the facts of each input of ids that says itself what is padding, as positions and segments do not."""
    for index, given in enumerate(inputs):
        borrowed = any(other.valid is given.valid for other in inputs[:index])
        if given.kind != "ids" or given.counts_up or borrowed:
            continue
        dims = _dims(input_dim, [lookup for lookup in lookups if lookup.input == given.name])
        if batch is not None and ragged is not None and np.array_equal(batch.tokens, given.values):
            yield collect_facts(ragged, batch, name=given.name, **dims)
        elif given.valid is not None:
            yield collect_array_facts(given.values, given.valid, name=given.name, value=given.padding, **dims)


def _dims(input_dim: int | None, seen: Sequence[Lookup]) -> dict[str, Any]:
    """Return how many ids are known, and who says so: the smallest Embedding that looks them up, or the user."""
    if seen:
        smallest = min(seen, key=lambda lookup: lookup.input_dim)
        return {"input_dim": smallest.input_dim, "input_dim_from": smallest.call}
    return {"input_dim": input_dim, "input_dim_from": None if input_dim is None else "--input-dim"}


def _report(
    rules: tuple[Rule, ...], examination: Examination, fail_on: FailOn, case: ModelAndData | None = None
) -> CheckReport:
    findings = judge_all(rules, examination)
    return CheckReport(
        model=case.about if case is not None else None,
        versions=read_versions() if case is not None else {},
        checked=tuple(rule.code for rule in rules),
        findings=findings,
        passed=not is_failing(findings, fail_on),
        fail_on=fail_on,
        examination=examination,
    )
