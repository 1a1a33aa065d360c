"""``--heat``: pictures in place of tables, on terminals, in pipes and in files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Output

pytestmark = pytest.mark.slow(share=1 / 2)

LENGTHS = [(row * 37) % 100 + 1 for row in range(40)]
LONG = "\n".join(" ".join("7" * length) for length in LENGTHS) + "\n"
TAGGER = ("--model", "sample_data.models:tagger", "--targets-field", "classes")
TAGGED = ROOT / "sample_data" / "tagged.jsonl"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_pad_in_full(run: Callable[..., Output]) -> None:
    output = run("pad", "--heat", "full")
    assert (output.exit_status, output.stderr) == (0, "")
    assert output.splitlines() == [
        " built-in sample, 3 rows",
        "",
        "Padded batch (3, 6)  int32, padding post, value 0",
        "sample  0         5   length",
        "     0  ■■■■■■■■■■■■       6",
        "     1  ■■■■■■■■■■·        5",
        "     2  ■■■■■■· · ·        3",
        " ■ token   · padding",
        " 14 tokens, 4 padding (22 % of the batch), 0 truncated",
    ]


def test_pad_in_half(run: Callable[..., Output]) -> None:
    assert run("pad", "--heat", "half").splitlines()[3:7] == [
        "sample  0",
        "   0–1  █████▀",
        "     2  ▀▀▀",
        " ▀▄ token   blank: padding",
    ]


def test_heat_fits_a_batch_on_one_screen(run: Callable[..., Output]) -> None:
    half = run("pad", "-", "--heat", "half", stdin=LONG, COLUMNS="120")
    assert len(half.splitlines()) == 20 + 7
    assert " … column length not shown, as two rows share a line (--heat full)" in half
    assert "samples not shown" not in half
    rows = half.splitlines()[4:24]
    lengths = [sum(character in mark for character in row[8:]) for row in rows for mark in ("▀█", "▄█")]
    assert lengths == LENGTHS
    full = run("pad", "-", "--heat", "full", stdin=LONG, COLUMNS="120")
    assert " … 16 samples not shown (--all shows everything)" in full
    visible = [row for row in full.splitlines()[4:29] if "⋮" not in row]
    assert (
        [row.count("■") for row in visible] == [int(row.split()[-1]) for row in visible] == LENGTHS[:12] + LENGTHS[28:]
    )


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("how", ["full", "half"])
@pytest.mark.parametrize("command", ["pad", "inspect", "loss"])
def test_heat_is_no_wider_than_the_terminal(call: Callable[..., Output], command: str, how: str) -> None:
    output = call(command, "-", "--heat", how, stdin=LONG)
    assert (output.exit_status, output.stderr) == (0, "")
    assert max(map(len, output.splitlines())) <= 80
    assert re.search(r"\d+ timesteps not shown \(--all shows everything\)", output)
    assert "⋮" not in call(command, "-", "--heat", how, "--all", stdin=LONG)


def test_heat_obeys_max_rows_and_max_cols(call: Callable[..., Output]) -> None:
    output = call("pad", "-", "--heat", "half", "--max-rows", 2, "--max-cols", 4, stdin=LONG)
    assert [line.split()[0] for line in output.splitlines()[4:7]] == ["0–1", "⋮", "38–39"]
    assert "36 samples not shown, 96 timesteps not shown" in output


def test_heat_uses_the_colours_of_the_terminal(run: Callable[..., Output]) -> None:
    arguments = ("inspect", "--heat", "half", "--mask-source", "none")
    true = run(*arguments, FORCE_COLOR="1", TERM="xterm-256color", COLORTERM="truecolor")
    assert re.search(r"\x1b\[38;2;\d+;\d+;\d+;48;2;\d+;\d+;\d+m▀", true)
    assert "◆" in plain(true)
    fewer = run(*arguments, FORCE_COLOR="1", TERM="xterm-256color", COLORTERM="")
    assert re.search(r"\x1b\[38;5;\d+(;48;5;\d+)?m", fewer)
    assert "38;2;" not in fewer
    sixteen = run(*arguments, FORCE_COLOR="1", TERM="xterm", COLORTERM="")
    assert re.search(r"\x1b\[\d+;(4|10)\d+m▀", sixteen)
    assert "38;" not in sixteen
    assert plain(true) == plain(fewer) == plain(sixteen)
    none = run(*arguments, FORCE_COLOR="1", TERM="xterm-256color", COLORTERM="truecolor", NO_COLOR="1")
    assert not re.search(r"38;|48;|\x1b\[[39]\d", none)
    assert plain(none) == run(*arguments)
    assert "half blocks need colours to show levels" in none


def rows_of_map(output: str) -> list[str]:
    """Return the two rows of the map of the mask, and its legend."""
    lines = output.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("Mask and padding"))
    return lines[start + 2 : start + 5]


def test_heat_in_ascii(run: Callable[..., Output]) -> None:
    output = run("inspect", "-", "--heat", "half", stdin="[[1,0,2,0,3],[5]]", PYTHONIOENCODING="ascii")
    assert output.isascii()
    assert "?" not in output
    assert [line.split("  ")[-1] for line in rows_of_map(output)[:2]] == ["##! ##! ##", "##~ ~ ~ ~"]
    assert "this encoding has no half blocks" in output


def test_heat_in_files_has_no_colour(run: Callable[..., Output], tmp_path: Path) -> None:
    assert run("inspect", "--sample", "--heat", "full", "--output", "out.txt") == ""
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == run("inspect", "--heat", "full")


def test_heat_in_markdown_is_full(call: Callable[..., Output]) -> None:
    output = call("pad", "--heat", "half", "--format", "markdown")
    assert output.exit_status == 0
    assert "■■■■■·" in output
    assert "half blocks are for a terminal" in output


@pytest.mark.parametrize("command", ["pad", "inspect", "loss"])
def test_heat_with_json_is_an_error(run: Callable[..., Output], command: str) -> None:
    output = run(command, "--heat", "full", "--format", "json")
    assert (output.exit_status, output) == (2, "")
    assert output.stderr == (
        "Error: --heat full: expected --format table or markdown; received --format json.\n"
        "Leave out one of the two: heat maps are characters.\n"
    )


def test_heat_with_an_unknown_resolution(run: Callable[..., Output]) -> None:
    output = run("pad", "--heat", "double")
    assert output.exit_status == 2
    assert "'full', 'half'" in output.stderr


def test_inspect_heat_maps(call: Callable[..., Output]) -> None:
    output = call("inspect", "-", "--heat", "full", stdin="[[1,0,2,0,3],[5]]")
    assert re.findall(r"^\S.*\)|^Without a mask", output, re.M) == [
        "Mask and padding (2, 5)  from Embedding(mask_zero=True)",
        "Output of lstm (2, 5, 3)",
        "Without a mask",
    ]
    masks = rows_of_map(output)
    assert masks[:2] == ["     0  ■■! ■■! ■■", "     1  ■■· · · ·"]
    assert masks[2].endswith("   ! 2 valid timesteps, but masked")
    assert "tables" not in output
    assert "Id 0 is also a real token" in output


def test_loss_heat_marks_a_lost_mask(call: Callable[..., Output], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    output = call("loss", TAGGED, *TAGGER, "--heat", "full")
    assert (output.exit_status, output.stderr) == (0, "")
    lines = output.splitlines()
    lines = lines[lines.index("Loss sparse_categorical_crossentropy  masked 1.105535, unmasked 1.106277") :]
    whole, shorter, shortest = "█" * 12, f"{'█' * 10}◆", f"{'█' * 8}◆"
    assert [line.split()[1] for line in lines[2:10]] == [shortest, *[whole] * 4, shorter, whole, shorter]
    assert " ◆ 4 padding timesteps, not masked" in "".join(lines[10:])
