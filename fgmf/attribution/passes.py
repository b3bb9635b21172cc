"""Asking the model about variants of the images, in batches across images and variants.

    row r of n * k rows = variant r mod k of image r div k
    for each batch of at most classifier.batch_size rows:  make them, ask, keep what is wanted

The score of a row is one number of its target class: the log-odds `z_c - log sum_{j != c} e^z_j`,
the logit `z_c`, or the probability. No batch mixes rows, and sums over variants run in the order
of the variants, so batches change nothing but rounding inside the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from fgmf.classifier.memory import batched
from fgmf.classifier.outputs import refuse_fixed_logit
from fgmf.errors import GradientUnavailable, InvalidInput, NonFiniteOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attribution.request import Request
    from fgmf.types import Images, Labels, Logits

Output: TypeAlias = Literal["log-odds", "logit", "probability"]
Rows: TypeAlias = torch.Tensor  # (m,) int64


@dataclass(frozen=True, kw_only=True)
class Variants:
    """Variants of every image.

    Attributes:
        count: k, of each image.
        make: From positions of images (m,) and numbers of variants (m,), both on the CPU, to
            points (m, c, h, w) on the device of the images.
    """

    count: int
    make: Callable[[Rows, Rows], Images]


def ask_scores(request: Request, variants: Variants, *, output: Output) -> torch.Tensor:
    """Return the score of every variant.

    Returns:
        (n, k) float64 on the CPU.

    Raises:
        NonFiniteOutput: A logit is NaN or infinite.

    Cost: k forward passes per image.
    """

    def ask(part: slice) -> torch.Tensor:
        image, number = _rows(part, variants.count)
        with torch.no_grad():
            points = variants.make(image, number)
            return target_scores(request, points, image, output=output)

    total = len(request.images) * variants.count
    parts = batched(total, request.classifier.batch_size, ask)
    return torch.cat([scores.detach().cpu().double() for _, scores in parts]).reshape(
        -1, variants.count
    )


def sum_gradients(
    request: Request,
    variants: Variants,
    *,
    output: Output,
    weigh: Callable[[Images, Images, Rows, Rows], Images] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum the gradient of the score over the variants of each image.

    Args:
        request: The images.
        variants: Where gradients are taken.
        output: Of what.
        weigh: From gradient (m, c, h, w), points, positions of images and numbers of variants to
            what is summed; None sums the gradient itself.

    Returns:
        (n, c, h, w) and the scores (n, k), both float64 on the CPU.

    Raises:
        GradientUnavailable: The model's output is cut from the graph.
        NonFiniteOutput: A logit or gradient is NaN or infinite.

    Cost: k forward and k backward passes per image.
    """

    def ask(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        image, number = _rows(part, variants.count)
        points = variants.make(image, number).detach().requires_grad_()
        with torch.enable_grad():
            scores = target_scores(request, points, image, output=output)
        gradient = gradient_of(scores, points)
        refuse_nonfinite_rows(gradient, image, what="gradient")
        weighed = gradient if weigh is None else weigh(gradient, points.detach(), image, number)
        return weighed.cpu(), scores.detach().cpu().double()

    total = torch.zeros(request.images.shape, dtype=torch.float64)
    count = len(total) * variants.count
    scores = []
    for part, (weighed, seen) in batched(count, request.classifier.batch_size, ask):
        total.index_add_(0, _rows(part, variants.count)[0], weighed.double())
        scores.append(seen)
    return total, torch.cat(scores).reshape(-1, variants.count)


def target_scores(request: Request, points: Images, image: Rows, *, output: Output) -> torch.Tensor:
    """Return the score of each point for the target of its image: (m,) on the device.

    Raises:
        InvalidInput: A target is no class of the model, or its logit the same whatever the image.
        NonFiniteOutput: A logit is NaN or infinite.
    """
    logits = request.classifier.logits(points)
    refuse_nonfinite_rows(logits, image, what="logits")
    targets = request.targets[image.to(request.targets.device)]
    if int(targets.max()) >= logits.shape[1] or int(targets.min()) < 0:
        message = f"expected targets from 0 to {logits.shape[1] - 1}, got "
        raise InvalidInput(f"{message}{int(targets.min())} to {int(targets.max())}")
    if output == "logit":
        refuse_fixed_logit(logits, targets)
    return score(logits, targets, output=output)


def score(logits: Logits, targets: Labels, *, output: Output) -> torch.Tensor:
    """Return one number of the target class per row.

    Args:
        logits: (m, classes).
        targets: (m,).
        output: ``log-odds`` of the class against all others, its ``logit``, its ``probability``.

    Returns:
        (m,) in float64 where the device has it, differentiable.
    """
    wide = logits if logits.device.type == "mps" else logits.double()
    own = wide.gather(1, targets[:, None])[:, 0]
    if output == "logit":
        return own
    if output == "probability":
        return (own - wide.logsumexp(dim=1)).exp()
    others = wide.scatter(1, targets[:, None], -torch.inf)
    return own - others.logsumexp(dim=1)


def gradient_of(
    scores: torch.Tensor, points: torch.Tensor, *, keep_graph: bool = False
) -> torch.Tensor:
    """Return the gradient of each row's score with respect to its point.

    Args:
        scores: (m,) no row of which depends on another row's point.
        points: (m, ...).
        keep_graph: Whether gradients of the same scores will be taken again.

    Raises:
        GradientUnavailable: There is no path from one to the other.
    """
    gradient = None
    if scores.requires_grad:
        (gradient,) = torch.autograd.grad(
            scores.sum(), points, retain_graph=keep_graph, allow_unused=True
        )
    if gradient is None:
        message = (
            "expected logits with a gradient, got logits that are cut from the graph; use an "
            "explainer that needs no gradient, such as occlusion"
        )
        raise GradientUnavailable(message)
    return gradient.detach()


def refuse_nonfinite_rows(values: torch.Tensor, image: Rows, *, what: str) -> None:
    """Refuse NaN and infinity.

    Args:
        values: (m, ...).
        image: (m,) which image each row is of.
        what: Name of the values.

    Raises:
        NonFiniteOutput: With the position of the first image that is concerned.
    """
    flat = values.detach().flatten(1)
    if bool(flat.sum().isfinite()):  # any NaN or infinity shows in the sum
        return
    bad = (~flat.isfinite().all(dim=1)).nonzero()[:, 0].cpu()
    if len(bad):
        first = int(image[bad[0]])
        message = (
            f"expected finite {what}, got NaN or infinite values for image {first}; mend the "
            "model, or leave that image out"
        )
        raise NonFiniteOutput(message)


def _rows(part: slice, count: int) -> tuple[Rows, Rows]:
    row = torch.arange(part.start, part.stop)
    return row // count, row % count
