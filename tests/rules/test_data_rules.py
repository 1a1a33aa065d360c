"""The data rules: each fires, stays silent, and says by which numbers; and all rules have one form."""

from __future__ import annotations

import ast
import builtins
import json
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import maskcli.rules
from maskcli.errors import UsageError
from maskcli.records.check import Examination, Finding
from maskcli.records.data import DataFacts
from maskcli.records.sequences import Layout
from maskcli.rules import RULES
from maskcli.rules.base import Rule, format_exact_share, pluralize, read_examples
from maskcli.rules.selection import find_rule, is_failing, judge_all, select_rules
from maskcli.sequences.facts import collect_array_facts, collect_facts
from maskcli.sequences.padding import pad_ragged
from maskcli.sequences.ragged import as_ragged

pytestmark = pytest.mark.quick

DATA_RULES = tuple(rule for rule in RULES if rule.about == "data")
FOLDER = Path(maskcli.rules.__file__).parent
NO_RULES = {"__init__", "base", "blame", "selection", "fixes"}
WASTEFUL = [[5, 6, 7]] * 31 + [[4] * 200]


def facts_of(sequences: object, *, input_dim: int | None = None, **layout: Any) -> DataFacts:
    ragged = as_ragged(sequences)
    batch = pad_ragged(ragged, Layout(**layout))
    return collect_facts(ragged, batch, input_dim=input_dim, input_dim_from="--input-dim" if input_dim else None)


def examined(sequences: object, **options: Any) -> Examination:
    return Examination((facts_of(sequences, **options),), None)


def found(sequences: object, **options: Any) -> dict[str, Finding]:
    """Return the findings of all data rules, by code; each finds one thing here."""
    findings = judge_all(DATA_RULES, examined(sequences, **options))
    assert len({finding.code for finding in findings}) == len(findings)
    return {finding.code: finding for finding in findings}


def run_example(code: str) -> tuple[Finding, ...]:
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - an example of this package
    options = names.get("options", {})
    assert options.pop("data_only") is True
    return judge_all(DATA_RULES, examined(names["sequences"], **options))


# One form


def test_every_file_is_in_the_table_by_code() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - NO_RULES
    assert {file.replace("_", "-") for file in files} == {rule.name for rule in RULES}
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rules_have_one_form(rule: Rule) -> None:
    assert re.fullmatch(r"MSK0\d\d" if rule.about == "data" else r"MSK[1-9]\d\d", rule.code)
    assert rule.severity in ("error", "warning", "info")
    assert rule.summary.endswith(".")
    assert rule.summary.count(". ") == 0
    assert len(rule.summary) <= 120
    sentences = re.findall(r"[.:;](?= |$)", " ".join(rule.explanation))
    assert len(sentences) >= 2
    assert 100 <= len(" ".join(rule.explanation)) <= 900
    for example in read_examples(rule):
        compile(example, rule.code, "exec")
        assert re.search("^(sequences|arrays) = ", example, re.M)
        assert max(map(len, example.split("\n"))) <= 76
    assert rule.bad != rule.good


@pytest.mark.parametrize("rule", DATA_RULES, ids=lambda rule: rule.code)
def test_examples_are_what_they_are_called(rule: Rule) -> None:
    assert rule.code in {finding.code for finding in run_example(rule.bad)}
    assert not [finding for finding in run_example(rule.good) if finding.severity != "info"]
    assert rule.code not in {finding.code for finding in run_example(rule.good)}


