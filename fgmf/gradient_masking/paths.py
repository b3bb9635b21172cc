"""Symptoms in what the iterative attack did on its way, and without its ball.

    one step breaks what forty don't      | broken on the way, right at the end
    the loss falls along its gradient     | the loss still rises at the end
    the image may become anything, and the attack still fails (unbounded)

Source: Athalye et al. 2018 (one step, unbounded); Pintor et al. 2022 (silent success, unfinished).
Cost: no pass for the way; 12 forward and backward passes per image for the unbounded attack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fgmf.gradient_masking.naive import Ascent, climb
from fgmf.gradient_masking.slopes import _share_symptom
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.naive import Path
    from fgmf.gradient_masking.values import Symptom

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
