"""Recipes for teams: every agent alone, through the rule, or kept apart from the others.

independent   mean over agents of recipe(agent)                   attacks are made for each agent
joint         recipe(team)                                        attacks go through the rule
diverse       independent, and every r updates
              weight * log (1 + mean_{i<j} s_i s_j (exp cos(grad_x loss_i, grad_x loss_j) - 1))

The last term, mean over images, is large where what raises the loss of one agent raises that of
another one: then an attack on one is an attack on all. s_i is how much agent i has learnt by now:
how sure it is of the right class, mean over the batch, from 0 at chance to 1; a number without a
gradient. An agent that has learnt nothing has a gradient without direction, and would be the
cheapest to keep apart: held apart from the first update on, slow learners stay at chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import torch
from torch.nn.functional import cross_entropy

from fgmf.agents import RULES, Agent, Team
from fgmf.curvature import second_derivatives
from fgmf.errors import InvalidInput
from fgmf.sgam import SaliencyTeacher, Sgam
from fgmf.training.around import AroundRecipe
from fgmf.training.interface import (
    KeepingRecipe,
    Recipe,
    SharedObjective,
    UpdateCount,
    begin,
    follow,
    show,
)
from fgmf.training.perturbations import evaluating, uncompiled
from fgmf.training.schedule import check_positive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from fgmf.training.augmentation import Views
    from fgmf.training.interface import Objective
    from fgmf.types import Images, Labels

TeamWay: TypeAlias = Literal["independent", "joint", "diverse"]

_WHOLE: Final = ""
"""Key of the objective of the whole team, which is no agent's name."""


