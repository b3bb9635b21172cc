"""Foolbox behind one function: batches in, adversarial images out, no foreign types.

    images mapped to the unit box (several Foolbox attacks assume it)
    attack.run on the batch, with draws fixed per image, watching for NaN answers
    on an exception: halve the batch, down to the image that causes it
    result mapped back and projected into ball and box

Foolbox's own notion of success is not used: callers judge the result themselves.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any

import torch
from eagerpy.astensor import astensor_

from fgmf.attacks.foolbox_draws import Eager, ImageStreams, seeded_tensor_class
from fgmf.attacks.foolbox_watch import FiniteWatch
from fgmf.attacks.interface import AttackBatch, AttackResult, reason_of
from fgmf.attacks.projection import project
from fgmf.classifier.memory import is_out_of_memory
from fgmf.errors import BudgetSpent, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attacks.criteria import Criterion
    from fgmf.attacks.plans import AttackPlan
    from fgmf.classifier import Classifier
    from fgmf.threat import ThreatModel
    from fgmf.types import Images

with warnings.catch_warnings():
    # Foolbox imports names that SciPy deprecates: the user's "error" filter must not hit us.
    warnings.simplefilter("ignore")
    import foolbox.attacks
    from foolbox.attacks.base import MinimizationAttack
    from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack
    from foolbox.criteria import Criterion as FoolboxCriterion
    from foolbox.criteria import Misclassification, TargetedMisclassification
    from foolbox.models.base import Model
    from foolbox.types import Bounds as FoolboxBounds


class FoolboxAttack:
    """An attack of the catalogue, bound to a classifier, a threat model and a seed.

    Args:
        plan: Which attack, with which parameters.
        classifier: Must be inside its guard while attacked.
        threat: Ball and box.
        seed: The gate's seed; with labels, restarts and image keys it fixes all draws.
        deadline: Value of ``time.monotonic()`` after which the attack stops.

    Raises:
        MissingDependency: The attack needs a package that is not installed.
    """

    def __init__(
        self,
        plan: AttackPlan,
        classifier: Classifier,
        threat: ThreatModel,
        *,
        seed: int,
        deadline: float | None = None,
    ) -> None:
        self.plan = plan
        self._classifier = classifier
        self._threat = threat
        self._seed = seed
        self._lower, self._range = threat.bounds[0], threat.bounds[1] - threat.bounds[0]
        self._is_unit_box = threat.bounds == (0.0, 1.0)
        self._deadline = deadline
        self._attack = _build(plan, threat)

    def run(self, batch: AttackBatch, *, restart: int) -> AttackResult:
        """Attack a batch.

        Args:
            batch: n images.
            restart: Number of the restart, for the draws.

        Returns:
            Adversarial candidates, not yet judged.

        Raises:
            BudgetSpent: The deadline has passed.

        Cost: the attack's own passes; more if an image makes Foolbox fail.
        Randomness: fixed by seed, label, restart and each image's key.
        """
        if self._threat.epsilon == 0:
            return AttackResult(adversarial=batch.images.cpu())
        if self.plan.entry.one_by_one and len(batch.keys) > 1:
            return self._split(batch, restart, [slice(i, i + 1) for i in range(len(batch.keys))])
        # Alone in the world, an attack may loop forever on NaN: Brendel-Bethge's solver does.
        strict = self.plan.entry.one_by_one
        watch = FiniteWatch(len(batch.keys), self._classifier.device, strict=strict)
        try:
            raw = self._run_foolbox(batch, restart, watch)
        except BudgetSpent:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if len(batch.keys) == 1:
                return AttackResult(adversarial=batch.images.cpu(), failures={0: reason_of(error)})
            middle = len(batch.keys) // 2
            return self._split(batch, restart, [slice(0, middle), slice(middle, None)])
        bad = (~raw.flatten(1).isfinite().all(dim=1)).nonzero().flatten().tolist()
        failures = dict.fromkeys(bad, "the attack returned NaN or infinite values")
        failures |= watch.failures()
        adversarial = torch.where(raw.isfinite(), raw, batch.images.cpu())
        return AttackResult(
            adversarial=project(batch.images, adversarial, self._threat), failures=failures
        )

    def _split(self, batch: AttackBatch, restart: int, parts: list[slice]) -> AttackResult:
        images, failures, offset = [], {}, 0
        for rows in parts:
            result = self.run(batch.part(rows), restart=restart)
            images.append(result.adversarial)
            failures.update({offset + at: why for at, why in result.failures.items()})
            offset += result.adversarial.shape[0]
        return AttackResult(adversarial=torch.cat(images), failures=failures)

    def _run_foolbox(self, batch: AttackBatch, restart: int, watch: FiniteWatch) -> Images:
        streams = ImageStreams(self._seed, (self.plan.label, restart), batch.keys)
        tensor = seeded_tensor_class(streams)
        inputs = tensor(self._to_unit_box(batch.images))
        aim = batch.criterion.as_misclassification()
        criterion = _foolbox_criterion(aim, self._classifier.device)
        options: dict[str, Any] = {}
        epsilon = self._threat.epsilon / self._range
        if isinstance(self._attack, MinimizationAttack):
            options["early_stop"] = epsilon
        else:
            options["epsilon"] = epsilon
        if self.plan.entry.needs_start and batch.starts is not None:
            options["starting_points"] = tensor(self._to_unit_box(batch.starts))
        model = _UnitBoxModel(
            self._classifier_logits, batch.criterion, watch, deadline=self._deadline
        )
        found = self._attack.run(model, inputs, criterion, **options)
        return self._from_unit_box(found.raw.detach()).cpu()

    def _to_unit_box(self, images: Images) -> Images:
        moved = images.to(self._classifier.device)
        if not self._is_unit_box:
            moved = (moved - self._lower) / self._range
        return moved.clamp(0.0, 1.0)

    def _from_unit_box(self, unit_images: Images) -> Images:
        return unit_images if self._is_unit_box else unit_images * self._range + self._lower

    def _classifier_logits(self, unit_images: Images) -> torch.Tensor:
        images = self._from_unit_box(unit_images)
        if images.requires_grad or images.shape[0] <= self._classifier.batch_size:
            return self._classifier.logits(images)
        # An attack that asks about many copies at once still keeps to the batch size.
        return self._classifier.logits_in_batches(images).to(images.device)


class _UnitBoxModel(Model):
    """A classifier as Foolbox sees it: images in [0, 1], channels first, its own device."""

    data_format = "channels_first"

    def __init__(
        self,
        logits: Callable[[Images], torch.Tensor],
        criterion: Criterion,
        watch: FiniteWatch,
        *,
        deadline: float | None,
    ) -> None:
        self._logits, self._criterion = logits, criterion
        self._watch, self._deadline = watch, deadline

    @property
    def bounds(self) -> FoolboxBounds:
        return FoolboxBounds(0.0, 1.0)

    def __call__(self, inputs: Eager) -> Eager:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise BudgetSpent("expected the attack to end within the gate's max_seconds")
        images, restore_type = astensor_(inputs)
        logits = self._logits(self._watch.enter(images.raw))
        self._watch.leave(logits)
        return restore_type(type(images)(self._criterion.lower_rivals(logits)))


class _JudgedMisclassification(Misclassification):
    """Misclassification for attacks that look at labels, judged by the gate's own criterion."""

    def __init__(self, criterion: Criterion, device: torch.device) -> None:
        super().__init__(criterion.labels.to(device))
        self._criterion = criterion

    def __call__(self, perturbed: Eager, outputs: Eager) -> Eager:
        del perturbed
        return _judged(self._criterion, outputs)


