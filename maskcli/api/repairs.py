"""Try repairs of the faults that rules found, and attach those that cure."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from maskcli.api.model_data import ModelAndData
from maskcli.conclusions.repair_texts import RepairText, write_repair, write_repairs, write_weights
from maskcli.errors import summarize_error
from maskcli.probes.repairs import Cure, RepairSearch
from maskcli.probes.variants import choose_moved_weights, move_weights
from maskcli.records.check import Finding, Repair, RepairAttempt
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import choose_form, list_names
from maskcli.tolerance import REPAIR_CHANGE
from maskcli.trace.changes import CallChange
from maskcli.trace.outputs import select_probed_rows

LEAK_RULES = frozenset(
    {"MSK101", "MSK102", "MSK103", "MSK104", "MSK106", "MSK107", "MSK108", "MSK109", "MSK112", "MSK118"}
)
"""Rules whose findings are causes of leaks, which a repair may cure."""
STATISTICS_RULE = "MSK109"
"""The rule of normalisations whose statistics in training include padding, which no probe of a leak sees."""
ROWS_RULE = "MSK116"
"""The rule of rows that mix, whose finding a repair cures only if a trial shows that."""
LOSS_RULE = "MSK301"
"""The rule of losses that count padding, which weights may repair."""
WIDENED_RULE = "MSK102"
"""The rule of masks that mark padding as valid: in a finding with an output, those of results that a loss needs."""
NOT_TRIED = "Not tried: "
CARRIES_MASK = "the output then carries the mask, and a loss leaves padding out"


@dataclasses.dataclass(frozen=True)
class RepairResult:
    """The findings with their repairs.

    Attributes:
        findings: the findings; those that a repair cures have it.
        repairs: the smallest set of changes that removes every leak.
        attempts: changes that were tried in vain.
    """

    findings: tuple[Finding, ...]
    repairs: tuple[Repair, ...] = ()
    attempts: tuple[RepairAttempt, ...] = ()


def leave_untried(findings: Sequence[Finding]) -> RepairResult:
    """Return the findings with advice instead of repairs."""
    return RepairResult(tuple(map(_mark_as_untried, findings)))


def try_repairs(case: ModelAndData, evidence: ModelEvidence, findings: Sequence[Finding]) -> RepairResult:
    """Return the findings with the repairs that remove their faults; each was tried on the model."""
    result = _repair_leak(case, evidence, findings)
    weighted = tuple(_weigh_loss(case, evidence, finding) for finding in result.findings)
    return dataclasses.replace(result, findings=weighted)


def _weigh_loss(case: ModelAndData, evidence: ModelEvidence, finding: Finding) -> Finding:
    """Return a finding on a loss that counts padding with the weights that leave padding out, if Keras obeyed them."""
    output = finding.evidence.get("output")
    loss = next((loss for loss in evidence.losses if loss.output == output), None)
    error = None if loss is None else loss.weighted_error
    valid = next((item.valid for item in evidence.outputs if item.name == output), None)
    if finding.repair is not None or finding.code != LOSS_RULE or loss is None or error is None or loss.masked is None:
        return finding
    if error > max(loss.tolerance, REPAIR_CHANGE.value) * abs(loss.masked):
        return finding
    _, inputs = select_probed_rows(case.runs, case.inputs)
    text = write_weights(inputs, valid, loss.loss_type)
    if text is None:
        return finding
    repair = Repair(text.kind, finding.call, text.code, error)
    fix = f"{text.sentence} Tried: Keras's loss then equals the mean over valid timesteps up to {error:.2g}."
    return dataclasses.replace(finding, fix=fix, repair=repair)


def _repair_leak(case: ModelAndData, evidence: ModelEvidence, findings: Sequence[Finding]) -> RepairResult:
    """Return the findings with the repairs that remove leaks, or let outputs carry their masks."""
    leak = evidence.leak
    if leak is None or not (leak.leaks or any(_is_of_output(x) or _is_of_training(x) for x in findings)):
        return leave_untried(findings)
    chosen, inputs = select_probed_rows(case.runs, case.inputs)
    # The search must see the leak that only other weights show.
    moved = choose_moved_weights(case.model) if leak.weights == "noisy" else []
    try:
        with warnings.catch_warnings(action="ignore"), move_weights(case.model, moved):
            search = RepairSearch(case.model, inputs, chosen, leak, case.side)
            if not leak.leaks:
                return RepairResult(tuple(_repair_statistics(search, None, _repair_outputs(search, findings))))
            cure = search.run()
            curable = LEAK_RULES
            if any(finding.code == ROWS_RULE for finding in findings) and search.separates_rows(cure):
                curable |= {ROWS_RULE}
            outputs = {finding.evidence.get("output") for finding in findings if _is_on_output_mask(finding)}
            masked = frozenset(name for name in outputs if search.carries_output_mask(cure.changes, str(name)))
        with warnings.catch_warnings(action="ignore"):
            if moved:
                search = RepairSearch(case.model, inputs, chosen, leak, case.side)
                cure = search.confirm(cure)
            result = _attach_cure(cure, findings, curable, masked)
            repaired = _repair_statistics(search, cure, result.findings)
            return dataclasses.replace(result, findings=tuple(repaired))
    except Exception as error:  # A model may raise anything under a change; the findings are right without a repair.
        failed = RepairAttempt("search", None, None, f"the search for repairs failed: {summarize_error(error)}")
        return RepairResult(tuple(map(_mark_as_untried, findings)), attempts=(failed,))


def _attach_cure(
    cure: Cure, findings: Sequence[Finding], curable: frozenset[str], masked: frozenset[Any]
) -> RepairResult:
    """Return the findings with the repairs of a cure.

    Args:
        cure: the changes.
        findings: all findings.
        curable: the rules whose faults it removes.
        masked: the outputs that carry their masks after it.
    """
    attempts = _list_attempts(cure)
    if not cure.changes:
        return RepairResult(tuple(map(_mark_as_untried, findings)), attempts=attempts)
    texts = write_repairs(cure)
    repairs = tuple(Repair(text.kind, text.call, text.code, cure.change_after) for _, text in texts)
    attached = []
    change = f"padding then changes results by {cure.change_after:.2g}"
    if cure.gap is not None:
        change = f"{change}, which is no proof: {cure.gap}"
    for finding in findings:
        if _is_on_output_mask(finding):
            is_cured, effect = finding.evidence["output"] in masked, CARRIES_MASK
        elif _is_of_training(finding):
            is_cured, effect = False, ""
        else:
            is_cured, effect = finding.code in curable, change
        cured = _attach(finding, cure, texts, repairs, effect) if is_cured else _mark_as_untried(finding)
        attached.append(cured)
    return RepairResult(tuple(attached), repairs, attempts)


def _attach(
    finding: Finding,
    cure: Cure,
    texts: Sequence[tuple[tuple[CallChange, ...], RepairText]],
    repairs: Sequence[Repair],
    effect: str,
) -> Finding:
    """Return a finding with the repair of its fault, and the ``effect`` of all repairs when they were tried."""
    place = _find_repair(finding, cure, texts)
    fix = texts[place][1].sentence
    others = [text.call or "the input" for index, (_, text) in enumerate(texts) if index != place]
    together = ""
    if others:
        together = f" together with the {choose_form(len(others), 'repair', 'repairs')} of {list_names(others)}"
    return dataclasses.replace(finding, fix=f"{fix} Tried{together}: {effect}.", repair=repairs[place])


def _repair_statistics(search: RepairSearch, cure: Cure | None, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings; those on statistics in training with the change that lets these leave padding out."""
    done = () if cure is None else cure.changes
    for finding in findings:
        repair = search.repair_statistics(done, finding.call) if _is_of_training(finding) else None
        if repair is None:
            yield finding
            continue
        effect = f"in training, padding then changes its results by {repair.change_after:.2g}"
        if not repair.changes:
            yield dataclasses.replace(finding, fix=f"The repairs of the leak remove this, too. Tried: {effect}.")
            continue
        texts = [text for _, text in write_repairs(Cure(repair.changes, repair.change_after, (), repair.original))]
        code = "\n\n\n".join(text.code for text in texts)
        together = " together with the repairs of the leak" if done else ""
        fix = f"{' '.join(text.sentence for text in texts)} Tried{together}: {effect}."
        attached = Repair(texts[-1].kind, texts[-1].call, code, repair.change_after)
        yield dataclasses.replace(finding, fix=fix, repair=attached)


