"""Explanations of a team: each agent's, fused, and where agents disagree."""

from __future__ import annotations

from fgmf.team_faithfulness.fusing import (
    FusedExplainer,
    TeamMaps,
    compare_agents,
    explain_agents,
    fuse,
)

__all__ = ["FusedExplainer", "TeamMaps", "compare_agents", "explain_agents", "fuse"]