class _JudgedTarget(TargetedMisclassification):
    """Targeted misclassification, judged by the gate's own criterion."""

    def __init__(self, criterion: Criterion, device: torch.device) -> None:
        super().__init__(
            criterion.labels.to(device)
            if criterion.targets is None
            else criterion.targets.to(device)
        )
        self._criterion = criterion

    def __call__(self, perturbed: Eager, outputs: Eager) -> Eager:
        del perturbed
        return _judged(self._criterion, outputs)


class _PerImageHopSkipJump(HopSkipJumpAttack):
    """HopSkipJump that does not mix the images of a batch.

    Foolbox normalises the noise and the estimate by norms over the whole batch, asks the model
    once per draw, and searches the boundary for as long as any image of the batch needs. Here
    each image has its own norms and its own search, and all draws go through together.
    Source: Chen et al. 2019, algorithm 1 and equation (16).
    """

    def approximate_gradients(
        self,
        is_adversarial: Callable[[Eager], Eager],
        x_advs: Eager,
        steps: int,
        delta: Eager,
    ) -> Eager:
        shape = (steps, *x_advs.shape)
        draw = x_advs.normal(shape) if self.constraint == "l2" else x_advs.uniform(shape, -1, 1)
        noise = draw.raw
        flat = noise.flatten(2)
        noise = noise / flat.norm(dim=2).clamp_min(1e-12).reshape(steps, -1, *_ones(x_advs))
        radius = delta.raw.reshape(1, -1, *_ones(x_advs))
        perturbed = (x_advs.raw.unsqueeze(0) + radius * noise).clamp(0, 1)
        direction = (perturbed - x_advs.raw.unsqueeze(0)) / (radius + 1e-8)
        decisions = is_adversarial(type(x_advs)(perturbed.flatten(0, 1))).raw
        signs = decisions.reshape(steps, -1).to(noise.dtype) * 2 - 1
        mean = signs.mean(dim=0, keepdim=True)
        weights = torch.where(mean.abs() == 1, signs, signs - mean)
        estimate = (weights.reshape(steps, -1, *_ones(x_advs)) * direction).mean(dim=0)
        size = estimate.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, *_ones(x_advs))
        return type(x_advs)(estimate / size)

    def _binary_search(
        self, is_adversarial: Callable[[Eager], Eager], originals: Eager, perturbed: Eager
    ) -> Eager:
        pixels = originals.raw[0].numel()
        high = torch.ones_like(originals.raw.flatten(1)[:, 0])
        width = self.gamma / (pixels * math.sqrt(pixels))
        if self.constraint == "linf":
            high = (perturbed.raw - originals.raw).flatten(1).abs().amax(dim=1)
            width = self.gamma / pixels**2
        low, threshold = torch.zeros_like(high), high * width
        while True:
            middle = (low + high) / 2
            unfinished = (high - low > threshold) & (middle > low) & (middle < high)
            if not bool(unfinished.any()):
                return self._project(originals, perturbed, type(originals)(high))
            between = self._project(originals, perturbed, type(originals)(middle))
            hit = is_adversarial(between).raw
            high = torch.where(unfinished & hit, middle, high)
            low = torch.where(unfinished & ~hit, middle, low)


