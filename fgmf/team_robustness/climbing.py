"""For each image the point of its ball at which some model is most wrong.

    x = margin APGD from the image away from the label, each lane to its end

The model is one agent of a team, or a stand-in for what a team does; what is found is judged by
the team.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.attacks.building import build_attack
from fgmf.attacks.criteria import Criterion
from fgmf.attacks.interface import AttackBatch
from fgmf.attacks.plans import plan_attacks
from fgmf.attacks.projection import inside, project
from fgmf.attacks.sources import AttackSources
from fgmf.errors import AttackFailed, BudgetSpent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.attacks.entries import Value
    from fgmf.classifier import Classifier
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Labels


def most_wrong(  # noqa: PLR0913 - keyword-only parts of one question
    model: Classifier,
    images: Images,
    labels: Labels,
    *,
    name: str,
    threat: ThreatModel,
    steps: int,
    keys: Sequence[str],
    seed: int,
    deadline: float | None = None,
) -> Images:
    """Follow a model's margin to the end.

    Args:
        model: Inside its guard.
        images: (n, c, h, w) float on the CPU within the bounds.
        labels: (n,).
        name: Of the model, in errors.
        threat: Ball and box.
        steps: Of the attack.
        keys: One stable key per image.
        seed: Of the attack's draws, should it make any.
        deadline: Value of ``time.monotonic()`` after which it stops.

    Returns:
        (n, c, h, w) on the CPU, inside ball and box.

    Raises:
        BudgetSpent: The deadline passed.
        AttackFailed: Some image could not be attacked.

    Cost: steps + 2 forward and steps backward passes per image.
    Randomness: none.
    """
    batch = AttackBatch(
        images=images,
        criterion=Criterion(kind="misclassification", labels=labels),
        keys=tuple(keys),
    )
    # From the image itself: a random start would move pixels that an agent does not look at.
    parameters: dict[str, Value] = {"surrogate": name, "steps": steps, "random_start": False}
    (plan,) = plan_attacks([("transfer", parameters, None)], restarts=1)
    attack = build_attack(
        plan,
        model,
        threat,
        seed=seed,
        deadline=deadline,
        sources=AttackSources(surrogates={name: model}),
    )
    parts, size = [images[:0]], model.batch_size
    for start in range(0, len(images), size):
        part = batch.part(slice(start, start + size))
        result = attack.run(part, restart=0)
        if result.failures:
            at, why = next(iter(result.failures.items()))
            raise AttackFailed(f"expected {name} attacked on every image, got {at}: {why}")
        if not result.complete:
            raise BudgetSpent("expected every agent to be attacked within the gate's max_seconds")
        parts.append(project(part.images, result.adversarial, threat))
    made = torch.cat(parts)
    if not bool(inside(images, made, threat).all()):
        raise AttackFailed(f"expected the attack on {name} inside ball and box, got others")
    return made
