"""What sections are called, and how to read them, for a colleague who does not know masks."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Head:
    """What stands above a section.

    Attributes:
        link: its name in the navigation.
        title: its heading.
        lead: what is seen, and how to read it; HTML.
    """

    link: str
    title: str
    lead: str


HEADS: dict[str, Head] = {
    "verdict": Head(
        "Verdict",
        "Verdict",
        "A batch has rows of one length, so short sequences are filled up with padding. The mask tells the layers "
        "which timesteps are padding. Three questions say whether that worked.",
    ),
    "batch": Head(
        "Batch",
        "The padded batch",
        "A row for each sequence, a column for each timestep. Hatched cells are padding: they are there so that all "
        "rows have one length, and nothing should come of them. Point at a cell for its token and what the mask says "
        "of it.",
    ),
    "graph": Head(
        "Graph",
        "The way of the mask through the model",
        "From the inputs to the outputs. A thick line carries the mask, a dashed one has lost it. Signs and words say "
        "which call creates the mask, which use it, and which one drops it. Models within the model can be folded.",
    ),
    "outputs": Head(
        "Outputs",
        "What comes out",
        "Each output of the model, for one sample and one feature, and beside it that of the same weights run without "
        "any mask: where the two part, the mask makes a difference. Hatched timesteps are padding.",
    ),
    "leaks": Head(
        "Leaks",
        "Where padding leaks",
        "Padding is replaced by other values, which must move no result that counts. The probes try that in several "
        "ways; the matrix tells which padded timestep (column) moves which timestep of an output (row), and how far.",
    ),
    "loss": Head(
        "Loss",
        "What the loss counts",
        "The loss of each timestep, before it becomes one number. What is hatched was left out; padding that counts as "
        "if it were data has a mark of its own. The tables tell what different ways to reduce make of the same losses.",
    ),
    "attention": Head(
        "Attention",
        "Who attends to whom",
        "Attention lets each timestep (the query, a row) look at others (the keys, columns). A layer combines the mask "
        "of padding with a causal one, which hides what is to come; what is hatched, no query may look at.",
    ),
    "about": Head(
        "About",
        "How this report came to be",
        "With these versions and this command it can be made again. The page carries its data with it: "
        "<code>maskcli report --from</code> this file reads it, without the model.",
    ),
}
"""The sections by their ids, in the order in which a colleague asks."""
