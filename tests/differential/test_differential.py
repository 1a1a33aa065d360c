"""maskcli's verdicts on random models, compared with the truth.

``python -m tests.differential --models 1000`` tries more models.
"""

from __future__ import annotations

import dataclasses

import keras
import pytest

from tests.differential import compare, oracle
from tests.differential.compare import Answer, Outcome
from tests.differential.models import Case
from tests.differential.oracle import Truth
from tests.differential.test_oracle import EMBEDDING, MEAN, RNN, layer, line, make_case

pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.filterwarnings("ignore"),  # Keras warns where a layer destroys a mask: some models have faults.
]

LEAKS = Truth("leaks", "content", 0.1, False, False, True, {})
CLEAN = Truth("clean", "", 0.0, False, False, None, {})
UNKNOWN = Truth("cannot-know", "", 0.0, False, None, None, {})


KNOWN_FAULTS: dict[int, str] = {}
"""Seeds whose verdict is wrong, with the reason."""


@pytest.mark.slow(share=1 / 16 if keras.backend.backend() == "jax" else 1 / 4)  # JAX compiles for each shape.
# The last ones: words, pooling and a softmax over time; a mask that is used after attention to another sequence; weights
# of an attention whose padding repeats the last timestep; a leak below the tolerance, which float64 shows.
@pytest.mark.parametrize("seed", [*range(40), 10027, 7035, 7156, 7361])
def test_verdict_on_random_model(seed: int, request: pytest.FixtureRequest) -> None:
    if seed in KNOWN_FAULTS:
        request.applymarker(pytest.mark.xfail(reason=KNOWN_FAULTS[seed]))
    outcome = compare.judge_seed(seed)
    assert not outcome.kinds, outcome.describe()


@pytest.mark.parametrize(
    ("truth", "answer", "kinds"),
    [
        (LEAKS, Answer("leaks", passed=False), []),
        (LEAKS, Answer("leaks", passed=True), ["silent pass"]),
        (LEAKS, Answer("unproven", passed=False), ["unproven"]),
        (LEAKS, Answer("clean", passed=False), ["leaks, not clean"]),
        (CLEAN, Answer("leaks", passed=False), ["clean, not leaks"]),
        (CLEAN, Answer("clean", passed=True, rows_mix=True), ["rows mix: False, not True"]),
        (LEAKS, Answer("leaks", passed=False, future=False), ["future: True, not False"]),
        (UNKNOWN, Answer("unproven", passed=False), []),
        (UNKNOWN, Answer("died"), ["died"]),
    ],
)
def test_disagreements(truth: Truth, answer: Answer, kinds: list[str]) -> None:
    assert compare.find_disagreements(make_case(EMBEDDING, MEAN), truth, answer) == kinds


def test_unproven_without_padding_agrees() -> None:
    case = make_case(EMBEDDING, MEAN, lengths={"T": (5, 5)})
    assert compare.find_disagreements(case, LEAKS, Answer("unproven", passed=True)) == []


@pytest.mark.slow(share=0)
def test_minimise_keeps_only_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is always clean is wrong for the operator only."""

    def judge(case: Case) -> Outcome:
        model = compare.models.make_model(case)
        truth, answer = oracle.find_truth(case, model), Answer("clean", passed=True)
        return Outcome(case, truth, answer, compare.find_disagreements(case, truth, answer), 0.0)

    monkeypatch.setattr(compare, "judge", judge)
    monkeypatch.setattr(compare, "ask", lambda _case, _model: Answer("clean", passed=True))
    fault = line("x = x * 2.0")
    case = make_case(EMBEDDING, layer("L.Dense(4)"), fault, RNN, layer("Scale()"), MEAN)
    smallest = compare.minimise(judge(case), "silent pass").case
    assert smallest.steps == (EMBEDDING, fault, MEAN) or len(smallest.steps) < 3
    assert len(smallest.lengths["T"]) == 2
    assert dataclasses.replace(smallest, lengths=case.lengths).side == "post"
