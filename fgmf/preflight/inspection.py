"""`inspect`: every check in order, on a model and its data.

look at all images and labels                          # no passes
inside the guard, on at most 64 finite images:
    three passes under two seeds                       # outputs, accuracy, repetition
    other batches; other scalings
    gradients of loss and margin; central differences
weigh what was seen for the kind of gate
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.errors import GradientUnavailable
from fgmf.preflight.behaviour import (
    observe_batch_dependence,
    observe_repetition,
    observe_train_mode,
    repeat_forward,
)
from fgmf.preflight.consistency import observe_consistency
from fgmf.preflight.data import (
    ImageStatistics,
    finite_images,
    measure_images,
    observe_images,
    usable_images,
)
from fgmf.preflight.gradients import (
    measure_gradients,
    observe_blocked,
    observe_gradients,
    observe_missing,
    observe_modes,
    probe_points,
)
from fgmf.preflight.labels import (
    class_indices,
    observe_accuracy,
    observe_label_range,
    observe_labels,
)
from fgmf.preflight.normalisation import observe_scalings, observe_units
from fgmf.preflight.outputs import describe_failure, observe_outputs
from fgmf.preflight.policy import Observation, check_waived, judge_observations
from fgmf.preflight.scale import observe_epsilon, observe_normalised
from fgmf.sampling import stratified_sample
from fgmf.seeding import derive_seed, isolated_randomness

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Labels, Norm
    from fgmf.verdict import Finding

_INSPECTED: Final = 64
"""Images that are passed through the model."""


def inspect(  # noqa: PLR0913 - keyword-only settings of one question
    classifier: Classifier,
    samples: Samples,
    *,
    threat: ThreatModel | None = None,
    kind: str = "robustness",
    waive: Sequence[str] = (),
    seed: int = 0,
    needs_gradient: bool = True,
) -> tuple[Finding, ...]:
    """Look for mistakes in how a model and its data are used.

    Args:
        classifier: The model as it would be gated; outside its guard, where train mode shows.
        samples: Images and labels as the user gave them.
        threat: What the gate would allow an adversary; None leaves epsilon unchecked.
        kind: Kind of the gate, which decides how severe a finding is.
        waive: Names of findings that the user accepts.
        seed: Fixes the inspected images and all draws.
        needs_gradient: Whether the gate uses gradients at all.

    Returns:
        Findings: errors first, then by name; the same for the same seed.

    Raises:
        InvalidInput: A waived name is unknown.

    Cost: at most 16 forward and 2 backward passes for each of at most 64 images; one look at
        every image. The model is left as it was.
    Randomness: `seed`.
    """
    check_waived(waive)
    request = _Request(
        classifier=classifier,
        samples=samples,
        threat=threat,
        seed=derive_seed(seed, "preflight"),
        needs_gradient=needs_gradient,
    )
    return judge_observations(
        _observe(request), kind=kind, waive=waive, needs_gradient=needs_gradient
    )


@dataclass(frozen=True, kw_only=True)
class _Request:
    classifier: Classifier
    samples: Samples
    threat: ThreatModel | None
    seed: int
    needs_gradient: bool

    @property
    def norm(self) -> Norm:
        return "linf" if self.threat is None else self.threat.norm


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What is passed through the model.

    Attributes:
        images: (n, ...) finite, floating point, on the CPU.
        labels: (n,) int64; None where the labels cannot be read as classes.
        every_label: Of all images, likewise.
    """

    images: Images
    labels: Labels | None
    every_label: Labels | None


def _observe(request: _Request) -> Iterator[Observation]:
    images, labels = request.samples.images, request.samples.labels
    unusable = list(usable_images(images))
    yield from unusable
    if images.ndim and images.shape[0]:
        yield from observe_labels(labels, image_count=images.shape[0])
    if unusable:
        return
    statistics = measure_images(images)
    yield from _observe_data(request, statistics)
    if statistics.nonfinite_images < statistics.count:
        yield from _observe_model(request, statistics)


