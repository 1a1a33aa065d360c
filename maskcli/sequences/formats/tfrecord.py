"""TFRecord files of ``tf.train.Example``: records with a list of integers for each feature.

A record is framed by its length and checksums. Its content is a message of protocol buffers:
``Example { features { feature { key, value { int64_list { value } } } } }``. Every message is a series of fields, each
a tag, a length and a content, and integers are varints: 7 bits in each byte, the lowest first, with the high bit set in
all bytes but the last. TensorFlow is not needed for any of it.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import InputError, UsageError, suggest_install
from maskcli.records.arrays import Array
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import MASK, Add, Field, Format, ParsedRows, name_rows

LENGTH = struct.Struct("<Q")
CHECKSUM = struct.Struct("<I")
MASK_DELTA = 0xA282EAD8
"""Is added to a rotated checksum, so that a checksum of data with checksums is not weaker."""
BYTES_FIELD, CONTENT_FIELD = 0x0A, 0x12
"""Tags of the fields 1 and 2 with a length and a content."""
INT64_LIST = 0x1A
"""Tag of the field 3 with a length and a content."""
TOKENS = "tokens"
EXPANSION = 16
"""Memory that a byte takes as numbers of Python."""


def import_crc32c(where: str) -> Any:
    """Return the module that computes the checksums of TFRecord.

    Raises:
        UsageError: if the extra ``maskcli[tfrecord]`` is not installed.
    """
    try:
        import google_crc32c
    except ImportError:
        raise UsageError(
            where=where,
            expected="google-crc32c, which computes the checksums of TFRecord",
            received="a Python without google-crc32c",
            fix=suggest_install("tfrecord"),
        ) from None
    return google_crc32c


# Writing.


def encode_examples(features: Mapping[str, Array]) -> Iterator[bytes]:
    """Yield a serialized Example for each row of features ``(rows, values)`` or ``(rows,)`` of integers."""
    encoded = [(name, *_encode_varints(column)) for name, column in features.items()]
    rows = len(next(iter(features.values())))
    for row in range(rows):
        message = bytearray()
        for name, data, splits in encoded:
            values = data[splits[row] : splits[row + 1]]
            listed = _wrap(INT64_LIST, _wrap(BYTES_FIELD, values))
            message += _wrap(BYTES_FIELD, _wrap(BYTES_FIELD, name.encode()) + _wrap(CONTENT_FIELD, listed))
        yield _wrap(BYTES_FIELD, message)


def _encode_varints(column: Array) -> tuple[bytes, list[int]]:
    """Return the varints of all rows, and where those of each row begin and end."""
    numbers = column.reshape(len(column), -1)
    bits = np.ascontiguousarray(numbers, np.int64).reshape(-1).view(np.uint64)
    sizes = np.ones(len(bits), np.int64)
    for step in range(1, 10):
        longer = bits >> np.uint64(7 * step) != 0
        if not longer.any():
            break
        sizes += longer
    ends = np.cumsum(sizes)
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    starts = ends - sizes
    for step in range(int(sizes.max(initial=0))):
        chosen = sizes > step
        low = (bits[chosen] >> np.uint64(7 * step)).astype(np.uint8) & 0x7F
        out[starts[chosen] + step] = low | ((sizes[chosen] > step + 1).astype(np.uint8) << 7)
    row_ends = np.concatenate([[0], ends])[np.arange(len(numbers) + 1) * numbers.shape[1]]
    return out.tobytes(), row_ends.tolist()


def _wrap(tag: int, content: bytes | bytearray) -> bytes:
    """Return a field with a length and a content."""
    return bytes((tag,)) + _encode_varint(len(content)) + content


def _encode_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def write_records(out: BinaryIO, messages: Iterator[bytes]) -> None:
    """Write messages as the records of a TFRecord file."""
    crc32c = import_crc32c("--format tfrecord").value
    for message in messages:
        length = LENGTH.pack(len(message))
        out.write(length + _mask_checksum(crc32c(length)) + message + _mask_checksum(crc32c(message)))


def _mask_checksum(checksum: int) -> bytes:
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return CHECKSUM.pack((rotated + MASK_DELTA) & 0xFFFFFFFF)


@contextlib.contextmanager
def open_tfrecord_writer(out: BinaryIO, _layout: Layout, _rows: int | None = None) -> Iterator[Add]:
    """Write the features ``tokens`` and ``tokens.mask``; see ``Format.writer``."""
    yield lambda batch: write_records(out, encode_examples(_list_features(batch)))


def _list_features(batch: PaddedBatch) -> dict[str, Array]:
    return {TOKENS: batch.tokens, TOKENS + MASK: batch.mask}


# Reading.


def iterate_records(data: bytes, name: str) -> Iterator[memoryview]:
    """Yield the messages of a TFRecord file; raise InputError for a record that is damaged."""
    crc32c = import_crc32c(name).value
    view, place, row = memoryview(data), 0, 0
    head = LENGTH.size + CHECKSUM.size
    while place < len(view):
        length = bytes(view[place : place + LENGTH.size])
        if view[place + LENGTH.size : place + head] != _mask_checksum(crc32c(length)):
            raise _make_damage_error(name, row, f"another checksum at offset {place}")
        end = place + head + LENGTH.unpack(length)[0]
        message = view[place + head : end]
        if view[end : end + CHECKSUM.size] != _mask_checksum(crc32c(bytes(message))):
            raise _make_damage_error(name, row, f"another checksum, or a file that ends early, at offset {place}")
        yield message
        place, row = end + CHECKSUM.size, row + 1


def decode_example(message: memoryview) -> dict[str, NDArray[np.int64]]:
    """Return the features of an Example that are lists of integers.

    Raises:
        ValueError: for a message that is not an Example.
    """
    features: dict[str, NDArray[np.int64]] = {}
    for _, entries in _iterate_fields(message):
        for _, entry in _iterate_fields(entries):
            parts = dict(_iterate_fields(entry))
            for tag, content in _iterate_fields(parts[CONTENT_FIELD]):
                if tag == INT64_LIST:
                    features[bytes(parts[BYTES_FIELD]).decode()] = _decode_list(content)
    return features


def _iterate_fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield tag and content of all fields of a message; each of them has a length."""
    place = 0
    while place < len(message):
        tag, (size, place) = message[place], _decode_varint(message, place + 1)
        if tag not in (BYTES_FIELD, CONTENT_FIELD, INT64_LIST) or place + size > len(message):
            raise ValueError(f"tag {tag}")
        yield tag, message[place : place + size]
        place += size


