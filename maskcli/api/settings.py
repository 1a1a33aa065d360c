"""What is asked of a built-in model, checked as far as that goes without Keras."""

from __future__ import annotations

from typing import Any

from maskcli.errors import UsageError
from maskcli.inputs.ids import resolve_input_dim
from maskcli.models.builtin import BUILTIN
from maskcli.models.mask_sources import ALL, MASK_SOURCES, check_padding_id
from maskcli.records.model import ModelSettings
from maskcli.records.sequences import PaddedBatch, RaggedSequences


def make_builtin_settings(
    ragged: RaggedSequences, batch: PaddedBatch, *, input_dim: int | None, **options: Any
) -> ModelSettings:
    """Return the settings of a built-in model.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for ids that the Embedding cannot look up.
    """
    check_positive(input_dim=input_dim, embedding_dim=options["embedding_dim"], units=options["units"])
    check_name("--model", options["name"], tuple(BUILTIN))
    check_name("--mask-source", options["mask_source"], (*MASK_SOURCES, ALL))
    padding_id = batch.layout.value
    check_padding_id(options["mask_source"], padding_id)
    settings = ModelSettings(
        input_dim=resolve_input_dim(ragged, padding_id, input_dim),
        padding_id=padding_id,
        zero_padding_row=options["mask_source"] in ("masking", ALL),
        **options,
    )
    BUILTIN[settings.name].check_settings(settings)
    return settings


def check_name(option: str, name: str, names: tuple[str, ...]) -> None:
    """Raise UsageError for a name that is none of ``names``."""
    if name not in names:
        raise UsageError(where=option, expected=f"one of {', '.join(names)}", received=repr(name), fix="Choose one.")


def check_positive(**numbers: int | None) -> None:
    """Raise UsageError for a number below 1."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError(
                where=name, expected="at least 1", received=str(number), fix="Leave it out, or enlarge it."
            )
