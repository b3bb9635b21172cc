"""Two curves that a person can look at: how the loss goes, and how accuracy falls.

    along an attack     mean margin at image + t (example - image), t from -1/2 to 3/2: on an honest
                        model it rises smoothly; on a masked one it is flat, or jumps
    over epsilon        robust accuracy of each family of attacks at 0 to 2 epsilon: FGSM, PGD-40,
                        APGD on the margin, and Square, which sees no gradient. Black-box attacks
                        below the others, or curves that do not fall, are the picture of masking

Source: Carlini et al. 2019, section 4 (accuracy over distortion) and Athalye et al. 2018.
Cost: 17 forward passes and, for each epsilon, about 100 forward and 60 backward passes per image.
Randomness: as the attacks'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own import Apgd, Square
from fgmf.attacks.own.losses import breaking_margin
from fgmf.classifier.state import ModelSnapshot
from fgmf.gradient_masking.answers import find_traits
from fgmf.gradient_masking.countering import Assault, Countering
from fgmf.gradient_masking.examined import Examined, Traits
from fgmf.gradient_masking.naive import FORTY_STEPS, ONE_STEP, climb
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.naive import Ascent
    from fgmf.gradient_masking.values import MaskingPlan
    from fgmf.types import Images, Labels

SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Of epsilon."""
PLACES: Final = tuple(-0.5 + step / 8 for step in range(17))
"""Along an attack: 0 is the image, 1 the example."""
_QUERIES: Final = 100
_NAIVE: Final = {"FGSM": ONE_STEP, "PGD-40": FORTY_STEPS}


@dataclass(frozen=True, kw_only=True)
class MaskingCurves:
    """What is drawn.

    Attributes:
        epsilons: Budgets.
        accuracy: Robust accuracy at each, by family of attacks.
        places: Along an attack.
        margins: Mean margin of the wrong classes over the label there, by attack.
        image_count: Images that all of it is about.
    """

    epsilons: tuple[float, ...]
    accuracy: dict[str, tuple[float, ...]]
    places: tuple[float, ...]
    margins: dict[str, tuple[float, ...]]
    image_count: int


def measure_curves(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    plan: MaskingPlan,
    *,
    keys: Sequence[str],
) -> MaskingCurves:
    """Measure what is drawn, on the scouts of a plan.

    Args:
        classifier: Put back as it was afterwards.
        images: (n, ...) float on the CPU, inside the threat's bounds.
        labels: (n,) true classes.
        plan: Threat, seed, number of scouts.
        keys: One stable key per image.
    """
    order = image_generator(plan.seed, "scouts").permutation(len(images))
    rows = torch.tensor(sorted(order[: plan.scouts].tolist()))
    with classifier.guard(seed=plan.seed, tolerate_changes=True):
        module = classifier.module
        examined = Examined(
            classifier=classifier,
            images=images[rows],
            labels=labels[rows],
            keys=tuple(keys[at] for at in rows.tolist()),
            threat=plan.threat,
            seed=plan.seed,
            traits=Traits(),
            snapshot=None if module is None else ModelSnapshot(module),
        )
        traits, _, _ = find_traits(classifier, examined.images, seed=plan.seed)
        examined = replace(examined, traits=traits)
        return MaskingCurves(
            epsilons=tuple(share * plan.threat.epsilon for share in SHARES),
            accuracy=_accuracies(examined),
            places=PLACES,
            margins=_margins(examined),
            image_count=len(rows),
        )


def _families(examined: Examined) -> dict[str, Ascent | Apgd | Square]:
    families: dict[str, Ascent | Apgd | Square] = {}
    if examined.classifier.gradient_available:
        families = {**_NAIVE, "margin": Apgd(loss="margin", steps=20)}
    if examined.threat.norm != "l1":
        families["Square"] = Square(queries=_QUERIES)
    return families


def _accuracies(examined: Examined) -> dict[str, tuple[float, ...]]:
    clean = examined.right(examined.images)
    found: dict[str, tuple[float, ...]] = {}
    for name, family in _families(examined).items():
        row = []
        for share in SHARES:
            right = clean.clone()
            if share:
                threat = replace(examined.threat, epsilon=share * examined.threat.epsilon)
                right = _attacked(replace(examined, threat=threat), family, clean)
            row.append(float(right.mean()))
        found[name] = tuple(row)
    return found


def _attacked(
    examined: Examined, family: Ascent | Apgd | Square, clean: torch.Tensor
) -> torch.Tensor:
    """(m,) right under one attack alone."""
    if not isinstance(family, Apgd | Square):
        points = climb(examined, family).points
        return torch.minimum(clean, examined.right(points))
    state = Countering(
        examined=examined, right=clean.clone(), attacked=torch.zeros(len(clean), dtype=torch.bool)
    )
    rows = torch.arange(len(clean))
    state.run(family, examined.logits, rows, Assault(name="curve"), scouting=True)
    return state.right


def _margins(examined: Examined) -> dict[str, tuple[float, ...]]:
    ends: dict[str, Images] = {}
    if examined.classifier.gradient_available:
        ends = {name: climb(examined, ascent).points for name, ascent in _NAIVE.items()}
    generators = examined.uniform("along noise").sign()
    reach = examined.threat.epsilon if examined.threat.norm == "linf" else 0.05
    ends["random signs"] = (examined.images + reach * generators).clamp(*examined.threat.bounds)
    return {name: _along(examined, end) for name, end in ends.items()}


def _along(examined: Examined, end: Images) -> tuple[float, ...]:
    criterion = examined.task("along").criterion
    found = []
    for place in PLACES:
        points = (examined.images + place * (end - examined.images)).clamp(*examined.threat.bounds)
        examined.fresh()
        logits = examined.classifier.logits_in_batches(points)
        found.append(float(breaking_margin(logits, criterion).mean()))
    return tuple(found)
