"""Symptoms in the one-step attack: does it go too far, or is it turned away?

    ray       right at full length, broken at less
    turning   the gradient where the step ends has nothing to do with the one at the image, the
              iterative attack takes much more, and half of the way the margin is still straight:
              single-step training that has collapsed
    along     what one step along another gradient would have found

Source: Kim et al. 2021 (broken at less than full length: catastrophic overfitting); Andriushchenko
and Flammarion 2020 (alignment of gradients over a step).
Cost: the ray at most 7 forward passes per image, the turning 2 forward and backward ones per scout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own.balls import steepest
from fgmf.attacks.own.losses import breaking_margin
from fgmf.attacks.projection import project
from fgmf.gradient_masking.naive import ask
from fgmf.gradient_masking.slopes import _share_symptom
from fgmf.gradient_masking.uncertainty import median_interval
from fgmf.gradient_masking.values import Symptom

if TYPE_CHECKING:
    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.values import NaiveOutcome
    from fgmf.types import Images, Norm

_RAY: Final = tuple(at / 8 for at in range(1, 8))
_TURNED: Final = 0.5
_MUCH: Final = 0.2
_RESISTED: Final = 1 / 3
"""Share of the images that the one step must leave right: .47 and more where single-step training
has collapsed, up to .23 on undefended networks that were trained at high rates, whose gradients
turn as well."""
_STRAIGHT: Final = 0.2
"""Share of bend (`margin-curved`) up to which a margin goes straight: .09 to .13 where single-step
training has collapsed, .31 and more where a loss bends everywhere (sine activations)."""


def look_at_one_step(
    examined: Examined, live: torch.Tensor, one_step: NaiveOutcome
) -> tuple[torch.Tensor, Symptom]:
    """Look whether the one-step attack goes too far.

    Args:
        examined: Model and all n images.
        live: Images that are right without an attack.
        one_step: What the attack says.

    Returns:
        (n,) what single steps leave, shorter ones included, and the symptom.
    """
    ray = one_step.right.clone()
    ray[live] = walk_ray(examined.of(live), one_step.examples[live], one_step.right[live])
    return ray, probe_ray(one_step.right[live], ray[live])


def look_at_turning(
    examined: Examined,
    scouts: torch.Tensor,
    naive: tuple[NaiveOutcome, NaiveOutcome],
    ray: torch.Tensor,
    *,
    bend: float | None,
) -> tuple[torch.Tensor, Symptom]:
    """Look whether the one-step attack is turned away.

    Args:
        examined: Model and all n images.
        scouts: Some that are right without an attack.
        naive: What the one-step and the iterative attack say.
        ray: (n,) what single steps leave.
        bend: Share of bend in the margin along its gradient, over half of the radius.

    Returns:
        (n,) what single steps leave that are not turned away, and the symptom.
    """
    one_step, iterative = naive
    left = float(one_step.right.mean())
    lost = left - float(iterative.right.mean())
    ends = one_step.examples[scouts]
    turning = probe_turning(examined.of(scouts), ends, left=left, lost=lost, bend=bend)
    return (torch.minimum(ray, iterative.right) if turning.stands else ray), turning


def walk_ray(examined: Examined, ends: Images, right: torch.Tensor) -> torch.Tensor:
    """Judge the one-step attack at shorter lengths.

    Args:
        examined: Images that are right without an attack.
        ends: (n, ...) where the one step ends.
        right: (n,) right there.

    Returns:
        (n,) float64 share right at every length, the full one included.

    Cost: at most 7 forward passes per image; none for images that the full step breaks.
    """
    lowest = right.clone()
    for share in _RAY:
        rows = (lowest > 0).nonzero().flatten()
        if not len(rows):
            break
        part = examined.of(rows)
        points = part.images + share * (ends[rows] - part.images)
        lowest[rows] = torch.minimum(lowest[rows], part.right(points))
    return lowest


def step_along(examined: Examined, logits: LogitsFunction) -> Images:
    """Take the one step that FGSM would take if it had another gradient.

    Args:
        examined: Images that are right without an attack.
        logits: The function whose gradient is followed, on the margin.

    Returns:
        (n, ...) inside ball and box, where the step ends.

    Cost: one forward and one backward pass per image.
    """
    threat, parts = examined.threat, []
    norm: Norm = "linf" if threat.norm == "linf" else "l2"
    for rows in torch.arange(len(examined)).split(examined.classifier.batch_size):
        part = examined.of(rows)
        leaf = part.images.to(part.workplace).detach().clone().requires_grad_()
        with torch.enable_grad():
            margins = breaking_margin(logits(leaf), part.task("one step").criterion)
            (slope,) = torch.autograd.grad(margins.sum(), leaf)
        parts.append((leaf.detach() + threat.epsilon * steepest(slope, norm)).cpu())
    return project(examined.images, torch.cat(parts), threat)


def lower_along(
    examined: Examined, live: torch.Tensor, logits: LogitsFunction, ray: torch.Tensor
) -> None:
    """Lower what single steps leave, in place, by the one step along another gradient.

    Args:
        examined: All n images.
        live: Those that are right without an attack.
        logits: The function whose gradient is followed.
        ray: (n,) what single steps leave so far.

    Cost: two forward passes and one backward pass per image.
    """
    part = examined.of(live)
    ray[live] = torch.minimum(ray[live], part.right(step_along(part, logits)))


def probe_ray(right: torch.Tensor, lowest: torch.Tensor) -> Symptom:
    """Count images that the one step breaks at less than its full length only."""
    leaked = int(((right - lowest) > 0.5).sum())
    return _share_symptom(
        "shorter-step-breaks",
        leaked,
        len(right),
        mechanisms=("label-leak",),
        note="images that the one-step attack breaks at less than full length only",
    )


def probe_turning(
    examined: Examined,
    ends: Images,
    *,
    left: float,
    lost: float,
    bend: float | None = None,
) -> Symptom:
    """Compare the gradient at the images with that where the one step ends.

    Single-step training that has collapsed learns gradients that point the way for one step and
    turn before its end; on honest models, where the iterative attack takes as much, the cosine
    stays above one half, or the margin bends from the first on: one step is too long there, and
    nothing but its length is to blame. Where the one step breaks most images nobody is fooled by
    it.

    Args:
        examined: Scouts that are right without an attack.
        ends: (m, ...) where the one step ends.
        left: Robust accuracy under the one step.
        lost: Robust accuracy that the iterative attack takes away beyond the one step.
        bend: Share of bend in the margin along its gradient; None: not known, as if straight.

    Cost: two forward and backward passes per image.
    """
    cosines = []
    for rows in torch.arange(len(examined)).split(examined.classifier.batch_size):
        part = examined.of(rows)
        here = ask(part, part.images.to(part.workplace))[2].flatten(1).double()
        there = ask(part, ends[rows].to(part.workplace))[2].flatten(1).double()
        usable = (here != 0).any(dim=1) & (there != 0).any(dim=1)
        cosine = torch.nn.functional.cosine_similarity(here, there, dim=1)
        cosines.append(torch.where(usable, cosine, 1.0).cpu())
    together = torch.cat(cosines)
    middle = float(together.median())
    return Symptom(
        name="one-step-turns",
        value=middle,
        limit=_TURNED,
        stands=middle < _TURNED
        and left >= _RESISTED
        and lost > _MUCH
        and (bend is None or bend <= _STRAIGHT),
        image_count=len(examined),
        interval=median_interval(together),
        mechanisms=("label-leak",),
        note="median cosine of the gradients at the image and where the one step ends; counts if "
        f"the one step leaves a third of the images right, it leaves {left:.2g}, the iterative "
        f"attack takes {_MUCH:g} more, it takes {max(0.0, lost):.2g}, and margin-curved is at most "
        f"{_STRAIGHT:g}",
        passes=4 * len(examined),
    )