@pytest.mark.parametrize("rule", DATA_RULES, ids=lambda rule: rule.code)
def test_findings_carry_their_rule_and_plain_numbers(rule: Rule) -> None:
    for finding in run_example(rule.bad):
        owner = find_rule(finding.code)
        assert (finding.rule, finding.severity) == (owner.name, owner.severity)
        assert (finding.call, finding.type) == (None, None)
        assert finding.message.startswith("tokens: ")
        assert finding.message.endswith(".")
        assert finding.fix.endswith(".")
        assert json.loads(json.dumps(finding.evidence, allow_nan=False)) == finding.evidence
        assert pickle.loads(pickle.dumps(finding)) == finding


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_rules_know_no_arrays_and_no_keras(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert not {name.split(".")[0] for name in names} & {"numpy", "keras", "tensorflow", "click", "rich"}


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
def test_judging_is_pure(rows: list[list[int]], layout: dict[str, Any]) -> None:
    examination = examined(rows, **layout)
    before = pickle.dumps(examination)
    first = judge_all(DATA_RULES, examination)
    opened: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", lambda *args, **_: opened.append(args))
        assert judge_all(DATA_RULES, examination) == first
    assert not opened
    assert pickle.dumps(examination) == before


def test_every_input_is_judged() -> None:
    both = Examination((facts_of([[1, 0, 2]]), facts_of([[1, 2], []])), None)
    assert [finding.code for finding in judge_all(DATA_RULES, both)] == ["MSK001", "MSK002"]


# MSK001


def test_padding_id_as_token() -> None:
    finding = found([[5, 5, 5], [4, 0, 7], [0, 0, 3]])["MSK001"]
    assert finding.evidence == {"input": "tokens", "value": 0, "count": 1, "sample": 1, "timestep": 1}
    assert "padding id 0 is also a token inside the sequences, at 1 timestep, first in sample 1" in finding.message
    assert "tokens + 1" in finding.fix
    other = found([[5, 9, 9, 5]], value=9)["MSK001"]
    assert (other.evidence["value"], other.evidence["count"]) == (9, 2)
    assert "tokens + 1" not in other.fix


@pytest.mark.parametrize("rows", [[[1, 2], [3]], [[1, 2, 0, 0], [3, 4, 5, 6]], [[0, 0, 3]], [[0]]])
def test_padding_at_the_ends_is_no_token(rows: list[list[int]]) -> None:
    assert "MSK001" not in found(rows)


def test_a_mask_from_a_file_says_what_a_token_is() -> None:
    assert found([[1, 2, 0], [3, 4, 5]], trim=False)["MSK001"].evidence["timestep"] == 2


# MSK002


def test_empty_sequence() -> None:
    finding = found([[1, 2], [], [0, 0], [3]])["MSK002"]
    assert finding.evidence == {"input": "tokens", "count": 2, "sample": 1, "rows": 4}
    assert "2 of 4 rows have no token, first sample 1" in finding.message
    assert "1 of 2 rows has no token" in found([[1, 2], []])["MSK002"].message
    assert "MSK002" not in found([[1, 2], [3]])


# MSK003


def test_truncated_tokens() -> None:
    finding = found([[1, 2, 3, 4], [5, 6, 7], [8]], maxlen=2)["MSK003"]
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
    pre = found([[1, 2, 3, 4]], maxlen=3, truncating="pre")["MSK003"]
    assert "at the start of 1 sequence." in pre.message
    assert 'truncating="post"' in pre.fix


def test_padding_that_is_cut_is_no_loss() -> None:
    assert "MSK003" not in found([[1, 2, 0, 0], [3, 4, 5, 0]], maxlen=3)
    assert found([[1, 2, 0, 0], [3, 4, 5, 0]], maxlen=2)["MSK003"].evidence["truncated_tokens"] == 1
    assert "MSK003" not in found([[1, 2, 3]], maxlen=9)


# MSK004 and MSK005


def test_id_out_of_range() -> None:
    finding = found([[1, 2], [70, 60]], input_dim=50)["MSK004"]
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
    assert not found([[1, 2], [49, 3]], input_dim=50)
    assert not found([[1, 2], [70, 60]])


def test_negative_ids() -> None:
    finding = found([[1, 2], [3, -4]])["MSK004"]
    assert (finding.evidence["value"], finding.evidence["sample"], finding.evidence["timestep"]) == (-4, 1, 1)
    assert finding.evidence["input_dim"] is None


def test_a_padding_id_that_no_embedding_has() -> None:
    assert found([[1, 2], [3]], value=-1)["MSK004"].evidence["count"] == 1
    past = found([[1, 2], [3]], value=9, input_dim=9)["MSK004"]
    assert "input_dim 9 (--input-dim) has vectors for ids 0 to 8" in past.message
    assert not found([[1, 2], [3, 4]], value=-1)
    assert not found([[1, 2], [3]], value=8, input_dim=9)


def test_ids_out_of_range_on_both_sides_are_two_findings() -> None:
    findings = judge_all(DATA_RULES, examined([[-1, 99], [3]], input_dim=9, value=-1))
    assert [finding.evidence["value"] for finding in findings if finding.code == "MSK004"] == [99, -1]


def test_a_model_without_an_embedding_may_know_negative_ids() -> None:
    facts = facts_of([[1, 2], [-3]], value=-1)
    with_model = Examination((facts,), object())  # type: ignore[arg-type]
    assert "MSK004" not in {finding.code for finding in judge_all(DATA_RULES, with_model)}


def test_input_dim_off_by_one() -> None:
    findings = found([[1, 50], [50]], input_dim=50)
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
        assert "MSK005" not in found([[1, 50], [50]], input_dim=input_dim)
    assert list(found([[-1, 50]], input_dim=50)) == ["MSK004", "MSK005"]


# MSK006


def test_pre_padding() -> None:
    finding = found([[1, 2, 3], [4]], padding="pre")["MSK006"]
    assert finding.evidence == {"input": "tokens", "padded_timesteps": 2}
    assert "2 timesteps of padding before the tokens. On a GPU" in finding.message
    assert "MSK006" in found([[1, 2, 3], [0, 0, 4]])
    assert not found([[1, 2, 3], [4]])
    assert not found([[1, 2, 3], [4, 5, 6]], padding="pre")


# MSK007


def test_padding_waste() -> None:
    finding = found(WASTEFUL)["MSK007"]
    assert finding.evidence == {
        "input": "tokens",
        "padded_timesteps": 31 * 197,
        "total_timesteps": 32 * 200,
        "share": 31 * 197 / 6400,
        "bucketed_timesteps": 0,
        "buckets": [{"maxlen": 3, "sequences": 31}, {"maxlen": 200, "sequences": 1}],
    }
    assert "Buckets of length 3 (31 rows), 200 (1 row) would leave 0 and save 100 % of it" in finding.message
    assert "bucket_boundaries=[4], bucket_batch_sizes=[32, 32]" in finding.fix


def test_a_maxlen_past_all_sequences_is_waste() -> None:
    finding = found([[1, 2, 3]] * 20, maxlen=10)["MSK007"]
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
    ids=["two rows", "three rows", "ten rows", "like lengths", "no padding"],
)
def test_padding_that_is_no_waste(rows: list[list[int]]) -> None:
    assert "MSK007" not in found(rows)


