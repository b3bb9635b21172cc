"""Gate kinds. Each is a specification (pydantic) with a `check` that returns a verdict.

Others can add kinds through the entry-point group ``fgmf.gates``: the name of the entry point
is the kind, its object a subclass of `GateSpecification` with a `check` method.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from fgmf.gates.attack_selftest import AttackSelftestGate
from fgmf.gates.corruption import CorruptionGate
from fgmf.gates.explanation_stability import ExplanationStabilityGate
from fgmf.gates.explanations import ExplainerSpecification, MetricSpecification
from fgmf.gates.export_parity import ExportParityGate
from fgmf.gates.faithfulness import FaithfulnessGate
from fgmf.gates.gradient_masking import GradientMaskingGate
from fgmf.gates.mask_log import MaskLogGate
from fgmf.gates.policy_return import PolicyReturnGate
from fgmf.gates.provenance import ProvenanceGate
from fgmf.gates.robustness import AttackSpecification, RobustnessGate
from fgmf.gates.specification import (
    Gate,
    GateSpecification,
    Progress,
    RunContext,
    StandaloneGate,
)
from fgmf.gates.team_faithfulness import TeamFaithfulnessGate
from fgmf.gates.team_mask_log import TeamMaskLogGate
from fgmf.gates.team_robustness import TeamRobustnessGate

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AttackSelftestGate",
    "AttackSpecification",
    "CorruptionGate",
    "ExplainerSpecification",
    "ExplanationStabilityGate",
    "ExportParityGate",
    "FaithfulnessGate",
    "Gate",
    "GateSpecification",
    "GradientMaskingGate",
    "MaskLogGate",
    "MetricSpecification",
    "PolicyReturnGate",
    "Progress",
    "ProvenanceGate",
    "RobustnessGate",
    "RunContext",
    "StandaloneGate",
    "TeamFaithfulnessGate",
    "TeamMaskLogGate",
    "TeamRobustnessGate",
    "gate_kinds",
]

_OWN_KINDS: dict[str, type[GateSpecification]] = {
    "attack-selftest": AttackSelftestGate,
    "corruption": CorruptionGate,
    "explanation-stability": ExplanationStabilityGate,
    "export-parity": ExportParityGate,
    "faithfulness": FaithfulnessGate,
    "gradient-masking": GradientMaskingGate,
    "mask-log": MaskLogGate,
    "policy-return": PolicyReturnGate,
    "provenance": ProvenanceGate,
    "robustness": RobustnessGate,
    "team-faithfulness": TeamFaithfulnessGate,
    "team-mask-log": TeamMaskLogGate,
    "team-robustness": TeamRobustnessGate,
}


def gate_kinds() -> Mapping[str, type[GateSpecification]]:
    """Return every gate kind by name: the library's own and those of entry points.

    Raises:
        ValueError: An entry point takes the name of one of the library's own kinds.
    """
    kinds = dict(_OWN_KINDS)
    for entry in entry_points(group="fgmf.gates"):
        if entry.name in kinds:
            raise ValueError(f"expected a new kind of gate, got {entry.name!r} a second time")
        kinds[entry.name] = entry.load()
    return MappingProxyType(kinds)
