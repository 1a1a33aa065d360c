"""What rules found, whether padding leaks, and what it comes to."""

from __future__ import annotations

import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator

from maskcli.records.check import CheckReport, Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.leak import Leak, Probe
from maskcli.records.model import ModelAbout
from maskcli.records.remark import Remark
from maskcli.render.numbers import format_count, format_short
from maskcli.render.parts import Cell, Column, Heading, Limits, Part, Remarks, Role, Table, Text, make_cell

SOURCES = {"built-in": "built-in", "file": "from a file", "factory": "from a function", "object": "from Python"}
SEVERITIES: dict[str, tuple[str, Role]] = {
    "error": (" error", "error"),  # The role brings a glyph.
    "warning": (" warning", "warning"),
    "info": (" info", "info"),
}
PROBES = {
    "replace": "other values at padding",
    "alone": "each row alone, trimmed",
    "columns": "more padding",
    "gradient": "gradient by padding",
}
WIDEST = 100
"""Characters of a line of prose on a wide screen."""
NARROWEST = 30
_WORD = re.compile(r"(?:`[^`]*`|[^\s`]|`)+")
_CODE = re.compile(r"((?<![\w`])`|`(?![\w`]))")
"""A backtick at the edge of a word; one within a name is none of ours."""
_BLANK = Text(())


def view(report: CheckReport, limits: Limits) -> list[Part]:
    """Return the findings, the worst first, the verdict on padding, and what it comes to."""
    room = sys.maxsize if limits.flows else max(NARROWEST, min(limits.width, WIDEST) - 1)
    seen = report.examination.model
    return [
        *_about(report, room),
        *_findings(report, room),
        *(_leak(seen, seen.leak, room) if seen is not None and seen.leak is not None else ()),
        *_notes(seen),
        *_result(report, room),
    ]


def _about(report: CheckReport, room: int) -> Iterator[Part]:
    seen = report.examination.model
    if report.model is None or seen is None:
        yield Heading("Data alone", "judged without a model")
        yield from _lines("; ".join(map(_shape, report.examination.data)) or "no ids to judge", room)
    else:
        yield Heading(report.model.name, _kind(report.model))
        yield from _lines(_rows(seen), room)


def _kind(model: ModelAbout) -> str:
    return f"{model.type}, {SOURCES[model.source]}"


def _shape(facts: DataFacts) -> str:
    rows, timesteps = facts.shape
    return (
        f"{facts.name}: {format_count(rows, 'row')} of {format_count(timesteps, 'timestep')}, "
        f"{facts.padded_timesteps:,} padding"
    )


def _rows(seen: ModelEvidence) -> str:
    probed, total = seen.rows
    return (
        f"{probed:,} of {format_count(total, 'row')} probed, with "
        f"{format_count(seen.padded_timesteps, 'padded timestep')}"
    )


def _findings(report: CheckReport, room: int) -> Iterator[Part]:
    if not report.findings:
        yield _BLANK
        yield Text((Cell(" no findings", "on"),))
    for finding in report.findings:
        yield _BLANK
        yield from _finding(finding, room)


def _finding(finding: Finding, room: int) -> Iterator[Part]:
    word, role = SEVERITIES[finding.severity]
    yield from _headed((Cell(word, role), Cell(f" {finding.code} ", "strong")), _culprit(finding), room)
    yield from _lines(finding.message, room, indent=4)
    yield from _lines(finding.fix, room, indent=4, first=Cell("fix: ", "strong"))


def _headed(head: tuple[Cell, ...], said: str, room: int) -> Iterator[Text]:
    """Return ``said`` behind ``head``, on lines of its own where it is long."""
    taken = sum(len(part.text) for part in head) + 1
    first, *others = _wrapped(said, room - 4, room - taken)
    yield Text((*head, Cell(first, "strong")))
    for line in others:
        yield Text((Cell(f"    {line}", "strong"),))


def _culprit(finding: Finding) -> str:
    if finding.call is None:
        return finding.rule + (f": {finding.type}" if finding.type is not None else "")
    return f"{finding.rule}: {finding.call}" + (f" ({finding.type})" if finding.type is not None else "")


def _leak(seen: ModelEvidence, leak: Leak, room: int) -> Iterator[Part]:
    yield Heading("Does padding leak?", _verdict(leak))
    if leak.probes:
        yield _table(leak.probes)
        for why, names in _reasons(leak.probes):
            yield from _lines(why, room, indent=2, first=Cell(f"{names}: ", "label"))
    yield from _lines(_told(seen, leak), room)


