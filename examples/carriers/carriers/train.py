"""Train both teams by imitation of the best joint moves: `python -m carriers.train`.

The plain team learns from what there is to see, the hardened one from observations that projected
gradient descent has moved within a box of `EPSILON`. Everything else is the same.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

from carriers.team import WEIGHTS, untrained
from carriers.world import make
from fgmf.policies import ImitationPlan, JointPlanner, imitate

if TYPE_CHECKING:
    from fgmf.agents import Team

EPSILON = 0.15
NAMES = ("plain", "hardened")


def train(name: str, *, seed: int = 0, rounds: int = 5, episodes: int = 200) -> Team:
    """Train one of the two teams.

    Args:
        name: "plain" or "hardened".
        seed: Fixes first weights, episodes and order.
        rounds: Of playing and learning.
        episodes: Played in each round.

    Returns:
        The team in evaluation mode.
    """
    team, world = untrained(seed), make()
    plan = ImitationPlan(
        rounds=rounds,
        episodes=episodes,
        epochs=12,
        batch_size=64,
        epsilon=EPSILON if name == "hardened" else 0.0,
        attack_steps=2,
        seed=seed,
    )
    imitate(team, world, JointPlanner(world), plan)
    return team


def main() -> None:
    """Train the teams that were asked for and write their weights."""
    parser = argparse.ArgumentParser(description="Train the carriers.")
    parser.add_argument("names", nargs="*", default=list(NAMES), help="plain, hardened")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown team {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    torch.set_num_threads(1)  # so small networks lose more than they gain by a second thread
    WEIGHTS.mkdir(exist_ok=True)
    for name in options.names:
        start = time.perf_counter()
        team = train(name, seed=options.seed)
        path = WEIGHTS / f"{name}.safetensors"
        path.write_bytes(save(team.state_dict()))
        print(f"{name}: {time.perf_counter() - start:.1f} s, {path.name}")


if __name__ == "__main__":
    main()
