"""A small world of cooperating agents: together they have to stand on all plates at once.

    #####      walls; agents move up, down, left, right, or stay, all at the same time
    #a..#      a move into a wall, or against another agent, is a move that does not happen
    #.o.#      the episode is won at the first step after which every plate has an agent on it
    #o.a#      return = 1 - (steps it took - 1) / horizon; 0 if the horizon came first
    #####

Nobody owns a plate: who goes where has to come out of what all of them see.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fgmf.errors import InvalidInput
from fgmf.policies.environment import Step
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOMS: Final = (
    "...",
    ".#.",
    "...",
)
"""The default layout: `.` is floor, `#` is wall; around it everything is wall."""
MOVES: Final = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
"""Row and column of each action: stay, up, down, left, right."""
CHANNELS: Final = 4
"""What an agent sees: itself, the others, plates, walls; each an image of the world."""


@dataclass(frozen=True, kw_only=True)
class Gridworld:
    """The world.

    Attributes:
        layout: Rows of the same length, of `.` and `#`.
        agent_count: Agents, and plates.
        horizon: Steps after which an episode is lost.
    """

    layout: tuple[str, ...] = ROOMS
    agent_count: int = 2
    horizon: int = 12
    action_count: int = len(MOVES)
    return_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Look at the layout.

        Raises:
            InvalidInput: It is no layout, or too small for the agents.
        """
        widths = {len(row) for row in self.layout}
        if len(widths) != 1 or set("".join(self.layout)) - set(".#"):
            message = "expected a layout of rows of the same length, of '.' and '#'"
            raise InvalidInput(f"{message}, got {self.layout!r}")
        if self.cell_count < 2 * self.agent_count or self.agent_count < 1 or self.horizon < 1:
            message = f"expected at least one agent, one step and 2 x {self.agent_count} cells of "
            raise InvalidInput(f"{message}floor, got {self.cell_count}")

    @cached_property
    def floor(self) -> tuple[tuple[int, int], ...]:
        """Row and column of each cell that one can stand on; cells are named by their number."""
        return tuple(
            (row, column)
            for row, line in enumerate(self.layout)
            for column, sign in enumerate(line)
            if sign == "."
        )

    @property
    def cell_count(self) -> int:
        """How many cells one can stand on."""
        return len(self.floor)

    @cached_property
    def neighbours(self) -> torch.Tensor:
        """(cells, actions) the cell that a move leads to; the same where a wall is in the way."""
        number = {place: at for at, place in enumerate(self.floor)}
        rows = [
            [number.get((row + down, column + right), at) for down, right in MOVES]
            for at, (row, column) in enumerate(self.floor)
        ]
        return torch.tensor(rows)

    def reset(self, seeds: Sequence[int]) -> torch.Tensor:
        """Place agents and plates on cells of their own.

        Args:
            seeds: One per episode.

        Returns:
            (n, 1 + 2 agents) int64: steps taken, cells of the agents, cells of the plates.

        Randomness: each seed fixes its episode.
        """
        count = self.agent_count
        rows = []
        for seed in seeds:
            drawn = image_generator(seed, "gridworld").permutation(self.cell_count)[: 2 * count]
            rows.append(np.concatenate(([0], drawn[:count], np.sort(drawn[count:]))))
        return torch.from_numpy(np.stack(rows)).to(torch.int64)

    def observe(self, states: torch.Tensor) -> torch.Tensor:
        """Draw what each agent sees.

        Args:
            states: (n, 1 + 2 agents).

        Returns:
            (n, 4 agents, height, width) float32 of zeros and ones; agent i has the channels from
            4 i on: itself, the others, plates, walls.
        """
        n, agents = len(states), self.agent_count
        height, width = len(self.layout), len(self.layout[0])
        place = torch.tensor([row * width + column for row, column in self.floor])
        marks = torch.zeros(n, agents, CHANNELS, height * width)
        cells = place[states[:, 1 : 1 + agents]]
        plates = place[states[:, 1 + agents :]]
        walls = torch.tensor([sign == "#" for line in self.layout for sign in line])
        everyone = torch.zeros(n, height * width).scatter_(1, cells, 1.0)
        for agent in range(agents):
            own = torch.zeros(n, height * width).scatter_(1, cells[:, agent, None], 1.0)
            marks[:, agent, 0], marks[:, agent, 1] = own, everyone - own
        marks[:, :, 2] = torch.zeros(n, height * width).scatter_(1, plates, 1.0)[:, None]
        marks[:, :, 3] = walls.to(torch.float32)
        return marks.reshape(n, agents * CHANNELS, height, width)

    def step(self, states: torch.Tensor, actions: torch.Tensor) -> Step:
        """Move all agents at once.

        Args:
            states: (n, 1 + 2 agents).
            actions: (n, agents) numbers of `MOVES`.
        """
        agents = self.agent_count
        following = states.clone()
        following[:, 0] += 1
        following[:, 1 : 1 + agents] = self.moved(states[:, 1 : 1 + agents], actions)
        won = self.succeeded(following)
        rewards = torch.where(won, 1.0 - states[:, 0] / self.horizon, 0.0)
        return Step(following, rewards, won | (following[:, 0] >= self.horizon))

    def moved(self, cells: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Return where agents stand after a move: (n, agents).

        Moves are taken back until nobody shares a cell and nobody has changed places.
        """
        wanted = self.neighbours[cells, actions]
        for _ in range(self.agent_count):
            same = wanted[:, :, None] == wanted[:, None, :]
            swapped = (wanted[:, :, None] == cells[:, None, :]) & (
                cells[:, :, None] == wanted[:, None, :]
            )
            clash = same | swapped
            clash[:, torch.arange(self.agent_count), torch.arange(self.agent_count)] = False
            wanted = torch.where(clash.any(dim=2), cells, wanted)
        return wanted

    def succeeded(self, states: torch.Tensor) -> torch.Tensor:
        """(n,) True where every plate has an agent on it."""
        agents = self.agent_count
        cells = states[:, 1 : 1 + agents].sort(dim=1).values
        plates = states[:, 1 + agents :].sort(dim=1).values
        return (cells == plates).all(dim=1)
