"""The attacks that everybody runs: one step, and forty, along the gradient of the cross-entropy.

    FGSM     x + eps s(g(x))
    PGD-40   x_0 = random point of the ball; x_{k+1} = P(x_k + 2.5 eps / 40 s(g(x_k)))
    g        of the cross-entropy with the label, in the model's own precision
    the last point counts, as it does in the usual tools

No margin, no restart, no rescaling, no draws averaged: what they miss is what masking hides. A
gradient that cannot be had at all counts as zero, and the outcome says so.

Source: Goodfellow et al. 2015; Madry et al. 2018. In L1 a step moves the 5 % of the values whose
gradient is largest.
Cost: per image one forward and backward (FGSM) or 40 of both, and one forward to judge.
Randomness: the random start, each image's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own.balls import (
    project,
    random_point,
    region_around,
    sparse_steepest,
    steepest,
)
from fgmf.attacks.own.rows import per_row
from fgmf.attacks.projection import project as onto_ball
from fgmf.classifier.memory import batched, is_out_of_memory
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from fgmf.attacks.own.balls import Region
    from fgmf.gradient_masking.examined import Examined
    from fgmf.threat import ThreatModel
    from fgmf.types import Images

PGD_STEPS: Final = 40
_STRIDE: Final = 2.5
"""Length of all steps together, in radii."""
_SPARSE: Final = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """What one attack saw on its way, image by image.

    Attributes:
        points: (n, ...) where it ended, inside ball and box.
        loss: (n, steps) cross-entropy before each step.
        wrong: (n, steps) misclassified before each step.
        still: (n, steps) no entry of the gradient was other than zero.
        unavailable: Why there was no gradient; empty if there was.
    """

    points: Images
    loss: torch.Tensor
    wrong: torch.Tensor
    still: torch.Tensor
    unavailable: str = ""


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """How to go up the cross-entropy.

    Attributes:
        steps: How many.
        stride: Length of each, in radii.
        random_start: From a random point of the ball, else from the image.
    """

    steps: int
    stride: float
    random_start: bool


ONE_STEP: Final = Ascent(steps=1, stride=1.0, random_start=False)
FORTY_STEPS: Final = Ascent(steps=PGD_STEPS, stride=_STRIDE / PGD_STEPS, random_start=True)


def climb(
    examined: Examined,
    ascent: Ascent,
    *,
    threat: ThreatModel | None = None,
    start: Images | None = None,
) -> Path:
    """Run plain gradient ascent on every image.

    Args:
        examined: Model and images; inside the classifier's guard.
        ascent: Steps, their length, and where to start.
        threat: Replaces the one of the examination.
        start: (n, ...) points inside the ball to go on from, in place of the ascent's own start.

    Returns:
        The path; where it ends is not judged yet.

    Cost: `steps` forward and backward passes per image.
    Randomness: the start, by image.
    """
    chosen = threat or examined.threat
    parts = [
        part
        for _, part in batched(
            len(examined),
            examined.classifier.batch_size,
            lambda where: _climbed(
                examined.of(torch.arange(len(examined))[where]),
                ascent,
                chosen,
                None if start is None else start[where],
            ),
        )
    ]
    return Path(
        points=torch.cat([part.points for part in parts]),
        loss=torch.cat([part.loss for part in parts]),
        wrong=torch.cat([part.wrong for part in parts]),
        still=torch.cat([part.still for part in parts]),
        unavailable=next((part.unavailable for part in parts if part.unavailable), ""),
    )


def _climbed(examined: Examined, ascent: Ascent, threat: ThreatModel, start: Images | None) -> Path:
    clean = examined.images.to(examined.workplace)
    region = region_around(clean, threat)
    points = clean.clone() if start is None else start.to(clean)
    if start is None and ascent.random_start:
        generators = [image_generator(examined.seed, "naive", key) for key in examined.keys]
        points = random_point(region, threat, generators)
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    unavailable = ""
    for _ in range(ascent.steps):
        loss, wrong, slope, why = ask(examined, points)
        unavailable = unavailable or why
        seen.append((loss, wrong, (slope == 0).flatten(1).all(dim=1).cpu()))
        points = _stepped(points, slope, region, threat, ascent.stride)
    inside_ball = onto_ball(examined.images, points.cpu(), threat)
    loss, wrong, still = (torch.stack(column, dim=1) for column in zip(*seen, strict=True))
    return Path(points=inside_ball, loss=loss, wrong=wrong, still=still, unavailable=unavailable)


def ask(examined: Examined, points: Images) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, str]:
    """Ask for the cross-entropy at points and its gradient, as a user's attack does.

    Args:
        examined: Model and labels.
        points: (n, ...).

    Returns:
        (n,) loss, (n,) misclassified, (n, ...) gradient (zero where it is not finite or cannot
        be had), and why it cannot be had.

    Cost: one forward and one backward pass per image.
    """
    labels = examined.labels
    leaf = points.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            logits = examined.classifier.logits(leaf)
            losses = torch.nn.functional.cross_entropy(
                logits, labels.to(logits.device), reduction="none"
            )
            gradient = torch.autograd.grad(losses.sum(), leaf)[0]
    except Exception as error:  # a user's model can raise anything
        if is_out_of_memory(error):
            raise
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        with torch.no_grad():
            logits = examined.classifier.logits(points.detach())
        losses = torch.nn.functional.cross_entropy(
            logits, labels.to(logits.device), reduction="none"
        )
        gradient = torch.zeros_like(points)
    else:
        why = ""
    wrong = logits.detach().argmax(dim=1).cpu() != labels
    finite = gradient.detach().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return losses.detach().double().cpu(), wrong, finite.to(points), why


def _stepped(
    points: Images, slope: torch.Tensor, region: Region, threat: ThreatModel, stride: float
) -> Images:
    if threat.norm == "l1":
        size = points[0].numel()
        counts = torch.full((len(points),), max(1, int(_SPARSE * size)), device=points.device)
        move = sparse_steepest(slope, counts)
    elif threat.norm == "l2":
        # As the usual tools: a gradient shorter than this gives no full step.
        length = slope.flatten(1).norm(dim=1).clamp_min(1e-12)
        move = slope / per_row(length, slope)
    else:
        move = steepest(slope, "linf")
    radius = torch.full((len(points),), threat.epsilon, device=points.device)
    return project(region, points + stride * threat.epsilon * move, threat.norm, radius)
