"""The names of all findings, and how much each weighs for which kind of gate.

Plain data: no torch here, so that a gate file's `waive` can be checked before anything heavy
is imported.

    severity = as observed                      # stated for a gate that attacks by gradients
    if no attack needs a gradient:              gradient findings weigh one step less
    if the kind is attack-selftest:             likewise: it sees whether attacks cope with them
    if the kind is gradient-masking:            masking findings weigh one step less: they are
                                                what that gate looks for

An error keeps a gate from being measured. Waived, it is measured all the same; but some errors
mean that attacks fail whether or not the model is robust, and then no waiver makes a PASS.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from fgmf.errors import InvalidInput
from fgmf.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fgmf.types import Json, Severity

GRADIENT_MASKING: Final = "gradient-masking"
ATTACK_SELFTEST: Final = "attack-selftest"
_ORDER: Final[Mapping[Severity, int]] = {"error": 0, "warning": 1, "note": 2}
_LIGHTER: Final[Mapping[Severity, Severity]] = {
    "error": "warning",
    "warning": "note",
    "note": "note",
}


@dataclass(frozen=True, kw_only=True)
class FindingKind:
    """What a finding of this name means.

    Attributes:
        name: Stable kebab-case name.
        meaning: One line.
        topic: ``usage``: the model or data are not used as they are meant to be; ``masking``:
            the model behaves in a way that makes attacks fail without being robust;
            ``gradient``: likewise, and only attacks that use gradients suffer.
        waivable: False where nothing sound could be measured all the same.
        forbids_pass: True where a waived error still leaves no PASS: what attacks fail to find
            says nothing then.
    """

    name: str
    meaning: str
    topic: Literal["usage", "masking", "gradient"]
    waivable: bool = True
    forbids_pass: bool = False


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a check saw, with the severity it has for a gate that attacks by gradients."""

    name: str
    severity: Severity
    message: str
    fix: str
    evidence: Mapping[str, Json] = field(default_factory=dict)


_USAGE = {
    "attacks-weak": "The attacks take so few steps that they hardly ever succeed.",
    "bounds-wider-than-images": "The images fill only a small part of the bounds.",
    "clean-accuracy-at-chance": "The model is no better than guessing on these labels.",
    "constant-images": "Images in which all pixels are equal.",
    "duplicate-images": "The same image more than once: the interval counts it each time.",
    "epsilon-tiny": "The budget is a negligible part of the range of the images.",
    "epsilon-wider-than-range": "The budget reaches every image, or grey from every image.",
    "epsilon-zero": "The budget is zero: nothing is attacked.",
    "forward-failed": "The model raised an exception on these images.",
    "gradient-missing": "The model gives no gradient at all, such as an ONNX file.",
    "images-dtype": "The images are not in the model's floating-point type.",
    "images-normalised-already": "The images are normalised, so epsilon is in those units.",
    "images-outside-bounds": "Pixel values outside the declared bounds.",
    "integer-images-fractional-epsilon": "Whole-number pixels with an epsilon below one level.",
    "labels-dtype": "Labels that are not int64 class indices.",
    "labels-image-count": "Not one label for each image.",
    "labels-multi-label": "Several labels for one image, or soft labels.",
    "labels-one-hot": "One-hot labels instead of class indices.",
    "labels-out-of-range": "Labels that are not among the classes of the model.",
    "log-probabilities": "The model returns log-probabilities; harmless.",
    "nan-images": "NaN or infinite pixel values.",
    "nan-or-infinite-output": "NaN or infinite logits.",
    "normalisation-missing": "The model is much better on normalised images.",
    "normalisation-units": "Mean and deviation are in other units than the bounds.",
    "normalised-twice": "The model is much better without the adapter's normalisation.",
    "output-shape": "The output holds no logits of shape (images, classes).",
    "single-class-data": "All labels are the same class.",
    "threshold-at-chance": "A model that always gives the same answer would pass.",
    "too-few-images": "No images, or too few to decide anything.",
    "train-mode": "The model was in train mode; the adapter measures it in eval mode.",
}
_MASKING = {
    "batch-dependent-output": "The output of an image depends on the rest of its batch.",
    "forward-changes-state": "A forward pass changes the model.",
    "nondeterministic-output": "Two forward passes of the same images differ.",
}
_GRADIENT = {
    "gradient-blocked": "The graph from the output to the image is cut.",
    "gradient-mode-changes-output": "The output differs when gradients are recorded.",
    "gradient-inconsistent": "The gradient does not predict how the output changes.",
    "gradient-nonfinite": "NaN or infinite gradients.",
    "gradient-zero": "The gradient with respect to the image is zero.",
    "probabilities-not-logits": "The model returns probabilities: their gradients vanish.",
    "saturated-logits": "Logits so far apart that the gradient of the loss vanishes.",
}
_NOT_WAIVABLE: Final = frozenset(
    {
        "forward-failed",
        "labels-dtype",
        "labels-image-count",
        "labels-multi-label",
        "labels-one-hot",
        "labels-out-of-range",
        "nan-images",
        "nan-or-infinite-output",
        "output-shape",
    }
)


