"""The best that a team can do in a gridworld: shortest joint paths, for all plates at once.

    distance[cells, plates] = 0 where the agents stand on the plates
    repeat: distance = 1 + min over joint actions of distance after them
    plan    = the first joint action that leads one step nearer

Source: breadth-first search over joint states, as dynamic programming.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING, Final

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.policies.gridworld import Gridworld

_MOST: Final = 40_000_000
"""Numbers in the largest table: some hundred megabytes."""
UNREACHABLE: Final = 10_000
"""Distance to plates that no way leads to."""


class JointPlanner:
    """Knows the shortest way from everywhere.

    Args:
        world: Small enough for a table over all joint states and actions.

    Raises:
        InvalidInput: It is not.

    Cost: joint cells x joint actions x sets of plates x longest way, in whole numbers.
    """

    def __init__(self, world: Gridworld) -> None:
        self.world = world
        cells, agents = world.cell_count, world.agent_count
        sets = list(combinations(range(cells), agents))
        size = cells**agents * world.action_count**agents * len(sets)
        if size > _MOST:
            message = f"expected a world with at most {_MOST} joint states x actions x plates"
            raise InvalidInput(f"{message}, got {size}; use fewer agents or less floor")
        self._actions = torch.tensor(list(product(range(world.action_count), repeat=agents)))
        self._base = cells ** torch.arange(agents - 1, -1, -1)
        self._set_of = {plates: at for at, plates in enumerate(sets)}
        joint = torch.tensor(list(product(range(cells), repeat=agents)))
        self._next = self._transitions(joint)
        self.distances = self._solved(joint, torch.tensor(sets))

    def distance(self, states: torch.Tensor) -> torch.Tensor:
        """(n,) steps that the team needs from these states."""
        return self.distances[self._joint(states), self._sets(states)]

    def actions(self, states: torch.Tensor) -> torch.Tensor:
        """Return a best joint action for each state: (n, agents) int64.

        Of several the first, in the order of the actions of the first agent.
        """
        after = self.distances[self._next[self._joint(states)], self._sets(states)[:, None]]
        return self._actions[after.argmin(dim=1)]

    def _joint(self, states: torch.Tensor) -> torch.Tensor:
        return (states[:, 1 : 1 + self.world.agent_count] * self._base).sum(dim=1)

    def _sets(self, states: torch.Tensor) -> torch.Tensor:
        plates = states[:, 1 + self.world.agent_count :].sort(dim=1).values.tolist()
        return torch.tensor([self._set_of[tuple(row)] for row in plates])

    def _transitions(self, joint: torch.Tensor) -> torch.Tensor:
        count, actions = len(joint), len(self._actions)
        moved = self.world.moved(
            joint.repeat_interleave(actions, dim=0), self._actions.repeat(count, 1)
        )
        return (moved * self._base).sum(dim=1).reshape(count, actions)

    def _solved(self, joint: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        ordered = joint.sort(dim=1).values
        there = (ordered[:, None] == sets[None]).all(dim=2)
        distances = torch.where(there, 0, UNREACHABLE)
        while True:
            nearer = (distances[self._next].amin(dim=1) + 1).clamp(max=UNREACHABLE)
            better = torch.minimum(distances, nearer)
            if torch.equal(better, distances):
                return distances
            distances = better
