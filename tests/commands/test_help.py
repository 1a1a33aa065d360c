"""Help: groups of options with examples, short options, suggestions, versions, and the choice of colour."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from collections.abc import Callable

import click
import pytest

from maskcli.cli import COMMANDS, cli
from maskcli.commands.grouped import GroupedCommand
from tests.conftest import Output

pytestmark = pytest.mark.quick


def load_command(name: str) -> tuple[GroupedCommand, click.Context]:
    command = cli.get_command(click.Context(cli), name)
    assert isinstance(command, GroupedCommand)
    return command, click.Context(command, info_name=name, parent=click.Context(cli, info_name="maskcli"))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_in_a_group(call: Callable[..., Output], name: str) -> None:
    command, ctx = load_command(name)
    text = call(name, "--help")
    assert text == call("help", name)
    assert all(len(line) <= 80 for line in text.splitlines())
    for group, example in command.find_examples(ctx).items():
        assert f"\n{group.title}:\n  Example: {example}\n" in text
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert len(re.findall(rf"^  (?:-\w, )?{parameter.opts[-1]}(?![\w-])", text, re.M)) >= 1


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_help_are_command_lines(name: str) -> None:
    """Each is parsed, and sets an option of its own group."""
    command, ctx = load_command(name)
    groups = {option.name: getattr(option, "group", None) for option in command.params}
    for group, example in command.find_examples(ctx).items():
        program, called, *arguments = shlex.split(example)
        assert (program, called) == ("maskcli", name)
        command.make_context(name, list(arguments), parent=ctx.parent)
        spellings = {spelling: option.name for option in command.params for spelling in option.opts}
        options = [spellings[word] for word in arguments if word.startswith("-")]
        assert not options or group in {groups[option] for option in options}


def test_short_options_are_those_of_the_long_ones(call: Callable[..., Output]) -> None:
    assert call("pad", "-f", "json") == call("pad", "--format", "json")
    assert call("rules", "-q", "-o", "rules.json") == ""
    with open("rules.json", encoding="utf-8") as file:
        assert file.read() == call("rules", "-f", "json")
    assert call("inspect", "-m", "nosuch").stderr == call("inspect", "--model", "nosuch").stderr
    assert "--format svg" in call("inspect", "--row", "1", "-f", "json").stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("chekc", "Did you mean check?"),
        ("inspekt", "Did you mean inspect?"),
        ("comp", "Did you mean compare or completion?"),
        ("xyz", "`maskcli help` lists the commands."),
        ("help chekc", "Did you mean check?"),
        (".", "Name a command before the file, such as `maskcli inspect .`."),
        ("pad --maxlem 3", "--maxlen"),
        ("explain mask", "Did you mean mask-dropped or "),
        ("explain MSK10", "Did you mean MSK101 or "),
        ("explain paddng_leaks", "Did you mean padding-leaks?"),
    ],
)
def test_mistyped_words_get_a_suggestion(call: Callable[..., Output], arguments: str, hint: str) -> None:
    output = call(*arguments.split())
    assert (output.exit_status, output) == (2, "")
    assert hint in output.stderr


def test_rule_names_take_underscores(call: Callable[..., Output]) -> None:
    expected = call("explain", "MSK101")
    assert expected.startswith("MSK101 mask-dropped")
    for name in ("mask_dropped", "mask-dropped", "Mask_Dropped", "msk101"):
        assert call("explain", name) == expected
    assert "received --model embedding-dense" in call("inspect", "-m", "embedding_dense", "--last-only").stderr
    document = call("check", "--data-only", "--sample", "--select", "padding_waste", "-f", "json").json
    assert document["checked"] == ["MSK007"]


def test_version_names_keras_and_its_backend(call: Callable[..., Output], monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {name: importlib.metadata.version(name) for name in ("maskcli", "keras", "tensorflow")}
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    text = call("-V")
    assert text == call("--version")
    assert text.startswith(f"maskcli, version {versions['maskcli']} (keras {versions['keras']}, ")
    assert f"tensorflow {versions['tensorflow']}, Python 3." in text
    monkeypatch.setenv("KERAS_BACKEND", "nosuch")
    assert "nosuch not installed" in call("-V")


@pytest.mark.parametrize(
    ("arguments", "environment", "coloured"),
    [
        ("pad", {}, False),
        ("pad", {"FORCE_COLOR": "1", "TERM": "xterm"}, True),
        ("pad", {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}, False),
        ("pad --color always", {"TERM": "dumb"}, True),
        ("pad --color always", {"NO_COLOR": "1", "TERM": "xterm"}, True),
        ("pad --color never", {"FORCE_COLOR": "1", "TERM": "xterm"}, False),
        ("--color always pad", {"TERM": "xterm"}, True),
        ("--color always pad --color never", {"TERM": "xterm"}, False),
        ("--color always pad --help", {}, True),
        ("pad --help", {}, False),
        ("pad --color always -f json", {}, False),
    ],
)
def test_color_is_a_choice(
    call: Callable[..., Output],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    environment: dict[str, str],
    coloured: bool,
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    output = call(*arguments.split())
    assert output.exit_status == 0
    # Bold and dim are not colours: rich keeps them with NO_COLOR.
    codes = set(re.findall(r"\x1b\[([0-9;]+)m", output))
    assert bool(codes - {"0", "1", "2"} if "NO_COLOR" in environment and not coloured else codes) == coloured
