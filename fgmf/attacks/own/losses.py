"""What the attacks raise: losses of which a positive multiple of the logits has the same steps.

    gain        untargeted   z_i - z_y, i the highest other class (top-k: the k-th highest)
                lane target  z_t - z_y (top-k: z_i - z_y, i the lowest of t and the k - 1 highest
                             others)
                targeted     z_t - z_i, i the highest class other than t
    margin      gain
    dlr         gain / (z_1 - z_3);   with a target   gain / (z_1 - (z_3 + z_4) / 2)
    ce          log sum_{i != y} exp z_i - z_y (top-k: without the k - 1 highest others);
                with a target   z_t - log sum_{i != t} exp z_i

`ce` is the log-odds of the wrong classes. Cross-entropy is softplus of it, so both have the same
gradient up to a positive factor per image, and the same order of points; the attacks use no
more of a loss than these two. The factor is what vanishes on saturated logits, and is left out.
All is computed in float64, and each row of the gradient with respect to the logits is divided
by its largest entry before it goes back into the model, so that nothing underflows in float32.

Source: DLR and targeted DLR: Croce & Hein 2020, equations (6) and (7). Margin to a target:
minimum-margin attack, ICML 2022. Log-odds in place of cross-entropy: see above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.criteria import Criterion
    from fgmf.types import Labels, Logits

LossName = Literal["ce", "dlr", "margin"]

NO_TARGET = -1
"""In a tensor of lane targets: this lane aims at no class of its own."""

_DLR_CLASSES = {False: 3, True: 4}


def usable_loss(loss: LossName, *, classes: int, targeted: bool) -> LossName:
    """Return the loss that can be computed: DLR needs 3 classes, with a target 4.

    Args:
        loss: What was asked.
        classes: Number of classes of the model.
        targeted: True if lanes or the criterion aim at a class.

    Returns:
        `loss`, or ``margin`` where there are too few classes for ``dlr``.

    Raises:
        InvalidInput: The name is unknown, or there are fewer than two classes.
    """
    if loss not in get_args(LossName):
        raise InvalidInput(f"expected a loss of {get_args(LossName)}, got {loss!r}")
    if classes < 2:
        raise InvalidInput(f"expected at least two classes, got logits of {classes}")
    if loss == "dlr" and classes < _DLR_CLASSES[targeted]:
        return "margin"
    return loss


def breaking_margin(logits: Logits, criterion: Criterion) -> torch.Tensor:
    """Return by how much each image is broken.

    Args:
        logits: (m, classes).
        criterion: For these m images.

    Returns:
        (m,) float64 differences of logits: positive where the criterion holds, negative where
        it does not, zero on a tie.
    """
    exact = logits.double()
    if criterion.kind == "targeted" and criterion.targets is not None:
        return _over_best_other(exact, criterion.targets.to(exact.device))
    return _best_other_over(exact, criterion.labels.to(exact.device), criterion.top_k)


def attack_loss(
    loss: LossName, logits: Logits, criterion: Criterion, targets: Labels
) -> torch.Tensor:
    """Return the loss of each row; the attack raises it.

    Args:
        loss: ``ce``, ``dlr`` or ``margin``.
        logits: (m, classes), float64.
        criterion: For these m images.
        targets: (m,) class that each lane aims at, `NO_TARGET` where it aims at none. A
            criterion with its own target ignores them.

    Returns:
        (m,) of the type of the logits.
    """
    own = criterion.kind == "targeted" and criterion.targets is not None
    labels = criterion.labels.to(logits.device)
    aims = targets.to(logits.device)
    if own and criterion.targets is not None:
        aims = criterion.targets.to(logits.device)
    aiming = aims != NO_TARGET
    at = aims.clamp_min(0)
    if loss == "ce":
        rivals = _without_strongest(_without(logits, labels), criterion.top_k - 1)
        away = torch.logsumexp(rivals, dim=1) - _of(logits, labels)
        return torch.where(aiming, _of(logits, at) - _log_sum_of_others(logits, at), away)
    toward = _of(logits, at) - _of(logits, labels)
    if own:
        toward = _over_best_other(logits, at)
    elif criterion.top_k > 1:
        toward = torch.minimum(toward, _company_over(logits, labels, at, criterion.top_k))
    gain = torch.where(aiming, toward, _best_other_over(logits, labels, criterion.top_k))
    return gain if loss == "margin" else gain / _spread(logits, aiming)


def logit_direction(
    loss: LossName, logits: Logits, criterion: Criterion, targets: Labels
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each row's loss, and where its logits should move.

    Args:
        loss: As in :func:`attack_loss`.
        logits: (m, classes), any floating type; not finite rows give not finite results.
        criterion: For these m images.
        targets: (m,) as in :func:`attack_loss`.

    Returns:
        (m,) float64 loss, and (m, classes) its gradient in float64, each row divided by its
        largest absolute entry.
    """
    with torch.enable_grad():
        leaf = logits.detach().double().requires_grad_()
        values = attack_loss(loss, leaf, criterion, targets)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    largest = gradient.abs().amax(dim=1, keepdim=True)
    return values.detach(), gradient / torch.where(largest > 0, largest, torch.ones_like(largest))


def _of(logits: Logits, classes: Labels) -> torch.Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _without(logits: Logits, classes: Labels) -> Logits:
    return logits.scatter(1, classes[:, None], -torch.inf)


def _best_other_over(logits: Logits, labels: Labels, k: int) -> torch.Tensor:
    return _without(logits, labels).topk(k, dim=1).values[:, -1] - _of(logits, labels)


def _without_strongest(logits: Logits, count: int) -> Logits:
    return logits.scatter(1, logits.detach().topk(count, dim=1).indices, -torch.inf)


def _company_over(logits: Logits, labels: Labels, targets: Labels, k: int) -> torch.Tensor:
    """By how much the k - 1 highest classes beside a target are above the label."""
    others = _without(_without(logits, labels), targets).topk(k - 1, dim=1).values
    return others[:, -1] - _of(logits, labels)


def _over_best_other(logits: Logits, targets: Labels) -> torch.Tensor:
    return _of(logits, targets) - _without(logits, targets).amax(dim=1)


def _log_sum_of_others(logits: Logits, classes: Labels) -> torch.Tensor:
    return torch.logsumexp(_without(logits, classes), dim=1)


def _spread(logits: Logits, aiming: torch.Tensor) -> torch.Tensor:
    """(m,) denominator of DLR; ties of all top classes must not divide by zero."""
    ranked = logits.topk(min(4, logits.shape[1]), dim=1).values
    spread = ranked[:, 0] - ranked[:, 2]
    if ranked.shape[1] == 4:
        spread = torch.where(aiming, ranked[:, 0] - (ranked[:, 2] + ranked[:, 3]) / 2, spread)
    return spread.clamp_min(1e-12)
