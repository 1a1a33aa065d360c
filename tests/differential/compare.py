"""Compare maskcli's verdict on a case with the truth, and minimise disagreements."""

from __future__ import annotations

import dataclasses
import json
import time
import traceback
from typing import Any

import maskcli
from tests.differential import models, oracle
from tests.differential.generate import generate, runs
from tests.differential.models import Case
from tests.differential.oracle import Truth


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer of maskcli.

    Attributes:
        verdict: ``leaks``, ``clean``, ``unproven``, ``none`` or ``died``.
        passed: whether the check passed.
        codes: of errors and warnings, with the call at fault.
        rows_mix: whether rows mix; None if it was not checked.
        future: whether a later timestep changes an earlier output; None if it was not checked.
        probes: by name of a probe: leaks, or the reason why it did not run.
        reason: the reason why nothing is proved, or the exception.
        repairs: the kinds of the printed repairs, which together remove the leak; empty if none was found.
    """

    verdict: str
    passed: bool | None = None
    codes: tuple[str, ...] = ()
    rows_mix: bool | None = None
    future: bool | None = None
    probes: dict[str, str] = dataclasses.field(default_factory=dict)
    reason: str = ""
    repairs: tuple[str, ...] = ()


def ask(case: Case, model: Any) -> Answer:
    """Check the model of a case with maskcli."""
    try:
        report = maskcli.check(models.present(case), model=model, padding=case.side)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        return Answer("died", reason=f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})")
    leak = report.leak
    codes = [f"{finding.code} {finding.call}" for finding in report.findings if finding.severity != "info"]
    probes = {} if leak is None else {probe.name: probe for probe in leak.probes}
    mixed = any(finding.code == "MSK116" for finding in report.findings)
    future = probes.get("future")
    return Answer(
        verdict="none" if leak is None else leak.verdict,
        passed=report.passed,
        codes=tuple(codes),
        rows_mix=mixed if "MSK116" in report.checked else None,
        future=_exceeds(future) if future and future.applicable else None,
        probes={name: _describe_probe(probe) for name, probe in probes.items()},
        reason="" if leak is None else leak.reason or "",
        repairs=tuple(repair.kind for repair in report.repairs),
    )


def _exceeds(probe: Any) -> bool:
    return bool(probe.max_abs_change > probe.tolerance)


def _describe_probe(probe: Any) -> str:
    if not probe.applicable:
        return f"not tried: {probe.why}"
    change, tolerance = probe.max_abs_change, probe.tolerance
    numbers = "" if None in (change, tolerance) else f" {change:.3g} (allowed {tolerance:.3g})"
    return f"{'leaks' if probe.leaks else 'clean'}{numbers}{f', {probe.why}' if probe.why else ''}"


def find_disagreements(case: Case, truth: Truth, answer: Answer) -> list[str]:
    """Return the kinds of disagreement; ``unproven`` only where the truth is known and there is padding."""
    if answer.verdict == "died":
        return ["died"]
    kinds = []
    verdict = "unproven" if answer.verdict == "none" else answer.verdict
    if truth.verdict == "leaks" and answer.passed and not _has_nothing_to_prove(case, verdict):
        kinds.append("silent pass")
    if truth.verdict != "cannot-know" and verdict != truth.verdict and not _has_nothing_to_prove(case, verdict):
        kinds.append("unproven" if verdict == "unproven" else f"{truth.verdict}, not {verdict}")
    if truth.rows_mix is not None and answer.rows_mix not in (None, truth.rows_mix):
        kinds.append(f"rows mix: {truth.rows_mix}, not {answer.rows_mix}")
    if truth.future is not None and answer.future not in (None, truth.future):
        kinds.append(f"future: {truth.future}, not {answer.future}")
    return kinds


def _has_nothing_to_prove(case: Case, verdict: str) -> bool:
    return verdict == "unproven" and not case.padding_is_present


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A case with the truth, the answer, and their disagreements."""

    case: Case
    truth: Truth
    answer: Answer
    kinds: list[str]
    seconds: float

    def describe(self) -> str:
        """Return the program and both verdicts."""
        truth, answer = self.truth, self.answer
        noisy = " at noisy weights" if truth.noisy else ""
        return (
            f"{models.describe(self.case)}"
            f"# truth: {truth.verdict} {truth.kind} {truth.change:.2g}{noisy}, rows mix {truth.rows_mix}, "
            f"future {truth.future}\n"
            f"# maskcli: {answer.verdict}, passed {answer.passed}, {' '.join(answer.codes)}; rows mix "
            f"{answer.rows_mix}, future {answer.future}\n"
            f"# probes: {answer.probes} {answer.reason}\n"
            f"# repairs: {' '.join(answer.repairs) or 'none'}\n"
            f"# disagreement: {', '.join(self.kinds) or 'none'}\n"
        )

    def to_json(self) -> str:
        """Return the outcome as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))


def judge(case: Case) -> Outcome:
    """Compare the answer with the truth."""
    oracle.clear()
    start = time.perf_counter()
    model = models.make_model(case)
    truth = oracle.find_truth(case, model)
    answer = ask(case, model)
    return Outcome(case, truth, answer, find_disagreements(case, truth, answer), time.perf_counter() - start)


def judge_again(text: str) -> Outcome:
    """Ask maskcli again about an outcome as JSON, with its truth of then."""
    document = json.loads(text)
    case, truth = models.from_json(json.dumps(document["case"])), Truth(**document["truth"])
    oracle.clear()
    start = time.perf_counter()
    answer = ask(case, models.make_model(case))
    return Outcome(case, truth, answer, find_disagreements(case, truth, answer), time.perf_counter() - start)


def judge_seed(seed: int) -> Outcome:
    """Compare answer and truth of the case of a seed."""
    oracle.clear()
    try:
        return judge(generate(seed))
    except Exception as error:
        raise RuntimeError(f"the oracle fails on seed {seed}") from error


# Smaller cases


def minimise(outcome: Outcome, kind: str | None = None) -> Outcome:
    """Drop parts of a case as long as the same disagreement remains."""
    kind = kind or outcome.kinds[0]
    smaller = True
    while smaller:
        smaller = False
        for case in _shrink(outcome.case):
            candidate = _try(case, outcome.answer)
            if candidate is not None and kind in candidate.kinds:
                outcome, smaller = candidate, True
                break
    return outcome


def _same_answer(first: Answer, second: Answer) -> bool:
    """Return whether both have one verdict, and died of one error; messages start with the name of the model."""
    errors = [answer.reason.rpartition("received ")[2][:40] for answer in (first, second)]
    return first.verdict == second.verdict and (first.verdict != "died" or errors[0] == errors[1])


def _try(case: Case, first: Answer) -> Outcome | None:
    """Judge a smaller case; None if it does not run or its answer is another one."""
    oracle.clear()
    try:
        if not runs(case) or not _same_answer(first, ask(case, models.make_model(case))):
            return None
        return judge(case)
    except Exception:  # The oracle cannot run this case; another one is tried.
        return None


def _shrink(case: Case) -> Any:
    """Yield cases with a part less."""
    for group in sorted({step.group for step in case.steps} - {0}):
        yield _without(case, [index for index, step in enumerate(case.steps) if step.group == group])
    for index in reversed(range(len(case.steps))):
        yield _without(case, [index])
    for source in case.sources:
        kept = tuple(other for other in case.sources if other is not source)
        if kept:
            nest = "one" if len(kept) == 1 else case.nest
            used = [i for i, step in enumerate(case.steps) if any(source.name in line for line in step.lines)]
            yield dataclasses.replace(case, sources=kept, nest=nest)
            yield dataclasses.replace(_without(case, used), sources=kept, nest=nest)
    for output in case.outputs[: len(case.outputs) - 1]:
        yield dataclasses.replace(case, outputs=(output,))
        yield dataclasses.replace(case, outputs=tuple(other for other in case.outputs if other != output))
    yield from _simplify(case)


def _without(case: Case, indices: list[int]) -> Case:
    return dataclasses.replace(case, steps=tuple(step for i, step in enumerate(case.steps) if i not in indices))


def _simplify(case: Case) -> Any:
    """Yield cases with simpler settings."""
    rows = len(case.lengths["T"])
    if rows > 2:
        for row in range(rows):
            lengths = {axis: drawn[:row] + drawn[row + 1 :] for axis, drawn in case.lengths.items()}
            if max(lengths["T"]) > min(lengths["T"]):
                yield dataclasses.replace(case, lengths=lengths)
    simple: dict[str, Any] = {"slack": 0, "side": "post", "style": "functional", "fixed": False, "trained": True}
    for field, value in simple.items():
        if getattr(case, field) != value:
            yield dataclasses.replace(case, **{field: value})
