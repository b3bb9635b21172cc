"""Explainers side by side, on the same images: five criteria, weighed by entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.attribution.request import make_request
from fgmf.errors import InvalidInput
from fgmf.explaining.criteria import CRITERIA, NOISE_SHARE, Explained, criteria_of
from fgmf.explaining.weighing import entropy_weights
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.attribution.interface import Explainer
    from fgmf.attribution.request import Request
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Scores of explainers.

    Attributes:
        scores: For each explainer, by its `repr`, each criterion in [0, 1].
        weights: Of the criteria; they add up to one and depend on who is compared.
        totals: Weighted sum for each explainer, the best first.
        image_count: Images that were explained.
        seed: Fixes noise and draws.
        cost: Of everything.
    """

    scores: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, float]
    totals: Mapping[str, float]
    image_count: int
    seed: int
    cost: Cost


def compare_explainers(
    classifier: Classifier,
    images: Images,
    targets: Labels,
    explainers: Mapping[str, Explainer],
    *,
    keys: Sequence[str] | None = None,
    seed: int = 0,
) -> Comparison:
    """Score explainers on the five criteria of `criteria`.

    Args:
        classifier: Comes back as it was.
        images: (n, c, h, w) within the bounds.
        targets: (n,) classes to explain; also the groups of fairness.
        explainers: By the name that the result gives them.
        keys: One per image.
        seed: Fixes noise and draws.

    Raises:
        InvalidInput: No explainer, or images and targets that do not fit together.

    Cost: each explainer twice, and 4 forward passes per image and explainer. Randomness: the noise
        depends on seed and key alone.
    """
    if not explainers:
        raise InvalidInput("expected at least one explainer to compare, got none")
    scores: dict[str, dict[str, float]] = {}
    cost = Cost()
    with classifier.guard(seed=seed):
        before = classifier.cost_meter.reading()
        request = make_request(classifier, images, targets, keys, seed)
        noisy = _noisy(request)
        # With draws of their own: else a random map would be the most robust of all.
        other_keys = [f"{key} under noise" for key in request.keys]
        for name, explainer in explainers.items():
            plain, moved = (
                explainer.explain(classifier, pictures, targets, keys=names, seed=seed)
                for pictures, names in ((images, request.keys), (noisy, other_keys))
            )
            cost += Cost(seconds=plain.cost.seconds + moved.cost.seconds)
            explained = Explained(
                maps=plain.maps.double(), noisy_maps=moved.maps.double(), groups=plain.targets
            )
            scores[name] = criteria_of(request, explained)
        spent = classifier.cost_meter.since(before, seconds=cost.seconds)
    columns = {c: {n: scores[n][c] for n in scores} for c in CRITERIA}
    weights = entropy_weights(columns)
    totals = {n: sum(weights[c] * scores[n][c] for c in CRITERIA) for n in scores}
    return Comparison(
        scores=scores,
        weights=weights,
        totals=dict(sorted(totals.items(), key=lambda item: -item[1])),
        image_count=len(images),
        seed=seed,
        cost=spent,
    )


def _noisy(request: Request) -> Images:
    lower, upper = request.bounds
    drawn = torch.stack([request.normal(i, "robustness", 0) for i in range(len(request.images))])
    moved = request.images + NOISE_SHARE * (upper - lower) * drawn
    return moved.clamp(lower, upper).cpu()
