"""Check the options of a built-in model, as far as possible without Keras."""

from __future__ import annotations

from maskcli.errors import UsageError
from maskcli.inputs.ids import resolve_input_dim
from maskcli.models.builtin import BUILTIN, spell_builtin
from maskcli.models.mask_sources import check_padding_id
from maskcli.records.model import ModelSettings
from maskcli.records.options import ALL, MASK_SOURCES, BuiltinOptions
from maskcli.records.sequences import PaddedBatch, RaggedSequences

DEFAULT_UNITS = 3


def make_builtin_settings(
    ragged: RaggedSequences, batch: PaddedBatch, options: BuiltinOptions, return_sequences: bool = True
) -> ModelSettings:
    """Return the settings of a built-in model for a batch.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for ids that the Embedding cannot look up.
    """
    units = DEFAULT_UNITS if options.units is None else options.units
    check_positive(input_dim=options.input_dim, embedding_dim=options.embedding_dim, units=units)
    name = spell_builtin(str(options.model))
    check_name("--model", name, tuple(BUILTIN))
    check_name("--mask-source", options.mask_source, (*MASK_SOURCES, ALL))
    padding_id = batch.layout.padding_id
    check_padding_id(options.mask_source, padding_id)
    settings = ModelSettings(
        name=name,
        mask_source=options.mask_source,
        input_dim=resolve_input_dim(ragged, padding_id, options.input_dim),
        embedding_dim=options.embedding_dim,
        units=units,
        return_sequences=return_sequences,
        zero_output_for_mask=options.zero_output_for_mask,
        zero_padding_row=options.mask_source in ("masking", ALL),
        padding_id=padding_id,
        seed=options.seed,
    )
    BUILTIN[settings.name].check_settings(settings)
    return settings


def check_name(option: str, name: str, names: tuple[str, ...]) -> None:
    """Raise UsageError if ``name`` is not one of ``names``."""
    if name not in names:
        raise UsageError(where=option, expected=f"one of {', '.join(names)}", received=repr(name), fix="Choose one.")


def check_positive(**numbers: int | None) -> None:
    """Raise UsageError for a number below 1."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError(
                where=name, expected="at least 1", received=str(number), fix="Leave it out, or enlarge it."
            )
