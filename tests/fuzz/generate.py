"""Write random sequences in each format, and damage them where the format has its joints."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Callable

import numpy as np

from tests.fuzz.naive import FIELD, Rows

NUMBERS = (
    b"0", b"-0", b"-1", b"+7", b"007", b"2147483647", b"2147483648", b"-2147483649", b"9223372036854775807",
    b"9223372036854775808", b"1.0", b"1e3", b"1E400", b"-1e-5", b"NaN", b"Infinity", b"null", b"true", b'"5"', b"1_000",
    b"0x10", "\u0663".encode(), b"9" * 400,
)  # fmt: skip
PIECES = (
    b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\n", b"\r\n", b"\r", b"\t", b" ", b"\x00", b"\xef\xbb\xbf", b"\xff",
    b"[]", b"{}", b"[[", b'"ids"', b'"\\u0069ds"', b'"mask"', b'"ids.mask"', b'"attention_mask"', b";", b"'", b"//", b"#",
    b"\xe2\x80\xa8", b"\x0b", b"\x0c", b"\x1c", b"\xc2\x85",
)  # fmt: skip
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+0-9.eE]+|\r?\n|[ \t]+|.', re.DOTALL)


def draw_rows(rng: random.Random) -> Rows:
    """Return random sequences, some of them empty or of large ids."""
    largest = rng.choice([9, 30_000, 2**31 - 1, 2**40])
    smallest = rng.choice([0, 1, 1, -largest])
    shortest = rng.choice([0, 1, 1])
    length = rng.choice([1, 4, 9, 40])
    rows = [
        [rng.randint(smallest, largest) for _ in range(rng.randint(shortest, length))]
        for _ in range(rng.choice([1, 2, 5, 20]))
    ]
    return rows if any(rows) else [[1], *rows]


def square(rows: Rows) -> np.ndarray:
    """Return rows of one length as an array."""
    width = max(map(len, rows))
    return np.array([row + [0] * (width - len(row)) for row in rows], np.int64).reshape(len(rows), width)


def write_json(rows: Rows, rng: random.Random) -> bytes:
    """Write an array of lists or of records."""
    indent = rng.choice([None, None, 1])
    separators = rng.choice([(",", ":"), (", ", ": ")])
    if rng.random() < 0.5:
        return json.dumps(rows, indent=indent, separators=separators).encode()
    return json.dumps([make_record(row, rng) for row in rows], indent=indent, separators=separators).encode()


def write_jsonl(rows: Rows, rng: random.Random) -> bytes:
    """Write a list or a record in each line."""
    end, separators = rng.choice(["\n", "\n", "\r\n"]), rng.choice([(",", ":"), (", ", ": ")])
    records = rng.random() < 0.5
    return "".join(
        json.dumps(make_record(row, rng) if records else row, separators=separators) + end for row in rows
    ).encode()


def make_record(row: Rows | list[int], rng: random.Random) -> dict[str, object]:
    """Return a record with the sequence, before or after other fields."""
    others: dict[str, object] = {"label": rng.choice([1, None, "a, [1]", {"ids": [1]}]), "text": 'é "[1, 2]" \\'}
    return {FIELD: row, **others} if rng.random() < 0.5 else {**others, FIELD: row}


def write_text(rows: Rows, rng: random.Random) -> bytes:
    """Write numbers with one separator."""
    separator, end = rng.choice([" ", ",", ", ", "\t", "   "]), rng.choice(["\n", "\n", "\r\n"])
    return "".join(separator.join(map(str, row)) + end for row in rows).encode()


def write_csv(rows: Rows, rng: random.Random) -> bytes:
    """Write a table with a header, whose cells are quoted lists."""
    lines = [f"id,{FIELD},note\n", *(f'{index},"{json.dumps(row)}","a ""b"", c"\n' for index, row in enumerate(rows))]
    return "".join(lines).replace("\n", rng.choice(["\n", "\r\n"])).encode()


def write_npy(rows: Rows, rng: random.Random) -> bytes:
    """Write an array of any dtype and order that holds the numbers."""
    out = io.BytesIO()
    np.save(out, change_dtype(square(rows), rng))
    return out.getvalue()


def write_npz(rows: Rows, rng: random.Random) -> bytes:
    """Write an archive with another array."""
    out = io.BytesIO()
    save = rng.choice([np.savez, np.savez_compressed])
    save(out, **{FIELD: change_dtype(square(rows), rng), "label": np.arange(len(rows))})
    return out.getvalue()


def change_dtype(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """Return an array in another dtype that holds its numbers, in another order."""
    dtypes = ["<i8", ">i8", "<i4", ">i4", "<i2", "<u2", "i1", "<f8", "<f4"]
    fitting = [dtype for dtype in dtypes if (array.astype(dtype).astype(np.int64) == array).all()]
    changed = array.astype(rng.choice(fitting))
    return np.asfortranarray(changed) if rng.random() < 0.3 else changed


def write_arrow(rows: Rows, rng: random.Random) -> bytes:
    """Write an IPC file."""
    import pyarrow as pa

    out, table = io.BytesIO(), make_table(rows)
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=rng.choice([2, 100]))
    return out.getvalue()


def write_parquet(rows: Rows, rng: random.Random) -> bytes:
    """Write a Parquet file."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(make_table(rows), out, row_group_size=rng.choice([2, 100]))
    return out.getvalue()