def test_empty_rows_alone_are_no_waste() -> None:
    assert list(found([[]] * 20, maxlen=5)) == ["MSK002"]


@pytest.mark.slow(share=1)
def test_the_fix_for_waste_is_code_that_runs() -> None:
    import tensorflow as tf

    fix = found(WASTEFUL)["MSK007"].fix
    dataset = tf.data.Dataset.from_generator(lambda: iter(WASTEFUL), output_signature=tf.TensorSpec((None,), tf.int32))
    code = re.findall("`(.*)`", fix)[0]
    batches = eval(code, {"dataset": dataset, "tf": tf})  # noqa: S307 - a fix that this package proposes
    assert Counter(tuple(batch.shape) for batch in batches) == {(31, 3): 1, (1, 200): 1}


# Choosing


def codes(rules: tuple[Rule, ...]) -> list[str]:
    return [rule.code for rule in rules]


def test_nothing_selected_selects_all() -> None:
    assert select_rules((), ()) == select_rules(("ALL",), ()) == select_rules(("MSK",), ()) == RULES
    assert select_rules((), ("ALL",)) == ()


def test_codes_prefixes_and_names_select() -> None:
    assert codes(select_rules(("MSK003",), ())) == ["MSK003"]
    assert codes(select_rules(("msk003", "padding-waste"), ())) == ["MSK003", "MSK007"]
    assert codes(select_rules(("MSK00",), ())) == codes(DATA_RULES)
    assert "MSK003" not in codes(select_rules((), ("MSK003",)))
    assert "MSK003" not in codes(select_rules((), ("truncated-tokens",)))


