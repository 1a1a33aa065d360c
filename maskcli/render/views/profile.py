"""The profile of a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from maskcli.records.profile import (
    BatchPlan,
    CorpusProfile,
    Duplicates,
    IdPlace,
    LengthSummary,
    Occurrences,
    ProfileReport,
    SweepEntry,
)
from maskcli.records.wording import format_count
from maskcli.render.charts.lengths import count_steps
from maskcli.render.numbers import DASH, format_percent, format_span
from maskcli.render.parts import (
    Cell,
    Cells,
    Heading,
    Limits,
    Part,
    Prose,
    Section,
    Text,
    make_cell,
    make_sections,
    suggest_next,
)
from maskcli.render.tables import LONGEST_NAME, ItemColumn, list_items, make_bar, make_note, shorten_middle

BARS = 12
"""Lines of the picture of the lengths."""
PLANS = {
    "pad": "all padded to {maxlen}",
    "random": "random order, each batch to its longest",
    "sorted": "sorted by length",
    "buckets": "{buckets} buckets",
    "packing": "packed into rows of {maxlen}",
}
MODEL_OF_SPEED = (
    "speed-up: timesteps of all batches of an epoch, compared with the first line, for a model whose time grows with "
    "timesteps; attention: for a part whose time grows with the square of the length. Random: the expectation; packed: "
    "best fit, the longest first. Nothing was timed."
)


def view(report: ProfileReport, limits: Limits) -> list[Section]:
    """Return the profile as tables."""
    part = [] if report.part is None else [make_note(f"part {report.part} of the blocks of these files")]
    sections = make_sections(("about", part))
    sections += _view_corpus(report.corpus, report.batch_size, limits)
    sections += make_sections(("groups", _compare_groups(report, limits)))
    if limits.everything:
        for name, group in report.groups.items():
            heading = Heading(f"{report.by} = {name}", format_count(group.sequences, "sequence"))
            sections += [Section("about", (heading,)), *_view_corpus(group, report.batch_size, limits)]
    hint = "`--code keras`, `tf.data` or `torch` prints code that makes batches by these buckets."
    if report.part is not None:
        hint = "write each part with `-o partI.json`, and run `maskcli profile --merge part*.json`."
    return [*sections, *make_sections(("notes", _list_skipped(report)), ("next", suggest_next(hint)))]


def _view_corpus(corpus: CorpusProfile, batch_size: int, limits: Limits) -> list[Section]:
    return make_sections(
        ("lengths", _view_lengths(corpus, limits)),
        ("ids", _view_ids(corpus)),
        ("sweep", _view_sweep(corpus, limits)),
        ("batches", _view_batches(corpus, batch_size, limits)),
        ("findings", _view_findings(corpus)),
    )


def _compare_groups(report: ProfileReport, limits: Limits) -> Iterator[Part]:
    """Return a line for each group, the largest first."""
    if report.by is None:
        return
    yield Heading(f"By {report.by}", format_count(len(report.groups), "group"))
    groups = sorted(report.groups.items(), key=lambda item: -item[1].tokens)
    tokens = max(1, report.corpus.tokens)
    fields: list[ItemColumn[tuple[str, CorpusProfile]]] = [
        ItemColumn(
            str(report.by), lambda item: make_cell(shorten_middle(item[0], LONGEST_NAME) or "∅", "label"), "left"
        ),
        ItemColumn("sequences", lambda item: make_cell(f"{item[1].sequences:,}"), rule=True),
        ItemColumn("tokens", lambda item: _show_share(item[1].tokens / tokens)),
        ItemColumn("mean", lambda item: make_cell(f"{item[1].lengths.mean:,.1f}"), rule=True),
        *(ItemColumn(f"{percent:g} %", partial(_show_percentile, percent)) for percent in (50.0, 99.0)),
        ItemColumn("max", lambda item: make_cell(f"{item[1].lengths.max:,}")),
        ItemColumn("largest id", lambda item: make_cell(_show_largest(item[1])), rule=True),
        ItemColumn("duplicates", lambda item: _show_share(item[1].duplicates.rows / item[1].sequences)),
        ItemColumn("findings", lambda item: make_cell(len(item[1].findings))),
    ]
    yield from list_items(fields, groups, "group", limits, spare=("largest id", "duplicates", "tokens"))
    yield make_note("--all, and JSON, show the whole profile of each group.")


def _show_percentile(percent: float, item: tuple[str, CorpusProfile]) -> Cells:
    lengths = (entry.length for entry in item[1].lengths.percentiles if entry.percent == percent)
    return make_cell(f"{next(lengths):,}")


def _show_largest(corpus: CorpusProfile) -> str:
    return DASH if corpus.ids.largest is None else f"{corpus.ids.largest.value:,}"


def _view_lengths(corpus: CorpusProfile, limits: Limits) -> Iterator[Part]:
    lengths = corpus.lengths
    detail = f"{format_count(corpus.sequences, 'sequence')}, {format_count(corpus.tokens, 'token')}"
    yield Heading("Lengths", detail)
    fields: list[ItemColumn[LengthSummary]] = [
        ItemColumn("min", lambda summary: make_cell(f"{summary.min:,}")),
        *(_make_percentile_column(index, entry.percent) for index, entry in enumerate(lengths.percentiles)),
        ItemColumn("max", lambda summary: make_cell(f"{summary.max:,}")),
        ItemColumn("mean", lambda summary: make_cell(f"{summary.mean:,.1f}"), rule=True),
    ]
    yield from list_items(fields, [lengths], "row", limits, spare=("1 %", "25 %", "75 %", "99.9 %", "5 %"))
    yield from _draw_histogram(corpus, limits)
    if lengths.padded_to is not None:
        yield make_note(
            f"All rows have {lengths.padded_to:,} timesteps; the lengths are those without the padding id at both ends."
        )
    if corpus.empty.rows:
        rows = format_count(corpus.empty.rows, "row")
        yield Text((Cell("empty: ", "muted"), Cell(f"{rows}, first at {corpus.empty.place}")))


def _make_percentile_column(index: int, percent: float) -> ItemColumn[LengthSummary]:
    return ItemColumn(f"{percent:g} %", lambda summary: make_cell(f"{summary.percentiles[index].length:,}"))


def _draw_histogram(corpus: CorpusProfile, limits: Limits) -> Iterator[Part]:
    """Draw how many sequences are in each of a few ranges of lengths."""
    step = _choose_step(corpus.lengths.max + 1)
    counts = count_steps(corpus.lengths.histogram, step)
    most = max(counts.values())
    rows = range(min(counts), max(counts) + 1)
    labels = {row: format_span(f"{row * step:,}", f"{(row + 1) * step - 1:,}") for row in rows}
    label_width, count_width = max(map(len, labels.values())), len(f"{most:,}")
    room = max(10, min(limits.width - label_width - count_width - 8, 60))
    for row in rows:
        count = counts.get(row, 0)
        bar = make_bar(count / most, room, "heat4")
        yield Text(
            (
                Cell(f"{labels[row]:>{label_width}}  ", "label"),
                Cell(f"{count:>{count_width},}  "),
                *bar,
            )
        )


def _choose_step(count: int) -> int:
    """Return the lengths of a line: the smallest of 1, 2, 5, 10, 20, 50, ... with at most ``BARS`` lines."""
    step = 1
    while -(-count // step) > BARS:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return step


def _view_ids(corpus: CorpusProfile) -> Iterator[Part]:
    ids, padding = corpus.ids, corpus.padding_id
    distinct = format_count(ids.distinct, "different id")
    yield Heading("Ids and rows", distinct if ids.exact else f"at least {distinct}")
    facts = {"smallest id": _describe_id(ids.smallest), "largest id": _describe_id(ids.largest)}
    if ids.outside is not None:
        facts["outside of --input-dim"] = _describe_tokens(ids.outside)
    facts[f"padding id {padding.value}"] = _describe_padding(corpus)
    facts["duplicate rows"] = _describe_duplicates(corpus.duplicates, corpus.sequences)
    width = max(map(len, facts))
    for name, text in facts.items():
        yield Prose((Cell(text),), lead=(Cell(f"{name:<{width}}  ", "label"),), hang=width + 2)


def _describe_id(entry: IdPlace | None) -> str:
    if entry is None:
        return DASH
    return f"{entry.value:,}, {format_count(entry.tokens, 'time')}, first at {_locate(entry.place, entry.timestep)}"


def _locate(place: str, timestep: int | None) -> str:
    return place if timestep is None else f"{place}, timestep {timestep}"


def _describe_tokens(found: Occurrences) -> str:
    if found.place is None:
        return "none"
    rows = f" in {format_count(found.rows, 'row')}"
    return f"{format_count(found.tokens, 'token')}{rows}, first at {_locate(found.place, found.timestep)}"


def _describe_padding(corpus: CorpusProfile) -> str:
    use = corpus.padding_id
    kinds = (("at the start", use.leading), ("inside", use.inner), ("at the end", use.trailing))
    texts = [f"{name}: {_describe_tokens(found)}" for name, found in kinds if found.place is not None]
    blank = f"; {format_count(use.blank.rows, 'row')} of it only" if use.blank.rows else ""
    return "; ".join(texts) + blank if texts else "does not occur as a token"


def _describe_duplicates(duplicates: Duplicates, rows: int) -> str:
    share = format_percent(duplicates.rows / max(1, rows))
    if duplicates.exact:
        copies = f", the most frequent one {duplicates.most_copies:,} times" if duplicates.rows else ""
        return f"{duplicates.rows:,} ({share}), found by a hash of 64 bits{copies}"
    return (
        f"at least {duplicates.rows:,}, about {duplicates.estimate:,} "
        f"({format_percent(duplicates.estimate / max(1, rows))}): "
        f"--max-memory allowed to compare {format_count(duplicates.compared, 'row')}, by a hash of 64 bits"
    )


def _view_sweep(corpus: CorpusProfile, limits: Limits) -> Iterator[Part]:
    yield Heading("Choices of maxlen", "all sequences in one matrix")
    sizes = _choose_dtypes(corpus.sweep[0])
    fields: list[ItemColumn[SweepEntry]] = [
        ItemColumn("maxlen", lambda entry: make_cell(f"{entry.maxlen:,}", "label")),
        ItemColumn("tokens cut", lambda entry: _show_share(entry.cut_token_share), rule=True),
        ItemColumn("sequences cut", lambda entry: _show_share(entry.cut_sequence_share)),
        ItemColumn("padding", lambda entry: _show_share(entry.padding_share), rule=True),
        *(ItemColumn(dtype, partial(_show_size, dtype), rule=dtype == sizes[0]) for dtype in sizes),
    ]
    yield from list_items(fields, corpus.sweep, "maxlen", limits, spare=tuple(reversed(sizes[1:])))


def _choose_dtypes(entry: SweepEntry) -> list[str]:
    """Return the first dtype of each size that holds the ids."""
    by_size: dict[int, str] = {}
    for dtype, size in entry.bytes.items():
        by_size.setdefault(size, dtype)
    return [by_size[size] for size in sorted(by_size)]


def _show_size(dtype: str, entry: SweepEntry) -> Cells:
    return make_cell(format_bytes(entry.bytes[dtype]))


def format_bytes(size: float) -> str:
    """Return a size with three digits and a binary unit."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = 0
    while size >= 1000 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.3g} {units[power]}"


