"""Published rules for gradient masking, as they were written, as baselines.

Each takes a subject of `tests/specimens` and says whether it is flagged, by which of its signs,
for how many passes. They look at the first 32 images that are classified correctly.

    athalye      Athalye, Carlini, Wagner (2018), section 3.1: five tells
    autoattack   Croce, Hein: the flags of AutoAttack (`checks.py`)
    ioaf         Pintor et al. (2022): indicators I1-I6; flagged if any image shows one
                 (I2 is a mean over images, above .10)
    ioaf-tenth   the same, flagged where more than a tenth of the images do
    carlini      Carlini et al. (2019), "On evaluating adversarial robustness": three checks

Deviations: black-box attacks are Square with 100 queries, brute force is 100 uniform points (the
papers name no number, or 10 000 and more); AutoAttack's robust accuracy without Square is APGD-CE
and APGD-T on 3 classes without FAB; its tracer of optimisation inside a forward pass is replaced
by watching `torch.autograd.grad`, which sees the same calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch

from benchmarks.masking_peer_attacks import Walked, Watched, noise_breaks, walk
from benchmarks.masking_specimens import specimens_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from specimens.value import Subject

    from fgmf.types import Bounds

IMAGES = 32
QUERIES = 100
POINTS = 100
STEPS = 40


@dataclass(frozen=True, kw_only=True)
class PeerVerdict:
    """What a rule says.

    Attributes:
        signs: Whether each of its signs stands.
        passes: Forward and backward passes over images.
        images: How many images it looked at.
    """

    signs: Mapping[str, bool]
    passes: int
    images: int

    @property
    def flagged(self) -> bool:
        """Any sign flags."""
        return any(self.signs.values())


class _Examined:
    """The model, the images that it gets right, and the attacks that several rules share."""

    def __init__(self, subject: Subject) -> None:
        self.model = Watched(subject.model)
        self.threat = subject.threat
        self.bounds: Bounds = subject.threat.bounds
        right = self.model.predict(subject.images) == subject.labels
        at = right.nonzero()[:, 0][:IMAGES]
        self.images, self.labels = subject.images[at], subject.labels[at]

    def walk(self, *, factor: float = 1.0, **options: Any) -> Walked:
        epsilon = self.threat.epsilon * factor
        return walk(
            self.model, self.images, self.labels, epsilon=epsilon, bounds=self.bounds, **options
        )

    def unbounded(self) -> Walked:
        """PGD in the whole box, from the image."""
        width = self.bounds[1] - self.bounds[0]
        return walk(
            self.model,
            self.images,
            self.labels,
            epsilon=width,
            bounds=self.bounds,
            steps=100,
            step=0.05,
            random_start=False,
        )

    def searched(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """(n,) whether Square breaks; others than `rows` are not tried."""
        search = specimens_module("oracles.searching").search
        at = torch.arange(len(self.images)) if rows is None else rows.nonzero()[:, 0]
        broken = torch.zeros(len(self.images), dtype=torch.bool)
        if len(at):
            images, labels = self.images[at], self.labels[at]
            end = search(self.model, images, labels, self.threat, queries=QUERIES)
            broken[at] = self.model.predict(end) != labels
        return broken

    def verdict(self, signs: Mapping[str, bool]) -> PeerVerdict:
        return PeerVerdict(signs=signs, passes=self.model.passes, images=len(self.images))


def athalye(subject: Subject) -> PeerVerdict:
    """The five tells; each compares shares of broken images as they are."""
    case = _Examined(subject)
    one_step = case.walk(steps=1, step=1.0, random_start=False).broken
    iterative = case.walk(steps=STEPS).broken
    larger = case.walk(steps=STEPS, factor=2.0).broken
    guessed = noise_breaks(
        case.model,
        case.images,
        case.labels,
        epsilon=case.threat.epsilon,
        bounds=case.bounds,
        draws=POINTS,
    )
    signs = {
        "one step beats many": bool(one_step.sum() > iterative.sum()),
        "black box beats white box": bool(case.searched().sum() > iterative.sum()),
        "unbounded attacks fail": not bool(case.unbounded().broken.all()),
        "random points find what gradients miss": bool((guessed & ~iterative).any()),
        "a larger ball does not help": bool(
            larger.sum() <= iterative.sum() and not iterative.all()
        ),
    }
    return case.verdict(signs)


def autoattack(subject: Subject) -> PeerVerdict:
    """AutoAttack's flags, and whether Square lowers what the others left by more than .002."""
    case = _Examined(subject)
    with _grad_calls() as calls:
        outputs = [case.model(case.images) for _ in range(5)]
        inside = bool(calls)
    unit = [out / (out.norm(dim=1, keepdim=True) + 1e-10) for out in outputs]
    answers = [int((out.argmax(dim=1) == case.labels).sum()) for out in outputs]
    apart = max(
        float((unit[i] - unit[j]).norm(dim=1).max()) for i in range(5) for j in range(i + 1, 5)
    )
    out = outputs[0]
    sums = (out.sum(dim=1) - 1).abs()
    _, _, gradient = case.model.ask(case.images, case.labels)
    broken = _apgd(case)
    more = case.searched(~broken)
    signs = {
        "randomised": apart > 1e-4 or len(set(answers)) > 1,
        "softmax range": bool(out.max() < 1 + 1e-5 and out.min() > -1e-5 and (sums < 1e-5).all()),
        "zero gradients": bool((gradient.flatten(1).abs().sum(dim=1) == 0).any()),
        "optimises inside": inside,
        "Square lowers the rest": float(more.double().mean()) > 0.002,
    }
    return case.verdict(signs)


