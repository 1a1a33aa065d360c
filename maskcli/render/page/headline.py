"""The heading of a page: the result in a plain sentence."""

from __future__ import annotations

from collections.abc import Sequence

from maskcli.records.check import Finding
from maskcli.records.report import Report
from maskcli.records.wording import format_count

CLAUSES = {
    "MSK116": "the rows of a batch change each other",
    "MSK119": "the segments of packed rows change each other",
    "MSK117": "later timesteps change earlier ones",
    "MSK402": "it computes something else when it is compiled",
    "MSK301": "its loss counts padding",
    "MSK302": "its loss depends on the batch size",
    "MSK303": "a metric counts padding",
}
"""What else is wrong, by the code of the finding."""


def make_headline(report: Report) -> str:
    """Return whether padding changes predictions, and what else needs attention."""
    evidence = report.check.examination.model
    if evidence is None or evidence.leak is None:
        return "This model does not run on this data"
    faults = [finding for finding in report.check.findings if finding.severity != "info"]
    match evidence.leak_answer:
        case "yes" if evidence.leak.weights == "noisy":
            return "Once trained, this model will let padding change its predictions"
        case "yes":
            return "This model lets padding change its predictions"
        case "unproven":
            return "It is unproven whether padding changes the predictions of this model"
        case "no":
            return f"Padding does not change the predictions of this model{_add_faults(faults)}"
        case _:
            return f"Nothing to prove: the data has no padding, and the model no mask{_add_faults(faults)}"


def _add_faults(faults: Sequence[Finding]) -> str:
    """Return the worst fault as the end of a sentence; empty without faults."""
    if not faults:
        return ""
    clause = next((CLAUSES[finding.code] for finding in faults if finding.code in CLAUSES), "")
    if not clause:
        verb = "needs" if len(faults) == 1 else "need"
        clause = f"{format_count(len(faults), 'finding')} {verb} attention"
    return f", but {clause}"
