"""Symptoms in when and where the model answers otherwise: later, and right beside the images.

    later     a few scouts are asked again at every stage of the examination, under one seed, from
              the state as it came: a clock, or a counter that no snapshot sees, shows as a change
    beside    u, v = the image moved by tiny signs, 1e-4 and 2e-3 of the range (half of 8 bits)
                  a = |z(x) - z(u)|,  b = |z(u) - z(v)|        largest difference of the logits
              apart: a > 5 b, and a > 5 % of the spread of the logits
              a function that is steep, rough or rounded changes between u and v as much as between
              x and u; one that recognises images, or the grid of their values, does not

All points of an attack lie beside the images: what it says is then of another function than that
of the images, and of every image that lies on the same grid.

Source: ours.
Cost: 8 forward passes for every stage; 5 for each scout.
Randomness: signs, by image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.gradient_masking.slopes import _share_symptom
from fgmf.gradient_masking.values import Symptom
from fgmf.preflight.behaviour import difference
from fgmf.seeding import derive_seed, isolated_randomness

if TYPE_CHECKING:
    from fgmf.gradient_masking.examined import Examined
    from fgmf.types import Images, Logits

_FEW: Final = 8
_TOLERANCE: Final = 1e-3
_COARSE: Final = 2e-2
"""Share of the logits' spread; the second for models in half precision."""
_NUDGES: Final = (1e-4, 2e-3)
_ALONE: Final = 5.0
_NOTABLE: Final = 0.05


class Revisits:
    """The same question, asked again and again.

    Args:
        scouts: The model on images; the first eight are asked about.
    """

    def __init__(self, scouts: Examined) -> None:
        traits = scouts.traits
        self._few = scouts.of(torch.arange(min(_FEW, len(scouts))))
        self._usable = not (traits.random or traits.stateful) and len(self._few) > 0
        self._first = self._answer() if self._usable else torch.zeros(0)
        self._largest, self._visits = 0.0, 0

    def ask(self) -> None:
        """Ask once more.

        Cost: one forward pass for each of up to eight images.
        """
        if self._usable:
            self._visits += 1
            self._largest = max(self._largest, difference(self._first, self._answer()))

    def symptoms(self) -> tuple[Symptom, ...]:
        """Say how far answers went from the first; nothing of a model whose answers vary anyway."""
        if not self._visits:
            return ()
        half = self._few.classifier.dtype in {torch.float16, torch.bfloat16}
        limit = _COARSE if half else _TOLERANCE
        finite = self._largest < float("inf")
        later = Symptom(
            name="output-changes-later",
            value=self._largest if finite else None,
            limit=limit,
            stands=self._largest > limit,
            alarming=True,
            image_count=len(self._few),
            mechanisms=("stateful",),
            note="share of the logits' spread by which the same question was answered otherwise "
            "later in the examination",
            passes=(self._visits + 1) * len(self._few),
        )
        return (later,)

    def _answer(self) -> Logits:
        self._few.fresh()
        with isolated_randomness(derive_seed(self._few.seed, "revisits")):
            return self._few.classifier.logits_in_batches(self._few.images)


def probe_beside(scouts: Examined) -> Symptom:
    """Compare the answers at the images with those right beside them.

    Args:
        scouts: Images that are right without an attack.

    Returns:
        The share of the images that stand apart from all that is around them.

    Cost: 5 forward passes per image.
    """
    lower, upper = scouts.threat.bounds
    first, second = (scouts.uniform(f"beside {side}").sign() for side in "uv")
    here = _logits(scouts, scouts.images)
    spread = max(float(here.max() - here.min()), 1e-12)
    apart = torch.zeros(len(scouts), dtype=torch.bool)
    for nudge in _NUDGES:
        step = nudge * (upper - lower)
        one, other = (
            _logits(scouts, (scouts.images + step * signs).clamp(lower, upper))
            for signs in (first, second)
        )
        jump, change = (here - one).abs().amax(dim=1), (one - other).abs().amax(dim=1)
        apart |= (jump > _ALONE * change) & (jump > _NOTABLE * spread)
    return _share_symptom(
        "images-apart",
        int(apart.sum()),
        len(scouts),
        mechanisms=("off-data",),
        alarming=True,
        note="images that are answered otherwise than all points right beside them",
        passes=(1 + 2 * len(_NUDGES)) * len(scouts),
    )


def _logits(scouts: Examined, points: Images) -> torch.Tensor:
    scouts.fresh()
    with isolated_randomness(derive_seed(scouts.seed, "beside")):
        return scouts.classifier.logits_in_batches(points).double()
