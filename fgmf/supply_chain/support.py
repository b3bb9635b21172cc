"""Which gate supports evidence for which part of which rule book.

*Supports evidence for* means: the measured values are of the kind that the part asks about. It is
no legal advice, and no gate shows compliance: scope, adequacy and the rest of the part are judged
by people.

Source: Regulation (EU) 2024/1689, Articles 12 and 15; NIST AI 100-1 (AI RMF 1.0), MEASURE;
ISO/IEC TR 24029-1:2021, ISO/IEC 24029-2:2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Support:
    """One line of the map.

    Attributes:
        kind: Of the gate.
        rule: The rule book.
        part: Of it.
        what: What the gate's evidence says about it.
    """

    kind: str
    rule: str
    part: str
    what: str


_EU: Final = "EU AI Act"
_NIST: Final = "NIST AI RMF"
_ISO: Final = "ISO/IEC 24029"

SUPPORT: Final[tuple[Support, ...]] = (
    Support(
        kind="robustness",
        rule=_EU,
        part="Art. 15(5)",
        what="measured resilience against adversarial examples within a stated threat model",
    ),
    Support(
        kind="robustness",
        rule=_NIST,
        part="MEASURE 2.7",
        what="security and resilience evaluated and documented, with intervals",
    ),
    Support(
        kind="robustness",
        rule=_ISO,
        part="24029-1, statistical and empirical methods",
        what="robust accuracy with its sample, interval and attacks",
    ),
    Support(
        kind="corruption",
        rule=_EU,
        part="Art. 15(4)",
        what="measured resilience against errors and faults in the input",
    ),
    Support(
        kind="corruption",
        rule=_NIST,
        part="MEASURE 2.5",
        what="limits of generalisation beyond the conditions of training",
    ),
    Support(
        kind="corruption",
        rule=_ISO,
        part="24029-1, statistical and empirical methods",
        what="accuracy under named corruptions and severities",
    ),
    Support(
        kind="gradient-masking",
        rule=_NIST,
        part="MEASURE 2.13",
        what="whether the measurement of robustness itself was effective",
    ),
    Support(
        kind="gradient-masking",
        rule=_EU,
        part="Art. 15(5)",
        what="that measured resilience is no artefact of useless gradients, as far as was tried",
    ),
    Support(
        kind="attack-selftest",
        rule=_NIST,
        part="MEASURE 2.13",
        what="that the attacks find what is known to be there",
    ),
    Support(
        kind="faithfulness",
        rule=_NIST,
        part="MEASURE 2.9",
        what="that explanations show what the model uses, against references",
    ),
    Support(
        kind="explanation-stability",
        rule=_NIST,
        part="MEASURE 2.9",
        what="that explanations stay the same under small changes",
    ),
    Support(
        kind="mask-log",
        rule=_EU,
        part="Art. 12(1)",
        what="automatic recording of events, whole and unaltered since the head was kept",
    ),
    Support(
        kind="mask-log",
        rule=_NIST,
        part="MEASURE 2.8",
        what="records that transparency and accountability rest on",
    ),
    Support(
        kind="team-mask-log",
        rule=_EU,
        part="Art. 12(1)",
        what="automatic recording of every decision by every agent of a team, whole and joined",
    ),
    Support(
        kind="export-parity",
        rule=_NIST,
        part="MEASURE 2.5",
        what="that the exported file decides as the model that was measured, also under attack",
    ),
    Support(
        kind="provenance",
        rule=_NIST,
        part="MEASURE 2.8",
        what="which model and verdicts an exported file goes back to, unaltered since",
    ),
    Support(
        kind="team-robustness",
        rule=_EU,
        part="Art. 15(5)",
        what="measured resilience of a team of models, also with members compromised or missing",
    ),
    Support(
        kind="team-robustness",
        rule=_NIST,
        part="MEASURE 2.7",
        what="security and resilience of several models that decide together, with intervals",
    ),
    Support(
        kind="team-faithfulness",
        rule=_NIST,
        part="MEASURE 2.9",
        what="that explanations of a team, fused and agent by agent, show what it uses, against "
        "references",
    ),
    Support(
        kind="policy-return",
        rule=_EU,
        part="Art. 15(5)",
        what="measured resilience of what a team achieves against attacks on its observations",
    ),
    Support(
        kind="policy-return",
        rule=_NIST,
        part="MEASURE 2.7",
        what="security and resilience of acting systems evaluated, with intervals",
    ),
)
