"""Values of loss options, from the text of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maskcli.errors import UsageError


def parse_loss_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with the loss, its options, the class weights and the batch sizes as Python values.

    Raises:
        UsageError: for text that does not have the form of its option.
    """
    return {
        **arguments,
        "loss": _parse_losses(arguments["loss"]),
        "loss_options": dict(map(_parse_loss_option, arguments["loss_options"])),
        "class_weight": dict(map(_parse_class_weight, arguments["class_weight"])) or None,
        "batch_sizes": _parse_sizes(arguments["batch_sizes"]),
    }


def list_loss_files(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the files that are read in addition to the data."""
    return tuple(path for path in (arguments["targets"], arguments["sample_weight"]) if path)


def _parse_losses(losses: Sequence[str]) -> str | dict[str, str] | None:
    """Return the loss of all outputs, or the losses of several outputs by name."""
    if len(losses) <= 1 and not any("=" in text for text in losses):
        return losses[0] if losses else None
    by_output = dict(text.split("=", 1) for text in losses if "=" in text)
    if len(by_output) < len(losses):
        raise UsageError(
            where="--loss",
            expected="one loss, or OUTPUT=LOSS once for each of several outputs",
            received=" ".join(losses),
            fix="Name the output of each: --loss tags=mse --loss mood=mae.",
        )
    return by_output


def _parse_loss_option(text: str) -> tuple[str, Any]:
    """Return the name and the value of ``NAME=VALUE``; a value that is not JSON is text."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise _make_error("--loss-option", "NAME=VALUE", text, "For example --loss-option ignore_class=-1.")
    import json  # Loaded here, because ``--help`` needs none.

    try:
        return name, json.loads(value.lower() if value in ("True", "False") else value)
    except ValueError:
        return name, value


def _parse_class_weight(text: str) -> tuple[int, float]:
    name, _, value = text.partition("=")
    try:
        return int(name), float(value)
    except ValueError:
        raise _make_error(
            "--class-weight", "CLASS=WEIGHT, a class id and a number", text, "For example --class-weight 1=2.5."
        ) from None


def _parse_sizes(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        sizes = tuple(int(size) for size in text.split(","))
        if all(size > 0 for size in sizes):
            return sizes
    except ValueError:
        pass
    raise _make_error(
        "--batch-sizes", "positive numbers, separated by commas", text, "For example --batch-sizes 1,2,8."
    )


def _make_error(where: str, expected: str, received: str, fix: str) -> UsageError:
    return UsageError(where=where, expected=expected, received=repr(received), fix=fix)
