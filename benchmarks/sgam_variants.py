"""What of the saliency mask's effect is real: its variants, each under an adaptive attack.

    python -m benchmarks.sgam_variants [--seeds 3]

Digits, Linf 0.15, one small CNN behind the layer (m_min 0.5, 4 x 4 grid), trained once by standard
training and once by AMO, both with lessons; then the same weights with every variant of the mask.
The suite `standard` attacks each variant through its own forward pass, on 200 test images, with the
gradient that it has: `detached` is the one whose gradient is wrong on purpose. `unwrapped` is the
same recipe and seed without the layer. Gradient: mean size of the loss's gradient on the fifth of
the pixels that is most dimmed, over the rest (built mask's places, for all variants).
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.digit_study import write_result
from benchmarks.training_recipes import FIRST_SEED, SETTINGS, measure_clean, measure_robust
from fgmf.backbones import ConvNet
from fgmf.sgam import VARIANTS, SaliencyTeacher, Sgam, SgamConfig, saliency_mask_of
from fgmf.training import AmoRecipe, SgamRecipe, StandardRecipe, train

if TYPE_CHECKING:
    from torch import nn

    from fgmf.datasets import Samples

SETTING = SETTINGS["digits"]
OUTPUT = Path(__file__).parent / "results" / "sgam_variants.json"
RECIPES = {
    "standard": StandardRecipe(schedule=SETTING.schedule),
    "amo": AmoRecipe(epsilon=SETTING.epsilon, schedule=SETTING.schedule),
}


def measured(name: str, seed: int) -> dict[str, dict[str, float]]:
    """One recipe and seed: every variant, and the network without the layer."""
    recipe, test = RECIPES[name], SETTING.samples("test")
    unwrapped = ConvNet(SETTING.network, seed=seed)
    train(unwrapped, SETTING.samples("train"), recipe, seed=seed)
    model = Sgam.wrap(
        ConvNet(SETTING.network, seed=seed), channels=1, seed=seed, config=SgamConfig(grid_side=4)
    )
    lessons = SgamRecipe(recipe=recipe, teacher=SaliencyTeacher(every=4))
    train(model, SETTING.samples("train"), lessons, seed=seed)
    model.layer.record_mean_saliency(SETTING.samples("train").images)
    places = _dimmed(model, test.images)
    found = {"unwrapped": _figures(unwrapped, test, places)}
    for variant in VARIANTS:
        model.layer.use_variant(variant)
        found[variant] = _figures(model, test, places)
    return found


def _figures(model: nn.Module, test: Samples, places: torch.Tensor) -> dict[str, float]:
    model.requires_grad_(requires_grad=False)
    images = test.images.clone().requires_grad_()
    loss = cross_entropy(model(images), test.labels, reduction="sum")
    size = torch.autograd.grad(loss, images)[0].abs()
    return {
        "clean": measure_clean(model, test),
        "robust": measure_robust(model, test, SETTING)["robust"],
        "gradient": float(size[places].mean() / size[~places].mean()),
    }


def _dimmed(model: Sgam, images: torch.Tensor) -> torch.Tensor:
    """(n, 1, h, w) bool: the fifth of each image's pixels that the built mask dims most."""
    side, config = images.shape[-1], model.layer.config
    with torch.no_grad():
        applied = saliency_mask_of(model.layer.grid(images), (side, side), config.m_min)
    flat = applied.flatten(1)
    lowest = flat.argsort(dim=1)[:, : flat.shape[1] // 5]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, lowest, value=True).view_as(applied)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    everything: dict[str, Any] = {}
    print("| trained by | mask | clean | robust (each seed) | gradient |\n" + "| --- " * 5 + "|")
    for name in RECIPES:
        runs = [measured(name, seed) for seed in seeds]
        everything[name] = runs
        for variant in runs[0]:
            cells = [run[variant] for run in runs]
            clean, ratio = (
                statistics.fmean(cell[key] for cell in cells) for key in ("clean", "gradient")
            )
            robust = " / ".join(f"{cell['robust']:.3f}" for cell in cells)
            print(f"| {name} | {variant} | {clean:.3f} | {robust} | {ratio:.2f} |", flush=True)
    write_result(arguments.output, "sgam_variants", {"runs": everything})


if __name__ == "__main__":
    main()