def _decode_varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return a number and the place after it."""
    number = shift = 0
    while True:
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place


def _decode_list(content: memoryview) -> NDArray[np.int64]:
    """Return the numbers of an ``Int64List``: packed in one field, or as fields of their own."""
    if len(content) and content[0] == BYTES_FIELD:
        return np.concatenate([_decode_varints(packed) for _, packed in _iterate_fields(content)])
    # Tag 8 is a single number. Old programs write a field for each of them.
    numbers, place = [], 0
    while place < len(content):
        if content[place] != 0x08:
            raise ValueError(f"tag {content[place]}")
        number, place = _decode_varint(content, place + 1)
        numbers.append(number)
    return np.array(numbers, np.uint64).view(np.int64)


def _decode_varints(packed: memoryview) -> NDArray[np.int64]:
    raw = np.frombuffer(packed, np.uint8)
    is_last = raw < 0x80
    if len(raw) and not is_last[-1]:
        raise ValueError("a number that ends early")
    ends = np.flatnonzero(is_last) + 1
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
    sizes = ends - starts
    if len(sizes) and sizes.max() > 10:
        raise ValueError("a number of more than 64 bits")
    numbers = np.zeros(len(ends), np.uint64)
    for step in range(int(sizes.max(initial=0))):
        chosen = sizes > step
        numbers[chosen] |= (raw[starts[chosen] + step] & 0x7F).astype(np.uint64) << np.uint64(7 * step)
    return numbers.view(np.int64)


def read_tfrecord(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return the rows of ``field``, or of the only feature of lists of integers."""
    records = list_examples(data, name)
    rows: list[dict[str, Any]] = [{key: values.tolist() for key, values in record.items()} for record in records]
    for key in _find_single_numbers(records):
        for row in rows:
            row[key] = row[key][0]
    if field is json_text.WHOLE:
        return ParsedRows(rows, name_rows(name))
    selected = json_text.get_field_rows(rows, field, name, name_rows(name))
    return ParsedRows(selected.rows, name_rows(name), marked_by=selected.marked_by)


def list_examples(data: bytes, name: str) -> list[dict[str, NDArray[np.int64]]]:
    """Return the features of all records; raise InputError for records that are no Examples of integers."""
    records: list[dict[str, NDArray[np.int64]]] = []
    for row, message in enumerate(iterate_records(data, name)):
        try:
            records.append(decode_example(message))
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise _make_damage_error(name, row, f"a record that is not one ({error})") from None
    return records


def _find_single_numbers(records: Sequence[Mapping[str, Array]]) -> list[str]:
    """Return the features that have one number in each record, such as lengths, where there are lists as well."""
    names = list(records[0]) if records else []
    single = [name for name in names if all(len(record.get(name, ())) == 1 for record in records)]
    return single if len(single) < len(names) else []


def _make_damage_error(name: str, row: int, received: str) -> InputError:
    return InputError(
        where=f"{name}, record {row + 1}",
        expected="a whole TFRecord of tf.train.Example with lists of int64",
        received=received,
        fix="Fetch or write the file again. TFRecords that are compressed or hold other messages cannot be read.",
    )


FORMATS = (
    Format(
        "tfrecord",
        (".tfrecord", ".tfrecords"),
        read_tfrecord,
        lambda _: False,  # A record has no signature.
        open_tfrecord_writer,
        expansion=EXPANSION,
    ),
)
