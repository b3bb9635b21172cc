from __future__ import annotations

from typing import Any

from fgmf.reporting import render_details
from fgmf.verdict import Outcome, Verdict


def details(evidence: dict[str, Any]) -> list[str]:
    verdict = Verdict(
        gate="maps", kind="faithfulness", outcome=Outcome.PASS, reason="", evidence=evidence
    )
    return render_details(verdict).splitlines()


def row(**changes: Any) -> dict[str, Any]:
    reference = {"name": "edges", "score": 0.5, "margin": 0.25, "beaten_on": 90}
    return {
        "title": "Deletion",
        "metric": "deletion",
        "replacement": "blur",
        "higher_is_better": False,
        "score": 0.25,
        "references": [reference],
        **changes,
    }


def test_scores_stand_beside_those_of_references() -> None:
    lines = details(
        {
            "comparisons": [
                row(),
                row(title="Sparseness", replacement="", higher_is_better=True, references=[]),
                row(score=None, references=[]),
            ],
            "replaced_reference_maps": {"edges": 1},
        }
    )
    assert lines == [
        "mean scores (margin over the reference; images on which it is beaten):",
        "                                   explainer              edges",
        "  Deletion (blur; less is better)      0.250  0.500 (0.250; 90)",
        "  Sparseness (more is better)          0.250                  -",
        "  Deletion (blur; less is better)          -                  -",
        "  1 map of edges ranked no pixel and became random",
    ]


def test_similarities_have_a_line_each() -> None:
    rows = [{"name": "noise", "size": 0.05, "similarity": 0.75, "lowest": 0.5}]
    lines = details(
        {
            "stability": rows,
            "similarity": "ssim",
            "changed_by_noise": 0.04,
            "pulled_back": 0.25,
        }
    )
    assert lines == [
        "similarity of maps (ssim):",
        "  noise 0.05: mean 0.750, lowest image 0.500",
        "  4.0% of noisy copies were predicted as another class",
        "  25.0% of candidates changed the prediction and were pulled back",
    ]


def test_foreign_evidence_is_survived() -> None:
    for odd in ("text", 3, None, [1, 2], [{}], {"a": 1}):
        details({"comparisons": odd, "stability": odd, "replaced_reference_maps": odd})
    assert details({"comparisons": [row(references=[{"name": "\x1b[31m"}])]})[2:] != []
    assert "\x1b" not in "".join(details({"comparisons": [row(title="\x1b[31m")]}))
