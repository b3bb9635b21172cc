"""The binarization self-test: a known answer for an attack, on the user's own model.

for each image:
    inner    = the image and `inner_count` points of .95 of its ball, half of them at corners
    boundary = one corner of the ball
    binary   = the model up to its features, then a read-out: 1 at the boundary, 0 inside
    no read-out separates them in the model's own arithmetic: the image says nothing
    the attacks, as the gate runs them, look for class 1        # it exists, by construction
    random search looks for it with as many passes

Source: Zimmermann et al. 2022, "Increasing Confidence in Adversarial Robustness Evaluations".
Ours [R]: corners, the largest margin instead of a logistic fit, the number of random queries,
and where attacks need a start, other images of the sample that get class 1.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.criteria import Criterion
from fgmf.attacks.projection import inside
from fgmf.classifier import Classifier
from fgmf.classifier.memory import batched
from fgmf.errors import InvalidInput
from fgmf.robustness import RobustnessMeasurement, measure_robustness
from fgmf.seeding import image_generator
from fgmf.selftest.features import FeatureReader, read_features
from fgmf.selftest.points import ball_points
from fgmf.selftest.readout import Readout, fit_readout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from fgmf.robustness import RobustnessPlan
    from fgmf.types import ImageFlags, Images, Logits

_CHUNK = 64
"""Points drawn at once; fixed, so that draws do not depend on the batch size."""
_COMPANIONS = 8
_SMALLEST_MARGIN = 1e-3


@dataclass(frozen=True, kw_only=True)
class BinarizationQuestion:
    """What is asked.

    Attributes:
        plan: Threat, attacks, seed, deadline: as for the gate whose attacks are tested.
        targeted: The attacks aim at class 1 instead of away from class 0.
        layer: Features: ``auto``, ``logits``, or the name of a layer whose input they are.
        inner_count: Inner points besides the clean image.
        inner_share: Radius of the inner points as a share of epsilon.
        closeness: How near the decision lies to the boundary point.
    """

    plan: RobustnessPlan
    targeted: bool = False
    layer: str = "auto"
    inner_count: int = 999
    inner_share: float = 0.95
    closeness: float = 0.999


@dataclass(kw_only=True)
class BinarizationMeasurement:
    """The answer, image by image.

    Attributes:
        source: What the features are.
        valid: (n,) a separating read-out was fitted and holds in the model's own arithmetic.
        found: (n,) valid, and an attack found a re-verified adversarial example.
        found_by_random: (n,) valid, and random search found one with as many passes.
        undecided: (n,) valid and not found, because time ran out, or not looked at for it.
        failed: (n,) valid and not found, but an attack could not be carried out.
        passes: Forward and backward passes of the attacks on each image; 0 if not attacked.
        attacked: Images that each attack was tried on, by its label.
        broken: Images that each attack broke, by its label.
        reasons: Why attacks could not be carried out, with how many images.
    """

    source: str
    valid: ImageFlags
    found: ImageFlags
    found_by_random: ImageFlags
    undecided: ImageFlags
    failed: ImageFlags
    passes: list[int]
    attacked: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def enter(self, at: int, result: RobustnessMeasurement) -> None:
        """Book what the attacks made of one image, the first of `result`."""
        self.valid[at] = True
        self.found[at], self.failed[at] = result.broken[0], result.failed[0]
        self.undecided[at] = result.undecided[0]
        self.passes[at] = result.cost.forward_passes + result.cost.backward_passes
        for record in result.records:
            self.attacked[record.plan.label] += record.attacked
            self.broken[record.plan.label] += record.broken
            self.reasons.update(record.failures.values())


def measure_binarization(
    classifier: Classifier,
    images: Images,
    question: BinarizationQuestion,
    *,
    keys: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> BinarizationMeasurement:
    """Let attacks find, on each image, an adversarial example that is known to exist.

    Args:
        classifier: Put back as it was afterwards.
        images: (n, ...) float on the CPU, inside the threat's bounds.
        question: The attacks and how the test is made.
        keys: One stable key per image (a digest), for its random draws.
        on_progress: Called with the images done and in all.

    Returns:
        Outcome per image.

    Raises:
        InvalidInput: No images, not one key for each, no such layer, or epsilon 0.

    Cost: for each image `inner_count` + 7 forward passes; the attacks' passes, one image at a
        time; as many forward passes of random search.
    Randomness: fixed by the plan's seed and the image's key.
    """
    if not len(images) or len(images) != len(keys):
        raise InvalidInput(f"expected one key per image, got {len(keys)} for {len(images)} images")
    if question.plan.threat.epsilon <= 0:
        raise InvalidInput("expected an epsilon > 0, got 0: there is nothing to find")
    with (
        classifier.guard(seed=question.plan.seed),
        read_features(classifier, images[:2], layer=question.layer) as reader,
    ):
        run = _Run(classifier, images, question, keys, reader)
        for at in range(len(images)):
            if on_progress is not None:
                on_progress(at, len(images))
            run.test(at)
        return run.measurement


class _Run:
    """The running state of one self-test."""

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        question: BinarizationQuestion,
        keys: Sequence[str],
        reader: FeatureReader,
    ) -> None:
        self._classifier, self._images, self._question = classifier, images, question
        self._keys, self._reader = keys, reader
        self._dtype = torch.float64 if classifier.dtype is torch.float64 else torch.float32
        none = torch.zeros(len(images), dtype=torch.bool)
        self.measurement = BinarizationMeasurement(
            source=reader.source,
            valid=none.clone(),
            found=none.clone(),
            found_by_random=none.clone(),
            undecided=none.clone(),
            failed=none.clone(),
            passes=[0] * len(images),
        )
        self._features = self._features_of(images)
        top = classifier.logits_in_batches(images).double().topk(2, dim=1).values
        self._margins = (top[:, 0] - top[:, 1]).clamp_min(_SMALLEST_MARGIN).tolist()
        self._starts_wanted = any(plan.entry.needs_start for plan in question.plan.attacks)

    def test(self, at: int) -> None:
        """Fit the read-out of one image, and attack it."""
        deadline = self._question.plan.deadline
        if deadline is not None and time.monotonic() > deadline:
            self.measurement.valid[at] = self.measurement.undecided[at] = True
            return
        readout = self._readout(at)
        if readout is None:
            return
        binary = self._binary(readout)
        result = self._attacked(binary, at, readout)
        self._classifier.cost_meter.backward_passes += binary.cost_meter.backward_passes
        if not bool(result.clean_correct[0]):
            return
        self.measurement.enter(at, result)
        self.measurement.found_by_random[at] = self._random_search(binary, at)

    def _readout(self, at: int) -> Readout | None:
        """Fit, and verify: all points in the model's own precision, both ends in fresh passes."""
        image, threat = self._images[at], self._question.plan.threat
        chunks = [self._features[at].unsqueeze(0)]
        for count, number in _chunks(self._question.inner_count):
            chunks.append(self._features_of(self._inner(at, count, number)))
        edge = ball_points(image, threat, count=1, generator=self._generator(at, "edge", 0))
        inner = torch.cat(chunks)
        fitted = fit_readout(
            inner,
            self._features_of(edge)[0],
            margin=self._margins[at],
            closeness=self._question.closeness,
        )
        if fitted is None or not bool(inside(image.unsqueeze(0), edge, threat)[0]):
            return None
        if bool(fitted.logits(inner).to(self._dtype).argmax(dim=1).any()):
            return None
        ends = torch.cat([image.unsqueeze(0), edge])
        for size in (1, 2):
            seen = self._binary(fitted).logits_in_batches(ends, batch_size=size)
            if seen.argmax(dim=1).tolist() != [0, 1]:
                return None
        return fitted

    def _inner(self, at: int, count: int, number: int) -> Images:
        return ball_points(
            self._images[at],
            self._question.plan.threat,
            count=count,
            generator=self._generator(at, "inner", number),
            share=self._question.inner_share,
        )

    def _attacked(self, binary: Classifier, at: int, readout: Readout) -> RobustnessMeasurement:
        """Run the attacks on one image; those that got class 1 anyway are starts for others."""
        positions = [at]
        if self._starts_wanted:
            ones = readout.logits(self._features).argmax(dim=1).nonzero().flatten().tolist()
            positions += ones[:_COMPANIONS]
        labels = torch.zeros(len(positions), dtype=torch.int64)
        criterion = Criterion(
            kind="targeted" if self._question.targeted else "misclassification",
            labels=labels,
            targets=labels + 1 if self._question.targeted else None,
        )
        return measure_robustness(
            binary,
            self._images[positions],
            criterion,
            self._question.plan,
            keys=[self._keys[position] for position in positions],
        )

    def _random_search(self, binary: Classifier, at: int) -> bool:
        """Look for class 1 at random, with as many passes as the attacks took."""
        image, threat = self._images[at], self._question.plan.threat
        for count, number in _chunks(self.measurement.passes[at]):
            generator = self._generator(at, "random", number)
            points = ball_points(image, threat, count=count, generator=generator)
            hits = binary.predict(points) == 1
            if bool((hits & inside(image.expand_as(points), points, threat)).any()):
                return True
        return False

    def _features_of(self, images: Images) -> torch.Tensor:
        parts = batched(
            len(images),
            self._classifier.batch_size,
            lambda part: self._reader.features(images[part].detach()).detach().cpu(),
        )
        return torch.cat([features for _, features in parts])

    def _binary(self, readout: Readout) -> Classifier:
        binary = Classifier(
            _binary_model(self._reader, readout, self._dtype),
            bounds=self._classifier.bounds,
            device=str(self._classifier.device),
            dtype=str(self._dtype).removeprefix("torch."),
            batch_size=self._classifier.batch_size,
        )
        binary.gradient_available = self._classifier.gradient_available
        return binary

    def _generator(self, at: int, role: str, number: int) -> np.random.Generator:
        seed = self._question.plan.seed
        return image_generator(seed, "binarization", role, self._keys[at], number)


def _binary_model(
    reader: FeatureReader, readout: Readout, dtype: torch.dtype
) -> Callable[[Images], Logits]:
    """The model up to its features, then the read-out, in the precision of the model's logits."""

    def binarized(images: Images) -> Logits:
        return readout.logits(reader.features(images)).to(dtype)

    return binarized


def _chunks(count: int) -> list[tuple[int, int]]:
    """Sizes of the parts in which `count` points are drawn, with their numbers."""
    whole, rest = divmod(count, _CHUNK)
    sizes = [_CHUNK] * whole + ([rest] if rest else [])
    return [(size, number) for number, size in enumerate(sizes)]
