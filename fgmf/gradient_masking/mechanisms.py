"""How gradients are masked, and what to do about each way. Plain data, no torch."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Mechanism = Literal[
    "blocked",
    "shattered",
    "vanishing",
    "exploding",
    "saturation",
    "weak-loss",
    "wrong-gradient",
    "stochastic",
    "stateful",
    "batch-dependent",
    "mode-dependent",
    "off-data",
    "output-form",
    "inner-optimisation",
    "rejection",
    "label-leak",
    "unknown",
]

MEANINGS: Final[Mapping[Mechanism, str]] = MappingProxyType(
    {
        "blocked": "no gradient reaches the image: the graph is cut, or every entry is zero",
        "shattered": "the gradient changes from point to point and leads nowhere",
        "vanishing": "gradients too small to be followed in the model's own precision",
        "exploding": "gradients that are NaN or infinite",
        "saturation": "the cross-entropy is flat because the logits are far apart",
        "weak-loss": "the gradient is right, and the cross-entropy leads elsewhere than to the "
        "nearest wrong class",
        "wrong-gradient": "the gradient that is returned is not that of the function",
        "stochastic": "the output is drawn anew in every pass",
        "stateful": "the output depends on what was asked before",
        "batch-dependent": "the output of an image depends on the rest of its batch",
        "mode-dependent": "the output differs when gradients are recorded",
        "off-data": "images are answered otherwise than points right beside them",
        "output-form": "labels or saturated probabilities stand in place of logits",
        "inner-optimisation": "the model optimises or cleans its input in the forward pass",
        "rejection": "members vote, or answers are rejected, and no gradient passes that decision",
        "label-leak": "one-step attacks fail at full length on images that shorter steps break",
        "unknown": "attacks without the model's gradients find what its gradients miss",
    }
)
REMEDIES: Final[Mapping[Mechanism, str]] = MappingProxyType(
    {
        "blocked": "take detach, no_grad, argmax and integer steps out of the forward pass, or "
        "attack with a substitute backward pass (BPDA)",
        "shattered": "attack with a substitute backward pass (BPDA) or with gradients estimated "
        "over a neighbourhood, and train against those attacks",
        "vanishing": "attack in float64 with a loss on the margin, and look for saturated or "
        "constant activations",
        "exploding": "look for divisions by zero, square roots and logarithms of zero",
        "saturation": "attack with a margin or DLR loss, which no scale of the logits flattens; a "
        "gate of kind robustness does by default",
        "weak-loss": "do not count robust accuracy by attacks on the cross-entropy alone; attack "
        "the margin or DLR, as a gate of kind robustness does by default",
        "wrong-gradient": "correct the backward pass, or attack with one made of finite "
        "differences",
        "stochastic": "average the attack's gradient over many draws (EOT), and report the "
        "expected accuracy",
        "stateful": "take counters, caches and memories out of the forward pass",
        "batch-dependent": "use no statistics of the batch in eval mode",
        "mode-dependent": "remove what depends on torch.is_grad_enabled() or requires_grad",
        "off-data": "take what recognises images, or the grid of their values, out of the forward "
        "pass, and attack on that grid",
        "output-form": "return the logits in front of softmax, argmax or voting",
        "inner-optimisation": "attack the model without its inner loop, or with the identity as "
        "the loop's backward pass (BPDA), and judge with the loop",
        "rejection": "attack the members' logits together, with the rejection as a part of the "
        "model, and judge with the vote",
        "label-leak": "train against several steps or from random starts (N-FGSM, PGD), and watch "
        "one-step minus iterative accuracy during training",
        "unknown": "do not trust gradient attacks on this model; count what black-box attacks find",
    }
)


def in_order(mechanisms: Iterable[Mechanism]) -> tuple[Mechanism, ...]:
    """Return mechanisms, each once, in the order of the list; ``unknown`` only if alone."""
    named = set(mechanisms)
    if len(named) > 1:
        named.discard("unknown")
    known: tuple[Mechanism, ...] = get_args(Mechanism)
    return tuple(mechanism for mechanism in known if mechanism in named)
