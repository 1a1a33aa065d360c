"""Text: lines and fields become ids by a tokenizer, and tables show the words next to the mask."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskcli.errors import InputError
from maskcli.sequences.words import describe_words, load_tokenizer
from tests.conftest import Output

Call = Callable[..., Output]
Write = Callable[[str, bytes | str], Path]
VOCABULARY = "[PAD]\n[UNK]\nthe\ncat\nsat\nmat\n"
TEXT = "The cat sat on the mat.\n\nsat\n"
IDS = [[2, 3, 4, 1, 2, 5], [0] * 6, [4, 0, 0, 0, 0, 0]]


@pytest.fixture
def vocabulary(write: Write) -> str:
    return write("vocab.txt", VOCABULARY).name


@pytest.fixture
def library_file(tmp_path: Path) -> str:
    """Save a tokenizer with special tokens around a text, and a padding token that is not id 0."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "[UNK]": 3, "the": 4, "cat": 5}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9, pad_id=1, pad_token="<pad>")  # noqa: S106 - no password
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return "tokenizer.json"


def test_vocabulary_reads_lines(call: Call, write: Write, vocabulary: str) -> None:
    write("a.txt", TEXT)
    document = call("pad", "a.txt", "--tokenizer", vocabulary, "--format", "json").json
    assert document["tokens"] == IDS
    assert document["data"]["words"] == dict(zip("012345", VOCABULARY.split(), strict=True))
    piped = call("pad", "--tokenizer", vocabulary, "--format", "json", stdin=TEXT).json
    assert (piped["tokens"], piped["data"]["files"]) == (IDS, ["-"])


def test_written_batch_holds_ids(call: Call, vocabulary: str) -> None:
    printed = call("pad", "--tokenizer", vocabulary, "--format", "csv", stdin="cat sat\nmat\n")
    assert printed == "3,4\n5,0\n"


@pytest.mark.parametrize("command", ["pad", "inspect", "check"])
def test_words_are_next_to_the_mask(call: Call, write: Write, vocabulary: str, command: str) -> None:
    write("a.txt", TEXT)
    lines = [line.split() for line in call(command, "a.txt", "--tokenizer", vocabulary).splitlines()]
    assert ["0", "the", "cat", "sat", "[UNK]", "the", "mat"] in [line[:7] for line in lines]
    assert ["2", "sat", *["·[PAD]"] * 5] in [line[:7] for line in lines]


RECORDS = [{"text": "the cat", "label": 1}, {"text": "mat", "label": 0}]
FILES = {
    "a.jsonl": "".join(f"{json.dumps(record)}\n" for record in RECORDS),
    "a.json": json.dumps(RECORDS),
    "columns.json": json.dumps({"text": ["the cat", "mat"], "label": [1, 0]}),
    "a.csv": "text,label\nthe cat,1\nmat,0\n",
}


@pytest.mark.parametrize("name", FILES)
def test_field_of_text(call: Call, write: Write, vocabulary: str, name: str) -> None:
    write(name, FILES[name])
    options = ("--field", "text", "--tokenizer", vocabulary)
    assert call("pad", name, *options, "--format", "csv") == "2,3\n5,0\n"
    checked = call("check", name, "--data-only", *options, "--format", "json").json
    assert checked["inputs"][0]["padded_timesteps"] == 1
    assert checked["data"]["words"] == {"0": "[PAD]", "2": "the", "3": "cat", "5": "mat"}


def test_model_of_the_user_gets_ids(
    call: Call, write: Write, vocabulary: str, monkeypatch: Any, tmp_path: Path
) -> None:
    write("a.jsonl", FILES["a.jsonl"])
    write(
        "words_model.py",
        "import keras\n\ndef make():\n    tokens = keras.Input((None,), dtype='int32', name='tokens')\n"
        "    x = keras.layers.Embedding(6, 4, mask_zero=True)(tokens)\n"
        "    return keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = ("--field", "text", "--tokenizer", vocabulary, "--model", "words_model:make")
    document = call("inspect", "a.jsonl", *options, "--format", "json").json
    assert document["batch"]["tokens"] == [[2, 3], [5, 0]]
    assert document["mask"] == [[True, True], [True, False]]


def test_ids_with_a_vocabulary_keep_their_words(call: Call, write: Write, vocabulary: str) -> None:
    write("a.txt", "2 3\n5\n")
    document = call("pad", "a.txt", "--tokenizer", vocabulary, "--format", "json").json
    assert document["tokens"] == [[2, 3], [5, 0]]
    assert document["data"]["words"]["3"] == "cat"


def test_library_file_sets_the_padding(call: Call, library_file: str) -> None:
    """maskcli pads and truncates, whatever the file requests; the special tokens stay."""
    text = "the cat\nthe the the dog\n"
    document = call("pad", "--tokenizer", library_file, "--format", "json", stdin=text).json
    assert document["tokens"] == [[0, 4, 5, 2, 1, 1], [0, 4, 4, 4, 3, 2]]
    assert document["value"] == 1
    other = call("pad", "--tokenizer", library_file, "--value", "0", "--format", "json", stdin=text).json
    assert other["tokens"][0] == [0, 4, 5, 2, 0, 0]


def test_padding_of_a_tokenizer_may_be_absent(call: Call, library_file: str) -> None:
    """One text has no padding; its tokenizer is no request of a padding value."""
    options = ("--tokenizer", library_file, "--mask-source", "explicit", "--format", "json")
    assert call("inspect", *options, stdin="the cat\n").json["batch"]["tokens"] == [[0, 4, 5, 2]]


BAD = {
    "twice": ("a\nb\na\n", "a\n", "vocab.txt:3: expected a token that is on no other line; received 'a', as on line 1"),
    "empty": ("\n\n", "a\n", "vocab.txt: expected a token on each line; received none"),
    "unknown": ("a\nb\n", "a b\na c\n", "a.txt:2: expected words of vocab.txt, which has no [UNK]; received 'c'"),
    "other JSON": ('{"a": 1}', "a\n", "vocab.txt: expected a tokenizer.json of the tokenizers library"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tokenizers_and_words(call: Call, write: Write, name: str) -> None:
    if name == "other JSON":
        pytest.importorskip("tokenizers")
    vocabulary, text, message = BAD[name]
    write("vocab.txt", vocabulary)
    write("a.txt", text)
    for command in ("pad", "check"):
        more = ("--data-only",) if command == "check" else ()
        failed = call(command, "a.txt", *more, "--tokenizer", "vocab.txt")
        assert (failed, failed.exit_status) == ("", 3)
        assert message in failed.stderr


def test_missing_tokenizer(call: Call) -> None:
    failed = call("pad", "--tokenizer", "nowhere.json", stdin="a\n")
    assert failed.exit_status == 3
    assert "nowhere.json: expected a file of a tokenizer; received a path that does not exist" in failed.stderr


def test_vocabulary_of_keras_has_an_empty_first_line(write: Write) -> None:
    """``TextVectorization.get_vocabulary()`` begins with the empty padding token and [UNK]."""
    tokenizer = load_tokenizer(str(write("v.txt", "\n[UNK]\nthe\n")))
    assert tokenizer.padding_id == 0
    assert tokenizer.encode(["The, THE?"]) == [[2, 2]]
    assert describe_words(tokenizer, [0, 2, 9]) == {0: "", 2: "the"}  # type: ignore[arg-type]
    with pytest.raises(InputError, match="UTF-8"):
        load_tokenizer(str(write("w.txt", b"\xff")))
