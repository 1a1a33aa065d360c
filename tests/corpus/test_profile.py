"""Profiles agree with a naive count of all rows, for any blocks, processes and parts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

import maskcli
from maskcli.api import profile as profile_module
from maskcli.api.profile_parts import merge_profiles
from maskcli.corpus.blocks import BlockTask
from maskcli.corpus.counting import CountOptions, count_block
from maskcli.errors import InputError, UsageError
from maskcli.records.corpus import CorpusState
from maskcli.records.profile import CorpusProfile, ProfileReport
from maskcli.sequences.bounds import get_memory_bound
from tests.corpus.test_blocks import ROWS, write_jsonl, write_parquet, write_records, write_text

pytestmark = pytest.mark.slow(share=1 / 2)

rows_of_ids = st.lists(st.lists(st.integers(0, 6), max_size=6), min_size=1, max_size=40).filter(any)


def count_naively(rows: list[list[int]], value: int = 0) -> dict[str, Any]:
    """Return the counts of rows, one by one; of rows of one length without the padding at their ends."""
    full = len({len(row) for row in rows}) == 1
    tokens = [trim(row, value) for row in rows] if full else rows
    ids = [token for row in tokens for token in row]
    hits = Counter(place for row in rows for place in list_padding(row, value))
    return {
        "lengths": sorted(Counter(map(len, tokens)).items()),
        "tokens": len(ids),
        "empty": sum(not row for row in tokens),
        "smallest": (min(ids), ids.count(min(ids))) if ids else None,
        "largest": (max(ids), ids.count(max(ids))) if ids else None,
        "distinct": len(set(ids)),
        "duplicates": len(rows) - len(set(map(tuple, rows))),
        "leading": hits["leading"],
        "inner": hits["inner"],
        "trailing": hits["trailing"],
    }


def trim(row: list[int], value: int) -> list[int]:
    kept = [index for index, token in enumerate(row) if token != value]
    return row[kept[0] : kept[-1] + 1] if kept else []


def list_padding(row: list[int], value: int) -> list[str]:
    kept = [index for index, token in enumerate(row) if token != value]
    first, last = (kept[0], kept[-1]) if kept else (len(row), len(row))
    places = [index for index, token in enumerate(row) if token == value]
    return ["leading" if place < first else "trailing" if place > last else "inner" for place in places]


def summarize(report: ProfileReport) -> dict[str, Any]:
    return summarize_corpus(report.corpus)


def summarize_corpus(corpus: CorpusProfile) -> dict[str, Any]:
    histogram = corpus.lengths.histogram
    ends = [None if end is None else (end.value, end.tokens) for end in (corpus.ids.smallest, corpus.ids.largest)]
    return {
        "lengths": list(zip(histogram.lengths.tolist(), histogram.counts.tolist(), strict=True)),
        "tokens": corpus.tokens,
        "empty": corpus.empty.rows,
        "smallest": ends[0],
        "largest": ends[1],
        "distinct": corpus.ids.distinct,
        "duplicates": corpus.duplicates.rows,
        "leading": corpus.padding_id.leading.tokens,
        "inner": corpus.padding_id.inner.tokens,
        "trailing": corpus.padding_id.trailing.tokens,
    }


@given(rows=rows_of_ids, block_size=st.integers(1, 60), value=st.integers(0, 3))
@settings(max_examples=60)
def test_profile_equals_a_naive_count(tmp_path_factory, rows, block_size: int, value: int) -> None:
    path = write_jsonl(tmp_path_factory.mktemp("profile") / "a.jsonl", rows)
    report = maskcli.profile(path, block_size=block_size, value=value)
    expected = count_naively(rows, value)
    assert summarize(report) == expected
    assert summarize(maskcli.profile(rows, value=value)) == expected
    assert report.to_json() == maskcli.profile(path, value=value).to_json()


@given(rows=rows_of_ids, block_size=st.integers(1, 60))
@settings(max_examples=30)
def test_first_places_are_those_of_the_file(tmp_path_factory, rows, block_size: int) -> None:
    path = write_jsonl(tmp_path_factory.mktemp("places") / "a.jsonl", rows)
    corpus = maskcli.profile(path, block_size=block_size, input_dim=4).corpus
    if len({len(row) for row in rows}) == 1:
        return  # The padding at the ends of a full array is not a token.
    largest = max(token for row in rows for token in row)
    line = next(index for index, row in enumerate(rows) if largest in row)
    assert corpus.ids.largest is not None
    assert corpus.ids.largest.place == f"{path}:{line + 1}"
    assert corpus.ids.largest.timestep == rows[line].index(largest)
    outside = [(index, row) for index, row in enumerate(rows) if any(token >= 4 for token in row)]
    assert corpus.ids.outside is not None
    assert corpus.ids.outside.rows == len(outside)
    assert corpus.ids.outside.tokens == sum(token >= 4 for row in rows for token in row)
    assert corpus.ids.outside.place == (f"{path}:{outside[0][0] + 1}" if outside else None)
    empty = [index for index, row in enumerate(rows) if not row]
    assert corpus.empty.place == (f"{path}:{empty[0] + 1}" if empty else None)


@pytest.mark.parametrize(
    ("write", "name", "place"),
    [
        (write_jsonl, "a.jsonl", ":{}"),
        (write_records, "r.jsonl", ":{}"),
        (write_text, "a.txt", ":{}"),
        (write_parquet, "a.parquet", ", row {}"),
    ],
)
def test_same_bytes_for_any_blocks_and_processes(tmp_path: Path, write, name: str, place: str) -> None:
    path = write(tmp_path / name)
    documents = {
        maskcli.profile(path, block_size=block_size, processes=processes).to_json()
        for block_size, processes in ((10**9, 1), (700, 1), (700, 2))
    }
    assert len(documents) == 1
    [text] = documents
    document = json.loads(text)
    largest = max(token for row in ROWS for token in row)
    line = next(index for index, row in enumerate(ROWS) if largest in row)
    assert document["ids"]["largest"]["place"] == f"{path}{place.format(line + 1)}"


def test_several_files_count_their_own_lines(tmp_path: Path) -> None:
    for name, rows in (("a", [[1], [2]]), ("b", [[3], [4, 9]]), ("c", [[5]])):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    for block_size in (3, 9, 1000):
        report = maskcli.profile(tmp_path, block_size=block_size)
        assert report.corpus.ids.largest.place == f"{tmp_path / 'b.jsonl'}:2"
        assert report.corpus.ids.smallest.place == f"{tmp_path / 'a.jsonl'}:1"
        assert report.data.rows == 5


def test_padded_array_has_the_lengths_of_its_rows(tmp_path: Path) -> None:
    array = np.array([[1, 2, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0], [5, 6, 7, 8]])
    np.save(tmp_path / "a.npy", array)
    corpus = maskcli.profile(tmp_path / "a.npy", block_size=40).corpus
    assert corpus.lengths.padded_to == 4
    assert corpus.lengths.histogram.lengths.tolist() == [0, 2, 3, 4]
    assert (corpus.empty.rows, corpus.empty.place) == (1, f"{tmp_path / 'a.npy'}, row 3")
    assert corpus.padding_id.inner.place == f"{tmp_path / 'a.npy'}, row 2"
    assert corpus.ids.smallest.value == 0  # It is a token inside of row 2.
    assert [finding.rule for finding in corpus.findings] == ["padding-id-as-token", "empty-sequence"]


def test_findings_name_the_file_and_line(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [[1, 2]] * 9 + [[], [3, 0, 4], [50], [60, -1]])
    findings = maskcli.profile(path, block_size=20, input_dim=50, maxlen=2).corpus.findings
    places = [(finding.code, finding.evidence.get("place")) for finding in findings]
    assert places == [
        ("MSK001", f"{path}:11"),
        ("MSK004", f"{path}:13"),
        ("MSK004", f"{path}:13"),
        ("MSK002", f"{path}:10"),
        ("MSK003", None),
    ]


def test_findings_are_those_of_check(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [[1, 2]] * 20 + [[], [3, 0, 4], [50], [60, -1] * 40])
    options: dict[str, Any] = {"input_dim": 50, "maxlen": 50}
    findings = maskcli.profile(path, block_size=20, **options).corpus.findings
    data = [json.loads(line) for line in path.read_text().splitlines()]
    expected = maskcli.check(data, data_only=True, **options).findings
    assert [(finding.code, finding.message) for finding in findings] == [
        (finding.code, finding.message) for finding in expected
    ]


def test_selected_rules_are_those_that_judge(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [[1, 0, 2], []])
    assert [finding.code for finding in maskcli.profile(path, select="MSK002").corpus.findings] == ["MSK002"]
    with pytest.raises(UsageError, match="rule about the data"):
        maskcli.profile(path, select="MSK101")


@pytest.mark.parametrize("ids", [[2**40, 2**40 + 1, -5, 7], [2**22, 2**22 - 1, 2**22 + 1], [-(2**63), 2**63 - 1, 0]])
def test_large_and_negative_ids_are_counted(ids: list[int]) -> None:
    corpus = maskcli.profile([[number, ids[0]] for number in ids] + [[1]]).corpus
    assert corpus.ids.distinct == len({*ids, 1})
    assert (corpus.ids.smallest.value, corpus.ids.largest.value) == (min(*ids, 1), max(*ids, 1))


def test_many_different_ids_are_counted_exactly() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(-(2**40), 2**40, (300, 50))
    corpus = maskcli.profile(rows).corpus
    assert corpus.ids.distinct == len(np.unique(rows))
    assert corpus.ids.exact


def test_sweep_equals_padding_of_each_maxlen() -> None:
    corpus = maskcli.profile(ROWS, maxlens=[2, 5, 9], maxlen=7).corpus
    assert [entry.maxlen for entry in corpus.sweep] == [2, 5, 7, 9]
    for entry in corpus.sweep:
        batch = maskcli.pad(ROWS, maxlen=entry.maxlen)
        assert entry.cut_tokens == batch.truncated_tokens
        assert entry.cut_sequences == batch.truncated_sequences
        assert entry.padded_timesteps == batch.mask.size - batch.mask.sum()
        assert entry.bytes["int32"] == batch.tokens.nbytes
        assert "int8" not in entry.bytes  # Ids are larger than 127.


@pytest.mark.parametrize("percent", [1, 5, 25, 50, 75, 90, 95, 99, 99.9])
def test_percentile_is_the_smallest_length_that_suffices(percent: float) -> None:
    lengths = np.random.default_rng(1).integers(1, 60, 997)
    corpus = maskcli.profile([[1] * length for length in lengths]).corpus
    [length] = [entry.length for entry in corpus.lengths.percentiles if entry.percent == percent]
    assert 1000 * (lengths <= length).sum() >= 10 * percent * len(lengths)
    assert 1000 * (lengths < length).sum() < 10 * percent * len(lengths)


@pytest.mark.parametrize("by", [None, "label"])
def test_later_blocks_send_few_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str | None) -> None:
    """With memory for 250 hashes, blocks learn from those before how many rows are compared; the result is the same."""
    rows = [[index * 7919 % 10007, index % 1500] for index in range(3000)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"ids": {row}, "label": {index % 2}}}\n' for index, row in enumerate(rows)))
    monkeypatch.setattr(profile_module, "HASH_BYTES", get_memory_bound() // 250)
    sent: list[int] = []

    def count(task: BlockTask, options: CountOptions) -> CorpusState:
        state = count_block(task, options)
        sent.append(sum(len(group.hashes.hashes) for group in state.groups.values()))
        return state

    whole = maskcli.profile(path, field="ids", by=by)
    monkeypatch.setattr(profile_module, "count_block", count)
    divided = maskcli.profile(path, field="ids", by=by, block_size=path.stat().st_size // 500)
    assert divided.to_json() == whole.to_json()
    assert not whole.corpus.duplicates.exact
    assert sum(sent[:16]) > 80
    if by is None:  # The merged state of 256 blocks, and its sample, is known.
        assert sum(sent[-16:]) < 30


def test_duplicates_are_a_lower_bound_without_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[index % 4000, index % 4000 // 7, 5] for index in range(20_000)]
    path = write_jsonl(tmp_path / "a.jsonl", [*rows, [1]])
    exact = maskcli.profile(path).corpus.duplicates
    assert (exact.rows, exact.exact, exact.most_copies) == (16_000, True, 5)
    monkeypatch.setattr("maskcli.sequences.bounds._bounds", [2**20])  # As --max-memory 1M: 2,048 hashes.
    documents = set()
    for block_size in (10**9, 10**5, 10**4):
        report = maskcli.profile(path, block_size=block_size)
        bounded = report.corpus.duplicates
        assert not bounded.exact
        assert 5 * 1024 < bounded.compared <= 5 * 2048  # As many rows as memory allows.
        assert bounded.rows < 16_000
        assert abs(bounded.estimate - 16_000) < 2500
        documents.add(report.to_json())
    assert len(documents) == 1


def test_keep_going_lists_the_blocks_left_out(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*ROWS[:150], ["x"], *ROWS[150:]])
    with pytest.raises(InputError, match=r"a\.jsonl:151, value 1"):
        maskcli.profile(path, block_size=500)
    for processes in (1, 2):
        report = maskcli.profile(path, block_size=500, keep_going=True, processes=processes)
        assert [block.place for block in report.skipped] == [f"{path}:151"]
        assert 100 < report.data.rows < 200


def test_keep_going_without_any_block_is_an_error(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [["x"]])
    with pytest.raises(InputError, match=r"a\.jsonl:1, value 1"):
        maskcli.profile(path, keep_going=True)


def test_only_empty_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one token"):
        maskcli.profile(write_jsonl(tmp_path / "a.jsonl", [[], []]))


def test_progress_receives_bytes(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl")
    calls: list[tuple[int, int]] = []
    maskcli.profile(path, block_size=500, progress=lambda done, total: calls.append((done, total)))
    size = path.stat().st_size
    assert calls[0] == (0, size)
    assert calls[-1] == (size, size)
    assert len(calls) > 3


def test_profile_prints_itself() -> None:
    report = maskcli.profile(ROWS)
    assert repr(report) == "<ProfileReport 200 sequences, 1,380 tokens, longest 13>"
    assert "Choices of maxlen" in str(report)
    assert report.to_dict()["schema"] == "maskcli/profile/1"


LABELS = ["news", "web, [1, 2]", 'a: [3] "b"', 7, None, True]


def write_labelled(path: Path, rows: list[list[int]]) -> tuple[Path, dict[str, list[int]]]:
    """Write records, and return the rows of each label."""
    labels = [LABELS[index * 7 // 3 % len(LABELS)] for index in range(len(rows))]
    assert set(labels) == set(LABELS)
    records = [{"src": label, "n": [[1]], "ids": row} for label, row in zip(labels, rows, strict=True)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    groups: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        groups.setdefault(label if isinstance(label, str) else json.dumps(label), []).append(index)
    return path, groups


@pytest.mark.parametrize("block_size", [300, 2000, 10**9])
def test_groups_are_profiles_of_their_rows(tmp_path: Path, block_size: int) -> None:
    path, groups = write_labelled(tmp_path / "a.jsonl", ROWS)
    report = maskcli.profile(path, field="ids", by="src", block_size=block_size, buckets=2)
    assert list(report.groups) == sorted(groups)
    for name, group in report.groups.items():
        alone = maskcli.profile([ROWS[index] for index in groups[name]], buckets=2).corpus
        assert summarize_corpus(group) == summarize_corpus(alone)
        assert group.batches == alone.batches
        assert group.ids.largest.place == f"{path}:{groups[name][int(alone.ids.largest.place.split()[1]) - 1] + 1}"
    whole = maskcli.profile(path, field="ids", block_size=block_size, buckets=2)
    assert summarize(report) == summarize(whole)
    assert report.corpus.ids == whole.corpus.ids
    assert (
        report.to_json()
        == maskcli.profile(path, field="ids", by="src", processes=2, block_size=700, buckets=2).to_json()
    )


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.csv", "a.json"])
def test_groups_of_other_formats(tmp_path: Path, name: str) -> None:
    source = ["web" if index % 3 else "news" for index in range(len(ROWS))]
    path = tmp_path / name
    if name == "a.parquet":
        parquet.write_table(pa.table({"ids": ROWS, "src": source}), path, row_group_size=9)
    elif name == "a.arrow":
        feather.write_feather(pa.table({"ids": ROWS, "src": source}), path, compression="uncompressed")
    elif name == "a.csv":
        path.write_text("src,ids\n" + "".join(f'{label},"{row}"\n' for label, row in zip(source, ROWS, strict=True)))
    else:
        path.write_text(json.dumps([{"src": label, "ids": row} for label, row in zip(source, ROWS, strict=True)]))
    report = maskcli.profile(path, field="ids", by="src", block_size=1500)
    for label in ("web", "news"):
        alone = maskcli.profile([row for row, other in zip(ROWS, source, strict=True) if other == label]).corpus
        assert summarize_corpus(report.groups[label]) == summarize_corpus(alone)


def test_group_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"src": "a", "ids": [index]}) for index in range(100)]
    path.write_text("\n".join([*lines[:80], '{"ids": [1]}', *lines[80:]]))
    with pytest.raises(InputError, match=r"a\.jsonl:81: expected a record with the field 'src' of by"):
        maskcli.profile(path, by="src", block_size=400)
    path.write_text("\n".join([*lines[:80], '{"ids": [1], "src": {"a": 1}}', *lines[80:]]))
    with pytest.raises(InputError, match=r"a\.jsonl:81: expected a text or a number"):
        maskcli.profile(path, by="src", block_size=400)
    path.write_text("".join(json.dumps({"src": index, "ids": [1]}) + "\n" for index in range(1200)))
    with pytest.raises(InputError, match="at most 1,000 different values"):
        maskcli.profile(path, by="src", block_size=9000)
    with pytest.raises(InputError, match="a format with fields"):
        maskcli.profile(write_text(tmp_path / "a.txt"), by="src")


def test_groups_merge_from_parts(tmp_path: Path) -> None:
    path, _ = write_labelled(tmp_path / "a.jsonl", ROWS)
    whole = maskcli.profile(path, field="ids", by="src")
    for part in (1, 2, 3):
        report = maskcli.profile(path, field="ids", by="src", part=f"{part}/3")
        (tmp_path / f"p{part}.json").write_text(report.to_json())
    merged = merge_profiles([str(tmp_path / "p*.json")])
    assert merged.to_json() == whole.to_json()
