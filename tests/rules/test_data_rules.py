"""The data rules: each reports its fault with the measured values, and nothing else."""

from __future__ import annotations

import builtins
import itertools
import json
import pickle
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from maskcli.records.check import Examination, Finding
from maskcli.records.data import EndRuns
from maskcli.records.evidence import ModelEvidence
from maskcli.records.layout import Layout
from maskcli.records.wording import format_count
from maskcli.rules.base import format_exact_share, format_pair
from maskcli.rules.rule import Rule
from maskcli.rules.selection import find_rule, judge_all
from maskcli.sequences.facts import collect_array_facts, collect_facts, find_unmarked_padding
from maskcli.sequences.padding import pad_ragged
from maskcli.sequences.ragged import as_ragged
from tests.rules.examine import DATA_RULES, examine, make_facts

pytestmark = pytest.mark.quick

WASTEFUL = [[5, 6, 7]] * 31 + [[4] * 200]


def find(sequences: object, **options: Any) -> dict[str, Finding]:
    """Return the findings of all data rules by code; each rule may report only one fault."""
    findings = judge_all(DATA_RULES, examine(sequences, **options))
    assert len({finding.code for finding in findings}) == len(findings)
    return {finding.code: finding for finding in findings}


def run_example(code: str) -> tuple[Finding, ...]:
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    options = names.get("options", {})
    assert options.pop("data_only") is True
    return judge_all(DATA_RULES, examine(names["sequences"], **options))


@pytest.mark.parametrize("rule", DATA_RULES, ids=lambda rule: rule.code)
def test_rule_reports_only_bad_example(rule: Rule) -> None:
    assert rule.code in {finding.code for finding in run_example(rule.bad)}
    assert not [finding for finding in run_example(rule.good) if finding.severity != "info"]
    assert rule.code not in {finding.code for finding in run_example(rule.good)}


@pytest.mark.parametrize("rule", DATA_RULES, ids=lambda rule: rule.code)
def test_finding_has_rule_and_plain_evidence(rule: Rule) -> None:
    for finding in run_example(rule.bad):
        owner = find_rule(finding.code)
        assert (finding.rule, finding.severity) == (owner.name, owner.severity)
        assert (finding.call, finding.type) == (None, None)
        assert finding.message.startswith("tokens: ")
        assert finding.message.endswith(".")
        assert finding.fix.endswith(".")
        assert json.loads(json.dumps(finding.evidence, allow_nan=False)) == finding.evidence
        assert pickle.loads(pickle.dumps(finding)) == finding


@given(
    rows=st.lists(st.lists(st.integers(-2, 9), max_size=6), min_size=1, max_size=20).filter(any),
    layout=st.fixed_dictionaries(
        {},
        optional={
            "maxlen": st.integers(1, 7),
            "padding": st.sampled_from(["pre", "post"]),
            "truncating": st.sampled_from(["pre", "post"]),
            "value": st.integers(-1, 9),
            "input_dim": st.integers(1, 10),
        },
    ),
)
def test_judge_all_is_pure(rows: list[list[int]], layout: dict[str, Any]) -> None:
    examination = examine(rows, **layout)
    before = pickle.dumps(examination)
    first = judge_all(DATA_RULES, examination)
    opened: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", lambda *args, **_: opened.append(args))
        assert judge_all(DATA_RULES, examination) == first
    assert not opened
    assert pickle.dumps(examination) == before


def test_judge_all_judges_every_input() -> None:
    both = Examination((make_facts([[1, 0, 2]]), make_facts([[1, 2], []])), None)
    assert [finding.code for finding in judge_all(DATA_RULES, both)] == ["MSK001", "MSK002"]


# MSK001


def test_padding_id_as_token() -> None:
    finding = find([[5, 5, 5], [4, 0, 7], [0, 0, 3]])["MSK001"]
    assert finding.evidence == {"input": "tokens", "value": 0, "count": 1, "sample": 1, "timestep": 1}
    assert "padding id 0 is also a token inside the sequences, at 1 timestep, first in sample 1" in finding.message
    assert "tokens + 1" in finding.fix
    with_nine = find([[5, 9, 9, 5]], value=9)["MSK001"]
    assert (with_nine.evidence["value"], with_nine.evidence["count"]) == (9, 2)
    assert "tokens + 1" not in with_nine.fix


@pytest.mark.parametrize("rows", [[[1, 2], [3]], [[1, 2, 0, 0], [3, 4, 5, 6]], [[0, 0, 3]], [[0]]])
def test_padding_id_as_token_at_ends(rows: list[list[int]]) -> None:
    assert "MSK001" not in find(rows)