@dataclass(frozen=True, kw_only=True)
class TeamRecipe(AroundRecipe):
    """Any recipe, for a :class:`~fgmf.agents.Team`.

    Attributes:
        recipe: What is minimised, of each agent or of the team: any recipe, SCOR-PIO too.
        way: ``independent``, ``joint`` or ``diverse``. Only ``joint`` trains what belongs to the
            team: weights or gate of the rule, messages.
        weight: Of the alignment, in ``diverse``.
        every: Updates from one alignment to the next.
        share: Of the batch that it looks at.
        teacher: Lessons for the saliency mask of every agent; None where agents have none.

    Source: the alignment is GAL (Kariyappa & Qureshi 2019, arXiv 1901.09981), up to a constant
        where all have learnt everything; they take leaky activations and adversarial examples as
        augmentation. The share every few updates is ours, and s_i, without which slow learners
        collapsed (docs/measurements-teams.md).
        Yang et al. (2021, TRS, arXiv 2104.00671) bound transferability by alignment *and*
        smoothness: aligned less, rough models still transfer, so `recipe` should be a robust one.
    Cost: passes of all agents count as one of the team: the recipe's; in ``diverse`` share / every
        of 1 forward pass, a gradient, and a backward pass through it, counted as 2; lessons as in
        :class:`SgamRecipe`.
    """

    recipe: Recipe | KeepingRecipe
    way: TeamWay = "independent"
    weight: float = 1.5
    every: int = 2
    share: float = 0.5
    teacher: SaliencyTeacher | None = field(default=None)

    def __post_init__(self) -> None:
        """Refuse what is no way to train a team.

        Raises:
            InvalidInput: An unknown way, or a number outside its range.
        """
        check_positive(self, "weight", "share")
        if self.way not in get_args(TeamWay):
            raise InvalidInput(f"expected a way of {get_args(TeamWay)}, got {self.way!r:.80}")
        if not isinstance(self.every, int) or self.every < 1 or self.share > 1.0:
            raise InvalidInput(
                "expected every as a whole number above 0 and a share up to 1, "
                f"got {self.every!r} and {self.share!r}"
            )

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes of the team per image and epoch."""
        forward, backward = self.recipe.passes
        lessons = 0.0 if self.teacher is None else 1.0 / self.teacher.every
        part = self.share / self.every if self.way == "diverse" else 0.0
        return forward + lessons + part, backward + lessons + 3 * part

    def begin(self, image_count: int, shape: tuple[int, ...]) -> Objective:
        """Return the objective; it meets its agents at the first loss."""
        return _TeamObjective(self, image_count, shape)


class _TeamObjective:
    """An inner objective for each agent, or for the team, and the count of updates."""

    def __init__(self, recipe: TeamRecipe, image_count: int, shape: tuple[int, ...]) -> None:
        self.recipe, self._size, self._updates = recipe, (image_count, shape), UpdateCount()
        self._inner: dict[str, Objective] = {}
        self._views: Views | None = None

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        indices: torch.Tensor,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        recipe, team = self.recipe, _checked_team(model)
        parts: Sequence[tuple[str, nn.Module]] = [(agent.name, agent) for agent in team.members]
        if recipe.way == "joint":
            _refuse_votes(team)
            parts = [(_WHOLE, model)]
        total = torch.zeros((), device=images.device)
        further, update = self._updates.further, self._updates.take()
        for name, part in parts:
            objective = self._of(name)
            show(objective, self._views)
            follow(objective, further=further)
            total = total + objective.loss(
                part, images, labels, indices, progress=progress, draws=draws
            ) / len(parts)
        if recipe.way == "diverse" and update % recipe.every == 0 and len(parts) > 1:
            count = max(1, math.ceil(recipe.share * len(images)))
            aligned = _alignment_of_learnt(team, images[:count], labels[:count])
            total = total + recipe.weight * aligned
        if recipe.teacher is not None:
            total = total + self._lessons(recipe.teacher, team, images, labels, update)
        return total

    def share(self, summed: Callable[[torch.Tensor], torch.Tensor], own: torch.Tensor) -> None:
        for objective in self._inner.values():
            if isinstance(objective, SharedObjective):
                objective.share(summed, own)

    def see(self, views: Views | None) -> None:
        self._views = views

    def follow(self, *, further: bool) -> None:
        self._updates.further = further

    def state_dict(self) -> dict[str, Any]:
        inner = {name: objective.state_dict() for name, objective in self._inner.items()}
        return {"inner": inner, "updates": self._updates.made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, kept in state["inner"].items():
            self._of(name).load_state_dict(kept)
        self._updates.made = int(state["updates"])

    def _of(self, name: str) -> Objective:
        if name not in self._inner:
            self._inner[name] = begin(self.recipe.recipe, *self._size)
        return self._inner[name]

    def _lessons(
        self, teacher: SaliencyTeacher, team: Team, images: Images, labels: Labels, update: int
    ) -> torch.Tensor:
        total = torch.zeros((), device=images.device)
        if not teacher.due(update):
            return total
        for agent in team.members:
            seen = agent.view.applied(images)
            lesson = teacher.loss(_checked_sgam(agent), seen, labels, step=update)
            total = total + lesson / len(team.members)
        return total


def gradient_alignment(team: Team, images: Images, labels: Labels) -> torch.Tensor:
    """How far the agents' losses rise in the same directions: GAL of each image, (n,).

    Between log(pairs) - 1, all gradients opposite, and log(pairs) + 1, all the same.

    Args:
        team: Of two or more agents; put in evaluation mode meanwhile.
        images: (n, c, h, w).
        labels: (n,) int64.

    Raises:
        InvalidInput: A team of one.

    Cost: 1 forward pass and 1 gradient of each agent, which can be differentiated once more.
    """
    if len(team.members) < 2:
        raise InvalidInput("expected a team of two or more agents, got one")
    cosines, _ = _cosines(team, images, labels)
    return torch.stack(list(cosines.values())).logsumexp(dim=0)


def _alignment_of_learnt(team: Team, images: Images, labels: Labels) -> torch.Tensor:
    """The last term of ``diverse``: a scalar, 0 where at most one agent has learnt anything."""
    cosines, learnt = _cosines(team, images, labels)
    rises = [learnt[i] * learnt[j] * cosine.expm1() for (i, j), cosine in cosines.items()]
    return torch.stack(rises).mean(dim=0).log1p().mean()


def _cosines(
    team: Team, images: Images, labels: Labels
) -> tuple[dict[tuple[int, int], torch.Tensor], list[torch.Tensor]]:
    """Of each pair of agents (n,), with a graph; how much each has learnt, without one."""
    directions, learnt = [], []
    for agent in team.members:
        with evaluating(agent), torch.enable_grad(), second_derivatives():
            at = images.detach().clone().requires_grad_()
            logits = agent(at)
            losses = cross_entropy(logits, labels, reduction="none")
            (gradient,) = torch.autograd.grad(losses.sum(), at, create_graph=True)
        flat = gradient.flatten(1)
        directions.append(flat / flat.norm(dim=1, keepdim=True).clamp(min=_SMALLEST))
        chance = 1 / logits.shape[1]
        sure = (-losses.detach()).exp().mean()
        learnt.append(((sure - chance) / (1 - chance)).clamp(min=0))
    pairs = combinations(range(len(directions)), 2)
    return {(i, j): (directions[i] * directions[j]).sum(dim=1) for i, j in pairs}, learnt


_SMALLEST: Final = 1e-12
"""Norms of gradients below it have no direction."""


def _checked_team(model: nn.Module) -> Team:
    team = uncompiled(model)
    if not isinstance(team, Team):
        raise InvalidInput(f"expected a fgmf.agents.Team, got {type(team).__name__}")
    return team


def _refuse_votes(team: Team) -> None:
    entry = RULES.get(team.rule_name)  # type: ignore[call-overload]  # rules of a user's own too
    if entry is not None and not entry.differentiable:
        raise InvalidInput(
            f"expected a rule with a gradient for joint training, got {team.rule_name}; train the "
            "agents independently"
        )


def _checked_sgam(agent: Agent) -> Sgam:
    if not isinstance(agent.model, Sgam):
        raise InvalidInput(
            f"expected the model of agent {agent.name} wrapped by Sgam.wrap, "
            f"got {type(agent.model).__name__}"
        )
    return agent.model