def _ones(tensor: Eager) -> list[int]:
    return [1] * (tensor.ndim - 1)


def _judged(criterion: Criterion, outputs: Eager) -> Eager:
    logits, restore_type = astensor_(outputs)
    return restore_type(type(logits)(criterion.broken(logits.raw)))


def _foolbox_criterion(criterion: Criterion, device: torch.device) -> FoolboxCriterion:
    if criterion.kind == "targeted":
        return _JudgedTarget(criterion, device)
    return _JudgedMisclassification(criterion, device)


def _build(plan: AttackPlan, threat: ThreatModel) -> Any:  # noqa: ANN401 - a Foolbox attack
    entry = plan.entry
    class_name = entry.foolbox_classes[threat.norm]
    kind = (
        _PerImageHopSkipJump
        if class_name == "HopSkipJumpAttack"
        else getattr(foolbox.attacks, class_name)
    )
    arguments: dict[str, Any] = {**plan.parameters, **entry.fixed}
    if entry.constraint_argument:
        arguments["constraint"] = threat.norm
    with warnings.catch_warnings():
        # Brendel-Bethge announces that numba compiles; it is no fault of the user's.
        warnings.simplefilter("ignore")
        try:
            return kind(**arguments)
        except ImportError as error:
            message = f'expected numba for {plan.name}; pip install "pytest-fgmf[numba]"'
            raise MissingDependency(message) from error
