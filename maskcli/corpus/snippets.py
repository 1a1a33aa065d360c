"""Code that makes batches by the buckets of a profile, for three libraries."""

from __future__ import annotations

from maskcli.records.data import Bucket
from maskcli.records.profile import BatchCode

_TF_DATA = '''\
import tensorflow as tf

# Batches of sequences of similar length, each padded to the length of its bucket.
MAXLENS = {maxlens}
BATCH_SIZE = {batch_size}


def make_dataset(sequences, value={value}):
    """Yield (tokens, mask) batches; sequences is a list of lists of ids, or a function that returns an iterator."""
    rows = sequences if callable(sequences) else lambda: iter(sequences)
    dataset = tf.data.Dataset.from_generator(
        lambda: (row{cut} for row in rows()), output_signature=tf.TensorSpec([None], tf.int32)
    )
    dataset = dataset.map(lambda row: (row, tf.ones_like(row, tf.bool)))
    return dataset.bucket_by_sequence_length(
        lambda row, mask: tf.size(row),
        bucket_boundaries=[maxlen + 1 for maxlen in MAXLENS],
        bucket_batch_sizes=[BATCH_SIZE] * (len(MAXLENS) + 1),
        pad_to_bucket_boundary=True,
        padding_values=(value, False),
    )
'''
_KERAS = '''\
import keras
import numpy as np

MAXLENS = {maxlens}
BATCH_SIZE = {batch_size}


class BucketedSequences(keras.utils.PyDataset):
    """Batches of sequences of similar length, each padded to the length of its bucket."""

    def __init__(self, sequences, targets, value={value}, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.sequences, self.targets, self.value = sequences, np.asarray(targets), value
        self.rng = np.random.default_rng(seed)
        lengths = np.minimum([len(row) for row in sequences], MAXLENS[-1])
        self.buckets = np.searchsorted(MAXLENS, lengths)
        self.on_epoch_end()

    def on_epoch_end(self):
        self.batches = []
        for bucket, maxlen in enumerate(MAXLENS):
            rows = self.rng.permutation(np.flatnonzero(self.buckets == bucket))
            self.batches += [(maxlen, rows[i : i + BATCH_SIZE]) for i in range(0, len(rows), BATCH_SIZE)]
        self.rng.shuffle(self.batches)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        maxlen, rows = self.batches[index]
        sequences = [self.sequences[row] for row in rows]
        tokens = keras.utils.pad_sequences(
            sequences, maxlen=maxlen, padding="{padding}", truncating="{truncating}", value=self.value
        )
        return tokens, self.targets[rows]
'''
_TORCH = '''\
import random

MAXLENS = {maxlens}
BATCH_SIZE = {batch_size}


class BucketBatchSampler:
    """Batches of row numbers of similar length: DataLoader(dataset, batch_sampler=..., collate_fn=pad_batch)."""

    def __init__(self, lengths, seed=0):
        self.lengths, self.random = [min(length, MAXLENS[-1]) for length in lengths], random.Random(seed)

    def _make_batches(self):
        buckets = {{maxlen: [] for maxlen in MAXLENS}}
        for row, length in enumerate(self.lengths):
            buckets[next(maxlen for maxlen in MAXLENS if length <= maxlen)].append(row)
        for rows in buckets.values():
            self.random.shuffle(rows)
            yield from (rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE))

    def __iter__(self):
        batches = list(self._make_batches())
        self.random.shuffle(batches)
        return iter(batches)

    def __len__(self):
        counts = [sum(length <= maxlen for length in self.lengths) for maxlen in (0, *MAXLENS)]
        counts[0] = 0
        return sum(-(-(high - low) // BATCH_SIZE) for low, high in zip(counts, counts[1:]))


def pad_batch(sequences, value={value}):
    """Return tokens and mask (batch, maxlen) of the rows of one batch, padded to the length of their bucket."""
    import torch

    longest = max(len(row) for row in sequences)
    maxlen = next((maxlen for maxlen in MAXLENS if longest <= maxlen), MAXLENS[-1])
    tokens = torch.full((len(sequences), maxlen), value, dtype=torch.long)
    mask = torch.zeros((len(sequences), maxlen), dtype=torch.bool)
    for index, row in enumerate(sequences):
        kept = torch.as_tensor(row{cut}, dtype=torch.long)
        tokens[index, : len(kept)] = kept
        mask[index, : len(kept)] = True
    return tokens, mask
'''


def write_code(buckets: tuple[Bucket, ...], batch_size: int, value: int, padding: str, truncating: str) -> BatchCode:
    """Return code with the lengths of these buckets."""
    details = {
        "maxlens": [bucket.maxlen for bucket in buckets],
        "batch_size": batch_size,
        "value": value,
        "padding": padding,
        "truncating": truncating,
        "cut": "[: MAXLENS[-1]]" if truncating == "post" else "[-MAXLENS[-1] :]",
    }
    return BatchCode(*(code.format(**details) for code in (_TF_DATA, _KERAS, _TORCH)))
