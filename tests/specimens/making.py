"""From a network to a subject: what most specimens share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.threat import ThreatModel
from specimens.honest.plans import EPSILON, PLANS
from specimens.plans import images_of, trained
from specimens.value import Subject

if TYPE_CHECKING:
    from torch import nn

    from specimens.value import Twin

COUNT = 160
"""Test images of each subject."""


def digit_network(name: str) -> nn.Module:
    """One of the honest trained networks, anew."""
    return trained(name, PLANS[name])


def digit_subject(
    model: nn.Module,
    *twins: Twin,
    data: str = "grey",
    epsilon: float = EPSILON,
    random: bool = False,
    count: int = COUNT,
) -> Subject:
    """A model of digits with the first test images."""
    samples = images_of(data, "test")
    return Subject(
        model=model.eval().requires_grad_(requires_grad=False),
        images=samples.images[:count],
        labels=samples.labels[:count],
        threat=ThreatModel(norm="linf", epsilon=epsilon, bounds=(0.0, 1.0)),
        twins=twins,
        random=random,
    )


class Behind(torch.nn.Module):
    """A network behind another module."""

    def __init__(self, front: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.front, self.network = front, network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(self.front(images))
        return logits