def _verdict(leak: Leak) -> str:
    if leak.leaks:
        return "yes"
    return "no" if any(probe.applicable for probe in leak.probes) or not leak.probes else "not tried"


def _told(seen: ModelEvidence, leak: Leak) -> str:
    if not leak.probes:
        return "There is no padding in the rows that were probed."
    if not leak.leaks:
        tried = any(probe.applicable for probe in leak.probes)
        return "No result that counts changes by more than rounding." if tried else "Nothing is known of it."
    call = seen.call(leak.first_call)
    of_type = f" ({call.type})" if call is not None else ""
    enters = f"It enters at {leak.first_call}{of_type}." if leak.first_call is not None else "Where is not known."
    most = f", most in output {leak.output}" if leak.output is not None and len(seen.outputs) > 1 else ""
    return f"Padding changes results by up to {format_short(leak.max_abs_change)}{most}. {enters}"


def _table(probes: tuple[Probe, ...]) -> Table:
    return Table(
        (
            Column("probe", "left"),
            Column("", "left"),
            Column("leaks", "left"),
            Column("change"),
            Column("", "left"),
        ),
        tuple(
            (
                make_cell(probe.name, "label"),
                make_cell(PROBES.get(probe.name, ""), "muted"),
                _leaks(probe),
                make_cell(format_short(probe.max_abs_change)),
                make_cell(_where(probe)),
            )
            for probe in probes
        ),
    )


def _leaks(probe: Probe) -> tuple[Cell, ...]:
    if not probe.applicable:
        return make_cell("–", "muted")
    return make_cell(" yes", "error") if probe.leaks else make_cell("no")


def _where(probe: Probe) -> str:
    if not probe.max_abs_change or probe.sample is None:
        return ""
    if probe.name == "gradient":
        return f"sample {probe.sample}, padded t{probe.timestep}"
    return f"sample {probe.sample}" + (f", t{probe.timestep}" if probe.timestep is not None else "")


def _reasons(probes: tuple[Probe, ...]) -> Iterator[tuple[str, str]]:
    """Yield each reason once, with the names of the probes that share it."""
    told = [probe for probe in probes if probe.why is not None]
    for why in dict.fromkeys(probe.why for probe in told):
        sharing = [probe for probe in told if probe.why == why]
        tried = "" if any(probe.applicable for probe in sharing) else "not tried: "
        yield f"{tried}{why}", ", ".join(probe.name for probe in sharing)


def _notes(seen: ModelEvidence | None) -> Iterator[Part]:
    said = () if seen is None else seen.list_gaps()
    if said:
        yield Remarks(tuple(Remark("fact", note) for note in said))


def _result(report: CheckReport, room: int) -> Iterator[Part]:
    counts = Counter[str](finding.severity for finding in report.findings)
    counted = ", ".join(format_count(counts[severity], severity) for severity in SEVERITIES)
    role: Role = "on" if report.passed else "error"
    yield _BLANK
    judged = f"{format_count(len(report.checked), 'rule')} checked, fails on {report.fail_on}s"
    word = Cell(f" {'passed' if report.passed else 'failed'}: ", role)
    yield from _headed((word,), f"{counted}; {judged}", room)
    if report.findings:
        yield from _lines(f"`maskcli explain {report.findings[0].code}` tells why, with examples.", room)


def _lines(text: str, room: int, indent: int = 0, first: Cell | None = None) -> Iterator[Text]:
    """Return running text, its code told by a role; ``first`` stands before it."""
    taken, code = indent + (len(first.text) if first is not None else 0), False
    for number, line in enumerate(_wrapped(text, room - indent, room - taken)):
        pieces = [" " * indent, *_CODE.split(line)]
        cells = []
        for piece in pieces:
            code = code != (piece == "`")
            cells.append(Cell(piece, "label" if code or piece == "`" else "plain"))
        if first is not None and not number:
            cells.insert(1, first)
        yield Text(tuple(cells))


def _wrapped(text: str, room: int, first: int) -> list[str]:
    """Return lines of ``room`` characters, the first of ``first``; code is broken only where it is longer than one."""
    lines, width = [""], first
    for word in _WORD.findall(text):
        for part in textwrap.wrap(word, room, break_on_hyphens=False):
            line = f"{lines[-1]} {part}".lstrip()
            if len(line) <= width:
                lines[-1] = line
            else:
                lines.append(part)
                width = room
    return lines
