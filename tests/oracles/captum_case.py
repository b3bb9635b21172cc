"""A model and images whose numbers are formulas, and the maps that Captum 0.9.0 gives of them.

cd tests; python -m oracles.captum_case     (where Captum is installed; writes captum_maps.json)
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

MAPS = Path(__file__).with_name("captum_maps.json")
TARGETS = torch.tensor([2, 1, 2])
STEPS, GRID, LAYER = 7, 4, "4"


def waves(*shape: int, pace: float) -> torch.Tensor:
    """Numbers in [-1, 1] without a random generator."""
    count = int(torch.tensor(shape).prod())
    return torch.sin(pace * torch.arange(1, count + 1, dtype=torch.float64)).reshape(shape)


def images() -> torch.Tensor:
    """(3, 2, 8, 8) in [0, 1]."""
    return (waves(3, 2, 8, 8, pace=1.3) + 1) / 2


def model() -> nn.Sequential:
    """Two convolutions, pooled, three classes; in float64."""
    layers = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Softplus(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 3),
    ).double()
    with torch.no_grad():
        for number, parameter in enumerate(layers.parameters()):
            parameter.copy_(0.7 * waves(*parameter.shape, pace=2.1 + 0.37 * number))
    return layers.eval()


def by_captum() -> dict[str, torch.Tensor]:
    """(3, h, w) each: the logit of the target, channels summed."""
    from captum.attr import (
        InputXGradient,
        IntegratedGradients,
        LayerAttribution,
        LayerGradCam,
        Occlusion,
        Saliency,
    )

    network, given = model(), images().requires_grad_()
    side = given.shape[-1] // GRID
    cam = LayerGradCam(network, network[int(LAYER)]).attribute(
        given, target=TARGETS, relu_attributions=True
    )
    maps = {
        "gradient": Saliency(network).attribute(given, target=TARGETS, abs=False),
        "gradient-times-input": InputXGradient(network).attribute(given, target=TARGETS),
        "integrated-gradients": IntegratedGradients(network).attribute(
            given, target=TARGETS, n_steps=STEPS, method="riemann_middle"
        ),
        "occlusion": Occlusion(network).attribute(
            given, (2, side, side), strides=(2, side, side), target=TARGETS
        )[:, :1],
        "grad-cam": LayerAttribution.interpolate(
            cam, given.shape[-2:], interpolate_mode="bilinear"
        ),
    }
    return {name: found.detach().sum(dim=1) for name, found in maps.items()}


def recorded() -> dict[str, torch.Tensor]:
    """What `by_captum` gave when it was written down."""
    found = json.loads(MAPS.read_text(encoding="utf-8"))
    return {name: torch.tensor(rows, dtype=torch.float64) for name, rows in found.items()}


if __name__ == "__main__":
    MAPS.write_text(
        json.dumps({name: maps.tolist() for name, maps in by_captum().items()}), encoding="utf-8"
    )
