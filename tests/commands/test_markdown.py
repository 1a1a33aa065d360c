"""``--format markdown``: every command has it, a parser reads it, and it has the words of the tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt

from maskcli.cli import COMMANDS, cli
from tests.conftest import SAMPLE, Output

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
ARGUMENTS = {
    "pad": [[], ["--maxlen", "2"], ["--heat", "full"], ["--heat", "half"]],
    "models": [[]],
    "rules": [[]],
    "explain": [["MSK101"], ["MSK007"], ["MSK302"]],
    "check": [[], ["--data-only", "--sample"], ["--mask-source", "none"]],
    "inspect": [[], ["--mask-source", "all"], ["--all"], ["--last-only"], ["--heat", "full"]],
    "compare": [["embedding-lstm", "embedding-dense"]],
    "report": [[]],
    "profile": [[], ["--maxlens", "2,5", "--buckets", "2"]],
    "loss": [[], ["--mask-source", "none"], ["--all"], ["--heat", "full"]],
}
EVERY = [(name, arguments) for name, several in ARGUMENTS.items() for arguments in several]
HOSTILE = """
import keras

def model():
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(4000, 4, mask_zero=True, name="<script>alert(1)")(tokens)
    x = keras.layers.Dense(3, name="a|b *c* `d` [x](y)")(x) * 2.0
    return keras.Model(tokens, keras.layers.LSTM(2, name="__init__ # 1. x")(x))
"""


def kinds(text: str) -> set[str]:
    tokens = PARSER.parse(text)
    return {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}


def words(text: str) -> list[str]:
    """Return the words, without the marks of either form."""
    return re.findall(r"[\w.]+", text.replace("\\", "").replace("&nbsp;", " "))


def test_markdown_cases_cover_every_command() -> None:
    with_format = {
        name
        for name in COMMANDS
        for option in cli.get_command(click.Context(cli), name).params  # type: ignore[union-attr]
        if option.name == "format" and isinstance(option.type, click.Choice) and "markdown" in option.type.choices
    }
    assert with_format == ARGUMENTS.keys() == set(COMMANDS) - {"help", "completion"}


def has_data(name: str) -> bool:
    return name not in ("explain", "models", "rules")


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize(("name", "arguments"), EVERY, ids=[" ".join([name, *arguments]) for name, arguments in EVERY])
def test_markdown_has_the_words_of_the_table(
    call: Callable[..., Output], tmp_path: Path, name: str, arguments: list[str]
) -> None:
    table = call(name, *arguments)
    output = call(name, *arguments, "--format", "markdown")
    assert (output.exit_status, output.stderr) == (table.exit_status, "")
    assert output.startswith("built-in sample, 3 rows\n\n### " if has_data(name) else "### ")
    assert output.endswith("\n")
    assert not output.endswith("\n\n")
    assert not [line for line in output.splitlines() if line != line.rstrip()]
    sample = ("--sample",) if has_data(name) else ()
    assert call(name, *arguments, *sample, "--output", "out.md") == ""
    assert tmp_path.joinpath("out.md").read_text(encoding="utf-8") == output
    assert not kinds(output) & {
        "html_block",
        "html_inline",
        "link_open",
        "image",
        "em_open",
        "s_open",
        "hr",
        "code_block",
    }
    if "--heat" not in arguments:  # Which a terminal draws otherwise.
        assert set(words(table)) <= set(words(output))


def test_markdown_prose_is_not_wrapped(call: Callable[..., Output]) -> None:
    rules = call("rules", "--format", "markdown")
    assert len(re.findall(r"^\| MSK\d{3} ", rules, re.MULTILINE)) == len(re.findall(r"^\| [^:c]", rules, re.MULTILINE))
    check = call("check", "-", "--data-only", "--format", "markdown", stdin=("1 2\n" * 50 + "1 " * 300 + "\n") * 4)
    assert re.search(r"^\*\*fix:\*\* .{100,}$", check, re.MULTILINE)
    assert re.search(
        "^Next: `maskcli explain MSK007` explains this rule, with a bad and a good example.$", check, re.MULTILINE
    )


def test_markdown_limits_wide_tables(call: Callable[..., Output]) -> None:
    long = "\n".join(" ".join(str(t % 97 + 100) for t in range(row + 1)) for row in range(150))
    output = call("pad", "-", "--format", "markdown", stdin=long)
    assert "126 sequences not shown, 138 timesteps not shown" in output
    header = output.splitlines()[6]
    assert [title.strip() for title in header.split("|")[1:-1]][:3] == ["sample", "0", "1"]
    assert len(call("pad", "-", "--all", "--format", "markdown", stdin=long).splitlines()) == 2 + 2 + 2 + 2 + 150 + 5


def test_markdown_escapes_names(call: Callable[..., Output], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.joinpath("hostile_names.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("inspect", "check"):
        output = call(name, SAMPLE, "--model", "hostile_names:model", "--format", "markdown")
        assert output.stderr == ""
        assert not kinds(output) & {"html_block", "html_inline", "link_open", "em_open"}
        text = "".join(
            child.content for token in PARSER.parse(output) if token.type == "inline" for child in token.children or ()
        )
        assert "a|b *c* " in text
        assert "[x](y)" in text
    output = call("inspect", SAMPLE, "--model", "hostile_names:model", "--format", "markdown")
    cells = [
        "".join(child.content for child in token.children or ()).strip()
        for token in PARSER.parse(output)
        if token.type == "inline"
    ]
    assert "<script>alert(1)" in cells
    assert "__init__ # 1. x" in cells
