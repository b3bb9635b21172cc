"""The focused attack for Foolbox users: LinfFocusedMargin, L2FocusedMargin, L1FocusedMargin.

Called like the attacks of `foolbox_own`.
"""

from __future__ import annotations

from fgmf.attacks.foolbox_calls import FixedEpsilon
from fgmf.attacks.own.focused import FocusedMargin


class _FocusedMargin(FixedEpsilon):
    """The focused attack.

    Args:
        settings: Looks of the attack; None takes those of the suite `standard`.
        seed: Fixes all draws.
        batch_size: Most lanes in one pass.
    """

    def __init__(
        self, *, settings: FocusedMargin | None = None, seed: int = 0, batch_size: int = 128
    ) -> None:
        super().__init__(settings or FocusedMargin(), seed=seed, batch_size=batch_size)


class LinfFocusedMargin(_FocusedMargin):
    """The focused attack in Linf (`fgmf.attacks.own.focused`)."""

    norm = "linf"


class L2FocusedMargin(_FocusedMargin):
    """The focused attack in L2 (`fgmf.attacks.own.focused`)."""

    norm = "l2"


class L1FocusedMargin(_FocusedMargin):
    """The focused attack in L1 (`fgmf.attacks.own.focused`)."""

    norm = "l1"
