"""Symptoms in what naive attacks did on their way. No pass that they did not make themselves.

    one step breaks what forty don't      | broken on the way, right at the end
    the loss still rises at the end       | right at full length, broken at less (ray)
    the image may become anything, and the attack still fails (unbounded)

Source: Athalye et al. 2018 (one step, unbounded); Pintor et al. 2022 (silent success, unfinished);
Kim et al. 2021 (broken at less than full length: catastrophic overfitting).
Cost: the ray 7 forward passes per image, the unbounded attack 12 forward and backward passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own.balls import steepest
from fgmf.attacks.own.losses import breaking_margin
from fgmf.attacks.projection import project
from fgmf.gradient_masking.naive import Ascent, climb
from fgmf.gradient_masking.slopes import _share_symptom
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.naive import Path
    from fgmf.gradient_masking.values import Symptom
    from fgmf.types import Images, Norm

_RAY: Final = tuple(at / 8 for at in range(1, 8))
_WINDOW: Final = 10
_NOTABLE: Final = 1e-2
_FALLING: Final = 0.15
_RISING: Final = 0.05
_UNBOUNDED: Final = Ascent(steps=12, stride=0.25, random_start=False)
_STUBBORN: Final = 0.2
_SURELY: Final = 0.5


def probe_path(path: Path, right: torch.Tensor, one_step: torch.Tensor) -> Iterator[Symptom]:
    """Look at the way of the iterative attack.

    Args:
        path: Of n images that are right without an attack.
        right: (n,) share of draws on which each is right at its end.
        one_step: (n,) the same of the one-step attack.
    """
    count = len(right)
    beaten = int(((one_step < 0.5) & (right >= 0.5)).sum())
    yield _share_symptom(
        "one-step-beats-many",
        beaten,
        count,
        mechanisms=("shattered", "stochastic"),
        note="images that one step breaks and forty do not",
    )
    silent = int((path.wrong.any(dim=1) & (right >= 0.5)).sum())
    yield _share_symptom(
        "silent-success",
        silent,
        count,
        mechanisms=("shattered", "stochastic"),
        note="images that were broken on the way and are right at the end",
    )
    still = int((path.still.double().mean(dim=1) > 0.5).sum())
    yield _share_symptom(
        "attack-stands-still",
        still,
        count,
        mechanisms=("saturation", "vanishing", "blocked"),
        note="images on which most steps of the iterative attack had no gradient to follow",
    )
    steps = path.loss.diff(dim=1)
    falls = int((steps < -_NOTABLE * steps.abs().mean()).double().mean(dim=1).gt(_FALLING).sum())
    yield _share_symptom(
        "loss-falls",
        falls,
        count,
        limit=0.5,
        mechanisms=("shattered", "stochastic"),
        note=f"images whose loss fell in more than {_FALLING:.0%} of the iterative attack's steps",
    )
    best = path.loss.cummax(dim=1).values
    span = (best[:, -1] - best[:, 0]).clamp_min(1e-12)
    late = (best[:, -1] - best[:, -_WINDOW]) / span
    rising = int(((late > _RISING) & (right >= 0.5)).sum())
    yield _share_symptom(
        "attack-unfinished",
        rising,
        count,
        limit=0.5,
        mechanisms=(),
        note="unbroken images whose loss still rose over the last ten steps",
    )


def probe_unbounded(examined: Examined) -> Symptom:
    """Let the attack change everything: on an honest model it cannot fail then.

    Args:
        examined: Scouts that are right without an attack.
    """
    lower, upper = examined.threat.bounds
    anything = ThreatModel(norm="linf", epsilon=(upper - lower) / 2, bounds=(lower, upper))
    examined.fresh()
    path = climb(examined, _UNBOUNDED, threat=anything)
    right = int((examined.right(path.points, draws=1) > 0).sum())
    share = right / len(examined)
    return _share_symptom(
        "unbounded-attack-fails",
        right,
        len(examined),
        limit=_STUBBORN,
        alarming=share > _SURELY,
        mechanisms=(),
        note="images that stay right when every pixel may change by half of the range",
        passes=25 * len(examined),
    )


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
