"""Options on what a model is judged by, for commands that show a loss."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from maskcli.commands import options
from maskcli.errors import UsageError


@dataclasses.dataclass(frozen=True)
class LossArguments:
    """What a model is judged by, as it was asked for."""

    targets: str | None
    targets_field: tuple[str, ...]
    loss: tuple[str, ...]
    loss_options: tuple[str, ...]
    metrics: tuple[str, ...]
    sample_weight: str | None
    sample_weight_field: str | None
    class_weight: tuple[str, ...]
    batch_size: int | None
    batch_sizes: str | None
    shuffles: int

    @property
    def files(self) -> tuple[str, ...]:
        """What is read beside the data."""
        return tuple(path for path in (self.targets, self.sample_weight) if path)

    def asked(self) -> dict[str, Any]:
        """Return the arguments of ``maskcli.loss``; raise UsageError for text that says nothing."""
        return {
            **dataclasses.asdict(self),
            "loss": _by_output(self.loss),
            "loss_options": dict(_option(text) for text in self.loss_options),
            "class_weight": dict(_class_weight(text) for text in self.class_weight) or None,
            "batch_sizes": _sizes(self.batch_sizes),
        }


def loss_options(command: options.Command) -> options.Command:
    """Add targets, the loss and its options, metrics, weights and batch sizes, as ``judging``."""
    return options.bundle_options(
        command,
        "judging",
        LossArguments,
        click.option(
            "--targets",
            metavar="FILE|arange|zeros|ones|shift",
            help="A file with a row for each row of FILE, or targets to make; shift is the next token.  "
            "[default: --targets-field of FILE; arange for a built-in model]",
        ),
        click.option(
            "--targets-field",
            metavar="NAME",
            multiple=True,
            help="Field of records, or array of an .npz, with the targets. Repeat it for several outputs, by name or "
            "in order.",
        ),
        click.option(
            "--loss",
            metavar="[OUTPUT=]LOSS",
            multiple=True,
            help="A loss of keras.losses by name, or package.module:function; OUTPUT= for one of several outputs.  "
            "[default: what the model is compiled with; mse for a built-in model]",
        ),
        click.option(
            "--loss-option",
            "loss_options",
            metavar="NAME=VALUE",
            multiple=True,
            help="Argument of the loss, such as ignore_class=-1, label_smoothing=0.1, from_logits=true, "
            "reduction=sum. Repeatable.",
        ),
        click.option(
            "--metrics", metavar="NAME", multiple=True, help="Metric of keras.metrics, or package.module:function."
        ),
        click.option("--sample-weight", metavar="FILE", help="Weights, one for each row of FILE or for each timestep."),
        click.option(
            "--sample-weight-field", metavar="NAME", help="Field or array of FILE, or of --sample-weight, with them."
        ),
        click.option("--class-weight", metavar="CLASS=WEIGHT", multiple=True, help="Weight of a class. Repeatable."),
        click.option(
            "--batch-size", type=options.AT_LEAST_1, help="Of Keras's evaluate.  [default: 32, as Keras has it]"
        ),
        click.option(
            "--batch-sizes",
            metavar="N,N,...",
            help="Batch sizes to set side by side, with their gradients.  [default: 1, --batch-size and all, without]",
        ),
        click.option(
            "--shuffles",
            type=click.IntRange(min=0),
            default=20,
            show_default=True,
            help="Orders of the rows that are tried for each batch size.",
        ),
    )


def _by_output(losses: tuple[str, ...]) -> str | dict[str, str] | None:
    """Return the loss of all outputs, or those of several by name."""
    if len(losses) <= 1 and not any("=" in text for text in losses):
        return losses[0] if losses else None
    named = dict(text.split("=", 1) for text in losses if "=" in text)
    if len(named) < len(losses):
        raise UsageError(
            where="--loss",
            expected="one loss, or OUTPUT=LOSS for each of several outputs, each once",
            received=" ".join(losses),
            fix="Name the output before each: --loss tags=mse --loss mood=mae.",
        )
    return named


def _option(text: str) -> tuple[str, Any]:
    """Return the name and the value of ``NAME=VALUE``: a value of JSON where it is one, else text."""
    name, given, value = text.partition("=")
    if not given or not name:
        raise _no_pair("--loss-option", "NAME=VALUE", text, "For example --loss-option ignore_class=-1.")
    try:
        return name, json.loads(value.lower() if value in ("True", "False") else value)
    except ValueError:
        return name, value


def _class_weight(text: str) -> tuple[int, float]:
    name, _, value = text.partition("=")
    try:
        return int(name), float(value)
    except ValueError:
        raise _no_pair("--class-weight", "CLASS=WEIGHT, a class id and a number", text, "As 1=2.5.") from None


def _sizes(text: str | None) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in text.split(",")) if text is not None else ()
        if all(size > 0 for size in sizes):
            return sizes
    except ValueError:
        pass
    raise _no_pair("--batch-sizes", "numbers from 1, with commas", str(text), "As 1,2,8.")


def _no_pair(where: str, expected: str, received: str, fix: str) -> UsageError:
    return UsageError(where=where, expected=expected, received=repr(received), fix=fix)
