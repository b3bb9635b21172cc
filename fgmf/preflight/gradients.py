"""Checks on the gradient with respect to the image: is it there, and large enough to follow?

x      = images moved by up to 1 % of the range            # off exact ties and bounds
y, r   = predicted class, runner-up                        # no labels needed
margin = z_y - z_r;   loss = cross-entropy(z, y)
blocked       if no graph leads from z to x
zero          if d margin / dx is exactly zero
saturated     if d loss / dx vanishes where d margin / dx does not
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.errors import GradientUnavailable
from fgmf.preflight.policy import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.classifier import Classifier
    from fgmf.types import Bounds, Images, Json, Labels, Logits, Norm, Severity

STEP: Final = 5e-4
"""Finite-difference step as a share of the range: an eighth of an 8-bit level."""
_JITTER: Final = 1e-2
_LARGE_SHARE: Final = 0.1
"""From this share of images on, what is wrong with their gradients could hold up a verdict:
robust accuracy would be inflated by as much."""
_SEVERAL: Final = 3
"""Of a handful of images, one or two are no share to speak of."""
_MOST: Final = 0.5
_SAME_OUTPUT: Final = 1e-2
"""Share of the spread: kernels chosen for recording may round otherwise, low precision included."""
_VANISHED_NORM: Final = 1e-12
"""L2 and L1 attacks divide by max(norm, 1e-12): below, their steps are no longer full ones."""
_SMALLEST: Final = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, kw_only=True)
class GradientMeasurement:
    """Gradients of n images, in float64 on the CPU, one row of pixels per image.

    They are per range of the bounds, as attacks see them that work in the unit box.

    Attributes:
        logits: (n, classes).
        loss: (n, pixels) gradient of the cross-entropy with the predicted class.
        margin: (n, pixels) gradient of predicted class minus runner-up.
    """

    logits: Logits
    loss: torch.Tensor
    margin: torch.Tensor


def probe_points(images: Images, *, bounds: Bounds, seed: int) -> Images:
    """Move images a little at random, staying off the bounds.

    Exact ties (a constant background under max pooling) and clamping at the bounds make an
    honest gradient one of several; attacks leave these points with their first step.

    Args:
        images: (n, ...) on the CPU.
        bounds: Within which they lie.
        seed: Fixes the moves.

    Returns:
        Images moved by up to :data:`_JITTER` of the range, and :data:`STEP` inside the bounds.
    """
    lower, upper = bounds
    width = upper - lower
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(images.shape, generator=generator, dtype=images.dtype) * 2 - 1
    margin = (_JITTER + STEP) * width
    return images.clamp(lower + margin, upper - margin) + _JITTER * width * noise


def measure_gradients(classifier: Classifier, images: Images) -> GradientMeasurement:
    """Differentiate loss and margin with respect to the images.

    Args:
        classifier: Inside its guard.
        images: (n, ...) within the bounds.

    Raises:
        GradientUnavailable: There is no gradient.

    Cost: n forward and 2n backward passes.
    """
    from fgmf.classifier.memory import batched

    parts = [
        part
        for _, part in batched(
            images.shape[0],
            classifier.batch_size,
            lambda where: _measure_batch(classifier, images[where]),
        )
    ]
    return GradientMeasurement(
        logits=torch.cat([part.logits for part in parts]),
        loss=torch.cat([part.loss for part in parts]),
        margin=torch.cat([part.margin for part in parts]),
    )


def _measure_batch(classifier: Classifier, images: Images) -> GradientMeasurement:
    from fgmf.classifier.memory import is_out_of_memory

    leaf = images.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            logits = classifier.logits(leaf)
            if not logits.requires_grad:
                raise GradientUnavailable("the output carries no graph (no grad_fn)")
            loss = _gradient(_cross_entropy(logits), leaf)
            margin = _gradient(margin_of(logits, *leading_classes(logits)), leaf)
    except GradientUnavailable:
        raise
    except Exception as error:  # a user's model can raise anything
        if is_out_of_memory(error):
            raise
        lines = str(error).strip().splitlines()
        message = f"{type(error).__name__}: {lines[0][:300] if lines else '(no message)'}"
        raise GradientUnavailable(message) from error
    width = classifier.bounds[1] - classifier.bounds[0]
    return GradientMeasurement(
        logits=logits.detach().cpu(), loss=loss * width, margin=margin * width
    )


def _gradient(values: torch.Tensor, leaf: Images) -> torch.Tensor:
    gradient = torch.autograd.grad(values.sum(), leaf, retain_graph=True, allow_unused=True)[0]
    if gradient is None:
        raise GradientUnavailable("no path of the graph leads from the output to the image")
    return gradient.detach().cpu().double().flatten(1)


def leading_classes(logits: Logits) -> tuple[Labels, Labels]:
    """Predicted class and runner-up of each image."""
    best = logits.detach().topk(2, dim=1).indices
    return best[:, 0], best[:, 1]


def _cross_entropy(logits: Logits) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, logits.detach().argmax(1), reduction="sum")


def margin_of(logits: Logits, predicted: Labels, runner_up: Labels) -> torch.Tensor:
    """Logit of the predicted class minus that of the runner-up: (n,)."""
    rows = torch.arange(logits.shape[0], device=logits.device)
    return logits[rows, predicted.to(logits.device)] - logits[rows, runner_up.to(logits.device)]


def observe_modes(recorded: Logits, plain: Logits) -> Iterator[Observation]:
    """Compare what the model says when gradients are recorded with what it says otherwise.

    Args:
        recorded: (n, classes) logits of some images, with gradients recorded: what attacks see.
        plain: (n, classes) of the same images without: what verdicts are about.
    """
    spread = (plain.amax(dim=1) - plain.amin(dim=1)).clamp_min(1e-30)
    apart = (recorded.to(plain) - plain).abs().amax(dim=1) / spread
    moved = ~(apart <= _SAME_OUTPUT)
    if bool(moved.any()):
        yield Observation(
            name="gradient-mode-changes-output",
            severity="error",
            message=f"the logits of {int(moved.sum())} of {len(moved)} images differ by up to "
            f"{float(apart.max()):.2g} of their spread when gradients are recorded: attacks see "
            "another model than the one that is judged",
            fix="remove what depends on torch.is_grad_enabled() or requires_grad from the "
            "forward pass",
            evidence={"images": int(moved.sum()), "image_count": len(moved)},
        )


def observe_blocked(reason: str) -> Observation:
    """Word a blocked gradient."""
    return Observation(
        name="gradient-blocked",
        severity="error",
        message=f"expected a gradient from the output to the image, got none: {reason}",
        fix="remove .detach(), no_grad, .numpy() or integer steps from the forward pass",
        evidence={"reason": reason},
    )


def observe_missing(*, needs_gradient: bool) -> Observation:
    """Word a model that has no gradients by its nature."""
    return Observation(
        name="gradient-missing",
        severity="error" if needs_gradient else "note",
        message="the model gives no gradients (an ONNX file)",
        fix="gate the PyTorch model, or name attacks that need no gradient, such as "
        "hop-skip-jump or additive-noise",
    )


def observe_gradients(measured: GradientMeasurement, *, norm: Norm) -> Iterator[Observation]:
    """Judge gradients image by image.

    Args:
        measured: Of the inspected images.
        norm: The attacks' norm, which decides when a gradient is too small to follow.
    """
    count = measured.margin.shape[0]
    finite = (torch.isfinite(measured.margin) & torch.isfinite(measured.loss)).all(dim=1)
    zero = (measured.margin == 0).all(dim=1)
    bad, flat = int((~finite).sum()), int(zero.sum())
    if bad:
        yield Observation(
            name="gradient-nonfinite",
            severity=_severity(bad, count),
            message=f"expected finite gradients, got NaN or infinity for {bad} of {count} images",
            fix="look for sqrt(0), log(0), 0/0 or norms of zero vectors in the model",
            evidence=_shares(images=bad, image_count=count),
        )
    if flat:
        yield Observation(
            name="gradient-zero",
            severity=_severity(flat, count),
            message=f"the gradient of the margin is exactly zero in every pixel for {flat} of "
            f"{count} images: attacks that follow it cannot break them",
            fix="remove rounding, thresholds, .detach() or saturated activations from the "
            "forward pass",
            evidence=_shares(images=flat, image_count=count),
        )
    yield from _observe_saturation(measured, usable=finite & ~zero, norm=norm)


def _observe_saturation(
    measured: GradientMeasurement, *, usable: torch.Tensor, norm: Norm
) -> Iterator[Observation]:
    count = usable.shape[0]
    norms = measured.loss.abs().amax(dim=1)
    if norm != "linf":
        norms = measured.loss.norm(p=2 if norm == "l2" else 1, dim=1)
    vanished = int((usable & (norms < (_SMALLEST if norm == "linf" else _VANISHED_NORM))).sum())
    certain = measured.logits.float().softmax(dim=1).amax(dim=1) == 1
    saturated = int(certain.sum())
    if not vanished and saturated < _MOST * count:
        return
    gap = measured.logits.double().topk(2, dim=1).values.diff(dim=1).abs().median()
    severity = _severity(vanished, count)
    yield Observation(
        name="saturated-logits",
        severity=severity if vanished else "note",
        message=f"softmax is exactly 1 in float32 for {saturated} of {count} images, and the "
        f"gradient of the cross-entropy vanishes for {vanished} (median gap of the two largest "
        f"logits {float(gap):.3g})",
        fix="divide the logits by a constant, which changes no prediction, or add attacks that "
        "follow the margin, such as deepfool"
        if vanished
        else "nothing to do",
        evidence={
            "saturated": saturated,
            "vanished": vanished,
            "image_count": count,
            "median_gap": round(float(gap), 3),
        },
    )


def _severity(images: int, image_count: int) -> Severity:
    share = images / image_count
    large = share >= _LARGE_SHARE and images >= _SEVERAL
    return "error" if large or share >= _MOST else "warning"


def _shares(*, images: int, image_count: int) -> dict[str, Json]:
    return {"images": images, "image_count": image_count, "share": round(images / image_count, 4)}
