"""maskcli: see the mask in a Keras model.

The commands as functions: ``pad``, ``inspect``, ``loss``, ``check``, ``compare``, ``report`` and ``profile``. Importing
maskcli imports no TensorFlow, and not even NumPy; each function is loaded at its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from maskcli.records.result import Renderers, register_renderers
from maskcli.version import __version__

if TYPE_CHECKING:
    from maskcli.api.assertions import (
        assert_causal,
        assert_mask_reaches,
        assert_masked_loss,
        assert_padding_invariant,
    )
    from maskcli.api.check import check
    from maskcli.api.compare import compare
    from maskcli.api.inspect import inspect
    from maskcli.api.loss import loss
    from maskcli.api.pad import pad
    from maskcli.api.profile import profile
    from maskcli.api.read_report import read_report
    from maskcli.api.report import report
    from maskcli.errors import MaskcliError
    from maskcli.integrations.mask_check import MaskCheck
    from maskcli.records.check import CheckReport, Finding, FindingsError, MaskCheckWarning
    from maskcli.records.comparison import Comparison
    from maskcli.records.loss import LossReport
    from maskcli.records.profile import ProfileReport
    from maskcli.records.report import Report
    from maskcli.records.sequences import PaddedBatch, RaggedSequences
    from maskcli.records.trace import Inspection

__all__ = [
    "CheckReport",
    "Comparison",
    "Finding",
    "FindingsError",
    "Inspection",
    "LossReport",
    "MaskCheck",
    "MaskCheckWarning",
    "MaskcliError",
    "PaddedBatch",
    "ProfileReport",
    "RaggedSequences",
    "Report",
    "__version__",
    "assert_causal",
    "assert_mask_reaches",
    "assert_masked_loss",
    "assert_padding_invariant",
    "check",
    "compare",
    "inspect",
    "loss",
    "pad",
    "profile",
    "read_report",
    "report",
]

_HOMES = {
    "CheckReport": "maskcli.records.check",
    "Comparison": "maskcli.records.comparison",
    "Finding": "maskcli.records.check",
    "FindingsError": "maskcli.records.check",
    "Inspection": "maskcli.records.trace",
    "LossReport": "maskcli.records.loss",
    "MaskCheck": "maskcli.integrations.mask_check",
    "MaskCheckWarning": "maskcli.records.check",
    "MaskcliError": "maskcli.errors",
    "PaddedBatch": "maskcli.records.sequences",
    "ProfileReport": "maskcli.records.profile",
    "RaggedSequences": "maskcli.records.sequences",
    "Report": "maskcli.records.report",
    "assert_causal": "maskcli.api.assertions",
    "assert_mask_reaches": "maskcli.api.assertions",
    "assert_masked_loss": "maskcli.api.assertions",
    "assert_padding_invariant": "maskcli.api.assertions",
    "check": "maskcli.api.check",
    "compare": "maskcli.api.compare",
    "inspect": "maskcli.api.inspect",
    "load_ipython_extension": "maskcli.integrations.notebook",
    "loss": "maskcli.api.loss",
    "pad": "maskcli.api.pad",
    "profile": "maskcli.api.profile",
    "read_report": "maskcli.api.read_report",
    "report": "maskcli.api.report",
    "unload_ipython_extension": "maskcli.integrations.notebook",
}


def _render_text(record: object) -> str:
    from maskcli.render.results import render_text_of

    return render_text_of(record)


def _render_html(record: object) -> str:
    from maskcli.render.results import render_html_of

    return render_html_of(record)


def _make_document(record: object) -> dict[str, Any]:
    from maskcli.render.results import make_plain_document

    return make_plain_document(record)


def _render_json(record: object) -> str:
    from maskcli.render.documents import dumps, make_document

    return dumps(make_document(record)).decode()


register_renderers(Renderers(_render_text, _render_html, _make_document, _render_json))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'maskcli' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
