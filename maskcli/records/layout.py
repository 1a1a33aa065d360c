"""The layout of a padded batch."""

from __future__ import annotations

import dataclasses

from maskcli.records.options import PaddingOptions, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout(PaddingOptions):
    """The layout of ragged sequences as a matrix.

    A file that contains a mask sets ``trim`` to False: its mask already marks the padding of each row.
    """

    trim: bool = option(True, "Treat runs of the padding id at either end of a row as padding.", only_python=True)
    sets_value: bool | None = option(
        False,
        "Whether the user chose ``value``; one other than 0 always counts as chosen, unless this is None.",
        only_python=True,
    )

    @property
    def padding_id(self) -> int:
        """The padding value of ids, which are integers."""
        return int(self.value)

    @property
    def chosen_value(self) -> float | None:
        """The padding value that the user chose; None for the default, and for that of a tokenizer."""
        is_chosen = self.sets_value or (self.sets_value is not None and self.value != 0)
        return self.value if is_chosen else None
