"""A CycloneDX ML bill of materials: each gated model, and what was measured on it.

Source: CycloneDX 1.6, `modelCard.quantitativeAnalysis.performanceMetrics`. Values are texts there.
What has no field of its own (threshold, confidence, outcome, attacks) is a property of the card.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from fgmf.reporting.evidence import records_of, text_of
from fgmf.reporting.headline import render_headline
from fgmf.reporting.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.supply_chain.report import EvidenceReport
    from fgmf.types import Json
    from fgmf.verdict import Condition, Verdict

SPECIFICATION: Final = "1.6"
_SPACE: Final = uuid.UUID("6f1c7a52-6f3f-5b0e-9a53-2d8a2c1d7c10")


def bill_of_materials(report: EvidenceReport, *, model: str) -> dict[str, Json]:
    """List the gated models with their metrics and intervals.

    Args:
        report: The report.
        model: Name of the model, for people.

    Returns:
        The bill: one component per model, and one for gates about no model. The same report gives
        the same bill; its serial number comes from the report's digest.
    """
    from fgmf import __version__

    groups: dict[str, list[Verdict]] = {}
    for verdict in sorted(report.verdicts, key=lambda v: v.gate):
        groups.setdefault(text_of(verdict.evidence, "model_digest"), []).append(verdict)
    components: list[Json] = [
        _component(verdicts, digest, model if at == 0 else f"{model}-{at}")
        for at, (digest, verdicts) in enumerate(groups.items())
    ]
    tool: Json = {"type": "application", "name": "pytest-fgmf", "version": __version__}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, f'{report.digest} {model}')}",
        "version": 1,
        "metadata": {
            "tools": {"components": [tool]},
            "properties": [{"name": "fgmf:report", "value": report.digest}],
        },
        "components": components,
    }


def _component(verdicts: Sequence[Verdict], digest: str, name: str) -> Json:
    metrics: list[Json] = []
    properties: list[Json] = [{"name": "fgmf:model-state", "value": digest or "none"}]
    for verdict in verdicts:
        metrics += [_metric(verdict, c) for c in verdict.conditions if c.measured is not None]
        properties += _properties(verdict)
    return {
        "type": "machine-learning-model",
        "bom-ref": digest or "gates-about-no-model",
        "name": printable(name),
        "modelCard": {
            "quantitativeAnalysis": {"performanceMetrics": metrics},
            "properties": properties,
        },
    }


def _metric(verdict: Verdict, condition: Condition) -> Json:
    threat = text_of(verdict.evidence, "threat")
    about = [printable(verdict.gate), threat, printable(condition.subject)]
    metric: dict[str, Json] = {
        "type": printable(condition.quantity),
        "value": repr(condition.measured),
        "slice": "; ".join(part for part in about if part),
    }
    if condition.interval is not None:
        metric["confidenceInterval"] = {
            "lowerBound": repr(condition.interval.lower),
            "upperBound": repr(condition.interval.upper),
        }
    return metric


def _properties(verdict: Verdict) -> list[Json]:
    interval = verdict.interval
    attacks = [text_of(entry, "name") for entry in records_of(verdict.evidence, "attacks")]
    values: dict[str, object] = {
        "outcome": verdict.outcome,
        "headline": render_headline(verdict),
        "threshold": verdict.threshold,
        "direction": verdict.direction,
        "confidence": interval and interval.confidence,
        "interval-method": interval and interval.method,
        "images": verdict.image_count or None,
        "seed": verdict.seed,
        "attacks": ", ".join(attacks) or None,
        "findings": ", ".join(f.name for f in verdict.findings) or None,
    }
    gate = printable(verdict.gate)
    return [
        {"name": f"fgmf:{gate}:{name}", "value": printable(str(value))}
        for name, value in values.items()
        if value is not None
    ]
