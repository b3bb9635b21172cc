"""Symptoms in what a larger budget buys: more steps, a larger ball, luck, and the way out.

    steps doubled     from where PGD-40 ended, forty more: what they break was not out of reach;
                      after twenty only where the loss still rises
    ball doubled      twice the radius: of an honest model it breaks a good part of what was left
    noise             corners of the ball drawn at random: what they break, a gradient had missed
    shell             the margin along random directions, from the image to two radii: on an honest
                      model it changes little by little, at the edge of a shell around the data or
                      at a step of rounded values it jumps

Source: Athalye et al. 2018 (a larger ball, random search), Carlini et al. 2019 (iterations
doubled); the shell is ours. All run on scouts, and all but the last on those that PGD-40 left
right.
Cost: per image 40 to 80 passes for the steps, 49 for the ball, 8 for noise, 18 for the shell.
Randomness: the directions, by image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.projection import project
from fgmf.gradient_masking.naive import PGD_STEPS, Ascent, climb
from fgmf.gradient_masking.slopes import LARGE_SHARE, _share_symptom
from fgmf.gradient_masking.uncertainty import median_interval
from fgmf.gradient_masking.values import Symptom
from fgmf.preflight.gradients import leading_classes, margin_of
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.naive import Path
    from fgmf.types import Images

_MORE: Final = Ascent(steps=PGD_STEPS // 2, stride=2.5 / PGD_STEPS, random_start=False)
_RISING: Final = 0.01
"""Share of the loss; what rises less in twenty steps has arrived."""
_WIDER: Final = Ascent(steps=24, stride=2.5 / 24, random_start=False)
_HELD: Final = 0.95
_FEWEST: Final = 16
"""Images from which on a share of them is worth a sentence."""
_STATIONS: Final = 16
_CORNERS: Final = 8
_JUMP: Final = 0.6
_FLAT: Final = 1e-9


def probe_doubled_steps(scouts: Examined, ends: Images, right: torch.Tensor) -> Symptom:
    """Go on from where the iterative attack ended, for as many steps again.

    Args:
        scouts: Images that are right without an attack.
        ends: (m, ...) where the iterative attack ended.
        right: (m,) share of draws on which each is right there.

    Returns:
        The share of the scouts that only the second forty steps break. It stands where the
        attack was not through: by itself it speaks for no mechanism.
    """
    left, before = (right >= 0.5).nonzero().flatten(), scouts.passes
    broken = 0
    for _ in range(2):
        if not len(left):
            break
        part = scouts.of(left)
        part.fresh()
        path = climb(part, _MORE, start=ends[left])
        held = part.right(path.points, draws=1) >= 0.5
        broken += int((~held).sum())
        ends = ends.clone()
        ends[left] = path.points
        left = left[held & _rises(path)]
    return _share_symptom(
        "more-steps-break",
        broken,
        len(scouts),
        limit=LARGE_SHARE,
        mechanisms=(),
        note=f"images that PGD breaks in {2 * PGD_STEPS} steps and not in {PGD_STEPS}",
        passes=scouts.passes - before,
    )


def _rises(path: Path) -> torch.Tensor:
    """(m,) whether the loss still rose by a notable share of where it stands."""
    best = path.loss.cummax(dim=1).values
    rise = best[:, -1] - best[:, 0]
    return rise > _RISING * best[:, 0].abs().clamp_min(1e-12)


def probe_doubled_ball(scouts: Examined, right: torch.Tensor) -> Symptom | None:
    """Attack in a ball of twice the radius.

    Args:
        scouts: Images that are right without an attack.
        right: (m,) share of draws on which each is right after the iterative attack.

    Returns:
        The share of what the attack left that the same attack in twice the radius leaves, too;
        None where it left too little to tell.
    """
    left = (right >= 0.5).nonzero().flatten()
    if len(left) < _FEWEST:
        return None
    part, threat = scouts.of(left), scouts.threat
    wider = ThreatModel(norm=threat.norm, epsilon=2 * threat.epsilon, bounds=threat.bounds)
    part.fresh()
    path = climb(part, _WIDER, threat=wider)
    held = int((part.right(path.points, draws=1) >= 0.5).sum())
    return _share_symptom(
        "larger-ball-no-help",
        held,
        len(left),
        limit=_HELD,
        mechanisms=(),
        note="of the images that PGD-40 left right, those that twice the radius leaves right, too",
        passes=(2 * _WIDER.steps + 1) * len(left),
    )


def probe_noise(scouts: Examined, right: torch.Tensor) -> Symptom:
    """Ask at corners of the ball that are drawn at random.

    Args:
        scouts: Images that are right without an attack.
        right: (m,) share of draws on which each is right after the iterative attack.

    Returns:
        The share of the scouts that the attack left right and one of eight corners breaks.
    """
    left = (right >= 0.5).nonzero().flatten()
    broken = torch.zeros(len(left), dtype=torch.bool)
    if len(left):
        part, threat = scouts.of(left), scouts.threat
        for corner in range(_CORNERS):
            signs = part.uniform(f"corner {corner}").sign()
            points = project(part.images, part.images + threat.epsilon * signs, threat)
            broken |= part.right(points, draws=1) < 0.5
    return _share_symptom(
        "noise-breaks",
        int(broken.sum()),
        len(scouts),
        mechanisms=(),
        note=f"images that PGD-40 left right and one of {_CORNERS} random corners of the ball "
        "breaks",
        passes=_CORNERS * len(left),
    )


def probe_shell(scouts: Examined) -> Symptom:
    """Walk out of the ball along random directions, and look for the largest jump.

    Args:
        scouts: Images that are right without an attack.

    Returns:
        The median over images of the largest step of the margin over all of its ways up and down;
        a straight line of 16 stations gives 1/16, a single jump 1.
    """
    threat, size = scouts.threat, scouts.images[0].numel()
    spread = {"linf": 1.0, "l2": size**-0.5, "l1": 1.0 / size}[threat.norm]
    ways = 2 * threat.epsilon * spread * scouts.uniform("shell").sign()
    scouts.fresh()
    classifier = scouts.classifier
    pair = leading_classes(classifier.logits_in_batches(scouts.images))
    margins = []
    for station in range(_STATIONS + 1):
        points = (scouts.images + station / _STATIONS * ways).clamp(*threat.bounds)
        scouts.fresh()
        margins.append(margin_of(classifier.logits_in_batches(points).double(), *pair))
    steps = torch.stack(margins, dim=1).diff(dim=1).abs()
    way = steps.sum(dim=1)
    jumps = torch.where(way > _FLAT, steps.amax(dim=1) / way.clamp_min(_FLAT), 0.0)
    jumps = jumps.nan_to_num(nan=1.0)
    middle = float(jumps.median())
    return Symptom(
        name="shell-around-data",
        value=middle,
        limit=_JUMP,
        stands=middle > _JUMP,
        image_count=len(scouts),
        interval=median_interval(jumps),
        mechanisms=("shattered",),
        note=f"median share of the margin's changes that falls into one of {_STATIONS} steps from "
        "the image to twice the radius",
        passes=(_STATIONS + 2) * len(scouts),
    )