def make_table(rows: Rows) -> object:
    """Return a table of Arrow."""
    import pyarrow as pa

    return pa.table({FIELD: pa.array(rows, pa.list_(pa.int64())), "label": pa.array(range(len(rows)))})


WRITERS: dict[str, Callable[[Rows, random.Random], bytes]] = {
    "json": write_json,
    "jsonl": write_jsonl,
    "text": write_text,
    "csv": write_csv,
    "npy": write_npy,
    "npz": write_npz,
    "arrow": write_arrow,
    "parquet": write_parquet,
}
SHARES = {"json": 24, "jsonl": 24, "text": 16, "csv": 14, "npy": 10, "npz": 6, "arrow": 4, "parquet": 2}
"""How often each format is drawn; the slow ones less often."""


def damage(data: bytes, entry: str, rng: random.Random) -> bytes:
    """Return data with one to four changes."""
    changes = {"npz": damage_archive}.get(entry, damage_bytes)
    if entry in ("json", "jsonl", "text", "csv"):
        changes = damage_tokens
    elif entry == "npy":
        changes = rng.choice([damage_header, damage_header, damage_bytes])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data = changes(data, rng)
    if rng.random() < 0.03:
        data = damage_bytes(gzip.compress(data), rng) if rng.random() < 0.5 else gzip.compress(data)
    return data


def damage_tokens(data: bytes, rng: random.Random) -> bytes:
    """Remove, repeat, swap or replace tokens of a text."""
    tokens = TOKEN.findall(data) or [b""]
    at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    match rng.randrange(9):
        case 0:
            del tokens[at]
        case 1:
            tokens.insert(at, tokens[other])
        case 2:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        case 3 | 4:
            numbers = [index for index, token in enumerate(tokens) if token.strip(b"-").isdigit()] or [at]
            tokens[rng.choice(numbers)] = rng.choice(NUMBERS)
        case 5 | 6:
            tokens.insert(at, rng.choice(PIECES))
        case 7:
            low, high = sorted((at, other))
            tokens[low:high] = tokens[low:high] * rng.choice([0, 2, 3])
        case 8:
            tokens[at] = damage_bytes(tokens[at], rng)
    return b"".join(tokens)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """Cut, flip, insert or overwrite bytes anywhere."""
    at = rng.randrange(len(data) + 1)
    match rng.randrange(5):
        case 0:
            return data[:at]
        case 1 if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case 2:
            return data[:at] + rng.randbytes(rng.choice([1, 2, 8])) + data[at:]
        case 3:
            return data[:at] + rng.choice([b"\xff", b"\x00", b"\x7f"]) * 4 + data[at + 4 :]
    return data[:at] + data[at + rng.choice([1, 2, 8, 64]) :]


def damage_header(data: bytes, rng: random.Random) -> bytes:
    """Change the header of an ``.npy``, with a length that fits."""
    if len(data) < 10 or data[6] != 1:
        return damage_bytes(data, rng)
    end = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:end].decode("latin-1").rstrip()
    number = rng.choice(["0", "-1", "1", "3", "2**40", str(2**40), str(2**63), "None", "'a'", "()"])
    changes = (
        lambda text: re.sub(r"\(\d+", f"({number}", text),
        lambda text: re.sub(r"\d+\)", f"{number})", text),
        lambda text: re.sub(r"\(.*\)", rng.choice(["()", "(3,)", "(1, 2, 3)", "3", "[2, 2]"]), text),
        lambda text: re.sub(
            r"'[<>|].*?'",
            rng.choice(["'|O'", "'<U9'", "'<f2'", "'|b1'", "'<c8'", "'<M8[s]'", "'<i8,<i8'", "'<i99'"]),
            text,
        ),
        lambda text: text.replace("False", "True"),
        lambda text: text.replace("'shape'", "'shade'"),
        lambda text: text + ", 1",
    )
    header = rng.choice(changes)(header)
    return data[:8] + len(header).to_bytes(2, "little") + header.encode("latin-1") + data[end:]


def damage_archive(data: bytes, rng: random.Random) -> bytes:
    """Damage a member of an ``.npz``, rename or repeat it, or damage the archive itself."""
    choice = rng.randrange(4)
    if choice == 0:
        return damage_bytes(data, rng)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # It is damaged already.
        return damage_bytes(data, rng)
    index = rng.randrange(len(members)) if members else 0
    name, content = members[index] if members else ("x.npy", b"")
    if choice == 1:
        members[index:index] = [
            (rng.choice(["ids.mask.npy", "ids", "../ids.npy", "", "mask.npy", "tokens.npy"]), content)
        ]
    elif choice == 2 and members:
        members[index] = (name, damage_header(content, rng) if rng.random() < 0.7 else damage_bytes(content, rng))
    elif members:
        del members[index]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members:
            if name:
                archive.writestr(name, content)
    return out.getvalue()
