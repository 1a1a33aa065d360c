"""A callback of Keras that checks a model on the first batches of its own training."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Literal

from maskcli.api.check import check
from maskcli.api.settings import check_name
from maskcli.backends.choice import get_backend
from maskcli.errors import MaskcliError
from maskcli.inputs.objects import join_fit_batches
from maskcli.inputs.training_batches import BatchPeek, make_hidden_error
from maskcli.models.build_sites import find_site, record_build_sites
from maskcli.models.runtime import load_keras
from maskcli.records.check import CheckReport, FindingsError, MaskCheckWarning
from maskcli.trace.generators import share_generators

if TYPE_CHECKING:

    class _Callback:
        """The part of ``keras.callbacks.Callback`` that is used here; Keras has no types."""

        model: Any

else:
    _Callback = load_keras().callbacks.Callback
    # From now on, so that findings name the lines of a model that is built after this import.
    _BUILD_SITES = record_build_sites()
    _BUILD_SITES.__enter__()

CheckTime = Literal["first_batch", "first_epoch"]
CHECK_TIMES: tuple[CheckTime, ...] = ("first_batch", "first_epoch")


class MaskCheck(_Callback):
    """Check a model once in its training, and warn about findings.

    The probes of ``maskcli.check(quick=True)`` run after the first step, or the first epoch, on the batch of the first
    step, with its targets and sample weights. The training is the same as without the callback.

    Attributes:
        report: the result; None before the check.
    """

    def __init__(self, data: object = None, on: CheckTime = "first_batch", fail: bool = False, **options: Any) -> None:
        """Set the data and the time of the check.

        Args:
            data: the data to check the model on, as for ``maskcli.check``; None for the first batches of ``fit``.
            on: the time of the check: after the step of the first batch, or after the first epoch.
            fail: whether findings stop ``fit`` with a FindingsError; otherwise they are a MaskCheckWarning.
            options: further keyword arguments of ``maskcli.check``, such as ``ignore``.

        Raises:
            UsageError: for another time.
        """
        super().__init__()
        check_name("on", on, CHECK_TIMES)
        self.data = data
        self.on = on
        self.fail = fail
        self.options = options
        self.report: CheckReport | None = None
        self._peek: BatchPeek | None = None
        self._is_done = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - of Keras
        """Forget the batches of a training that was interrupted."""
        self._peek = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - of Keras
        """Look at the batches of the first step, unless there is other data."""
        if self.data is None and self._peek is None and not self._is_done:
            # Keras calls the function of the model right after this, and passes no batch to callbacks.
            self._peek = BatchPeek(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - of Keras
        """Check the model after the first step."""
        __tracebackhide__ = True
        if self._peek is not None and self._peek.batches is None:
            self._peek.remove()
            self._is_done = True
            raise make_hidden_error("the training loop does not call the train_function of the model")
        if self.on == "first_batch":
            self._check()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - of Keras
        """Check the model after the first epoch."""
        __tracebackhide__ = True
        self._check()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - of Keras
        """Leave the model without a trace."""
        if self._peek is not None:
            self._peek.remove()

    def _check(self) -> None:
        """Check the model, once; warn, or raise FindingsError."""
        __tracebackhide__ = True
        if self._is_done:
            return
        self._is_done = True
        data = self.data
        get_backend().return_state(self.model)
        try:
            if data is None:
                data = _join(self._peek)
            options = {"quick": True, **self.options}
            with share_generators():
                self.report = check(data, model=self.model, **options)
        except MaskcliError as error:
            if self.fail:
                raise
            _warn(f"MaskCheck could not check the model: {error}")
            return
        finally:
            self._peek = None
        try:
            self.report.raise_for_findings()
        except FindingsError as error:
            if self.fail:
                raise
            _warn(str(error))


def _warn(message: str) -> None:
    """Warn at the line of the user's code that runs now, which is the call of ``fit``."""
    file, line, _ = find_site(sys._getframe()) or ("MaskCheck", 1, "")
    warnings.warn_explicit(message, MaskCheckWarning, file, line)


def _join(peek: BatchPeek | None) -> object:
    """Return the inputs, targets and weights of all batches of a step."""
    parts = join_fit_batches([] if peek is None or peek.batches is None else peek.batches)
    if parts.targets is None:
        return parts.inputs
    labels = (parts.targets,) if parts.sample_weight is None else (parts.targets, parts.sample_weight)
    return parts.inputs, *labels
