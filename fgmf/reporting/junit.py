"""A verdict as JUnit properties: names and texts that continuous integration can chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import text_of
from fgmf.reporting.headline import render_headline
from fgmf.reporting.text import printable

if TYPE_CHECKING:
    from fgmf.verdict import Verdict


def junit_properties(verdict: Verdict) -> list[tuple[str, str]]:
    """Return the properties of one gate's test case.

    Args:
        verdict: Of any gate kind.

    Returns:
        Pairs of a name that begins with ``fgmf.`` and a text that is valid in XML; what was
        not measured is left out. Plain `str`, so that it crosses to an xdist controller.
    """
    interval = verdict.interval
    values: dict[str, object] = {
        "gate": verdict.gate,
        "kind": verdict.kind,
        "outcome": verdict.outcome.value,
        "headline": render_headline(verdict),
        "measured": verdict.measured,
        "lower": interval and interval.lower,
        "upper": interval and interval.upper,
        "confidence": interval and interval.confidence,
        "threshold": verdict.threshold,
        "image_count": verdict.image_count,
        "seed": verdict.seed,
        "forward_passes": verdict.cost.forward_passes,
        "backward_passes": verdict.cost.backward_passes,
        "seconds": round(verdict.cost.seconds, 3),
        "findings": ",".join(finding.name for finding in verdict.findings) or None,
        "artifacts": ",".join(verdict.artifacts) or None,
        "head": text_of(verdict.evidence, "head") or None,
        "reproduce": verdict.reproduce or None,
    }
    return [
        (f"fgmf.{name}", printable(str(value)))
        for name, value in values.items()
        if value is not None
    ]
