"""The manifest of a directory of shards."""

from __future__ import annotations

import dataclasses

from maskcli.records.fields import Count, NonEmpty, Positive
from maskcli.records.options import TokenDtype

SCHEMA = "maskcli/manifest/1"
"""The schema of the document of a manifest, its first field."""


def is_manifest(head: bytes) -> bool:
    """Return whether a file with this beginning is a manifest."""
    return head.lstrip().startswith(f'{{"schema": "{SCHEMA}"'.encode())


@dataclasses.dataclass(frozen=True)
class ShardColumn:
    """A column of a shard.

    Attributes:
        name: ``tokens``, ``lengths``, ``mask``, ``tokens.mask``, ``row_numbers``, ``segment_ids`` or ``position_ids``.
        dtype: of its entries.
        shape: of the column; the first axis are the rows of the shard.
    """

    name: NonEmpty
    dtype: NonEmpty
    shape: tuple[Count, ...]


@dataclasses.dataclass(frozen=True)
class ShardFile:
    """A file of a shard.

    Attributes:
        name: of the file, in the directory of the manifest.
        bytes: its size.
        sha256: the checksum of its content, in hexadecimal digits.
        columns: its content.
    """

    name: NonEmpty
    bytes: Count
    sha256: NonEmpty
    columns: tuple[ShardColumn, ...]


@dataclasses.dataclass(frozen=True)
class Shard:
    """Rows that are in files of their own.

    Attributes:
        index: of the shard in its group.
        group: the index of its group.
        rows: the number of its rows.
        last_sequence: the position of its last sequence among all sequences, from 0; null for packed rows.
        files: with the rows.
    """

    index: Count
    group: Count
    rows: Positive
    last_sequence: Count | None
    files: tuple[ShardFile, ...]


@dataclasses.dataclass(frozen=True)
class ShardGroup:
    """Shards whose rows have one length: a bucket, or all shards.

    Attributes:
        maxlen: timesteps of each row.
        rows: of all shards.
        shards: the number of shards; their rows differ by at most 1.
    """

    maxlen: Positive
    rows: Positive
    shards: Positive


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A file that the shards were made from.

    Attributes:
        name: as the command line spelled it; ``-`` is standard input.
        bytes: its size.
        sha256: the checksum of its content, in hexadecimal digits.
        sequences: the number of its sequences.
    """

    name: str
    bytes: Count
    sha256: NonEmpty
    sequences: Count


@dataclasses.dataclass(frozen=True)
class SequenceCounts:
    """Counts over all source files.

    Attributes:
        sequences: all sequences.
        empty_sequences: sequences without a token; packed rows leave them out.
        tokens: tokens in the shards, without padding.
        padded_timesteps: timesteps of the shards that are padding.
        truncated_tokens: tokens that truncation removed.
        truncated_sequences: sequences that lost tokens.
    """

    sequences: Positive
    empty_sequences: Count
    tokens: Count
    padded_timesteps: Count
    truncated_tokens: Count
    truncated_sequences: Count


@dataclasses.dataclass(frozen=True)
class ShardSettings:
    """The options that decide the bytes of the shards.

    Attributes:
        format: of the shards.
        compress: whether an ``.npz`` is compressed.
        shards: the requested number of shards, of each bucket.
        buckets: the requested number of buckets; null without ``--buckets``.
        pack: the timesteps of a row that holds several sequences; null without ``--pack``.
        maxlen: the requested ``--maxlen``; null for the longest sequence.
        padding: ``pre`` or ``post``.
        truncating: ``pre`` or ``post``.
        value: the padding id.
        dtype: of the tokens.
        pad_to_multiple_of: the requested multiple; null without it.
        input_format: of the source files.
        field: with the sequences; null for the only suitable one.
    """

    format: NonEmpty
    compress: bool
    shards: Positive
    buckets: Positive | None
    pack: Positive | None
    maxlen: Positive | None
    padding: NonEmpty
    truncating: NonEmpty
    value: int
    dtype: TokenDtype
    pad_to_multiple_of: Positive | None
    input_format: NonEmpty
    field: str | None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A directory of shards, and how far it is written.

    Attributes:
        version: of maskcli.
        name: the start of the names of all shards.
        complete: whether all shards are written.
        settings: the options that decide the bytes of the shards.
        counts: over all sources.
        sources: the files that the shards were made from.
        groups: the shards by the length of their rows; without buckets a single group.
        shards: the finished shards, in the order of their groups.
    """

    version: NonEmpty
    name: NonEmpty
    complete: bool
    settings: ShardSettings
    counts: SequenceCounts
    sources: tuple[SourceFile, ...]
    groups: tuple[ShardGroup, ...]
    shards: tuple[Shard, ...]