def test_padding_id_as_token_without_trim() -> None:
    """A mask from a file decides which timesteps are tokens, so nothing is trimmed."""
    assert find([[1, 2, 0], [3, 4, 5]], trim=False)["MSK001"].evidence["timestep"] == 2


# MSK002


def test_empty_sequence() -> None:
    finding = find([[1, 2], [], [0, 0], [], [3]])["MSK002"]
    assert finding.evidence == {"input": "tokens", "count": 2, "sample": 1, "rows": 5}
    assert "2 of 5 rows have no token, first sample 1" in finding.message
    assert find([[1, 2], [0, 0], [3, 0]])["MSK002"].evidence["sample"] == 1
    assert "1 of 2 rows has no token" in find([[1, 2], []])["MSK002"].message
    assert "MSK002" not in find([[1, 2], [3]])


# MSK003


def test_truncated_tokens() -> None:
    finding = find([[1, 2, 3, 4], [5, 6, 7], [8]], maxlen=2)["MSK003"]
    assert finding.evidence == {
        "input": "tokens",
        "maxlen": 2,
        "truncated_tokens": 3,
        "truncated_sequences": 2,
        "total_tokens": 8,
        "share": 3 / 8,
    }
    assert "cuts 3 of 8 tokens (38 %), at the end of 2 sequences" in finding.message
    assert 'truncating="pre"' in finding.fix
    pre = find([[1, 2, 3, 4]], maxlen=3, truncating="pre")["MSK003"]
    assert "at the start of 1 sequence." in pre.message
    assert 'truncating="post"' in pre.fix


def test_truncated_tokens_without_cut_padding() -> None:
    assert "MSK003" not in find([[1, 2, 0, 0], [3, 4, 5, 0]], maxlen=3)
    assert find([[1, 2, 0, 0], [3, 4, 5, 0]], maxlen=2)["MSK003"].evidence["truncated_tokens"] == 1
    assert "MSK003" not in find([[1, 2, 3]], maxlen=9)


# MSK004 and MSK005


def test_id_out_of_range() -> None:
    finding = find([[1, 2], [70, 60]], input_dim=50)["MSK004"]
    assert "70, first in sample 1 at timestep 0, but input_dim 50" in finding.message
    assert finding.evidence == {
        "input": "tokens",
        "value": 70,
        "count": 1,
        "sample": 1,
        "timestep": 0,
        "input_dim": 50,
    }
    assert "input_dim 50 (--input-dim) has vectors for ids 0 to 49" in finding.message
    assert "`input_dim=71`" in finding.fix
    assert not find([[1, 2], [49, 3]], input_dim=50)
    assert not find([[1, 2], [70, 60]])


def test_id_out_of_range_with_negative_id() -> None:
    finding = find([[1, 2], [3, -4]])["MSK004"]
    assert (finding.evidence["value"], finding.evidence["sample"], finding.evidence["timestep"]) == (-4, 1, 1)
    assert finding.evidence["input_dim"] is None


def test_id_out_of_range_with_padding_id() -> None:
    assert find([[1, 2], [3]], value=-1)["MSK004"].evidence["count"] == 1
    past = find([[1, 2], [3]], value=9, input_dim=9)["MSK004"]
    assert "input_dim 9 (--input-dim) has vectors for ids 0 to 8" in past.message
    assert not find([[1, 2], [3, 4]], value=-1)
    assert not find([[1, 2], [3]], value=8, input_dim=9)


def test_id_out_of_range_on_both_sides() -> None:
    findings = judge_all(DATA_RULES, examine([[7, 99], [3]], input_dim=9, value=-1))
    assert [finding.evidence["value"] for finding in findings if finding.code == "MSK004"] == [99, -1]


def test_id_out_of_range_without_embedding() -> None:
    facts = make_facts([[1, 2], [-3]], value=-1)
    with_model = Examination((facts,), ModelEvidence("model", "Model", 0, (1, 1)))
    assert "MSK004" not in {finding.code for finding in judge_all(DATA_RULES, with_model)}


def test_input_dim_off_by_one() -> None:
    findings = find([[1, 50], [50]], input_dim=50)
    assert list(findings) == ["MSK005"]
    assert findings["MSK005"].evidence == {
        "input": "tokens",
        "value": 50,
        "count": 2,
        "sample": 0,
        "timestep": 1,
        "input_dim": 50,
    }
    assert "`input_dim=51`" in findings["MSK005"].fix
    for input_dim in (49, 51):
        assert "MSK005" not in find([[1, 50], [50]], input_dim=input_dim)
    assert list(find([[-1, 50]], input_dim=50)) == ["MSK004", "MSK005"]


