"""The forms of output: each is one entry of ``FORMS``, from which ``--format``, ``--output`` and their help follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from maskcli.records.rules import RuleExplanation
    from maskcli.render.parts import Limits, Section


def _refuse_picture() -> bytes:
    raise NotImplementedError("this command draws no picture")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CommandResult:
    """The result of a command, ready for every form.

    Attributes:
        record: the record that the JSON document shows.
        view: makes the sections that tables and Markdown consist of.
        picture: draws the SVG picture that the options select.
        explain: returns the explanations of the rules, of a check.
        folder: the working directory, as a path from the root of the repository that a CI service checked out.
    """

    record: object
    view: Callable[[Limits], Sequence[Section]]
    picture: Callable[[], bytes] = _refuse_picture
    explain: Callable[[], Sequence[RuleExplanation]] = tuple
    folder: str = ""


Renderer: TypeAlias = "Callable[[CommandResult, Limits, bool], Iterable[bytes]]"
"""Makes the parts of a form from a result, the limits of large tables, and whether a file is written.

The width of the limits is not set.
"""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class OutputForm:
    """A form of output.

    Attributes:
        name: the value of ``--format``.
        render: makes the bytes of the form, in parts.
        suffix: of ``--output``; None for a form that is only printed.
        commands: the commands that offer the form; empty for all commands.
        kind: ``text`` shows an excerpt of large tables and can draw heat maps; ``data`` is complete; ``picture`` and
            ``page`` need the packages that draw pictures; ``batch`` is a file format that holds a padded batch.
        binary: whether a terminal cannot show the form.
        other_suffixes: of ``--output``, which belong to another form unless ``--format`` selects this one.
    """

    name: str
    render: Renderer
    suffix: str | None = None
    commands: tuple[str, ...] = ()
    kind: Literal["text", "data", "picture", "page", "batch"] = "data"
    binary: bool = False
    other_suffixes: tuple[str, ...] = ()


def _view_result(result: CommandResult, limits: Limits) -> list[Section]:
    """Return the name of the data, then the view."""
    sections = result.view(limits)
    if not hasattr(result.record, "data"):  # Such as a list of rules.
        return list(sections)
    from maskcli.render.views.data import view_data

    return [*view_data(result.record), *sections]


def _render_table(result: CommandResult, limits: Limits, to_file: bool) -> Iterable[bytes]:
    from maskcli.render.terminal import make_file_console, make_stdout_console, render_bytes

    console = make_file_console() if to_file else make_stdout_console()
    return [render_bytes(_view_result(result, dataclasses.replace(limits, width=console.width)), console)]


def _render_json(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.documents import iterate_json, make_document

    return iterate_json(make_document(result.record))


def _render_markdown(result: CommandResult, limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.markdown import WIDTH, render_markdown

    return [render_markdown(_view_result(result, dataclasses.replace(limits, width=WIDTH, flows=True))).encode()]


def _render_page(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.documents import dumps, make_document
    from maskcli.render.page import render_page

    record: Any = result.record
    return [render_page(record, dumps(make_document(result.record)))]


def _render_mermaid(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.graph.mermaid import render_mermaid

    record: Any = result.record
    return [render_mermaid(getattr(record, "inspection", record)).encode()]


def _render_svg(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    return [result.picture()]


def _render_png(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.pictures import convert_svg_to_png

    return [convert_svg_to_png(result.picture())]


def _render_concise(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.ci.lines import render_concise

    return [render_concise(result.record)]


def _render_github(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.ci.lines import render_github

    return [render_github(result.record, result.folder)]


def _render_gitlab(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.ci.gitlab import render_gitlab

    return [render_gitlab(result.record, result.folder)]


def _render_sarif(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.ci.sarif import render_sarif

    return [render_sarif(result.record, result.explain(), result.folder)]


def _render_junit(result: CommandResult, _limits: Limits, _to_file: bool) -> Iterable[bytes]:
    from maskcli.render.ci.junit import render_junit

    return [render_junit(result.record, result.explain())]


WITH_PICTURES = ("pad", "profile", "inspect", "loss", "report")
FORMS = (
    OutputForm("table", _render_table, ".txt", kind="text"),
    OutputForm("json", _render_json, ".json"),
    OutputForm("markdown", _render_markdown, ".md", kind="text"),
    OutputForm("html", _render_page, ".html", commands=("report",), kind="page"),
    OutputForm("mermaid", _render_mermaid, ".mmd", commands=("inspect", "report")),
    OutputForm("svg", _render_svg, ".svg", commands=WITH_PICTURES, kind="picture"),
    OutputForm("png", _render_png, ".png", commands=WITH_PICTURES, kind="picture", binary=True),
    OutputForm("concise", _render_concise, commands=("check",), other_suffixes=(".txt",)),
    OutputForm("github", _render_github, commands=("check",), other_suffixes=(".txt",)),
    OutputForm("gitlab", _render_gitlab, commands=("check",), other_suffixes=(".json",)),
    OutputForm("sarif", _render_sarif, ".sarif", commands=("check",), other_suffixes=(".json",)),
    OutputForm("junit", _render_junit, ".xml", commands=("check",)),
)
"""In the order of ``--format``."""


def list_forms(command: str) -> dict[str, OutputForm]:
    """Return the forms that a command offers, by name."""
    return {form.name: form for form in FORMS if not form.commands or command in form.commands}
