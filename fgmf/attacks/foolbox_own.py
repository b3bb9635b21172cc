"""Our own attacks for Foolbox users: called as ``attack(model, images, labels, epsilons=...)``.

    LinfAPGD, L2APGD, L1APGD                                      fixed epsilon
    LinfMinimumMargin, L2MinimumMargin, L1MinimumMargin
    LinfSquare, L2Square
    LinfRandomSearch, L2RandomSearch, L1RandomSearch
    LinfMinimumNorm, L2MinimumNorm, L1MinimumNorm                 smallest perturbation

The algorithms are in `fgmf.attacks.own`; the focused attack is in `foolbox_focused`. These take a
seed, draw per image rather than per batch (the keys are digests of the images), and count passes:
`measure` returns the whole outcome. ``repeat`` adds restarts with draws of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.attacks.foolbox_calls import FixedEpsilon
from fgmf.attacks.foolbox_minimum_norm import L1MinimumNorm, L2MinimumNorm, LinfMinimumNorm
from fgmf.attacks.own.apgd import Apgd
from fgmf.attacks.own.minimum_margin import MinimumMargin
from fgmf.attacks.own.random_search import RandomSearch
from fgmf.attacks.own.square import Square

if TYPE_CHECKING:
    from fgmf.attacks.own.losses import LossName

__all__ = [
    "L1APGD",
    "L2APGD",
    "FixedEpsilon",
    "L1MinimumMargin",
    "L1MinimumNorm",
    "L1RandomSearch",
    "L2MinimumMargin",
    "L2MinimumNorm",
    "L2RandomSearch",
    "L2Square",
    "LinfAPGD",
    "LinfMinimumMargin",
    "LinfMinimumNorm",
    "LinfRandomSearch",
    "LinfSquare",
]


class _Apgd(FixedEpsilon):
    """APGD.

    Args:
        loss: ``ce``, ``dlr`` or ``margin``.
        steps: Iterations.
        restarts: Random starts.
        targets: Wrong classes aimed at in turn; 0 aims at none.
        seed: Fixes all draws.
        batch_size: Most lanes in one pass.
    """

    def __init__(
        self,
        *,
        loss: LossName = "ce",
        steps: int = 100,
        restarts: int = 1,
        targets: int = 0,
        seed: int = 0,
        batch_size: int = 128,
    ) -> None:
        algorithm = Apgd(loss=loss, steps=steps, restarts=restarts, targets=targets)
        super().__init__(algorithm, seed=seed, batch_size=batch_size)


class LinfAPGD(_Apgd):
    """APGD in Linf (`fgmf.attacks.own.apgd`)."""

    norm = "linf"


class L2APGD(_Apgd):
    """APGD in L2 (`fgmf.attacks.own.apgd`)."""

    norm = "l2"


class L1APGD(_Apgd):
    """APGD in L1 (`fgmf.attacks.own.apgd_l1`)."""

    norm = "l1"


class _MinimumMargin(FixedEpsilon):
    """The minimum-margin attack.

    Args:
        targets: Wrong classes aimed at in turn.
        steps: Iterations on each.
        restarts: Rounds over the classes.
        seed: Fixes all draws.
        batch_size: Most lanes in one pass.
    """

    def __init__(
        self,
        *,
        targets: int = 3,
        steps: int = 20,
        restarts: int = 1,
        seed: int = 0,
        batch_size: int = 128,
    ) -> None:
        algorithm = MinimumMargin(targets=targets, steps=steps, restarts=restarts)
        super().__init__(algorithm, seed=seed, batch_size=batch_size)


class LinfMinimumMargin(_MinimumMargin):
    """The minimum-margin attack in Linf (`fgmf.attacks.own.minimum_margin`)."""

    norm = "linf"


class L2MinimumMargin(_MinimumMargin):
    """The minimum-margin attack in L2 (`fgmf.attacks.own.minimum_margin`)."""

    norm = "l2"


class L1MinimumMargin(_MinimumMargin):
    """The minimum-margin attack in L1 (`fgmf.attacks.own.minimum_margin`)."""

    norm = "l1"


class _Square(FixedEpsilon):
    """The Square attack.

    Args:
        queries: Most forwards per image and restart.
        restarts: Rounds with draws of their own.
        p_init: Share of the image that the first window covers.
        seed: Fixes all draws.
        batch_size: Most images in one pass.
    """

    def __init__(
        self,
        *,
        queries: int = 1000,
        restarts: int = 1,
        p_init: float = 0.8,
        seed: int = 0,
        batch_size: int = 128,
    ) -> None:
        algorithm = Square(queries=queries, restarts=restarts, p_init=p_init)
        super().__init__(algorithm, seed=seed, batch_size=batch_size)


class LinfSquare(_Square):
    """Square in Linf (`fgmf.attacks.own.square`)."""

    norm = "linf"


class L2Square(_Square):
    """Square in L2 (`fgmf.attacks.own.square`)."""

    norm = "l2"


class _RandomSearch(FixedEpsilon):
    """Random search.

    Args:
        queries: Points per image and restart.
        restarts: Rounds with draws of their own.
        seed: Fixes all draws.
        batch_size: Most images in one pass.
    """

    def __init__(
        self, *, queries: int = 100, restarts: int = 1, seed: int = 0, batch_size: int = 128
    ) -> None:
        algorithm = RandomSearch(queries=queries, restarts=restarts)
        super().__init__(algorithm, seed=seed, batch_size=batch_size)


class LinfRandomSearch(_RandomSearch):
    """Random search in Linf (`fgmf.attacks.own.random_search`)."""

    norm = "linf"


class L2RandomSearch(_RandomSearch):
    """Random search in L2 (`fgmf.attacks.own.random_search`)."""

    norm = "l2"


class L1RandomSearch(_RandomSearch):
    """Random search in L1 (`fgmf.attacks.own.random_search`)."""

    norm = "l1"