_FORBIDS_PASS: Final = frozenset(
    {
        "batch-dependent-output",
        "forward-changes-state",
        "gradient-blocked",
        "gradient-inconsistent",
        "gradient-mode-changes-output",
        "gradient-nonfinite",
        "gradient-zero",
        "nondeterministic-output",
        "probabilities-not-logits",
        "saturated-logits",
    }
)
MARGIN_UNHARMED: Final = frozenset({"probabilities-not-logits", "saturated-logits"})
"""Findings that harm the cross-entropy alone: attacks that follow the margin see past them."""


def _kinds(
    entries: Mapping[str, str], topic: Literal["usage", "masking", "gradient"]
) -> dict[str, FindingKind]:
    return {
        name: FindingKind(
            name=name,
            meaning=meaning,
            topic=topic,
            waivable=name not in _NOT_WAIVABLE,
            forbids_pass=name in _FORBIDS_PASS,
        )
        for name, meaning in entries.items()
    }


FINDINGS: Final[Mapping[str, FindingKind]] = MappingProxyType(
    dict(
        sorted(
            (
                _kinds(_USAGE, "usage")
                | _kinds(_MASKING, "masking")
                | _kinds(_GRADIENT, "gradient")
            ).items()
        )
    )
)
"""Every finding by name."""


def check_waived(names: Iterable[str]) -> tuple[str, ...]:
    """Check that waived names are names of findings.

    Args:
        names: As written in a gate.

    Returns:
        The names.

    Raises:
        InvalidInput: A name is unknown (the message lists the known ones), or it stands for
            something without which nothing can be measured.
    """
    waived = tuple(names)
    unknown = [name for name in waived if name not in FINDINGS]
    if unknown:
        close = difflib.get_close_matches(unknown[0], FINDINGS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        message = f"expected names of findings in `waive`, got {unknown[0]!r}{hint}"
        raise InvalidInput(f"{message}; known are {', '.join(FINDINGS)}")
    fatal = [name for name in waived if not FINDINGS[name].waivable]
    if fatal:
        message = f"expected findings in `waive` that leave something to measure, got {fatal[0]!r}"
        raise InvalidInput(f"{message} ({FINDINGS[fatal[0]].meaning}); it has to be repaired")
    return waived


def judge_observations(
    observations: Iterable[Observation],
    *,
    kind: str,
    waive: Sequence[str] = (),
    needs_gradient: bool = True,
) -> tuple[Finding, ...]:
    """Weigh observations for a kind of gate.

    Args:
        observations: What the checks saw; several of one name are kept as they are.
        kind: Kind of gate.
        waive: Names that the user accepts.
        needs_gradient: Whether the gate uses gradients.

    Returns:
        Findings: errors first, then by name.

    Raises:
        InvalidInput: A waived name is unknown.
    """
    waived = check_waived(waive)
    findings = [
        _finding(entry, kind=kind, waived=waived, needs_gradient=needs_gradient)
        for entry in observations
    ]
    return in_order(findings)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, errors first, then by name."""
    return tuple(sorted(findings, key=lambda f: (_ORDER[f.severity], f.name, f.message)))


def blocking(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that keep a gate from being measured: errors that are not waived."""
    return tuple(f for f in findings if f.severity == "error" and not f.waived)


def forbidding(findings: Iterable[Finding], *, follows_margin: bool = False) -> tuple[Finding, ...]:
    """Return the findings that forbid a PASS: errors that no waiver can make harmless.

    A gate that was measured in spite of them can FAIL, and never PASS.

    Args:
        findings: Of a gate.
        follows_margin: One of its attacks follows the margin, which saturation does not flatten.
    """
    names = _FORBIDS_PASS - MARGIN_UNHARMED if follows_margin else _FORBIDS_PASS
    return tuple(f for f in findings if f.severity == "error" and f.name in names)


def _finding(
    observation: Observation, *, kind: str, waived: Sequence[str], needs_gradient: bool
) -> Finding:
    topic = FINDINGS[observation.name].topic
    severity, fix = observation.severity, observation.fix
    if topic == "gradient" and (not needs_gradient or kind == ATTACK_SELFTEST):
        severity = _LIGHTER[severity]
    if topic != "usage" and kind == GRADIENT_MASKING:
        severity = _LIGHTER[severity]
    if topic != "usage" and severity == "error":
        fix += f"; a gate of kind {GRADIENT_MASKING!r} measures how much robustness is feigned"
    return Finding(
        name=observation.name,
        severity=severity,
        message=observation.message,
        fix=fix,
        evidence=dict(observation.evidence),
        waived=observation.name in waived,
    )