def _observe_data(request: _Request, statistics: ImageStatistics) -> Iterator[Observation]:
    bounds = request.classifier.bounds
    yield from observe_images(statistics, bounds=bounds)
    yield from observe_normalised(statistics, bounds=bounds, threat=request.threat)
    yield from observe_units(request.classifier.normalization, bounds=bounds)
    if request.threat is not None:
        yield from observe_epsilon(statistics, request.threat)


def _observe_model(request: _Request, statistics: ImageStatistics) -> list[Observation]:
    """A list, not a generator: nothing of the caller's may run while the model is held."""
    found = list(observe_train_mode(request.classifier.training_modules()))
    with request.classifier.guard(seed=request.seed, tolerate_changes=True):
        found += _observe_held(request, statistics)
    return found


def _observe_held(request: _Request, statistics: ImageStatistics) -> Iterator[Observation]:
    classifier, subject = request.classifier, _choose(request, statistics)
    try:
        passes = repeat_forward(classifier, subject.images, seed=request.seed)
    except Exception as error:  # noqa: BLE001 - a user's model can raise anything
        yield from describe_failure(classifier, subject.images, error)
        return
    labels = _within(subject.labels, passes.first.shape[1])
    if subject.every_label is not None:
        yield from observe_label_range(subject.every_label, class_count=passes.first.shape[1])
    yield from observe_outputs(passes.first, labels)
    if not bool(torch.isfinite(passes.first).all()):
        return
    unsteady = list(observe_repetition(passes, dtype=classifier.dtype))
    yield from unsteady
    if labels is not None:
        yield from observe_accuracy(passes.first, labels)
    if not unsteady:
        # Differences between passes mean something: one image has one output.
        dependent = list(
            observe_batch_dependence(classifier, subject.images, passes.first, seed=request.seed)
        )
        yield from dependent
        if labels is not None and not dependent:
            yield from observe_scalings(classifier, subject.images, labels, passes, statistics)
    yield from _observe_gradients(request, subject.images, steady=not unsteady)


def _observe_gradients(request: _Request, images: Images, *, steady: bool) -> Iterator[Observation]:
    classifier = request.classifier
    if not classifier.gradient_available:
        yield observe_missing(needs_gradient=request.needs_gradient)
        return
    points = probe_points(images, bounds=classifier.bounds, seed=request.seed)
    try:
        with isolated_randomness(request.seed):
            measured = measure_gradients(classifier, points)
    except GradientUnavailable as error:
        yield observe_blocked(str(error))
        return
    found = list(observe_gradients(measured, norm=request.norm))
    if steady:
        plain = classifier.logits_in_batches(points)
        found += observe_modes(measured.logits, plain)
    yield from found
    if steady and not any(observation.severity == "error" for observation in found):
        yield from observe_consistency(classifier, points, measured, seed=request.seed)


def _choose(request: _Request, statistics: ImageStatistics) -> _Subject:
    """Choose finite images, stratified by label where the labels are usable."""
    images = request.samples.images
    every_label = class_indices(request.samples.labels)
    labels = every_label
    if labels is not None and labels.shape[0] != images.shape[0]:
        labels = None
    positions = torch.arange(images.shape[0])
    if statistics.nonfinite_images:
        positions = positions[finite_images(images)]
    strata = torch.zeros_like(positions) if labels is None else labels[positions]
    chosen = stratified_sample(strata.tolist(), count=_INSPECTED, seed=request.seed)
    kept = positions[torch.tensor(chosen)]
    double = request.classifier.dtype is torch.float64
    return _Subject(
        images=images[kept].detach().cpu().to(torch.float64 if double else torch.float32),
        labels=None if labels is None else labels[kept],
        every_label=every_label if every_label is not None and every_label.numel() else None,
    )


def _within(labels: Labels | None, class_count: int) -> Labels | None:
    """Labels that can be compared with predictions: None where one is no class of the model."""
    if labels is None or int(labels.min()) < 0 or int(labels.max()) >= class_count:
        return None
    return labels
