"""`model-index` rows and a section of a model card, as Hugging Face reads them.

The front matter is YAML; JSON is a part of it, so that no text of a gate can break out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fgmf.reporting.evidence import records_of, text_of
from fgmf.reporting.headline import quantity_name
from fgmf.reporting.markdown import render_markdown
from fgmf.reporting.text import printable
from fgmf.supply_chain.support import SUPPORT

if TYPE_CHECKING:
    from fgmf.supply_chain.report import EvidenceReport
    from fgmf.types import Json
    from fgmf.verdict import Condition, Verdict


def model_index(report: EvidenceReport, *, model: str, dataset: str) -> list[Json]:
    """Return the rows of `model-index`: one result per gate that measured something.

    Args:
        report: The report.
        model: Name of the model.
        dataset: Name of the data set.
    """
    results: list[Json] = []
    for verdict in sorted(report.verdicts, key=lambda v: v.gate):
        metrics: list[Json] = [
            _metric(verdict, c) for c in verdict.conditions if c.measured is not None
        ]
        if metrics:
            digest = text_of(verdict.evidence, "data_digest")
            about: dict[str, Json] = {"type": dataset, "name": dataset}
            if digest:
                about["args"] = {"images": digest}
            task: Json = {"type": "image-classification", "name": "Image Classification"}
            results.append({"task": task, "dataset": about, "metrics": metrics})
    return [{"name": model, "results": results}]


def render_model_card(report: EvidenceReport, *, model: str, dataset: str) -> str:
    """Write front matter with `model-index`, and a section with all gates.

    Args:
        report: The report.
        model: Name of the model.
        dataset: Name of the data set.

    Returns:
        Markdown; what the gates support evidence for stands at its end, and that it is not more.
    """
    front = json.dumps(model_index(report, model=model, dataset=dataset), ensure_ascii=True)
    lines = ["---", f"model-index: {front}", "---", ""]
    lines.append(render_markdown(report.verdicts, run=report.run).rstrip())
    lines += ["", "### What this supports evidence for", ""]
    lines += ["No gate shows compliance with any of these; a person decides.", ""]
    kinds = sorted({verdict.kind for verdict in report.verdicts})
    lines += [
        f"- `{entry.kind}`: {entry.rule}, {entry.part}: {entry.what}"
        for entry in SUPPORT
        if entry.kind in kinds
    ]
    return "\n".join(lines) + "\n"


def _metric(verdict: Verdict, condition: Condition) -> Json:
    threat = text_of(verdict.evidence, "threat")
    named = ", ".join(part for part in (printable(verdict.gate), threat) if part)
    attacks: list[Json] = [text_of(e, "name") for e in records_of(verdict.evidence, "attacks")]
    arguments: dict[str, Json] = {
        "threshold": condition.threshold,
        "direction": condition.direction,
        "outcome": str(condition.outcome),
        "images": verdict.image_count,
        "seed": verdict.seed,
    }
    if condition.interval is not None:
        interval = condition.interval
        arguments["interval"] = [interval.lower, interval.upper]
        arguments["confidence"] = interval.confidence
    if attacks:
        arguments["attacks"] = attacks
    return {
        "type": condition.quantity,
        "value": condition.measured,
        "name": f"{quantity_name(condition)} ({named})",
        "args": arguments,
    }
