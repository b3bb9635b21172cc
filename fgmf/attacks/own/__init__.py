"""Attacks of our own: pure torch, without Foolbox, on any function from images to logits.

`apgd`, `minimum_margin`, `focused`, `square` and `random_search` run on one engine (`engine`),
`fmn` finds smallest perturbations, `wrappers` makes random and non-differentiable models
attackable. For Foolbox users the same attacks stand in `fgmf.attacks.foolbox_own`.
"""

from __future__ import annotations

from fgmf.attacks.own.apgd import Apgd
from fgmf.attacks.own.fmn import MinimumNorm, MinimumNormOutcome
from fgmf.attacks.own.focused import FocusedMargin
from fgmf.attacks.own.minimum_margin import MinimumMargin
from fgmf.attacks.own.random_search import RandomSearch
from fgmf.attacks.own.square import Square
from fgmf.attacks.own.task import AttackOutcome, AttackTask
from fgmf.attacks.own.wrappers import ExpectedLogits, SubstituteBackward

__all__ = [
    "Apgd",
    "AttackOutcome",
    "AttackTask",
    "ExpectedLogits",
    "FocusedMargin",
    "MinimumMargin",
    "MinimumNorm",
    "MinimumNormOutcome",
    "RandomSearch",
    "Square",
    "SubstituteBackward",
]
