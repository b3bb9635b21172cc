"""Where the carriers act."""

from __future__ import annotations

from fgmf.policies import Gridworld


def make(horizon: int = 12) -> Gridworld:
    """Return the world: a ring of eight cells, two carriers, two plates.

    Args:
        horizon: Steps after which an episode is lost.
    """
    return Gridworld(layout=("...", ".#.", "..."), agent_count=2, horizon=horizon)