def _show_share(share: float) -> Cells:
    return make_cell("0" if not share else format_percent(share))


def _view_batches(corpus: CorpusProfile, batch_size: int, limits: Limits) -> Iterator[Part]:
    yield Heading("Batches", f"of {format_count(batch_size, 'sequence')}, maxlen {corpus.maxlen:,}")
    names = {
        name: text.format(maxlen=f"{corpus.maxlen:,}", buckets=len(corpus.buckets)) for name, text in PLANS.items()
    }
    fields: list[ItemColumn[BatchPlan]] = [
        ItemColumn("batches", lambda plan: make_cell(names[plan.name]), align="left"),
        ItemColumn("padding", lambda plan: _show_share(plan.padding_share), rule=True),
        ItemColumn("timesteps", lambda plan: make_cell(f"{plan.timesteps:,.0f}")),
        ItemColumn("speed-up", lambda plan: make_cell(f"{plan.speed_up:.2f}"), rule=True),
        ItemColumn("attention", lambda plan: make_cell(f"{plan.attention_speed_up:.2f}")),
    ]
    yield from list_items(fields, corpus.batches, "way", limits, spare=("timesteps",))
    buckets = ", ".join(f"{bucket.maxlen:,} ({bucket.sequences:,})" for bucket in corpus.buckets)
    yield Prose((Cell(buckets),), lead=(Cell("buckets, maxlen (sequences): ", "label"),), hang=2)
    yield Prose((Cell(MODEL_OF_SPEED, "muted"),))


def _view_findings(corpus: CorpusProfile) -> Iterator[Part]:
    if not corpus.findings:
        yield Heading("Rules about data", "no findings")
        return
    yield Heading("Rules about data", format_count(len(corpus.findings), "finding"))
    for finding in corpus.findings:
        place = finding.evidence.get("place")
        at = f" First at {place}." if place else ""
        lead = (Cell(f"{finding.code} ", "label"), Cell(f"{finding.severity} ", finding.severity))
        yield Prose((Cell(f"{finding.message}{at}"),), lead=lead, hang=2)
        yield Prose((Cell(f"fix: {finding.fix}", "muted"),), indent=2, hang=2)


def _list_skipped(report: ProfileReport) -> Iterator[Part]:
    if not report.skipped:
        return
    yield Heading("Left out", format_count(len(report.skipped), "block"))
    for block in report.skipped:
        yield Prose((Cell(block.error.replace("\n", " ")),), hang=2)
