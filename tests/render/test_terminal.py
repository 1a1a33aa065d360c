"""The terminal: wrapped prose, and colours that every theme shows."""

from __future__ import annotations

import io
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from maskcli.render.colors import find_color_system
from maskcli.render.painting import STYLES, Paint
from maskcli.render.parts import (
    Cell,
    Column,
    Heatmap,
    Limits,
    Paragraph,
    Prose,
    Scale,
    Table,
    Text,
    make_cell,
    measure_table,
)
from maskcli.render.terminal import PlainConsole, make_stdout_console, render_text, wrap_cells

pytestmark = pytest.mark.quick
WORDS = st.lists(st.sampled_from(["a", "mask", "`x * 2`", "`layer(x, mask=m)`", "supercalifragilistic"]), max_size=12)


def join(lines: list[tuple[Cell, ...]]) -> list[str]:
    return ["".join(cell.text for cell in line) for line in lines]


@given(WORDS, st.integers(8, 40), st.integers(0, 30))
def test_wrap_keeps_text_and_width(words: list[str], width: int, taken: int) -> None:
    """Wrapping loses no character, and no line is too long."""
    text = " ".join(words)
    first_width = max(0, width - taken)
    lines = join(wrap_cells((Cell(text[:5], "strong"), Cell(text[5:])), width, first_width))
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert len(lines[0]) <= max(first_width, 0)
    assert all(len(line) <= width for line in lines)


def test_wrap_breaks_only_long_code() -> None:
    assert join(wrap_cells((Cell("see `x * 2`"),), 9)) == ["see", "`x * 2`"]
    assert join(wrap_cells((Cell("see `x * 2 + mask`"),), 9)) == ["see `x *", "2 + mask`"]


def test_wrap_keeps_roles() -> None:
    lines = wrap_cells((Cell("one two", "strong"), Cell(" three")), 9)
    assert lines == [(Cell("one two", "strong"),), (Cell("three"),)]


def test_prose_hangs() -> None:
    prose = Prose((Cell("one two three"),), lead=(Cell("* "),), indent=1, hang=3)
    assert render_text([prose], Console(width=13, color_system=None)) == "  * one two\n    three\n"


def test_prose_column_wraps() -> None:
    """A column of prose takes the room that the other columns leave, but is never too narrow."""
    table = Table((Column("n"), Column("text", "left", prose=True)), ((make_cell(1), make_cell("word " * 10)),))
    lines = render_text([table], Console(width=40, color_system=None)).splitlines()
    assert lines[1:] == ["1  word word word word word word word", "   word word word"]
    narrow = render_text([table], Console(width=10, color_system=None)).splitlines()
    assert max(map(len, narrow)) == len("1  word word word word word")


def test_styles_avoid_backgrounds() -> None:
    """Bright black is the background of Solarized Dark, and bright white that of Solarized Light."""
    assert not [style for style in STYLES.values() if re.search("black|white", style)]


def test_information_is_not_dim() -> None:
    """Dim text is hardly visible on Solarized: only rules, gaps and the level of zero are dim."""
    assert {role for role, style in STYLES.items() if "dim" in style} == {"faint", "heat0"}


def test_groups_of_numbers_have_a_rule() -> None:
    columns = (Column("a"), Column("b", rule=True), Column("c", "left", rule=True))
    rows = ((make_cell(1), make_cell(22), make_cell("x")), (make_cell(333), make_cell(4), make_cell("")))
    table = Table(columns, rows)
    lines = render_text([table], Console(width=40, color_system=None)).splitlines()
    assert lines == ["  a │  b │ c", "  1 │ 22 │ x", "333 │  4 │"]
    assert measure_table(table) == max(map(len, lines))


def test_dim_level_is_not_paper() -> None:
    """With 16 colours, level zero is dim text: the other half of the character gets the paper."""
    heatmap = Heatmap(
        kinds=np.zeros((2, 1), np.int8),
        meanings=(("heat4", ""),),
        levels=np.array([[1.0], [0.0]]),
        scale=Scale("loss", "0", "1"),
        resolution="half",
        limits=Limits(None, None, 80),
    )
    console = Console(force_terminal=True, color_system="standard", width=80)
    assert "\x1b[2;105m▄\x1b[0m" in render_text([heatmap], console)


@pytest.mark.parametrize("columns", ["", "0", "10", "57", "wide"])
def test_plain_console_is_as_wide_as_that_of_rich(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe needs no rich, but gets the same lines."""
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("maskcli.render.colors._choice", "auto")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "latin-1"))
    plain, rich = make_stdout_console(), Console(file=sys.stdout)
    assert isinstance(plain, PlainConsole)
    assert plain.width == (rich.width if rich.width >= 20 else 80)
    assert (plain.encoding, plain.color_system) == (rich.encoding, rich.color_system)


@pytest.mark.parametrize("color_system", ["standard", "256", "truecolor", "windows"])
@pytest.mark.parametrize("has_color", [True, False])
def test_roles_have_styles_of_rich(color_system: str, has_color: bool) -> None:
    """Roles are styled without rich, by the same escape sequences."""
    system = ColorSystem.STANDARD if color_system == "windows" else Console(color_system=color_system)._color_system
    for role, words in STYLES.items():
        style = Style.parse(words) if has_color else Style.parse(words).without_color
        for text in ("text", ""):
            assert Paint(color_system, has_color).style(text, role, None, None) == style.render(
                text, color_system=system
            )


@pytest.mark.parametrize("term", ["xterm-256color", "xterm", "xterm-kitty", "screen-16color", "linux", "dumb", ""])
@pytest.mark.parametrize("colorterm", [None, "truecolor", "24bit", "yes"])
def test_color_system_is_that_of_rich(term: str, colorterm: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary terminal is recognised without rich."""
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("maskcli.render.colors._choice", "auto")
    monkeypatch.setenv("TERM", term)
    if colorterm is not None:
        monkeypatch.setenv("COLORTERM", colorterm)
    found = find_color_system()
    assert found == Console(force_terminal=True).color_system if found else term in ("", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    assert find_color_system() is None


def test_code_stays_on_a_line() -> None:
    lines = render_text([Paragraph("Run `maskcli explain CODE` for details.")], PlainConsole(26)).splitlines()
    assert lines == [" Run", " `maskcli explain CODE`", " for details."]


def test_text_of_a_file_cannot_control_the_terminal() -> None:
    """A name with an escape sequence, a bell, or a change of direction reaches the terminal as visible characters."""
    parts = [Text((Cell("a\x1b[2J\x07\x9bb\u202ec\u2066d"),)), Paragraph("e\x1b[31m \u202ef")]
    shown = render_text(parts, Console(width=60, color_system="truecolor"))
    assert shown.split() == ["a�[2J��b�c�d", "e�[31m", "�f"]
