"""A network that learns to answer as the model does, made on the fly for its gradients.

    images  = the measured images, and copies moved by up to two radii, `copies` times
    answers = the model's logits on them (random models: averaged), scaled to unit spread
    fit a small convolutional network to the answers: squared error, and cross-entropy with the
        predicted classes, by Adam at a falling rate

No label is used: what is learnt is the model. Images larger than 32 pixels are shrunk first.

Source: transfer as in Papernot et al. 2017; soft answers as in distillation.
Cost: `copies` + 1 forward passes of the model per image; the passes of the small network are
counted on the same meter, each like one of the model's.
Randomness: the moves, by image; batches and first weights, by the seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.seeding import derive_seed, isolated_randomness

if TYPE_CHECKING:
    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.classifier import CostMeter
    from fgmf.gradient_masking.examined import Examined
    from fgmf.types import Bounds, Images, Logits

_SIDE: Final = 32
_SMALLEST: Final = 8
_BATCH: Final = 64
_RATE: Final = 5e-3
_REACH: Final = 2.0


class Distilled(nn.Module):
    """The small network, with the model's range of images.

    Args:
        images: Some, for their shape.
        classes: Of the model.
        bounds: Of the images.
        seed: Of the first weights.
        meter: Where passes are counted.
    """

    def __init__(
        self, images: Images, *, classes: int, bounds: Bounds, seed: int, meter: CostMeter
    ) -> None:
        super().__init__()
        self._bounds, self._meter = bounds, meter
        self._flat = images.ndim != 4
        if self._flat:
            with isolated_randomness(seed):
                self.network: nn.Module = nn.Sequential(
                    nn.Flatten(),
                    nn.Linear(images[0].numel(), 64),
                    nn.ReLU(),
                    nn.Linear(64, classes),
                )
            return
        self._side = max(_SMALLEST, min(_SIDE, max(images.shape[2:])))
        config = ConvNetConfig(
            image_side=self._side,
            channels=images.shape[1],
            num_classes=classes,
            widths=(16, 32),
            hidden=64,
        )
        self.network = ConvNet(config, seed=seed)

    def forward(self, images: Images) -> Logits:
        """Images within the bounds to logits."""
        lower, upper = self._bounds
        unit = (images.float() - lower) / (upper - lower)
        if not self._flat and tuple(unit.shape[2:]) != (self._side, self._side):
            unit = nn.functional.interpolate(
                unit, size=(self._side, self._side), mode="bilinear", antialias=True
            )
        self._meter.forward_passes += len(images)
        logits: Logits = self.network(unit)
        if logits.requires_grad:
            logits.register_hook(lambda _gradient: self._count(len(images)))
        return logits

    def _count(self, images: int) -> None:
        self._meter.backward_passes += images


def distil(
    examined: Examined,
    logits: LogitsFunction,
    *,
    copies: int = 3,
    updates: int = 200,
) -> Distilled:
    """Train a small network to answer as a model does.

    Args:
        examined: Model and images.
        logits: The model, as it is to be asked.
        copies: Moved copies of each image that the model is asked about.
        updates: Batches of 64 that the network is trained on.

    Returns:
        The network, frozen, on the device of the model.
    """
    asked, answers = _lessons(examined, logits, copies)
    seed = derive_seed(examined.seed, "distilled")
    network = Distilled(
        asked,
        classes=answers.shape[1],
        bounds=examined.threat.bounds,
        seed=seed,
        meter=examined.classifier.cost_meter,
    ).to(examined.workplace)
    _fit(network, asked.to(examined.workplace), answers.to(examined.workplace), updates, seed)
    return network.eval().requires_grad_(requires_grad=False)


def _lessons(examined: Examined, logits: LogitsFunction, copies: int) -> tuple[Images, Logits]:
    lower, upper = examined.threat.bounds
    size = examined.images[0].numel()
    spread = {"linf": 1.0, "l2": 3 * size**-0.5, "l1": 9.0 / size}[examined.threat.norm]
    reach = _REACH * examined.threat.epsilon * spread
    moved = [examined.images]
    for number in range(copies):
        # Coarse moves teach what smooth perturbations do, fine ones the rest.
        move = examined.uniform(f"lesson {number}")
        if number % 2 and move.ndim == 4:
            move = _coarse(move)
        moved.append((examined.images + reach * move).clamp(lower, upper))
    asked = torch.cat(moved)
    with torch.no_grad():
        parts = [
            logits(part.to(examined.workplace)).detach().float().cpu()
            for part in asked.split(examined.classifier.batch_size)
        ]
    answers = torch.cat(parts).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    centred = answers - answers.mean(dim=1, keepdim=True)
    return asked, centred / centred.std().clamp_min(1e-12)


def _coarse(move: torch.Tensor) -> torch.Tensor:
    cells = nn.functional.avg_pool2d(move, 3, stride=3, ceil_mode=True).sign()
    grown: torch.Tensor = nn.functional.interpolate(cells, size=move.shape[2:], mode="nearest")
    return grown


def _fit(network: Distilled, images: Images, answers: Logits, updates: int, seed: int) -> None:
    classes = answers.argmax(dim=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
    falling: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    order = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for _ in range(updates):
            rows = torch.randint(0, len(images), (_BATCH,), generator=order).to(images.device)
            given = network(images[rows])
            error = nn.functional.mse_loss(given, answers[rows])
            loss = error + nn.functional.cross_entropy(given, classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
