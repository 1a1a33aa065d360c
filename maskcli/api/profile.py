"""Profile a corpus: count its lengths and ids, and compare values of maxlen and ways to make batches."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Sequence
from functools import partial

from maskcli.api.keywords import take_keywords
from maskcli.api.settings import check_positive
from maskcli.corpus.blocks import BLOCK_SIZE, BlockTask, cut_files, divide_evenly
from maskcli.corpus.counting import CountOptions, count_block, count_sequences
from maskcli.corpus.engines.base import MapResult, TaskFailure
from maskcli.corpus.engines.choice import check_engine, make_cluster_error, open_engine
from maskcli.corpus.merging import merge_groups
from maskcli.corpus.profiling import ProfileOptions, is_full_array, make_profile
from maskcli.corpus.sampling import SharedSample
from maskcli.corpus.snippets import write_code
from maskcli.errors import InputError, UsageError
from maskcli.records.corpus import CorpusState
from maskcli.records.data import FROM_PYTHON, DataOrigin
from maskcli.records.layout import Layout
from maskcli.records.options import select_options
from maskcli.records.profile import ProfileReport, SkippedBlock
from maskcli.records.requests import ProfileRequest
from maskcli.rules.selection import select_rules
from maskcli.sequences.bounds import get_memory_bound
from maskcli.sequences.files import LoadedSequences, make_only_empty_error
from maskcli.sequences.input_files import SAMPLE, expand_files
from maskcli.sequences.padding import check_layout
from maskcli.sequences.ragged import as_ragged
from maskcli.sequences.sources import Source
from maskcli.sequences.streaming import SequenceFiles

HASH_BYTES = 512
"""Bytes of the memory bound for each hash: 16 bytes, and states that wait for others, or are merged."""
PART_BLOCKS = 8
"""Blocks of a part at least: some parts have a block more than others, and take longer by that share."""


@take_keywords(ProfileRequest)
def profile(request: ProfileRequest) -> ProfileReport:
    """Profile a corpus of any size: its lengths and ids, the cost of each maxlen, and batches that cost less.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for files that cannot be read; with ``keep_going`` only if none of them can.
    """
    check_engine(request)
    settings = read_settings(request)
    counting = CountOptions(
        value=settings.layout.padding_id,
        input_dim=request.input_dim,
        most_hashes=max(1, get_memory_bound() // HASH_BYTES),
        by=request.by,
    )
    files = _open_files(request.data, request)
    if files is None:
        return make_report(request, settings, _count_in_memory(request, counting), FROM_PYTHON)
    if files.origin.sample:
        counting = dataclasses.replace(counting, name=SAMPLE)
    tasks = list(cut_files(files.sources, files.input_format, files.field, _choose_block_size(files, request)))
    if request.part is not None:
        tasks = _take_part(tasks, request.part)
    outcome = _count(tasks, counting, request)
    if outcome.result is None or not any(group.lengths.tokens for group in outcome.result.groups.values()):
        if outcome.failures:
            raise outcome.failures[0].error
        rows = 0 if outcome.result is None else outcome.result.rows
        raise make_only_empty_error(files.sources, rows)
    skipped = tuple(_describe_skipped(failure) for failure in outcome.failures)
    return make_report(request, settings, outcome.result, files.origin, skipped)


def read_settings(request: ProfileRequest) -> ProfileOptions:
    """Return the options of the profile; raise UsageError for those that no profile can have."""
    check_positive(
        buckets=request.buckets,
        batch_size=request.batch_size,
        input_dim=request.input_dim,
        processes=request.processes,
        workers=request.workers,
        block_size=request.block_size,
    )
    for maxlen in request.maxlens:
        check_positive(maxlens=maxlen)
    return ProfileOptions(
        layout=check_layout(select_options(Layout, request)),
        maxlens=tuple(request.maxlens),
        buckets=request.buckets,
        batch_size=request.batch_size,
        input_dim=request.input_dim,
        rules=select_rules(request.select, request.ignore, "data"),
    )


def _open_files(data: object, request: ProfileRequest) -> SequenceFiles | None:
    """Return the files that the data names; None for sequences in memory."""
    if isinstance(data, SequenceFiles):
        return data
    paths = [data] if isinstance(data, str | os.PathLike) else data
    if not isinstance(paths, list | tuple) or not paths or not all(isinstance(p, str | os.PathLike) for p in paths):
        return None
    files = expand_files([os.fspath(path) for path in paths])
    return SequenceFiles(tuple(map(Source, files.paths)), request.input_format, request.field, files.origin)


def _count_in_memory(request: ProfileRequest, counting: CountOptions) -> CorpusState:
    if request.by is not None:
        raise UsageError(
            where=f"--by {request.by}", expected="files", received="data in memory", fix="Profile each group by itself."
        )
    if request.cluster_option is not None:
        raise make_cluster_error(request, "data in memory")
    # Imported late, because files need neither.
    from maskcli.inputs.dataset import select_sequences
    from maskcli.inputs.objects import split_data

    data = select_sequences(split_data(request.data, request.value).inputs)
    ragged = data.ragged if isinstance(data, LoadedSequences) else as_ragged(data)
    if not len(ragged.values):
        raise make_only_empty_error((), len(ragged))
    return count_sequences(ragged, counting)


def _count(tasks: Sequence[BlockTask], counting: CountOptions, request: ProfileRequest) -> MapResult[CorpusState]:
    total, done = sum(task.size for task in tasks), 0

    def report(task: BlockTask) -> None:
        nonlocal done
        done += task.size
        if request.progress is not None:
            request.progress(done, total)

    if request.progress is not None and total:
        request.progress(0, total)
    sample = SharedSample()
    with open_engine(tasks, request) as engine:
        return engine.map_reduce(
            sample.add_level(tasks),
            partial(count_block, options=counting),
            sample.merge,
            keep_going=request.keep_going,
            on_done=report,
        )


def read_part(text: str) -> tuple[int, int]:
    """Return I and N of ``I/N``; raise UsageError for any other text."""
    match = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise UsageError(
            where="--part",
            expected="I/N, the number of this part and the number of parts, such as 3/8",
            received=repr(text),
            fix="Parts are counted from 1.",
        )
    return part, parts


def _choose_block_size(files: SequenceFiles, request: ProfileRequest) -> int:
    """Return the bytes of a block: small enough for each part to have several."""
    block_size = request.block_size or BLOCK_SIZE
    if request.part is None:
        return block_size
    total = 0
    for source in files.sources:
        with contextlib.suppress(InputError):  # A file that cannot be read is a block, whose worker raises the error.
            total += source.size
    return max(1, min(block_size, total // (PART_BLOCKS * read_part(request.part)[1])))


def _take_part(tasks: Sequence[BlockTask], text: str) -> list[BlockTask]:
    """Return the blocks of a part; raise UsageError for more parts than blocks."""
    part, parts = read_part(text)
    if parts > len(tasks):
        raise UsageError(
            where=f"--part {text}",
            expected=f"at most {len(tasks)} parts: so many blocks do the files have",
            received=str(parts),
            fix="Use fewer parts.",
        )
    start, length = divide_evenly(len(tasks), parts)[part - 1]
    return list(tasks[start : start + length])


def _describe_skipped(failure: TaskFailure) -> SkippedBlock:
    return SkippedBlock(failure.error.where, str(failure.error))


def make_report(
    request: ProfileRequest,
    settings: ProfileOptions,
    state: CorpusState,
    origin: DataOrigin,
    skipped: tuple[SkippedBlock, ...] = (),
) -> ProfileReport:
    """Return the report of all rows, or of a part of them."""
    whole = merge_groups(list(state.groups.values()))
    full = is_full_array(whole)
    corpus = make_profile(whole, settings, full)
    groups = state.groups if request.by is not None else {}
    layout = settings.layout
    code = write_code(corpus.buckets, settings.batch_size, layout.padding_id, layout.padding, layout.truncating)
    return ProfileReport(
        data=origin.count(state.rows),
        part=request.part,
        batch_size=settings.batch_size,
        input_dim=settings.input_dim,
        by=request.by,
        corpus=corpus,
        groups={name: make_profile(group, settings, full) for name, group in sorted(groups.items())},
        skipped=skipped,
        code=code,
        state=None if request.part is None else state,
    )
