"""The titles of the page's sections and how to read them, for readers who do not know masks."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class SectionHead:
    """The head of a section.

    Attributes:
        link: its name in the navigation.
        title: its heading.
        lead: the content and how to read it, as HTML.
    """

    link: str
    title: str
    lead: str


HEADS: dict[str, SectionHead] = {
    "verdict": SectionHead(
        "Verdict",
        "Verdict",
        "Short sequences are filled up with padding. The mask tells the layers which timesteps are padding, so that it "
        "changes no result.",
    ),
    "batch": SectionHead(
        "Batch",
        "The padded batch",
        "One row per sequence, one column per timestep. Hatched cells are padding; they should not affect any result. "
        "Hover over a cell for details.",
    ),
    "graph": SectionHead(
        "Graph",
        "How the mask flows through the model",
        "From the inputs to the outputs. A thick line carries the mask; on a dashed line the mask has been lost. Click "
        "a call for details, or a nested model to fold it.",
    ),
    "outputs": SectionHead(
        "Outputs",
        "Outputs",
        "One sample and one feature, compared with the same weights without a mask. Where the two differ, the mask "
        "matters. Hatched timesteps are padding.",
    ),
    "leaks": SectionHead(
        "Leaks",
        "Effect of padding on results",
        "Padding is replaced by other values, which must not change any valid output. Where it does, a matrix shows "
        "which padding timestep (column) changes which output timestep (row), and by how much.",
    ),
    "future": SectionHead(
        "Look-ahead",
        "Which timesteps change which",
        "Each timestep of the input (column) is replaced by other content; cells show how much each timestep of the "
        "output (row) changes. In a causal model only cells on and below the diagonal change; a frame marks others.",
    ),
    "loss": SectionHead(
        "Loss",
        "Which timesteps the loss counts",
        "The loss of each timestep before it is reduced to a single number. Hatched timesteps are left out; padding "
        "that counts has its own mark.",
    ),
    "attention": SectionHead(
        "Attention",
        "Attention masks",
        "Attention lets each timestep (the query, a row) look at other timesteps (the keys, columns). A layer combines "
        "the padding mask with a causal mask, which hides later positions. Hatched = not allowed.",
    ),
    "about": SectionHead(
        "About",
        "About this report",
        "Reproduce it with these versions and this command. The page contains its data: "
        "<code>maskcli report --from</code> reads it back from this file, without the model.",
    ),
}
"""The sections by their ids, in the order of a reader's questions; a page leaves out those without content."""
