"""What the agents of a team rest a decision on, put together, and where they disagree.

    targets        = the classes that are explained, the same for every agent
    map of agent i = explainer on agent i alone, divided by its largest absolute value
    fused          = mean over agents
    disagreement   = standard deviation over agents, pixel by pixel
    score          = mean over pairs of agents of (1 - rank correlation of their maps) / 2

The score is 0 where agents rank pixels alike, 1/2 where their ranks have nothing to do with each
other, 1 where they are opposite. A map that is the same everywhere ranks nothing: it agrees with
nobody (1/2).

Source: own; rank correlation as in `fgmf.faithfulness.similarity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import torch

from fgmf.attribution.interface import Attribution
from fgmf.errors import InvalidInput
from fgmf.faithfulness.similarity import map_similarity
from fgmf.team_robustness.asking import OneAlone, team_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.attribution.interface import Explainer
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels


@dataclass(frozen=True, kw_only=True, eq=False)
class TeamMaps:
    """What agents rest on.

    Attributes:
        names: Of the agents.
        maps: (agents, n, h, w) as their explainer made them.
        fused: (n, h, w) the mean of scaled maps.
        disagreement: (n, h, w) their standard deviation.
        scores: (n,) float64 from 0 (alike) to 1 (opposite).
    """

    names: tuple[str, ...]
    maps: torch.Tensor
    fused: torch.Tensor
    disagreement: torch.Tensor
    scores: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class FusedExplainer:
    """An explainer of a team: that of each agent, fused. Takes a classifier around a team.

    Attributes:
        explainer: Explains one agent.
    """

    explainer: Explainer

    @property
    def name(self) -> str:
        """Name in reports."""
        return f"fused {self.explainer.name}"

    def explain(
        self,
        classifier: Classifier,
        images: Images,
        targets: Labels,
        *,
        keys: Sequence[str] | None = None,
        seed: int = 0,
    ) -> Attribution:
        """Explain one class for each image, by all agents together.

        Args:
            classifier: Around a team.
            images: (n, c, h, w) within the bounds.
            targets: (n,) the class that is explained.
            keys: One stable name per image.
            seed: With the keys it fixes all draws.

        Returns:
            The fused maps; the parameters are those of the first agent.

        Raises:
            InvalidInput: The classifier is around no team.

        Cost: that of the explainer on each agent alone.
        """
        singles = explain_agents(self.explainer, classifier, images, targets, keys=keys, seed=seed)
        first = singles[0]
        cost = first.cost
        for one in singles[1:]:
            cost += one.cost
        return Attribution(
            maps=fuse(torch.stack([one.maps for one in singles])),
            targets=first.targets,
            method=self.name,
            parameters=first.parameters,
            keys=first.keys,
            seed=seed,
            cost=cost,
        )


def explain_agents(
    explainer: Explainer,
    classifier: Classifier,
    images: Images,
    targets: Labels,
    *,
    keys: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Attribution]:
    """Explain the same classes by each agent alone; as :meth:`FusedExplainer.explain`."""
    team = team_of(classifier)
    return [
        explainer.explain(
            classifier.around(OneAlone(team, number)), images, targets, keys=keys, seed=seed
        )
        for number in range(len(team.members))
    ]


def fuse(maps: torch.Tensor) -> torch.Tensor:
    """Return the mean (n, h, w) of maps (agents, n, h, w), each scaled to a largest value of 1."""
    return scaled(maps).mean(dim=0)


def scaled(maps: torch.Tensor) -> torch.Tensor:
    """Divide each map by its largest absolute value; one that is zero everywhere stays so."""
    largest = maps.abs().amax(dim=(-2, -1), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1.0)


def compare_agents(names: tuple[str, ...], singles: Sequence[Attribution]) -> TeamMaps:
    """Put the maps of agents beside each other.

    Args:
        names: Of the agents.
        singles: One attribution per agent, of the same images.

    Raises:
        InvalidInput: A single agent, which has nobody to disagree with.
    """
    if len(singles) < 2:
        raise InvalidInput(f"expected at least two agents to compare, got {len(singles)}")
    maps = torch.stack([one.maps for one in singles])
    flat = maps.flatten(2)
    ranks = flat.amax(dim=2) > flat.amin(dim=2)
    pairs = []
    for one, other in combinations(range(len(singles)), 2):
        apart = torch.full((maps.shape[1],), 0.5, dtype=torch.float64)
        both = ranks[one] & ranks[other]
        if bool(both.any()):
            similar = map_similarity("spearman", maps[one][both], maps[other][both])
            apart[both] = (1.0 - torch.as_tensor(similar)) / 2.0
        pairs.append(apart)
    return TeamMaps(
        names=names,
        maps=maps,
        fused=fuse(maps),
        disagreement=scaled(maps).std(dim=0, correction=0),
        scores=torch.stack(pairs).mean(dim=0),
    )