def ioaf(subject: Subject, *, tolerated: float = 0.0) -> PeerVerdict:
    """I1-I6 with PGD-40; an indicator stands where more than `tolerated` of the images show it."""
    case = _Examined(subject)
    model, images, labels = case.model, case.images, case.labels
    path = case.walk(steps=STEPS)
    losses, _, gradient = model.ask(images, labels)
    zero = (gradient.flatten(1) == 0).all(dim=1)
    again = model.predict(path.end)
    silent = ~path.fooled[-1] & path.fooled[:-1].any(dim=0)
    free = case.unbounded()
    failed = ~free.fooled.any(dim=0)
    shares = {
        "I3 silent success": silent,
        "I4 incomplete optimisation": _still_moves(-path.losses),
        "I5 transfer failure": path.fooled[-1] != (again != labels),
        "I6 unconstrained attack failure": failed,
    }
    signs = {
        "I1 unavailable gradients": model.unavailable or bool(zero.any()),
        "I2 unstable predictions": _unstable(case, losses) > 0.10,
        **{name: float(flags.double().mean()) > tolerated for name, flags in shares.items()},
    }
    return case.verdict(signs)


def ioaf_tenth(subject: Subject) -> PeerVerdict:
    """I1-I6, each with a tenth of the images tolerated; I1 as published."""
    return ioaf(subject, tolerated=0.1)


def carlini(subject: Subject) -> PeerVerdict:
    """A guess is reached at Linf .5; more steps gain nothing; gradients find what others do."""
    case = _Examined(subject)
    width = case.bounds[1] - case.bounds[0]
    classes = case.model(case.images[:1]).shape[1]
    half = walk(
        case.model,
        case.images,
        case.labels,
        epsilon=0.5 * width,
        bounds=case.bounds,
        steps=100,
        step=0.05,
    )
    fewer, more = case.walk(steps=STEPS).broken, case.walk(steps=2 * STEPS, step=0.05).broken
    signs = {
        "better than a guess at .5": float((~half.broken).double().mean()) > 1 / classes,
        "twice the steps break more": bool(more.sum() > fewer.sum()),
        "a search breaks what gradients do not": bool((case.searched(~fewer) & ~fewer).any()),
    }
    return case.verdict(signs)


def _apgd(case: _Examined) -> torch.Tensor:
    """(n,) whether APGD-CE or APGD-T on 3 classes breaks."""
    from fgmf.attacks.criteria import Criterion
    from fgmf.attacks.own import Apgd, AttackTask
    from fgmf.attacks.own.task import image_keys
    from fgmf.errors import FgmfError

    broken = torch.zeros(len(case.images), dtype=torch.bool)
    threat = replace(case.threat)
    classes = case.model(case.images[:1]).shape[1]
    attacks = [Apgd(loss="ce")]
    if classes > 3:
        attacks.append(Apgd(loss="dlr", targets=3))
    for attack in attacks:
        at = (~broken).nonzero()[:, 0]
        if not len(at):
            break
        images, labels = case.images[at], case.labels[at]
        task = AttackTask(
            images=images,
            criterion=Criterion(kind="misclassification", labels=labels),
            threat=threat,
            keys=image_keys(images),
        )
        try:
            outcome = attack.run(case.model.model, task)
        except (RuntimeError, FgmfError):  # a model without gradients
            case.model.unavailable = True
            continue
        case.model.passes += int((outcome.forward_passes + outcome.backward_passes).sum())
        broken[at] = case.model.predict(outcome.adversarial) != labels
    return broken


def _unstable(case: _Examined, losses: torch.Tensor) -> float:
    """Mean relative change of the loss over 100 draws of noise of 8/255, at most 1."""
    draws = torch.Generator().manual_seed(0)
    size = torch.where(losses == 0, 1.0, losses.abs())
    total = torch.zeros_like(losses)
    for _ in range(100):
        noise = (torch.rand(case.images.shape, generator=draws) - 0.5) * 8 / 255
        logits = case.model(case.images + noise)
        moved = torch.nn.functional.cross_entropy(logits, case.labels, reduction="none")
        total += (moved - losses).abs() / size
    return min(1.0, float((total / 100).mean()))


def _still_moves(losses: torch.Tensor) -> torch.Tensor:
    """(n,) whether the running minimum moves over the last ten steps, scaled to [0, 1]."""
    lowest = losses.min(dim=0).values
    top = (losses - lowest).max(dim=0).values
    scaled = (losses - lowest) / torch.where(top == 0, 1.0, top)
    running = scaled.cummin(dim=0).values[-10:]
    return (running.max(dim=0).values - running.min(dim=0).values) > 0.05


class _grad_calls:  # noqa: N801 - used like a function
    """A list that grows with every call of `torch.autograd.grad` inside."""

    def __enter__(self) -> list[int]:
        calls: list[int] = []
        original = torch.autograd.grad

        def counted(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - passed on
            calls.append(1)
            return original(*given, **named)

        self._patch = mock.patch.object(torch.autograd, "grad", counted)
        self._patch.start()
        return calls

    def __exit__(self, *_: object) -> None:
        self._patch.stop()


PEERS: dict[str, Callable[[Subject], PeerVerdict]] = {
    "athalye": athalye,
    "autoattack": autoattack,
    "ioaf": ioaf,
    "ioaf-tenth": ioaf_tenth,
    "carlini": carlini,
}
