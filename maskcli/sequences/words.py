"""Text to token ids and back: by a file of the ``tokenizers`` library, or by a vocabulary with one token per line."""

from __future__ import annotations

import os
import string
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from maskcli.errors import InputError, MaskcliError, UsageError, suggest_install
from maskcli.records.arrays import Ints
from maskcli.sequences.formats.base import decode_text
from maskcli.sequences.sources import BOM, Source

PADDING = ("[PAD]", "<pad>", "<PAD>", "")
"""Names of the padding token, in the order in which a vocabulary is searched for them."""
UNKNOWN = ("[UNK]", "<unk>", "<UNK>", "<oov>", "<OOV>")
"""Names of the token for words outside of a vocabulary."""
HINT = "A tokenizer is a tokenizer.json, or a file with one token per line."


class Tokenizer(Protocol):
    """Converts text to ids, and ids to words."""

    @property
    def padding_id(self) -> int | None:
        """The id of the padding token; None without one."""

    @property
    def content(self) -> str:
        """The text of its file, from which another process makes the same tokenizer."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; raise InputError with the row of a text that has none."""

    def find_word(self, token: int) -> str | None:
        """Return the token with this id; None if there is none."""


def load_tokenizer(path: str) -> Tokenizer:
    """Return the tokenizer of a file.

    Raises:
        InputError: for a file that is neither a ``tokenizer.json`` nor a vocabulary.
        UsageError: for a ``tokenizer.json`` if the package that reads it is not installed.
    """
    source = Source(path, "a tokenizer", HINT)
    data = source.read().removeprefix(BOM)
    text = decode_text(data, source.name)
    if text.lstrip().startswith("{"):
        return _LibraryTokenizer(text, source.name)
    return _Vocabulary(_split_lines(text), source.name)


def _split_lines(text: str) -> list[str]:
    """Return the tokens of a vocabulary, one per line; empty lines at its end are none."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def make_tokenizer(source: object) -> Tokenizer:
    """Return the tokenizer of a file, of a list of tokens, or of an object of ``tokenizers`` or ``transformers``.

    Raises:
        UsageError: for another object.
        InputError: for a file that is not a tokenizer.
    """
    if isinstance(source, str | os.PathLike):
        return load_tokenizer(os.fspath(source))
    if isinstance(source, list | tuple) and all(isinstance(token, str) for token in source):
        return _Vocabulary(list(source), "tokenizer")
    backend = getattr(source, "backend_tokenizer", source)  # That of a fast tokenizer of transformers.
    if hasattr(backend, "to_str") and hasattr(backend, "encode_batch"):
        return _LibraryTokenizer(backend.to_str(), "tokenizer")
    raise UsageError(
        where="tokenizer",
        expected="the path of a tokenizer.json or a vocabulary, a list of tokens, or a fast tokenizer",
        received=f"a value of type {type(source).__name__}",
        fix="Of a TextVectorization layer pass layer.get_vocabulary().",
    )


def describe_words(tokenizer: Tokenizer, ids: Ints) -> dict[int, str]:
    """Return the words of the ids that occur."""
    words = {int(token): tokenizer.find_word(int(token)) for token in np.unique(ids)}
    return {token: word for token, word in words.items() if word is not None}


class _LibraryTokenizer:
    """A ``tokenizer.json`` of the ``tokenizers`` library."""

    def __init__(self, text: str, name: str) -> None:
        try:
            import tokenizers
        except ImportError:
            raise UsageError(
                where=f"--tokenizer {name}",
                expected="the package tokenizers, which reads this file",
                received="a Python without it",
                fix=f"{suggest_install('tokenizers')}, or pass a vocabulary with one token per line.",
            ) from None
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # The library raises nothing more specific.
            raise InputError(
                where=name,
                expected="a tokenizer.json of the tokenizers library",
                received=f"one that it cannot read ({str(error).splitlines()[0].rstrip('.')})",
                fix="Save it with Tokenizer.save, or with save_pretrained of a fast tokenizer.",
            ) from None
        self.content = text
        padding = self._tokenizer.padding or {}
        found = (self._tokenizer.token_to_id(token) for token in PADDING if token)
        self.padding_id: int | None = padding.get("pad_id", next((token for token in found if token is not None), None))
        # maskcli pads and truncates, as the options on the command line demand.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, with the special tokens that models expect."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def find_word(self, token: int) -> str | None:
        """Return the token with this id; None if there is none."""
        word: str | None = self._tokenizer.id_to_token(token)
        return word


class _Vocabulary:
    """One token per line; the first line is id 0."""

    def __init__(self, lines: list[str], name: str) -> None:
        self._words, self._name = lines, name
        self.content = "\n".join(lines)
        self._ids = {word: token for token, word in enumerate(lines)}
        if len(self._ids) < len(lines):
            # The later of two equal lines has replaced the first one.
            index = next(index for index, word in enumerate(lines) if self._ids[word] != index)
            raise InputError(
                where=f"{name}:{self._ids[lines[index]] + 1}",
                expected="a token that is on no other line",
                received=f"{lines[index]!r}, as on line {index + 1}",
                fix=HINT,
            )
        if not lines:
            raise InputError(where=name, expected="a token on each line", received="none", fix=HINT)
        self.padding_id = self._find_first(PADDING)
        self._unknown = self._find_first(UNKNOWN)

    def _find_first(self, candidates: Iterable[str]) -> int | None:
        return next((self._ids[word] for word in candidates if word in self._ids), None)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of the words between blanks.

        A word that the vocabulary lacks is looked up in lower case without punctuation around it, as Keras's
        TextVectorization does, and is the unknown token otherwise.
        """
        return [[self._find_id(word, row) for word in text.split()] for row, text in enumerate(texts)]

    def _find_id(self, word: str, row: int) -> int:
        bare = word.lower().strip(string.punctuation)
        for candidate in (word, word.lower(), bare):
            if candidate and candidate in self._ids:
                return self._ids[candidate]
        if self._unknown is None:
            raise InputError(
                row=row,
                expected=f"words of {self._name}, which has no {UNKNOWN[0]}",
                received=repr(word),
                fix=f"Add {UNKNOWN[0]} to the vocabulary, or the word.",
            )
        return self._unknown

    def find_word(self, token: int) -> str | None:
        """Return the token with this id; None if there is none."""
        return self._words[token] if 0 <= token < len(self._words) else None


def encode_rows(rows: Sequence[Any], tokenizer: Tokenizer) -> list[Any]:
    """Return rows with the ids of those that are text; rows of ids stay as they are.

    Raises:
        InputError: with the index of a row that cannot be encoded.
    """
    texts = [index for index, row in enumerate(rows) if isinstance(row, str)]
    try:
        encoded = tokenizer.encode([rows[index] for index in texts])
    except MaskcliError as error:
        if error.row is not None:
            error.row = texts[error.row]
        raise
    by_row = dict(zip(texts, encoded, strict=True))
    return [by_row.get(index, row) for index, row in enumerate(rows)]
