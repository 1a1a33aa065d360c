"""The screen: 80 columns, glyphs without colour, long axes elided in the middle."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from rich.console import Console

import maskcli
from maskcli.render import numbers
from maskcli.render.parts import Limits, elide
from maskcli.render.terminal import render_text
from maskcli.render.views import pad as pad_view
from tests.conftest import Output

pytestmark = pytest.mark.slow(share=1 / 2)

LONG = "\n".join(" ".join(str((row * 37 + t) % 997 + 1) for t in range(row % 150 + 1)) for row in range(300)) + "\n"


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize(
    "arguments",
    [
        "pad",
        "models",
        "inspect",
        "inspect --mask-source all",
        "inspect --mask-source none",
        "inspect --mask-source masking",
        "inspect --mask-source explicit --model embedding-dense",
        "inspect --last-only",
        "inspect --units 200 --embedding-dim 300",
        "inspect --units 200 --last-only",
        "loss",
        "loss --targets shift --loss sparse_categorical_crossentropy --batch-size 1",
        "loss --loss categorical_crossentropy --mask-source none",
    ],
)
@pytest.mark.parametrize("data", ["", LONG], ids=["sample", "long"])
def test_lines_fit_80_columns(call: Callable[..., Output], arguments: str, data: str) -> None:
    name, *options = arguments.split()
    output = call(name, *(["-"] if data and name != "models" else []), *options, stdin=data or None)
    assert (output.exit_status, output.stderr) == (0, "")
    too_wide = [line for line in output.splitlines() if len(line) > 80]
    assert not too_wide
    assert all(line == line.rstrip() for line in output.splitlines())
    assert "\x1b" not in output


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("arguments", ["pad", "inspect", "inspect --mask-source all --last-only", "loss"])
@pytest.mark.parametrize(
    "data",
    ["1 3000000\n" + "7 " * 120 + "\n", "1 " * 300 + "\n1 2 3\n", "1\n"],
    ids=["wide ids", "many timesteps", "one token"],
)
def test_lines_fit_with_wide_ids(call: Callable[..., Output], arguments: str, data: str) -> None:
    name, *options = arguments.split()
    small = [] if name == "pad" else ["--embedding-dim", "1"]
    output = call(name, "-", *options, *small, "--max-rows", "4", stdin=data)
    assert (output.exit_status, output.stderr) == (0, "")
    assert not [line for line in output.splitlines() if len(line) > 80]


def test_sample_is_repeated_after_a_gap(call: Callable[..., Output]) -> None:
    lines = call("inspect", "--max-rows", "4").splitlines()
    behind = lines[next(index for index, line in enumerate(lines) if line.lstrip().startswith("⋮")) + 1]
    assert behind.split()[:2] == ["2", "4"]


def test_unknown_width_is_80_columns(run: Callable[..., Output]) -> None:
    assert run("pad", COLUMNS="0") == run("pad")


def test_padding_has_a_glyph(call: Callable[..., Output]) -> None:
    output = call("pad")
    assert [re.findall(r"·0|\b0\b", line) for line in output.splitlines()[5:8]] == [["0"], ["·0"], ["·0"] * 3]
    assert "14 tokens, 4 padding (22 % of the batch), 0 truncated" in output
    assert " · padding\n" in output
    assert "·" not in call("pad", "--maxlen", "2")
    cut = call("pad", "--maxlen", "4", "--truncating", "pre")
    assert "3 tokens of 2 sequences truncated at the start" in " ".join(cut.split())


def test_masks_are_next_to_tokens(call: Callable[..., Output]) -> None:
    lines = call("inspect").splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("Tokens and mask"))
    assert [line.split()[-1] for line in lines[start + 2 : start + 5]] == ["■■■■■■", "■■■■■□", "■■■□□□"]
    assert "■ counts   □ masked   · padding" in lines[start + 5]


def test_calls_are_described(call: Callable[..., Output]) -> None:
    output = call("inspect")
    assert re.search(r"0  embedding +Embedding +– +■ +creates +the mask starts here", output)
    assert re.search(r"2  lstm +LSTM +■ +■ +uses +consumes the mask, forwards it", output)
    assert re.search(r"2  lstm +LSTM +■ +– +uses +consumes the mask, returns none", call("inspect", "--last-only"))


def test_masked_outputs_are_described(call: Callable[..., Output]) -> None:
    assert len(re.findall(r"□ = t\d", call("inspect"))) == 4
    assert len(re.findall("□ zero", call("inspect", "--zero-output-for-mask"))) == 4
    assert len(re.findall("□ own", call("inspect", "--model", "embedding-dense"))) == 4


def test_large_tables_are_elided(call: Callable[..., Output]) -> None:
    output = call("pad", "-", stdin=LONG)
    assert "… 276 sequences not shown" in output
    assert re.search(r"276 sequences not shown, 1\d\d timesteps not shown \(--all shows everything\)", output)
    assert len(output.splitlines()) < 38
    rows = [line.split()[0] for line in output.splitlines()[5:30]]
    assert rows == [*map(str, range(12)), "⋮", *map(str, range(288, 300))]
    fewer = call("pad", "-", "--max-rows", "4", "--max-cols", "3", stdin=LONG)
    assert fewer.splitlines()[4].split() == ["sample", "0", "1", "…", "149", "│", "length"]
    assert "296 sequences not shown, 147 timesteps not shown" in fewer
    whole = call("pad", "-", "--all", stdin=LONG)
    assert len(whole.splitlines()) == 310
    assert "not shown" not in whole
    assert len(whole.splitlines()[4].split()) == 153


def test_json_is_never_elided(call: Callable[..., Output]) -> None:
    document = call("pad", "-", "--format", "json", "--max-rows", "2", stdin=LONG).json
    assert np.array(document["tokens"]).shape == (300, 150)


@pytest.mark.parametrize(
    ("count", "limit", "indices"),
    [
        (3, None, [0, 1, 2]),
        (3, 3, [0, 1, 2]),
        (5, 2, [0, None, 4]),
        (5, 3, [0, 1, None, 4]),
        (6, 5, [0, 1, 2, 3, 4, 5]),
        (7, 5, [0, 1, 2, None, 5, 6]),
        (0, 2, []),
    ],
)
def test_elide(count: int, limit: int | None, indices: list[int | None]) -> None:
    assert elide(count, limit) == indices


def test_glyphs_do_not_need_colour() -> None:
    batch = maskcli.pad([[1, 2], [3]])
    view = pad_view.view(batch, Limits(10, 80, 80))
    coloured = render_text(view, Console(force_terminal=True, color_system="standard", width=80))
    plain = render_text(view, Console(force_terminal=True, color_system=None, width=80))
    assert "\x1b[2m" in coloured  # The rule.
    assert "·0" in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_ascii_terminal_gets_ascii(run: Callable[..., Output]) -> None:
    output = run("pad", PYTHONIOENCODING="ascii")
    assert "~0" in output
    assert output.isascii()
    assert output.exit_status == 0
    masked = run("inspect", PYTHONIOENCODING="ascii")
    lines = masked.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("Tokens and mask"))
    assert [line.split()[-1] for line in lines[start + 2 : start + 5]] == ["######", "#####o", "###ooo"]
    assert "id != 0" in masked
    assert "?" not in masked


def test_max_cols_may_exceed_the_width(call: Callable[..., Output]) -> None:
    assert len(call("pad", "-", "--max-cols", "40", stdin=LONG).splitlines()[4].split()) == 44


def test_width_follows_the_terminal(call: Callable[..., Output], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    wide = call("pad", "-", stdin=LONG)
    assert 180 < max(map(len, wide.splitlines())) <= 200


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0176, -0.0004], ["0.0176", "-0.0004"]),
        ([0.0, 0.0], ["0.0", "0.0"]),
        ([123.4, 5.0], ["123", "5"]),
        ([1e-9], ["1.00e-09"]),
        ([2.5e7], ["2.50e+07"]),
        ([float("nan"), 0.5], ["nan", "0.500"]),
    ],
)
def test_vector_numbers_share_decimals(values: list[float], texts: list[str]) -> None:
    number = numbers.make_fixed_formatter(np.array(values))
    assert [number(value) for value in values] == texts


def test_output_files_have_no_colour(call: Callable[..., Output]) -> None:
    assert call("inspect", "--sample", "--output", "out.txt") == ""
    with open("out.txt", encoding="utf-8") as written:
        assert written.read() == call("inspect")
    assert call("inspect", "--sample", "--output", "out.json", "--quiet") == ""
    with open("out.json", encoding="utf-8") as written:
        assert written.read() == call("inspect", "--format", "json")


def test_views_work_from_the_library() -> None:
    from maskcli.render.views import inspect as view

    inspection = maskcli.inspect([[1, 2], [3]])
    assert "lstm" in render_text(
        partial(view.view, inspection)(Limits(None, None, 80, everything=True)), Console(width=80)
    )
