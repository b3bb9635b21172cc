"""The policies, and the two trained teams of this repository."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from fgmf.agents import Agent, Team, View

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
CHANNELS = 4
CELLS = 9
ACTIONS = 5


class Carrier(nn.Module):
    """Two hidden layers from what one carrier sees to its actions."""

    def __init__(self, width: int = 128) -> None:
        """Make the layers with torch's default initial weights."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(CHANNELS * CELLS, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, ACTIONS),
        )

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """What a carrier sees (n, 4, 3, 3) to logits of its actions (n, 5)."""
        logits: torch.Tensor = self.layers(seen)
        return logits


def untrained(seed: int = 0) -> Team:
    """Return two carriers with first weights; each sees its own four channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Team(
            [
                Agent(name, Carrier(), view=View(channels=tuple(range(4 * at, 4 * at + 4))))
                for at, name in enumerate(("left", "right"))
            ]
        )


def load_plain() -> Team:
    """Return the team that learned from what there is to see."""
    return load("plain")


def load_hardened() -> Team:
    """Return the team that learned from attacked observations."""
    return load("hardened")


def load(name: str) -> Team:
    """Return a trained team.

    Args:
        name: "plain" or "hardened".

    Raises:
        FileNotFoundError: It was not trained yet.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        message = f"no trained weights at {path}; make them with: python -m carriers.train"
        raise FileNotFoundError(message)
    team = untrained()
    team.load_state_dict(load_file(path))
    return team.eval()
