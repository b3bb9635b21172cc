"""An attack that asks for decisions alone: it works where scores are flat, rounded or labels.

    d = signs at random;  r = as far as the box allows
    for level 0, 1, 2, ...: cut the image into 2^level pieces; for each piece:
        d' = d with the piece's signs turned
        wrong at x + r d'?  then halve the way to the nearest wrong point along d': d, r = d', r'
    an image is broken as soon as r is inside the ball; L2 goes the same ways, scaled to length

Pieces are runs of neighbouring pixels, in the order of the rows; when every pixel has been a piece
of its own, it begins anew.

Source: RayS (Chen and Gu 2020), algorithms 1 and 2. Deviations: the first signs are drawn, not all
one; the search along a ray ends after 8 halvings, and at once when the ball is reached.
Cost: at most `queries` forward passes per image. Randomness: the first signs, by image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own.rows import per_row
from fgmf.attacks.projection import project
from fgmf.gradient_masking.ascending import Ascended
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.attacks.own.task import AttackTask, LogitsFunction
    from fgmf.types import ImageFlags, Images

_HALVINGS: Final = 8
_INSIDE: Final = 0.999
"""Of the radius: rounding must not put a point outside."""


@dataclass(frozen=True, kw_only=True)
class Deciding:
    """The attack.

    Attributes:
        queries: Most forward passes per image.
    """

    queries: int = 200

    def run(self, logits: LogitsFunction, task: AttackTask, *, batch_size: int = 128) -> Ascended:
        """Attack every image of the task; only the classes of the logits are looked at."""
        parts = [
            _Rays(logits, task, rows, self.queries).run()
            for rows in torch.arange(len(task.keys)).split(batch_size)
        ]
        return Ascended(adversarial=torch.cat(parts).to(task.images.device))


class _Rays:
    """Some images on their way."""

    def __init__(
        self, logits: LogitsFunction, task: AttackTask, rows: torch.Tensor, queries: int
    ) -> None:
        self._logits, self._threat = logits, task.threat
        self._clean = task.rows(rows)
        self._labels = task.criterion_on(self._clean.device).labels[rows.to(self._clean.device)]
        size = self._clean[0].numel()
        signs = [
            torch.from_numpy(image_generator(task.seed, "rays", task.keys[at]).random(size) < 0.5)
            for at in rows.tolist()
        ]
        drawn = torch.stack(signs).to(self._clean.device)
        self._signs = torch.where(drawn, 1.0, -1.0).to(self._clean.dtype)
        unit = {"linf": 1.0, "l2": size**-0.5, "l1": 1.0 / size}[self._threat.norm]
        self._unit = unit
        width = self._threat.bounds[1] - self._threat.bounds[0]
        self._goal = _INSIDE * self._threat.epsilon
        self._radius = torch.full((len(rows),), width / unit, device=self._clean.device)
        self._left = torch.full((len(rows),), queries, device=self._clean.device)
        self._found = torch.zeros(len(rows), dtype=torch.bool, device=self._clean.device)

    def run(self) -> Images:
        """Where each image ends: on its ray, no farther than the ball."""
        everywhere = self._wrong(self._signs, self._radius)
        self._found |= everywhere
        self._halve(self._signs, everywhere)
        for turned in self._pieces():
            open_rows = (~self._found | (self._radius > self._goal)) & (self._left > 0)
            if not bool(open_rows.any()):
                break
            signs = torch.where(turned, -self._signs, self._signs)
            better = open_rows & self._wrong(signs, self._radius, open_rows)
            self._found |= better
            self._signs = torch.where(better[:, None], signs, self._signs)
            self._halve(self._signs, better)
        radius = self._radius.clamp_max(self._goal)
        ended: Images = project(self._clean, self._at(self._signs, radius), self._threat)
        return ended

    def _pieces(self) -> Iterator[torch.Tensor]:
        """(pixels,) which signs are turned next."""
        size = self._signs.shape[1]
        places = torch.arange(size, device=self._signs.device)
        while True:
            pieces = 1
            while pieces < 2 * size:
                cut = min(pieces, size)
                length = -(-size // cut)
                for first in range(0, size, length):
                    yield (places >= first) & (places < first + length)
                pieces *= 2

    def _halve(self, signs: torch.Tensor, rows: ImageFlags) -> None:
        """Find how near along the ray the decision changes, for some images."""
        low = torch.zeros_like(self._radius)
        high = self._radius.clone()
        for _ in range(_HALVINGS):
            active = rows & (high > self._goal) & (self._left > 0)
            if not bool(active.any()):
                break
            middle = (low + high) / 2
            # The ball itself is the first place to ask about once the ray comes near to it.
            middle = torch.where((low < self._goal) & (high > self._goal), self._goal, middle)
            wrong = self._wrong(signs, middle, active)
            high = torch.where(active & wrong, middle, high)
            low = torch.where(active & ~wrong, middle, low)
        self._radius = torch.where(rows, high, self._radius)

    def _at(self, signs: torch.Tensor, radius: torch.Tensor) -> Images:
        move = (signs * self._unit).reshape(self._clean.shape)
        moved: Images = self._clean + per_row(radius, move) * move
        return moved.clamp(*self._threat.bounds)

    def _wrong(
        self, signs: torch.Tensor, radius: torch.Tensor, rows: ImageFlags | None = None
    ) -> ImageFlags:
        """Ask for decisions; rows that are not asked about are right."""
        at = (
            torch.arange(len(self._clean), device=self._clean.device)
            if rows is None
            else rows.nonzero().flatten()
        )
        self._left[at] -= 1
        found = torch.zeros(len(self._clean), dtype=torch.bool, device=self._clean.device)
        if len(at):
            with torch.no_grad():
                answer = self._logits(self._at(signs, radius)[at])
            decided = answer.argmax(dim=1).to(self._labels) != self._labels[at]
            found[at] = decided & answer.isfinite().all(dim=1).to(decided.device)
        return found
