"""The state of a profile: counts of a part of a corpus, which merge into those of the whole."""

from __future__ import annotations

import dataclasses

from maskcli.records.arrays import Hashes, Integers
from maskcli.records.fields import Count


@dataclasses.dataclass(frozen=True)
class Spot:
    """A row, or a timestep in it.

    Attributes:
        sample: the row, counted from 0 from the start of the state.
        timestep: in that row; None for the whole row.
        file: the name of its file; empty for data from Python.
        file_index: the file, counted from 0 among all files.
        row: the row, counted from 0 from the start of the file, or of the part of the file that the state has.
        where: the place in the file; None if it is line ``row`` + 1.
    """

    sample: Count
    timestep: Count | None
    file: str
    file_index: Count
    row: Count
    where: str | None = None

    @property
    def place(self) -> str:
        """The file and the line or row, for messages."""
        return self.where or f"{self.file}:{self.row + 1}"


@dataclasses.dataclass(frozen=True)
class Hits:
    """How often something occurs, and where it occurs first.

    Attributes:
        tokens: timesteps with it.
        rows: rows with it.
        first: the first of them; None if there are none.
    """

    tokens: Count = 0
    rows: Count = 0
    first: Spot | None = None


@dataclasses.dataclass(frozen=True)
class Extreme:
    """The smallest or the largest id.

    Attributes:
        value: the id.
        count: how often it occurs.
        first: where it occurs first.
    """

    value: int
    count: Count
    first: Spot


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """How many rows have each length.

    Attributes:
        lengths: the different lengths, ascending.
        counts: rows of each length.
    """

    lengths: Integers
    counts: Integers

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.counts.sum())

    @property
    def tokens(self) -> int:
        """The number of tokens in them."""
        return int((self.lengths * self.counts).sum())


@dataclasses.dataclass(frozen=True, eq=False)
class IdRanges:
    """The different ids, as ranges of integers.

    Attributes:
        starts: the first id of each range, ascending.
        ends: the last id of each range.
        complete: whether these are all ids; memory bounds the number of ranges.
    """

    starts: Integers
    ends: Integers
    complete: bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class RowHashes:
    """A hash for each different row, or for a sample of the rows: those with a small hash.

    Attributes:
        level: rows are in the sample whose hash is below 2**(64 - level); 0 is all rows.
        most: hashes that memory allows.
        hashes: of the different rows in the sample, ascending.
        repeated: those of the hashes that several rows have.
        counts: how many rows have each of the repeated hashes.
    """

    level: Count
    most: Count
    hashes: Hashes
    repeated: Hashes
    counts: Integers


@dataclasses.dataclass(frozen=True, eq=False)
class GroupState:
    """The counts of the rows of a group.

    Attributes:
        lengths: of the rows as they are.
        trimmed: the lengths without the padding id at both ends of the rows.
        empty: rows of length 0.
        blank: rows that consist of the padding id, at least once.
        leading: the padding id at the start of rows, also of rows that consist of it.
        inner: the padding id between other ids.
        trailing: the padding id at the end of rows.
        smallest: the smallest id that is not the padding id; None without such ids.
        largest: the largest id that is not the padding id; None without such ids.
        outside: ids below 0, or not below ``input_dim``, that are not the padding id.
        ids: the different ids that are not the padding id.
        hashes: of the rows.
    """

    lengths: Histogram
    trimmed: Histogram
    empty: Hits
    blank: Hits
    leading: Hits
    inner: Hits
    trailing: Hits
    smallest: Extreme | None
    largest: Extreme | None
    outside: Hits
    ids: IdRanges
    hashes: RowHashes


@dataclasses.dataclass(frozen=True, eq=False)
class CorpusState:
    """The counts of consecutive rows of a corpus, by group.

    Attributes:
        rows: their number.
        first_file: the file of the first row, counted from 0 among all files.
        last_file: the file of the last row.
        last_rows: how many of the rows are of the last file.
        groups: by the value of the field that divides the rows; by the empty text without such a field.
    """

    rows: Count
    first_file: Count
    last_file: Count
    last_rows: Count
    groups: dict[str, GroupState]
