"""``maskcli loss``."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from typing import Any

import click

from maskcli.commands import options
from maskcli.commands.inspect import ONLY_BUILTIN
from maskcli.errors import UsageError
from maskcli.models.mask_sources import MASK_SOURCES


@click.command(short_help="Compare masked and unmasked loss, and see what they are made of.")
@options.source_options
@click.option(
    "--targets",
    metavar="FILE|arange|zeros|ones|shift",
    help="A file with a row for each row of FILE, or targets to make; shift is the next token.  "
    "[default: --targets-field of FILE; arange for a built-in model]",
)
@click.option(
    "--targets-field",
    metavar="NAME",
    multiple=True,
    help="Field of records, or array of an .npz, with the targets. Repeat it for several outputs, by name or in order.",
)
@click.option(
    "--loss",
    metavar="[OUTPUT=]LOSS",
    multiple=True,
    help="A loss of keras.losses by name, or package.module:function; OUTPUT= for one of several outputs.  "
    "[default: what the model is compiled with; mse for a built-in model]",
)
@click.option(
    "--loss-option",
    "loss_options",
    metavar="NAME=VALUE",
    multiple=True,
    help="Argument of the loss, such as ignore_class=-1, label_smoothing=0.1, from_logits=true, reduction=sum. "
    "Repeatable.",
)
@click.option("--metrics", metavar="NAME", multiple=True, help="Metric of keras.metrics, or package.module:function.")
@click.option("--sample-weight", metavar="FILE", help="Weights, one for each row of FILE or for each timestep.")
@click.option("--sample-weight-field", metavar="NAME", help="Field or array of FILE, or of --sample-weight, with them.")
@click.option("--class-weight", metavar="CLASS=WEIGHT", multiple=True, help="Weight of a class. Repeatable.")
@click.option("--batch-size", type=options.AT_LEAST_1, help="Of Keras's evaluate.  [default: 32, as Keras has it]")
@click.option(
    "--batch-sizes",
    metavar="N,N,...",
    help="Batch sizes to set side by side, with their gradients.  [default: 1, --batch-size and all, without]",
)
@click.option(
    "--shuffles",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Orders of the rows that are tried for each batch size.",
)
@options.any_model_options
@click.option(
    "--units",
    type=options.AT_LEAST_1,
    help="Width of the outputs, or of the LSTM before logits.  [default: what the targets need, or 3]",
)
@options.mask_source_option(MASK_SOURCES, " of a built-in model")
@options.answer_options("Write the result: .json, or .txt for the tables.")
@options.json_schema_option("loss")
def loss(
    source: options.Source,
    answer: options.Answer,
    loss: tuple[str, ...],
    loss_options: tuple[str, ...],
    class_weight: tuple[str, ...],
    batch_sizes: str | None,
    **model: Any,
) -> None:
    """Show what a loss came to, masked and unmasked, and what each timestep has to do with it.

    Masked counts the timesteps that the mask calls valid; unmasked is the same predictions with every timestep
    counted, which is what the loss of model.predict gives; unmasked model is the same weights run without any mask.
    Keras evaluate is Keras's own number, which also depends on the batch size.

    With a model of your own, FILE may be an .npz with an array, or records with a field, for each input, and
    --targets-field names the one that holds the targets. --input-dim, --embedding-dim, --zero-output-for-mask, --seed,
    --units and --mask-source make a built-in model and go with no other.
    """
    from maskcli import verbs
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.documents import loss_document
    from maskcli.render.progress import counting
    from maskcli.render.views import loss as views

    answer.check_output()
    builtin = options.is_builtin(model["model"], *(name for name in ONLY_BUILTIN if name != "return_sequences"))
    asked: dict[str, Any] = {
        "loss": _by_output(loss),
        "loss_options": dict(_option(text) for text in loss_options),
        "class_weight": dict(_class_weight(text) for text in class_weight) or None,
        "batch_sizes": _sizes(batch_sizes),
    }
    data, layout, naming = source.handed(builtin, *filter(None, [model["targets"], model["sample_weight"]]))
    with naming, counting("Running the model", "rows") as progress, quiet_stderr(), quiet_stdout():
        report = verbs.loss(data, **asked, **dataclasses.asdict(layout), **model, progress=progress)
    document, view = loss_document(report), partial(views.view, report)
    answer.write(document, view)
    answer.show(document, view)


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