# MSK006


def test_pre_padding() -> None:
    finding = find([[1, 2, 3], [4]], padding="pre")["MSK006"]
    assert finding.evidence == {"input": "tokens", "padded_timesteps": 2}
    assert "2 timesteps of padding before the tokens. With TensorFlow on a GPU" in finding.message
    assert "MSK006" in find([[1, 2, 3], [0, 0, 4]])
    assert not find([[1, 2, 3], [4]])
    assert not find([[1, 2, 3], [4, 5, 6]], padding="pre")


# MSK007


def test_padding_waste() -> None:
    finding = find(WASTEFUL)["MSK007"]
    assert finding.evidence == {
        "input": "tokens",
        "padded_timesteps": 31 * 197,
        "total_timesteps": 32 * 200,
        "share": 31 * 197 / 6400,
        "bucketed_timesteps": 0,
        "buckets": [{"maxlen": 3, "sequences": 31}, {"maxlen": 200, "sequences": 1}],
    }
    assert "Buckets of length 3 (31 rows), 200 (1 row) would leave 0 and save 100 % of the padding" in finding.message
    assert "bucket_boundaries=[4], bucket_batch_sizes=[32, 32]" in finding.fix


@pytest.mark.parametrize(("rows", "is_reported"), [(15, False), (16, True)])
def test_padding_waste_needs_16_rows(rows: int, is_reported: bool) -> None:
    assert ("MSK007" in find(WASTEFUL[-rows:])) is is_reported


def test_padding_waste_with_large_maxlen() -> None:
    finding = find([[1, 2, 3]] * 20, maxlen=10)["MSK007"]
    assert "`maxlen=3`" in finding.fix
    assert "Length 3 (20 rows) would leave 0" in finding.message


@pytest.mark.parametrize(
    "rows",
    [
        [[5] * 100, [5]],
        [[5] * 100, [5], [6]],
        [[5] * 100, *[[5]] * 9],
        [[5] * (length % 5 + 5) for length in range(100)],
        [[5] * 10] * 100,
    ],
    ids=["two rows", "three rows", "ten rows", "similar lengths", "no padding"],
)
def test_padding_waste_below_limits(rows: list[list[int]]) -> None:
    assert "MSK007" not in find(rows)


def test_padding_waste_with_only_empty_rows() -> None:
    assert list(find([[]] * 20, maxlen=5)) == ["MSK002"]


@pytest.mark.slow(share=1)
def test_padding_waste_fix_runs() -> None:
    import tensorflow as tf

    fix = find(WASTEFUL)["MSK007"].fix
    dataset = tf.data.Dataset.from_generator(lambda: iter(WASTEFUL), output_signature=tf.TensorSpec((None,), tf.int32))
    code = re.findall("`(.*)`", fix)[0]
    batches = eval(code, {"dataset": dataset, "tf": tf})  # noqa: S307
    assert Counter(tuple(batch.shape) for batch in batches) == {(31, 3): 1, (1, 200): 1}


# Arrays


# MSK008


@given(
    rows=st.lists(st.lists(st.integers(10, 30), min_size=1, max_size=9), min_size=3, max_size=8),
    value=st.sampled_from([-1, 1, 31, 99]),
    side=st.sampled_from(["pre", "post"]),
)
@example(rows=[[10], [18, 18], [18, 18, 18]], value=-1, side="pre")  # Some rows also end alike at the other side.
def test_padding_with_another_value_is_found(rows: list[list[int]], value: int, side: str) -> None:
    rows = [[10, 11, 12, 13, 14, 15, 16, 17, 18], [10, 11, 12], [10, 11], *rows]
    # Of two values that fill ends of rows, the one with more timesteps is the padding.
    ends = [row if side == "post" else row[::-1] for row in rows]
    assume(sum(9 - len(row) for row in rows) > sum(len(list(next(itertools.groupby(row))[1])) for row in ends))
    padded = pad_ragged(as_ragged(rows), Layout(padding=side, value=value)).tokens
    evidence = find(padded)["MSK008"].evidence
    lengths = np.array([9 - len(row) for row in rows])
    assert evidence["value"] == value
    assert evidence["side"] == side
    assert (evidence["rows"], evidence["timesteps"]) == ((lengths > 0).sum(), lengths.sum())
    assert (evidence["sample"], evidence["timestep"]) == (1, 3 if side == "post" else 0)
    assert "MSK008" not in find(padded, value=value)
    assert "MSK008" not in find(rows)


