"""Symptoms in the gradient at the images: there, finite, large enough, true, steady?

    cross-entropy, own precision:   unavailable | zero | not finite
    margin, float64 where it can:   likewise
    along sign(g) and random signs: <g, v>  against  (f(x + h v) - f(x - h v)) / 2h  for h, h / 4
        the two h agree, and <g, v> differs     smooth there, and g is not its gradient
        both zero, and g tells nothing of steps as long as eps / 2     g sees none of the steps
    cos(g(x), g(x + small))                     near 0: the gradient leads nowhere
    f(x - t s(g)), f(x + t s(g))                the margin falls the wrong way
    |f(x + t s) + f(x - t s) - 2 f(x)|          against the rise: does it bend more than it rises?

Images are moved a little first, off ties and bounds. f is the margin between the predicted class
and the runner-up at the image.

Source: Carlini et al. 2019 and Pintor et al. 2022 ask for most of these by hand; the test of two
step sizes, which tells a lie from a step, is ours.
Cost: about 11 forward and 4 backward passes per scout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own.balls import steepest
from fgmf.classifier.memory import batched, is_out_of_memory
from fgmf.gradient_masking.naive import ask
from fgmf.gradient_masking.uncertainty import median_interval, resampled_interval
from fgmf.gradient_masking.values import Symptom
from fgmf.preflight.gradients import leading_classes, margin_of
from fgmf.statistics import binomial_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.mechanisms import Mechanism
    from fgmf.types import Images, Norm

_JITTER: Final = 1e-2
_STEP: Final = {torch.float64: 1e-5, torch.float32: 1e-3}
_SHRUNK: Final = 4.0
LARGE_SHARE: Final = 0.1
"""Share of images from which on a broken gradient could hold up a verdict."""
_DIFFERENT: Final = {torch.float64: 0.03, torch.float32: 0.3}
_CONVERGED: Final = {torch.float64: 0.01, torch.float32: 0.08}
_UNSTEADY: Final = 0.15
_WRONG_WAY: Final = 0.5
_USEFUL: Final = 0.3
_BENT: Final = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Slopes:
    """Gradients at the scouts, one row of pixels each, on the CPU in float64.

    Attributes:
        points: (m, ...) where they were taken.
        entropy: (m, pixels) of the cross-entropy in the model's own precision.
        margin: (m, pixels) of the margin, in the most exact copy there is; None: none can be had.
        shifted: (m, pixels) the same at points a little further on.
        unavailable: Why the cross-entropy has none; empty if it has.
        pair: The two classes of the margin, (m,) each.
        exact: The model that the margin was asked of.
    """

    points: Images
    entropy: torch.Tensor
    margin: torch.Tensor | None
    shifted: torch.Tensor | None
    unavailable: str
    pair: tuple[torch.Tensor, torch.Tensor]
    exact: Classifier


def measure_slopes(examined: Examined, exact: Classifier) -> Slopes:
    """Take the gradients that all probes here look at.

    Args:
        examined: The model on its scouts.
        exact: The same model, in float64 where that can be had.

    Cost: 3 forward and 3 backward passes per image.
    """
    points = _off_ties(examined)
    entropy: list[torch.Tensor] = []
    reasons: list[str] = []
    for rows in torch.arange(len(examined)).split(examined.classifier.batch_size):
        part = examined.of(rows)
        part.fresh()
        _, _, slope, why = ask(part, points[rows].to(part.workplace))
        entropy.append(slope.flatten(1).double().cpu())
        reasons.append(why)
    examined.fresh()
    logits = exact.logits_in_batches(points)
    pair = leading_classes(logits)
    examined.fresh()
    margin = margin_slopes(exact, points, pair)
    examined.fresh()
    width = examined.threat.bounds[1] - examined.threat.bounds[0]
    further = points + 0.3 * _JITTER * width * examined.uniform("further").sign()
    return Slopes(
        points=points,
        entropy=torch.cat(entropy),
        margin=margin,
        shifted=None if margin is None else margin_slopes(exact, further, pair),
        unavailable=next((why for why in reasons if why), ""),
        pair=pair,
        exact=exact,
    )


def _off_ties(examined: Examined) -> Images:
    lower, upper = examined.threat.bounds
    width = upper - lower
    room = 1.5 * _JITTER * width
    moved = examined.images.clamp(lower + room, upper - room)
    return moved + _JITTER * width * examined.uniform("off ties")


def margin_slopes(
    model: Classifier, points: Images, pair: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor | None:
    """Take the gradient of the margin between two classes.

    Args:
        model: A model, or the most exact copy of it.
        points: (m, ...).
        pair: The two classes, (m,) each.

    Returns:
        (m, pixels) float64 as it comes, not finite entries too; None where it cannot be had.

    Cost: one forward and one backward pass per image.
    """

    def slope_of(where: slice) -> torch.Tensor:
        leaf = points[where].to(model.dtype).detach().clone().requires_grad_()
        with torch.enable_grad():
            margin = margin_of(model.logits(leaf), pair[0][where], pair[1][where])
            (gradient,) = torch.autograd.grad(margin.sum(), leaf)
        return gradient.double().flatten(1).cpu()

    try:
        parts = [part for _, part in batched(len(points), model.batch_size, slope_of)]
    except Exception as error:  # a user's model can raise anything
        if is_out_of_memory(error):
            raise
        return None
    return torch.cat(parts)


def probe_presence(slopes: Slopes) -> Iterator[Symptom]:
    """Look whether there is a gradient to follow: blocked, zero, not finite."""
    entropy, count = slopes.entropy, len(slopes.entropy)
    absent = slopes.unavailable != ""
    yield Symptom(
        name="gradient-unavailable",
        value=float(absent),
        limit=0.5,
        stands=absent,
        alarming=True,
        image_count=count,
        mechanisms=("blocked",),
        note=slopes.unavailable or "the graph leads from the output to the image",
        passes=2 * count,
    )
    flat = (entropy == 0).all(dim=1)
    yield _share_symptom(
        "gradient-of-loss-zero",
        int(flat.sum()),
        count,
        mechanisms=("saturation", "vanishing"),
        note="images whose cross-entropy has a gradient of zero in every entry",
    )
    margin = slopes.margin
    dead = torch.ones(count, dtype=torch.bool) if margin is None else (margin == 0).all(dim=1)
    yield _share_symptom(
        "gradient-of-margin-zero",
        int(dead.sum()),
        count,
        mechanisms=("blocked",),
        alarming=True,
        note="likewise of the margin, in the most exact copy of the model",
    )
    broken = 0 if margin is None else int((~margin.isfinite()).any(dim=1).sum())
    yield _share_symptom(
        "gradient-not-finite",
        broken,
        count,
        mechanisms=("exploding",),
        alarming=True,
        note="images whose margin has NaN or infinity in its gradient",
    )


def probe_truth(examined: Examined, slopes: Slopes) -> Iterator[Symptom]:
    """Compare the gradient with differences of the function, over small and large steps."""
    if slopes.margin is None or examined.traits.random:
        return
    rows = slopes.margin
    kind = torch.float64 if slopes.exact.dtype is torch.float64 else torch.float32
    width = examined.threat.bounds[1] - examined.threat.bounds[0]
    signs = examined.uniform("signs").sign().flatten(1).double()
    halves = torch.where(examined.uniform("halves").flatten(1) > 0, signs, 0.0)
    told, small, smaller = [], [], []
    for move in (rows.sign(), signs, halves):
        step = _STEP[kind] * width
        told.append((rows * move).sum(dim=1))
        small.append(_risen(examined, slopes, move, step))
        smaller.append(_risen(examined, slopes, move, step / _SHRUNK))
    a, b, c = (torch.cat(column) for column in (told, small, smaller))
    steady = float((b - c).norm() / b.norm().clamp_min(1e-300))
    gap = _apart(a, b)
    of_image = torch.arange(len(a)).reshape(len(told), -1)
    smooth = steady < _CONVERGED[kind] and float(a.norm()) > 1e-9 * float(b.norm()) > 0
    yield Symptom(
        name="gradient-untrue",
        value=gap,
        limit=_DIFFERENT[kind],
        stands=smooth and gap > _DIFFERENT[kind],
        alarming=True,
        image_count=len(rows),
        interval=resampled_interval(
            lambda some: _apart(*(v[of_image[:, some]].flatten() for v in (a, b))), len(rows)
        ),
        mechanisms=("wrong-gradient",),
        note="relative difference between what the gradient says and what the margin does over "
        f"steps of {_STEP[kind]:g} of the range, where two step sizes agree to {steady:.2g}",
        passes=12 * len(rows),
    )
    flat = float((b == 0).double().mean())
    still = (b == 0).double()[of_image].mean(dim=0)
    useful = 1.0
    if flat > 0.5:
        reach = _per_pixel(examined)
        moves = (rows.sign(), signs, halves)
        coarse = torch.cat([_risen(examined, slopes, move, reach) for move in moves])
        useful = _correlation(a, coarse)
    yield Symptom(
        name="function-of-steps",
        value=flat,
        limit=0.5,
        stands=flat > 0.5 and useful < _USEFUL,
        image_count=len(rows),
        interval=resampled_interval(lambda some: float(still[some].mean()), len(rows)),
        mechanisms=("shattered",),
        note="share of small steps that change nothing at all; what the gradient says of long ones "
        f"correlates with what they do by {useful:.2g}",
        passes=(6 if flat > 0.5 else 0) * len(rows),
    )


def _apart(told: torch.Tensor, done: torch.Tensor) -> float:
    """Length of the difference over the longer of both."""
    return float((told - done).norm() / torch.maximum(told.norm(), done.norm()).clamp_min(1e-300))


def _correlation(told: torch.Tensor, done: torch.Tensor) -> float:
    """Correlation through the origin; 0 where either is zero throughout."""
    lengths = float(told.norm() * done.norm())
    return 0.0 if lengths == 0 else float(told @ done) / lengths


def _per_pixel(examined: Examined) -> float:
    threat, size = examined.threat, examined.images[0].numel()
    spread: float = {"linf": 1.0, "l2": size**-0.5, "l1": 1.0 / size}[threat.norm]
    return max(threat.epsilon * spread / 2, 1e-3 * (threat.bounds[1] - threat.bounds[0]))


def _risen(examined: Examined, slopes: Slopes, move: torch.Tensor, step: float) -> torch.Tensor:
    """(m,) slope of the margin along a move, by a central difference."""
    shape = slopes.points.shape
    wide = slopes.points.double() if slopes.exact.dtype is torch.float64 else slopes.points
    offset = (step * move).reshape(shape).to(wide)

    def margin(points: Images) -> torch.Tensor:
        examined.fresh()
        return margin_of(slopes.exact.logits_in_batches(points).double(), *slopes.pair)

    return (margin(wide + offset) - margin(wide - offset)) / (2 * step)


def probe_steadiness(slopes: Slopes) -> Iterator[Symptom]:
    """Compare the gradient with itself a little further on."""
    if slopes.margin is None or slopes.shifted is None:
        return
    cosine = torch.nn.functional.cosine_similarity(slopes.margin, slopes.shifted, dim=1)
    cosine = cosine.nan_to_num(nan=0.0)
    middle = float(cosine.median())
    yield Symptom(
        name="gradient-unsteady",
        value=middle,
        limit=_UNSTEADY,
        stands=middle < _UNSTEADY,
        image_count=len(cosine),
        interval=median_interval(cosine),
        mechanisms=("shattered",),
        note="median cosine of the gradients at two points 0.3 % of the range apart",
        passes=2 * len(cosine),
    )


def probe_curvature(examined: Examined, slopes: Slopes) -> Iterator[Symptom]:
    """Compare how the margin bends with how it rises, over steps as long as half of the ball."""
    if slopes.margin is None or examined.traits.random:
        return
    shape, reach = slopes.points.shape, _per_pixel(examined)
    move = (reach * slopes.margin.sign()).reshape(shape).to(slopes.points)

    def margin(points: Images) -> torch.Tensor:
        examined.fresh()
        return margin_of(slopes.exact.logits_in_batches(points).double(), *slopes.pair)

    here, ahead, behind = (
        margin(points) for points in (slopes.points, slopes.points + move, slopes.points - move)
    )
    bend, rise = (ahead + behind - 2 * here).abs(), (ahead - behind).abs()
    total = (bend + rise).clamp_min(1e-300)
    share = torch.where(bend + rise > 0, bend / total, 0.0).nan_to_num(nan=1.0)
    middle = float(share.median())
    yield Symptom(
        name="margin-curved",
        value=middle,
        limit=_BENT,
        stands=middle > _BENT,
        image_count=len(share),
        interval=median_interval(share),
        mechanisms=(),
        note="median share of the bend in how the margin changes along its gradient, over half of "
        "the ball's radius either way",
        passes=3 * len(share),
    )


def probe_direction(examined: Examined, slopes: Slopes) -> Iterator[Symptom]:
    """Step along the gradient and against it: which way does the margin fall?"""
    if slopes.margin is None:
        return
    norm: Norm = "l2" if examined.threat.norm == "l2" else "linf"
    unit = steepest(slopes.margin.reshape(slopes.points.shape), norm)
    scale = examined.threat.epsilon / 4 if norm == "l2" else _per_pixel(examined) / 2
    lower, upper = examined.threat.bounds

    def margin(sign: int) -> torch.Tensor:
        examined.fresh()
        points = (slopes.points + sign * scale * unit.to(slopes.points)).clamp(lower, upper)
        return margin_of(slopes.exact.logits_in_batches(points).double(), *slopes.pair)

    down, up = margin(-1), margin(1)
    wrong = int((up < down).sum())
    yield _share_symptom(
        "gradient-points-back",
        wrong,
        len(up),
        limit=_WRONG_WAY,
        mechanisms=("wrong-gradient",),
        alarming=True,
        note="images whose margin falls along the gradient and not against it",
        passes=2 * len(up),
    )


def _share_symptom(  # noqa: PLR0913 - keyword-only parts of one value
    name: str,
    successes: int,
    count: int,
    *,
    mechanisms: tuple[Mechanism, ...],
    note: str,
    limit: float = LARGE_SHARE,
    alarming: bool = False,
    passes: int = 0,
) -> Symptom:
    interval = binomial_interval(successes, count, confidence=0.95)
    return Symptom(
        name=name,
        value=successes / count,
        limit=limit,
        stands=successes / count > limit,
        alarming=alarming,
        image_count=count,
        interval=interval,
        mechanisms=mechanisms,
        note=note,
        passes=passes,
    )
