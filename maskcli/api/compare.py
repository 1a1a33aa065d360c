"""Compare two models, or one model on several backends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from maskcli.api.keywords import take_keywords
from maskcli.api.model_data import DataFile
from maskcli.api.settings import check_name, check_positive
from maskcli.api.side import LoadedSide, examine_side, load_side
from maskcli.api.side_processes import check_installed, examine_on_backends, open_folder
from maskcli.api.side_values import copy_input
from maskcli.api.targets import check_label_files
from maskcli.conclusions.comparison import compare_sides, list_compared_calls, summarize_side
from maskcli.errors import MaskcliError, ModelError, UsageError
from maskcli.inputs.objects import refuse_twice, split_data
from maskcli.records.check import Finding
from maskcli.records.comparison import Comparison, ComparisonKind, SideDifference
from maskcli.records.data import FROM_PYTHON
from maskcli.records.evidence import ModelEvidence
from maskcli.records.fields import BACKENDS
from maskcli.records.options import LossOptions, select_options
from maskcli.records.requests import CompareRequest
from maskcli.records.sides import ModelSide, SideCall
from maskcli.records.trace import Call
from maskcli.rules import backend_differs, jit_differs
from maskcli.rules.selection import sort_findings

NOT_ARGUMENTS = ("models", "backends", "backend", "copy_weights", "tokenizer", "field")
"""Arguments that a process of one backend does not take."""


@take_keywords(CompareRequest)
def compare(request: CompareRequest) -> Comparison:
    """Compare masks, outputs, leaks and losses of two models, or of a model with equal weights on several backends.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for data or targets that cannot be read.
        ModelError: for a backend that is not installed, and a model that runs on neither side.
    """
    backends = _read_backends(request.backends)
    _check(request, backends)
    check_positive(batch_size=request.batch_size)
    request = _split_labels(request)
    check_label_files(select_options(LossOptions, request))
    if backends:
        values = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
        values = {name: value for name, value in values.items() if name not in NOT_ARGUMENTS}
        return _conclude("backends", backends, examine_on_backends(values, backends))
    names = _name_models(request.models)
    return _conclude("models", names, _examine_models(request))


def _read_backends(backends: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of backends, in their order."""
    names = backends.split(",") if isinstance(backends, str) else backends
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _check(request: CompareRequest, backends: Sequence[str]) -> None:
    """Raise UsageError unless two models, or at least two installed backends of a named model, are to be compared."""
    for name in backends:
        check_name("--backends", name, BACKENDS)
    if bool(backends) == bool(request.models):
        raise UsageError(
            where="compare",
            expected="two models, or several backends with one model",
            received="both" if backends else "neither",
            fix="Pass models=[a, b], or model='m.keras' and backends=['tensorflow', 'jax'].",
        )
    if not backends:
        _check_models(request)
    else:
        _check_backends(request, backends)


def _check_backends(request: CompareRequest, backends: Sequence[str]) -> None:
    if len(backends) < 2:
        raise UsageError(
            where="--backends",
            expected=f"at least two of {', '.join(BACKENDS)}",
            received=backends[0],
            fix="Separate them by commas: --backends tensorflow,jax.",
        )
    for option, value in (("--backend", request.backend), ("--copy-weights", request.copy_weights)):
        if value:
            raise UsageError(
                where=option,
                expected="one of --backends and this option",
                received="both",
                fix=f"Leave {option} out: each side has its backend, and the weights of the first.",
            )
    if not isinstance(request.model, str):
        raise UsageError(
            where="model",
            expected="a model by its file or function, which a process of each backend loads",
            received="a model from Python",
            fix="Save it, model.save('m.keras'), or name the function that builds it: model='train.py:build'.",
        )
    check_installed(backends)


def _check_models(request: CompareRequest) -> None:
    if isinstance(request.models, str) or len(request.models) != 2:
        raise UsageError(
            where="models",
            expected="two models",
            received="one" if isinstance(request.models, str) else str(len(request.models)),
            fix="Pass models=[a, b].",
        )


def _split_labels(request: CompareRequest) -> CompareRequest:
    """Return a request with the targets and weights of its data, if that has any, among the options."""
    model = request.models[0] if request.models else request.model
    parts = split_data(request.data, request.value, request.field, model)
    has_targets = request.targets is not None or request.targets_field is not None
    refuse_twice("targets", True if has_targets else None, parts.targets)
    labels = {"targets": parts.targets, "sample_weight": parts.sample_weight}
    changes = {name: value for name, value in labels.items() if value is not None}
    return dataclasses.replace(request, data=parts.inputs, field=None, **changes)  # type: ignore[arg-type]


