"""Gradients that need none: the model is asked at points around, and the answers are compared.

    for k = 1 .. pairs:
        u   = signs drawn on a grid of cells, 1, 2 or 4 pixels wide in turn
        g  += <v, z(P(x + h u)) - z(P(x - h u))> / (pairs * 2 h) * u       P cuts to the bounds
    v is what the loss wants of the logits z; h is half of the ball's radius per pixel

A step function, rounding, a cut graph or a lying backward pass changes nothing in it: only the
values count. Wide cells carry most of what natural images' gradients hold, at a fraction of the
directions.

Source: NES (Ilyas et al. 2018) with the tiling prior of Ilyas et al. 2019 (bandits), as a vector-
Jacobian product, so that any attack of ours can follow it.
Cost: 2 * pairs forward passes for each gradient, and one for its value.
Randomness: fixed by the seed and the contents of each point; not by its batch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import torch

from fgmf.attacks.own.draws import uniform
from fgmf.seeding import derive_seed

if TYPE_CHECKING:
    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Logits

_CELLS: Final = (2, 4, 1)
_REACH: Final = 0.5
_LEAST: Final = 2e-3
"""Shortest step, as a share of the range: half a level of eight bits."""


class EstimatedLogits:
    """A model's values, with gradients estimated from values around.

    Args:
        logits: The model; no gradient is asked of it.
        threat: Its radius says how far around.
        pairs: Directions, each asked both ways.
        seed: Of the directions.
    """

    def __init__(
        self, logits: LogitsFunction, *, threat: ThreatModel, pairs: int, seed: int
    ) -> None:
        self._logits, self._threat, self._pairs = logits, threat, pairs
        self._seed = derive_seed(seed, "estimated")
        self.passes_per_call = 1

    def __call__(self, images: Images) -> Logits:
        """Images (m, ...) to logits (m, classes)."""
        logits: Logits = _Estimated.apply(images, self)  # type: ignore[no-untyped-call]
        return logits

    def values(self, images: Images) -> Logits:
        """The model's answers, cut from the graph."""
        with torch.no_grad():
            return self._logits(images.detach()).detach()

    def pulled_back(self, images: Images, wanted: Logits) -> Images:
        """Estimate the gradient of <wanted, logits>: (m, ...)."""
        lower, upper = self._threat.bounds
        reach = self._step(images[0].numel())
        seeds = _seeds_of(images, self._seed)
        slope = torch.zeros_like(images)
        for pair in range(self._pairs):
            move = _signs(seeds, pair, images)
            ahead = (images + reach * move).clamp(lower, upper)
            behind = (images - reach * move).clamp(lower, upper)
            rise = (self.values(ahead) - self.values(behind)).to(wanted)
            gain = (rise * wanted).sum(dim=1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            share = (gain / (2 * reach * self._pairs)).to(images)
            slope += share.reshape(-1, *([1] * (images.ndim - 1))) * move
        return slope

    def _step(self, size: int) -> float:
        """How far one pixel moves, in the units of the bounds."""
        threat, (lower, upper) = self._threat, self._threat.bounds
        spread = {"linf": 1.0, "l2": 2.0 / math.sqrt(size), "l1": 8.0 / size}[threat.norm]
        return max(_REACH * threat.epsilon * spread, _LEAST * (upper - lower))


class _Estimated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, owner: EstimatedLogits) -> torch.Tensor:  # noqa: ANN401 - torch's context
        ctx.owner = owner
        ctx.save_for_backward(images)
        return owner.values(images)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401 - torch's context
        (images,) = ctx.saved_tensors
        return ctx.owner.pulled_back(images, gradients[0]), None


def _seeds_of(images: Images, seed: int) -> torch.Tensor:
    """(m,) int64 made of the bits of each image: exact, so batches don't change them."""
    bits = images.detach().float().contiguous().view(torch.int32).flatten(1).to(torch.int64)
    weights = torch.arange(1, 2 * bits.shape[1], 2, device=bits.device) * 0x9E3779B1
    return (bits * weights).sum(dim=1) ^ seed


def _signs(seeds: torch.Tensor, step: int, images: Images) -> Images:
    """(m, ...) of -1 and 1, constant on cells of the grid where images have rows and columns."""
    cell = _CELLS[step % len(_CELLS)] if images.ndim == 4 else 1
    steps = torch.full_like(seeds, step)
    if cell == 1:
        draws = uniform(seeds, steps, images[0].numel()).reshape(images.shape)
        return (draws * 2 - 1).sign().to(images)
    channels, height, width = images.shape[1:]
    rows, columns = -(-height // cell) + 1, -(-width // cell) + 1
    draws = uniform(seeds, steps, channels * rows * columns + 2)
    shift = (draws[:, -2:] * cell).long()
    coarse = draws[:, :-2].reshape(-1, channels, rows, columns)
    down = (torch.arange(height, device=seeds.device)[None] + shift[:, :1]) // cell
    across = (torch.arange(width, device=seeds.device)[None] + shift[:, 1:]) // cell
    at = (torch.arange(len(seeds), device=seeds.device)[:, None, None],)
    picked = coarse.permute(0, 2, 3, 1)[(*at, down[:, :, None], across[:, None, :])]
    return (picked.permute(0, 3, 1, 2) * 2 - 1).sign().to(images)