def test_the_longer_selector_counts() -> None:
    assert codes(select_rules(("MSK003",), ("MSK0",))) == ["MSK003"]
    assert codes(select_rules(("truncated-tokens",), ("MSK0",))) == ["MSK003"]
    assert "MSK003" not in codes(select_rules(("MSK0",), ("MSK003",)))
    assert codes(select_rules(("MSK003",), ("MSK003",))) == []


@pytest.mark.parametrize("selector", ["MSK9999", "MSK01234", "X", "", "M", "MSK00x", "padding", "MSK001 "])
def test_unknown_selectors(selector: str) -> None:
    for select, ignore in (((selector,), ()), ((), (selector,))):
        with pytest.raises(UsageError, match="`maskcli rules` lists them") as raised:
            select_rules(select, ignore)
        assert repr(selector) in str(raised.value)


def test_the_nearest_is_named() -> None:
    with pytest.raises(UsageError, match="Did you mean MSK003"):
        select_rules(("MSK0003",), ())
    with pytest.raises(UsageError, match="Did you mean padding-waste"):
        find_rule("Padding-wast")


def test_by_code() -> None:
    for rule in RULES:
        for name in (rule.code, rule.code.lower(), rule.name, rule.name.upper()):
            assert find_rule(name) is rule


def test_findings_are_sorted_by_severity_then_code() -> None:
    findings = judge_all(DATA_RULES[::-1], examined([[1, 0, 99, 2], [3], []], input_dim=9, padding="pre", maxlen=3))
    assert [finding.code for finding in findings] == ["MSK001", "MSK004", "MSK002", "MSK003", "MSK006"]


def test_info_never_fails() -> None:
    info = judge_all(DATA_RULES, examined([[1, 2], [3]], padding="pre"))
    warning = judge_all(DATA_RULES, examined([[1, 2], []]))
    error = judge_all(DATA_RULES, examined([[1, 0, 2]]))
    assert [finding.severity for finding in (*info, *warning, *error)] == ["info", "warning", "error"]
    verdicts = [
        (is_failing(findings, "error"), is_failing(findings, "warning")) for findings in ((), info, warning, error)
    ]
    assert verdicts == [(False, False), (False, False), (False, True), (True, True)]


# Arrays


def test_arrays_are_judged_as_sequences_are() -> None:
    rows = [[4, 0, 7], [3], []]
    ragged = as_ragged(rows)
    batch = pad_ragged(ragged, Layout())
    assert collect_array_facts(batch.tokens, batch.mask, input_dim=5) == collect_facts(ragged, batch, input_dim=5)
    unsigned = collect_array_facts(np.array([[1, 255]], "uint8"), np.ones((1, 2), bool), input_dim=255)
    assert [finding.code for finding in judge_all(DATA_RULES, Examination((unsigned,), None))] == ["MSK005"]


def test_words() -> None:
    assert [pluralize(n, "row") for n in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]
    assert [format_exact_share(n, 1000) for n in (0, 1, 10, 505, 990, 999, 1000)] == [
        "0 %",
        "less than 1 %",
        "1 %",
        "50 %",
        "99 %",
        "more than 99 %",
        "100 %",
    ]
