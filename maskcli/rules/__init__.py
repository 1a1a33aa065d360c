"""One file a rule; a new one is a file here and a line in the table below."""

from __future__ import annotations

from maskcli.rules import (
    empty_row_not_finite,
    empty_row_of_padding,
    empty_sequence,
    id_out_of_range,
    input_dim_off_by_one,
    loss_counts_padding,
    loss_depends_on_batch_size,
    mask_dropped,
    mask_lost_on_save,
    mask_misaligned,
    mask_misses_padding,
    mask_not_given,
    mask_shape,
    mask_widened,
    masking_after_embedding,
    masking_hides_data,
    masking_on_ids,
    metric_ignores_mask,
    no_mask_source,
    normalization_mixes_padding,
    padded_timestep_used,
    padding_id_as_token,
    padding_leaks,
    padding_waste,
    pre_padding,
    truncated_tokens,
)
from maskcli.rules.base import Rule, read_rule

RULES: tuple[Rule, ...] = tuple(
    read_rule(module)
    for module in (
        padding_id_as_token,  # MSK001
        empty_sequence,
        truncated_tokens,
        id_out_of_range,
        input_dim_off_by_one,
        pre_padding,
        padding_waste,
        mask_dropped,  # MSK101
        mask_widened,
        mask_not_given,
        no_mask_source,
        mask_shape,
        mask_misaligned,
        padding_leaks,
        padded_timestep_used,
        normalization_mixes_padding,
        masking_on_ids,
        masking_after_embedding,
        mask_misses_padding,
        masking_hides_data,
        mask_lost_on_save,
        empty_row_not_finite,  # MSK201
        empty_row_of_padding,
        loss_counts_padding,  # MSK301
        loss_depends_on_batch_size,
        metric_ignores_mask,
    )
)
"""All rules, by code."""