def test_padding_after_a_first_token_with_the_padding_id() -> None:
    """RoBERTa begins each row with id 0, and pads with id 1."""
    rows = [[0, 713, 16, 10, 2, 1, 1, 1], [0, 100, 657, 42, 1569, 328, 88, 2], [0, 713, 2, 1, 1, 1, 1, 1]]
    evidence = find(rows)["MSK008"].evidence
    assert (evidence["value"], evidence["side"], evidence["timesteps"]) == (1, "post", 8)


@pytest.mark.parametrize(
    "rows",
    [
        [[5, 6, 7, 2], [8, 9, 3, 2], [7, 7, 4, 2]],  # A token that ends sentences.
        [[5, 6, 2, 2, 2], [8, 9, 2, 2, 2], [7, 6, 2, 2, 2]],  # Runs of one length.
        [[5, 2, 7, 8, 9], [4, 3, 2, 2, 2], [8, 2, 2, 2, 2]],  # The value is a token elsewhere.
        [[5, 6, 7, 8, 9], [4, 3, 6, 7, 8], [8, 1, 1, 1, 1]],  # A single row.
        [[1, 1, 1, 2, 2], [1, 1, 2, 2, 2], [1, 2, 2, 2, 2]],  # Two states.
        [[5, 6, 1, 1, 1], [4, 3, 1, 1], [8, 1, 1]],  # Rows of different lengths.
    ],
)
def test_ends_of_rows_that_are_no_padding(rows: list[list[int]]) -> None:
    assert "MSK008" not in find(rows)


def pad_curves(curves: list[list[float]], value: float) -> Any:
    longest = max(map(len, curves))
    return np.array([curve + [value] * (longest - len(curve)) for curve in curves], "float32")[:, :, None]


@pytest.mark.parametrize("value", [-1.0, 20.0, 1e20, np.inf, -999.99])
def test_measurements_with_another_padding_value(value: float) -> None:
    values = pad_curves([[0.1, 0.7, 0.3, 0.2, 0.9], [0.5, 0.4], [0.6]], value)
    runs = find_unmarked_padding(values, np.ones(values.shape[:2], bool))
    assert runs == EndRuns(float(np.float32(value)), "post", 2, 7, 1, 2)


def test_curves_that_reach_their_limit_are_data() -> None:
    values = pad_curves([[0.1, 0.3, 0.5, 0.7, 0.98], [0.9, 0.99], [0.97]], 1.0)
    assert find_unmarked_padding(values, np.ones(values.shape[:2], bool)) is None


def test_vectors_of_an_equal_number_are_found_among_data() -> None:
    values = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("float32")
    values[1, 2:], values[2, 3:] = 0.5, 0.5
    runs = find_unmarked_padding(values, np.ones((4, 6), bool))
    assert runs == EndRuns(0.5, "post", 2, 7, 1, 2)
    values[0, 1, 2] = 0.5
    assert find_unmarked_padding(values, np.ones((4, 6), bool)) is None


def test_array_facts_equal_sequence_facts() -> None:
    rows = [[4, 0, 7], [3], []]
    ragged = as_ragged(rows)
    batch = pad_ragged(ragged, Layout())
    assert collect_array_facts(batch.tokens, batch.mask, input_dim=5) == collect_facts(ragged, batch, input_dim=5)
    unsigned = collect_array_facts(np.array([[1, 255]], "uint8"), np.ones((1, 2), bool), input_dim=255)
    assert [finding.code for finding in judge_all(DATA_RULES, Examination((unsigned,), None))] == ["MSK005"]


def test_close_numbers_show_their_difference() -> None:
    assert format_pair(1.6097974, 1.6098016) == ("1.609797", "1.609802")
    assert format_pair(0.125, 2.0) == ("0.125", "2")
    assert format_pair(1.0, 1.0) == ("1", "1")


def test_format_count_and_format_exact_share() -> None:
    assert [format_count(n, "row") for n in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]
    assert [format_exact_share(n, 1000) for n in (0, 1, 10, 505, 990, 999, 1000)] == [
        "0 %",
        "less than 1 %",
        "1 %",
        "50 %",
        "99 %",
        "more than 99 %",
        "100 %",
    ]
