"""Checks on what the model returns: shape, finite numbers, logits rather than probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.errors import FgmfError
from fgmf.preflight.policy import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels, Logits

_SUM_TOLERANCE: Final = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Rounding of a sum of probabilities; half precision is float32 by now, hence `_COARSE`."""
_COARSE: Final = 2e-2
_BETTER: Final = 0.1
"""Accuracy gained by cutting a single output at 1/2 instead of 0 that shows a probability."""


def describe_failure(
    classifier: Classifier, images: Images, error: Exception
) -> Iterator[Observation]:
    """Say why the model gave no logits for these images.

    Args:
        classifier: Whose forward pass failed.
        images: (n, ...) that it failed on.
        error: What it raised.
    """
    words = f"{type(error).__name__}: {_first_line(error)}"
    if isinstance(error, FgmfError) and _answers(classifier, images[:1]):
        yield Observation(
            name="output-shape",
            severity="error",
            message=_first_line(error),
            fix="return logits of shape (images, classes), or name them with `output`",
            evidence={"exception": words, "images_shape": list(images.shape)},
        )
        return
    yield Observation(
        name="forward-failed",
        severity="error",
        message=f"the model raised {words} on images of shape {tuple(images.shape)}",
        fix=_fix_shape(images),
        evidence={"exception": words, "images_shape": list(images.shape)},
    )


def _answers(classifier: Classifier, images: Images) -> bool:
    try:
        classifier.raw_output(images.detach())
    except Exception:  # noqa: BLE001 - a user's model can raise anything
        return False
    return True


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "(no message)"


def _fix_shape(images: Images) -> str:
    shape = tuple(images.shape)
    if len(shape) == 3:
        return "add the channel axis if it is missing: images.unsqueeze(1)"
    if len(shape) == 4 and shape[3] in {1, 3, 4} and shape[1] not in {1, 3, 4}:
        return "the images look channels-last: images.permute(0, 3, 1, 2)"
    if len(shape) == 2:
        return "the images are flat: reshape them to (n, channels, height, width) if needed"
    return "check that the model takes these images: size, channels, and device of its own tensors"


def observe_outputs(logits: Logits, labels: Labels | None) -> Iterator[Observation]:
    """Judge the logits of a batch.

    Args:
        logits: (n, classes), n >= 1, as the adapter returns them: a single output ``z`` of the
            model is ``[0, z]``.
        labels: (n,) int64 among the classes; None where there are none.
    """
    finite = torch.isfinite(logits).all(dim=1)
    bad = int((~finite).sum())
    if bad:
        yield Observation(
            name="nan-or-infinite-output",
            severity="error",
            message=f"expected finite logits, got NaN or infinity for {bad} of "
            f"{logits.shape[0]} images",
            fix="look for divisions by zero, log(0) or overflow in the model; a float16 model "
            "may need dtype float32",
            evidence={"images": bad, "image_count": logits.shape[0]},
        )
        return
    yield from _observe_probabilities(logits, labels)


def _observe_probabilities(logits: Logits, labels: Labels | None) -> Iterator[Observation]:
    lowest, highest = float(logits.min()), float(logits.max())
    sums = logits.sum(dim=1)
    tolerance = _sum_tolerance(logits)
    evidence = {"lowest": round(lowest, 6), "highest": round(highest, 6)}
    in_unit_range = lowest >= 0 and highest <= 1 + tolerance
    if in_unit_range and bool((sums - 1).abs().max() <= tolerance):
        yield _probabilities("rows that sum to 1 (softmax)", evidence, fix="without softmax")
    elif in_unit_range and bool((logits[:, 0] == 0).all()) and logits.shape[1] == 2:
        yield from _observe_single_output(logits[:, 1], labels)
    elif in_unit_range and lowest < 0.05 and highest > 0.95:
        yield _probabilities("values in [0, 1] (sigmoid)", evidence, fix="without sigmoid")
    elif highest <= tolerance and bool(logits.logsumexp(dim=1).abs().max() <= tolerance):
        yield Observation(
            name="log-probabilities",
            severity="note",
            message="the model returns log-probabilities: the loss of the attacks is the same",
            fix="nothing to do",
            evidence=evidence,
        )


def _sum_tolerance(logits: Logits) -> float:
    """Half-precision models come as float32 numbers of few digits: they sum less exactly."""
    coarse = torch.equal(logits, logits.to(torch.bfloat16).to(logits.dtype)) or torch.equal(
        logits, logits.to(torch.float16).to(logits.dtype)
    )
    return _COARSE if coarse else _SUM_TOLERANCE.get(logits.dtype, _COARSE)


def _observe_single_output(values: torch.Tensor, labels: Labels | None) -> Iterator[Observation]:
    """A single output cut at zero; all of it in [0, 1] may be chance, or a probability."""
    evidence = {"lowest": float(values.min()), "highest": float(values.max())}
    what = "a single output in [0, 1] (sigmoid), which is always class 1 when cut at 0"
    if labels is not None and bool((values >= 0).all()):
        at_zero = float(((values > 0) == (labels == 1)).double().mean())
        at_half = float(((values > 0.5) == (labels == 1)).double().mean())
        if at_half < at_zero + _BETTER:
            return
        what += f": accuracy {at_zero:.2f}, and {at_half:.2f} when cut at 1/2"
    yield _probabilities(what, evidence, fix="without sigmoid")


def _probabilities(what: str, evidence: dict[str, float], *, fix: str) -> Observation:
    return Observation(
        name="probabilities-not-logits",
        severity="error",
        message=f"expected logits, got {what}: where the model is confident, gradients vanish "
        "and attacks fail without the model being robust",
        fix=f"return the logits, {fix}",
        evidence=dict(evidence),
    )
