"""Plain ascent with falling steps: for models whose answers scatter, and gradients that are rough.

    x_0 = the image;  d_0 = 0
    d_{k+1} = .75 d_k + g_k / |g_k|_1          g of the loss, through whatever function is given
    x_{k+1} = P(x_k + eps (1 - k / steps) / 4 s(d_{k+1}))
    the last point counts

APGD keeps the point of highest loss and halves its steps where the loss stalls; of a loss that is
drawn anew each time it would keep the luckiest point. Here nothing depends on values, only on
gradients, and momentum averages them over steps as well.

Source: MI-FGSM (Dong et al. 2018) with a falling step, as in PGD with EOT (Athalye et al. 2018).
Cost: `steps` forward and backward passes of the function per image. Randomness: the function's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own.balls import project, region_around, sparse_steepest, steepest
from fgmf.attacks.own.losses import logit_direction
from fgmf.attacks.own.rows import per_row
from fgmf.attacks.projection import project as onto_ball

if TYPE_CHECKING:
    from fgmf.attacks.own.losses import LossName
    from fgmf.attacks.own.task import AttackTask, LogitsFunction
    from fgmf.types import Images

_MOMENTUM: Final = 0.75
_FIRST: Final = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Ascended:
    """Where the ascent ended.

    Attributes:
        adversarial: (n, ...) inside ball and box; not judged.
    """

    adversarial: Images


@dataclass(frozen=True, kw_only=True)
class Ascending:
    """The attack.

    Attributes:
        steps: How many.
        loss: What is raised.
    """

    steps: int
    loss: LossName = "margin"

    def run(self, logits: LogitsFunction, task: AttackTask, *, batch_size: int) -> Ascended:
        """Attack every image of the task."""
        everyone = torch.arange(len(task.keys))
        parts = [self._part(logits, task, rows) for rows in everyone.split(batch_size)]
        return Ascended(adversarial=torch.cat(parts) if parts else task.images)

    def _part(self, logits: LogitsFunction, task: AttackTask, rows: torch.Tensor) -> Images:
        threat, clean = task.threat, task.rows(rows)
        criterion = task.criterion_on(task.workplace).of(rows.to(task.workplace))
        nowhere = torch.full((len(rows),), -1, device=task.workplace)
        region = region_around(clean, threat)
        radius = torch.full((len(rows),), threat.epsilon, device=task.workplace)
        points, drift = clean.clone(), torch.zeros_like(clean)
        for step in range(self.steps):
            leaf = points.detach().clone().requires_grad_()
            with torch.enable_grad():
                answer = logits(leaf)
                _, wanted = logit_direction(self.loss, answer.detach(), criterion, nowhere)
                (slope,) = torch.autograd.grad(answer, leaf, wanted.nan_to_num(nan=0.0).to(answer))
            slope = slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            size = slope.abs().flatten(1).sum(dim=1).clamp_min(1e-30)
            drift = _MOMENTUM * drift + slope / per_row(size, slope)
            length = _FIRST * threat.epsilon * (1 - step / self.steps)
            points = project(region, points + length * self._unit(drift, task), threat.norm, radius)
        return onto_ball(task.images[rows], points.cpu(), threat)

    def _unit(self, drift: torch.Tensor, task: AttackTask) -> torch.Tensor:
        if task.threat.norm != "l1":
            return steepest(drift, task.threat.norm)
        counts = torch.full((len(drift),), max(1, drift[0].numel() // 20), device=drift.device)
        return sparse_steepest(drift, counts)
