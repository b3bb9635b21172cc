"""What gradients, Hessian-vector products and the SGAM layer cost, as CPU time over one gradient.

    python -m benchmarks.curvature_cost [--rounds 15]

For each network and mode: gradient of the images, the first product with what it needs of the
gradient, one further product, and a step that trains through |Hv|^2. A ratio is the median of
paired rounds in random order; A/A is the gradient again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.curvature import HVP_MODES, ImageLoss, InputCurvature
from fgmf.sgam import SaliencyTeacher, Sgam

if TYPE_CHECKING:
    from collections.abc import Callable

RESULT = Path(__file__).parent / "results" / "curvature_cost.json"
BATCH = 128


def networks() -> dict[str, nn.Module]:
    return {
        "cnn": ConvNet(ConvNetConfig(activation="gelu")),
        "vit": ViT(ViTConfig(depth=2)),
        "hybrid": HybridNet(HybridConfig()),
    }


def jobs(net: nn.Module) -> dict[str, Callable[[], object]]:
    """What is timed, by name; the first is what the others are compared with."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH, 1, 28, 28, generator=draws)
    labels = torch.randint(10, (BATCH,), generator=draws)
    directions = torch.randn(images.shape, generator=draws)
    loss = ImageLoss(model=net, labels=labels)
    parameters = list(net.parameters())

    def gradient() -> object:
        at = images.clone().requires_grad_()
        return torch.autograd.grad(loss(at).sum(), at)

    def product(mode: str) -> object:
        return InputCurvature(loss, images, mode=mode, step=0.1).product(directions)  # type: ignore[arg-type]

    found: dict[str, Callable[[], object]] = {"gradient": gradient, "gradient (A/A)": gradient}
    for mode in HVP_MODES:
        found[f"{mode}: first product"] = lambda mode=mode: product(mode)
        ready = InputCurvature(loss, images, mode=mode, step=0.1)
        ready.gradient  # noqa: B018 - a property that computes
        found[f"{mode}: further product"] = lambda ready=ready: ready.product(directions)

    def through(mode: str) -> object:
        curvature = InputCurvature(loss, images, mode=mode, step=0.1, differentiable=True)  # type: ignore[arg-type]
        return torch.autograd.grad(curvature.product(directions).square().sum(), parameters,
                                   allow_unused=True)  # fmt: skip

    for mode in ("double-backward", "finite-difference"):
        found[f"{mode}: training through |Hv|^2"] = lambda mode=mode: through(mode)
    sgam = Sgam.wrap(net, channels=1)
    teacher = SaliencyTeacher(every=8)

    def step(model: nn.Module) -> object:
        return torch.autograd.grad(
            cross_entropy(model(images), labels), list(model.parameters()), allow_unused=True
        )

    found["training step"] = lambda: step(net)
    found["training step with SGAM"] = lambda: step(sgam)
    found["SGAM lesson"] = lambda: teacher.loss(sgam, images, labels, step=0).backward()
    return found


def ratios(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    draws, times = random.Random(0), {name: [] for name in work}
    for round_ in range(rounds + 2):
        order = list(work)
        draws.shuffle(order)
        for name in order:
            started = time.process_time()
            work[name]()
            if round_ >= 2:  # the first ones warm up
                times[name].append(time.process_time() - started)
    first = next(iter(work))
    return {
        name: statistics.median(a / b for a, b in zip(spent, times[first], strict=True))
        for name, spent in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: ratios(jobs(net), arguments.rounds) for name, net in networks().items()}
    rows = list(next(iter(found.values())))
    print(f"| over one gradient | {' | '.join(found)} |\n| --- |{' --- |' * len(found)}")
    for row in rows:
        print(f"| {row} | {' | '.join(f'{found[name][row]:.2f}' for name in found)} |")
    RESULT.write_text(json.dumps({"batch": BATCH, "ratios": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
