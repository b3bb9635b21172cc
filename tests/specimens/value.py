"""What a specimen is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from fgmf.threat import ThreatModel

Label = Literal["masked", "suspicious-at-least", "honest", "between"]
"""What a detector should say. "between" is counted nowhere: the gradients are right, and five
starts of PGD-40 with cross-entropy still leave more than 4 points too many."""
Naive = Literal["pgd-40", "fgsm"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Twin:
    """A model that decides (nearly) as the specimen does, and whose gradients can be used.

    Attributes:
        model: In evaluation mode; the unmasked base of a wrapper, or the same network undone by
            hand: another backward pass, float64, a lower temperature.
        draws: Gradients to average, for twins that draw at random or are rough.
        spread: Deviation of Gaussian noise on the images, drawn anew for each of these.
    """

    model: nn.Module
    draws: int = 1
    spread: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model with what it is measured on.

    Attributes:
        model: Built anew, in evaluation mode; bounds are those of the threat.
        images: (n, c, h, w).
        labels: (n,).
        threat: Linf.
        twins: For the proof alone: a detector must not look at them.
        random: Its outputs differ from call to call.
    """

    model: nn.Module
    images: torch.Tensor
    labels: torch.Tensor
    threat: ThreatModel
    twins: tuple[Twin, ...] = ()
    random: bool = False


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A model whose label is proven by `specimens.oracles.proof`.

    Attributes:
        name: Unique.
        mechanism: A key of `benchmarks/masking_split.json`, or "honest".
        label: What a detector should say.
        build: Makes everything anew; a twin never shares state with the model.
        about: One line.
        naive: The attack that a masked one fools.
        searched: Prove with gradient-free search too, where no twin is close enough.
    """

    name: str
    mechanism: str
    label: Label
    build: Callable[[], Subject] = field(repr=False)
    about: str
    naive: Naive = "pgd-40"
    searched: bool = False