def _is_of_training(finding: Finding) -> bool:
    """Return whether a finding is about statistics that include padding only in training."""
    return finding.code == STATISTICS_RULE and bool(finding.evidence.get("training"))


def _is_of_output(finding: Finding) -> bool:
    """Return whether a finding is about the mask of an output, which a loss needs, and not about a leak."""
    return finding.code == "MSK101" and "output" in finding.evidence


def _is_on_output_mask(finding: Finding) -> bool:
    """Return whether a finding has a fault that the mask of an output removes: the lack of it, or a loss without it."""
    return _is_of_output(finding) or (finding.code in (LOSS_RULE, WIDENED_RULE) and "output" in finding.evidence)


def _repair_outputs(search: RepairSearch, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield findings; those on outputs without a mask with the change that lets the output carry it."""
    outputs = {finding.evidence["output"] for finding in findings if _is_of_output(finding)}
    cures = {name: search.keep_output_mask(str(name)) for name in outputs}
    for finding in findings:
        cure = cures.get(finding.evidence.get("output")) if _is_on_output_mask(finding) else None
        if cure is None:
            yield _mark_as_untried(finding)
            continue
        texts = [text for _, text in write_repairs(cure)]
        code = "\n\n\n".join(text.code for text in texts)
        repair = Repair(texts[0].kind, texts[0].call, code, cure.change_after)
        fix = " ".join(text.sentence for text in texts)
        yield dataclasses.replace(finding, fix=f"{fix} Tried: {CARRIES_MASK}.", repair=repair)


def _find_repair(finding: Finding, cure: Cure, texts: Sequence[tuple[tuple[CallChange, ...], RepairText]]) -> int:
    """Return the position of the repair that mends the call of a finding, or the call where its padding enters."""
    places = [finding.call, finding.evidence.get("enters_at")]
    for place in filter(None, places):
        for index, (changes, text) in enumerate(texts):
            causes = {key for change in changes for key in cure.causes.get(change, ())}
            entries = [cure.original.by_key[key] for key in causes if key in cure.original.by_key]
            if text.call == place or place in map(cure.original.path, entries):
                return index
    inside = (index for index, (_, text) in enumerate(texts) for place in places if _is_inside(text.call, place))
    return next(inside, 0)


def _is_inside(call: str | None, place: str | None) -> bool:
    """Return whether a call is made by the code of another one."""
    return call is not None and place is not None and call.startswith(f"{place}/")


def _mark_as_untried(finding: Finding) -> Finding:
    """Return a finding whose advice is marked as untried; advice on files needs no trial."""
    if finding.code.startswith("MSK0") or finding.fix.startswith(NOT_TRIED):
        return finding
    return dataclasses.replace(finding, fix=f"{NOT_TRIED}{finding.fix[:1].lower()}{finding.fix[1:]}")


def _list_attempts(cure: Cure) -> tuple[RepairAttempt, ...]:
    """Return the changes that were tried in vain, those of one call as one."""
    attempts = []
    for attempt in cure.attempts:
        changes = [change for change in attempt.changes if change.key in cure.original.by_key]
        if not changes:
            continue
        keys = list(dict.fromkeys(change.key for change in changes))
        texts = [write_repair(cure.original, [change for change in changes if change.key == key]) for key in keys]
        why = attempt.trial.why or "padding still changes results"
        calls = ", ".join(text.call for text in texts if text.call is not None)
        kinds = list(dict.fromkeys(text.kind for text in texts))
        attempts.append(RepairAttempt("-and-".join(kinds), calls or None, attempt.trial.change, why))
    return tuple(dict.fromkeys(attempts))