def _name_models(models: Sequence[object]) -> tuple[str, ...]:
    """Return different names of two models."""
    first, second = (str(getattr(model, "name", model)) for model in models)
    return first, second if second != first else f"{second} (2)"


def _examine_models(request: CompareRequest) -> list[ModelSide]:
    """Return the sides of two models, which run in this process."""
    with open_folder() as folder:
        if isinstance(request.data, DataFile):
            request = dataclasses.replace(request, data=copy_input(request.data, folder))
        loaded = [load_side(dataclasses.replace(request, model=model, models=())) for model in request.models]
    if request.copy_weights:
        loaded[1].assign_weights([array for _, array in loaded[0].weights])
    rows = loaded[0].choose_rows()
    if loaded[1].case.data.rows != loaded[0].case.data.rows:
        raise _make_rows_error(loaded)
    return [examine_side(side, rows, keeps_weights=True) for side in loaded]


def _make_rows_error(loaded: Sequence[LoadedSide]) -> MaskcliError:
    counts = [f"{side.case.data.rows} for {side.case.about.name}" for side in loaded]
    return ModelError(
        where="--model",
        expected="models that take the same rows of the data",
        received=" and ".join(counts),
        fix="Compare models with the same inputs.",
    )


def _conclude(kind: ComparisonKind, names: Sequence[str], sides: Sequence[ModelSide]) -> Comparison:
    """Return the comparison of sides.

    Raises:
        ModelError: if the model runs on none of them.
    """
    if not any(side.runs for side in sides):
        raise _make_run_error(names, sides)
    differences = compare_sides(names, sides)
    running = next(side for side in sides if side.runs)
    return Comparison(
        kind=kind,
        sides=tuple(summarize_side(name, side) for name, side in zip(names, sides, strict=True)),
        differences=differences,
        calls=list_compared_calls(sides),
        findings=_judge(kind, differences, names, sides),
        rows=tuple(running.rows.tolist()),
        inputs=running.inputs,
        data=running.data if running.data is not None else FROM_PYTHON,
    )


def _make_run_error(names: Sequence[str], sides: Sequence[ModelSide]) -> ModelError:
    texts = [f"{name}: {error.type}: {error.message}" for name, side in zip(names, sides, strict=True)
             for error in side.errors[:1]]  # fmt: skip
    return ModelError(
        where="compare",
        expected="a model that runs on at least one side",
        received="; ".join(texts).rstrip("."),
        fix="`maskcli inspect` with one of them shows more.",
    )


def _judge(
    kind: ComparisonKind, differences: Sequence[SideDifference], names: Sequence[str], sides: Sequence[ModelSide]
) -> tuple[Finding, ...]:
    """Return the findings about backends; two models may differ, which is no fault."""
    if kind == "models":
        return ()
    of_backends = (finding for difference in differences for finding in backend_differs.judge(difference))
    compiled = (finding for name, side in zip(names, sides, strict=True) for finding in _judge_compiled(name, side))
    return sort_findings([*of_backends, *compiled])


def _judge_compiled(name: str, side: ModelSide) -> Iterator[Finding]:
    """Yield the finding of a side whose compiled function computes something else, with the name of the backend."""
    if side.compiled is None or side.model is None:
        return
    evidence = ModelEvidence(
        side.model.name,
        side.model.type,
        padded_timesteps=0,
        rows=(len(side.rows), side.data.rows),
        trace=tuple(_make_call(index, call) for index, call in enumerate(side.calls)),
        compiled=side.compiled,
    )
    for finding in jit_differs.judge(evidence):
        located = next((call.location for call in side.calls if call.call == finding.call), None)
        evidence_of: dict[str, Any] = {**finding.evidence, "backend": name}
        yield dataclasses.replace(finding, evidence=evidence_of, location=located)


def _make_call(index: int, call: SideCall) -> Call:
    return Call(
        call=call.call,
        index=index,
        type=call.type,
        effect=call.effect,
        mask_in=call.mask_in,
        mask_out=call.mask_out,
        given=False,
        computes_mask=False,
        warning=None,
    )
