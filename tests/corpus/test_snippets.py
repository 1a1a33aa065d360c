"""The code of a profile runs as it is pasted, and makes the batches of its buckets."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import maskcli
from maskcli.records.data import Bucket

pytestmark = pytest.mark.slow(share=1 / 2)

RNG = np.random.default_rng(0)
ROWS = [RNG.integers(1, 50, length).tolist() for length in RNG.integers(1, 41, 300)]


@pytest.fixture(scope="module")
def report() -> Any:
    return maskcli.profile(ROWS, buckets=3, batch_size=8)


def run_code(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "pasted.py", "exec"), names)  # noqa: S102 - the code under test
    return names


def check_batches(batches: list[tuple[np.ndarray, np.ndarray]], buckets: tuple[Bucket, ...]) -> None:
    """Check that each row is in one batch of its bucket, and that the padding is that of the profile."""
    rows = [tuple(row[kept].tolist()) for tokens, mask in batches for row, kept in zip(tokens, mask, strict=True)]
    assert sorted(rows) == sorted(map(tuple, ROWS))
    for bucket in buckets:
        sizes = [len(tokens) for tokens, _ in batches if tokens.shape[1] == bucket.maxlen]
        assert sum(sizes) == bucket.sequences
        assert len(sizes) == -(-bucket.sequences // 8)


def test_tf_data_makes_the_buckets(report: maskcli.ProfileReport) -> None:
    make_dataset = run_code(report.code.tf_data)["make_dataset"]
    for sequences in (ROWS, lambda: iter(ROWS)):
        batches = [(tokens.numpy(), mask.numpy()) for tokens, mask in make_dataset(sequences)]
        check_batches(batches, report.corpus.buckets)
        padded = sum(mask.size - mask.sum() for _, mask in batches)
        plan = report.corpus.batches[3]
        assert padded == round(plan.timesteps * plan.padding_share)


def test_keras_dataset_makes_the_buckets_and_trains(report: maskcli.ProfileReport) -> None:
    import keras

    make = run_code(report.code.keras)["BucketedSequences"]
    targets = np.arange(len(ROWS), dtype=float)
    dataset = make(ROWS, targets)
    batches = [dataset[index] for index in range(len(dataset))]
    check_batches([(tokens, tokens != 0) for tokens, _ in batches], report.corpus.buckets)
    for tokens, labels in batches:
        for row, label in zip(tokens, labels, strict=True):
            assert row[row != 0].tolist() == ROWS[int(label)]
    before = [labels.tolist() for _, labels in batches]
    dataset.on_epoch_end()
    assert [dataset[index][1].tolist() for index in range(len(dataset))] != before
    model = keras.Sequential(
        [keras.layers.Embedding(50, 2, mask_zero=True), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    model.fit(make(ROWS, targets / len(ROWS)), verbose=0)


def test_keras_dataset_cuts_at_the_side_of_the_profile() -> None:
    report = maskcli.profile([[1, 2, 3, 4], [5]], maxlen=2, padding="pre", truncating="pre", buckets=1)
    dataset = run_code(report.code.keras)["BucketedSequences"]([[1, 2, 3, 4], [5]], [0, 1])
    assert sorted(dataset[0][0].tolist()) == [[0, 5], [3, 4]]
    batches = run_code(report.code.tf_data)["make_dataset"]([[1, 2, 3, 4], [5]])
    assert [tokens.numpy().tolist() for tokens, _ in batches] == [[[3, 4], [5, 0]]]


def test_torch_sampler_makes_the_buckets(report: maskcli.ProfileReport) -> None:
    """The sampler itself needs no torch."""
    names = run_code(report.code.torch)
    sampler = names["BucketBatchSampler"]([len(row) for row in ROWS])
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(itertools.chain.from_iterable(batches)) == list(range(len(ROWS)))
    ends = [bucket.maxlen for bucket in report.corpus.buckets]
    for batch in batches:
        assert len({np.searchsorted(ends, len(ROWS[row])) for row in batch}) == 1
        assert len(batch) <= 8
    assert list(sampler) != batches


def test_torch_loader_pads_the_batches(report: maskcli.ProfileReport) -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    names = run_code(report.code.torch)
    sampler = names["BucketBatchSampler"]([len(row) for row in ROWS])
    loader = torch_data.DataLoader(ROWS, batch_sampler=sampler, collate_fn=names["pad_batch"])
    check_batches([(tokens.numpy(), mask.numpy()) for tokens, mask in loader], report.corpus.buckets)
