"""How trained digit networks come about, and where their weights lie.

Weights are committed as float16 safetensors beside this file, so that tests train nothing:

    python -m benchmarks.masking_train        # trains what is missing

Images are scikit-learn's digits (8 x 8, in [0, 1]), as they are, in colour, or in two classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from safetensors.torch import load_file, save

from fgmf.canonical import write_atomically
from fgmf.datasets import Samples, digits
from fgmf.training import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.training import Recipe

    Split = Literal["train", "test"]

WEIGHTS = Path(__file__).resolve().parent / "weights"
SEED = 11


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network and how it is trained.

    Attributes:
        build: Makes it with its first weights.
        recipe: The objective.
        data: Name of the images: "grey", "colour" or "two".
        epsilon: At which it is measured.
    """

    build: Callable[[], nn.Module]
    recipe: Recipe
    data: str = "grey"
    epsilon: float = 0.15


@cache
def images_of(data: str, split: Split) -> Samples:
    """Digits as they are, on a coloured ground in a coloured ink, or below and above five."""
    samples = digits(split)
    if data == "two":
        return Samples(images=samples.images, labels=(samples.labels > 4).long())
    if data == "colour":
        draws = torch.Generator().manual_seed({"train": 1, "test": 2}[split])
        ink = 0.5 + 0.5 * torch.rand((len(samples), 3, 1, 1), generator=draws)
        ground = 0.4 * torch.rand((len(samples), 3, 1, 1), generator=draws)
        coloured = ground + samples.images * (ink - ground)
        return Samples(images=coloured, labels=samples.labels)
    return samples


def train_network(plan: Plan) -> nn.Module:
    """Train a network from its first weights."""
    network = plan.build()
    train(network, images_of(plan.data, "train"), plan.recipe, seed=SEED)
    return network


def keep(name: str, network: nn.Module) -> None:
    """Write weights in half precision."""
    WEIGHTS.mkdir(exist_ok=True)
    half = {
        key: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for key, value in network.state_dict().items()
    }
    write_atomically(WEIGHTS / f"{name}.safetensors", save(half))


def trained(name: str, plan: Plan) -> nn.Module:
    """Return the kept network in evaluation mode with frozen parameters.

    Raises:
        FileNotFoundError: It was not trained; `python -m benchmarks.masking_train` does.
    """
    network = plan.build()
    kept = load_file(WEIGHTS / f"{name}.safetensors")
    network.load_state_dict({key: _full(value) for key, value in kept.items()})
    return network.eval().requires_grad_(requires_grad=False)


def _full(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.is_floating_point() else value
