"""Do maps stay the same where the prediction does? Under small noise, and within epsilon.

noise:        each copy of an image gets Gaussian noise; score = mean similarity of its map, for
              the class that is predicted on the clean image
adversarial:  candidates within epsilon: random corners of the ball, and points on two walks of
              signed gradient steps, up the loss and down;
              a candidate that changes the prediction is pulled back towards the image, by halves,
              until it doesn't, or is left out;  score = least similarity over candidates

The adversarial score is an upper bound: no candidate follows the gradient of the map itself, which
most explainers don't have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from fgmf.classifier.memory import batched
from fgmf.errors import GradientUnavailable, MetricFailed
from fgmf.faithfulness.similarity import map_similarity
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fgmf.attribution.interface import Attribution, Explainer
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels

    Floats = NDArray[np.float64]

_HALVINGS = 16
_LOOKS = 3
_STEP_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class StabilityPlan:
    """The question.

    Attributes:
        similarity: How maps are compared.
        noise: Deviation of Gaussian noise, in the units of the bounds; None measures none.
        copies: Noisy copies of each image.
        epsilon: Largest change of a pixel, in the units of the bounds; None measures none.
        corners: Random corners of the ball that are looked at.
        steps: Steps of each walk, of which the path is looked at three times.
        seed: With the keys of the images it fixes all draws.
        keep: Of how many images, the first ones, maps and worst candidates are kept to be shown.
        on_progress: Called with the looks done and in all, and what they are about.
    """

    similarity: str
    noise: float | None = None
    copies: int = 5
    epsilon: float | None = None
    corners: int = 3
    steps: int = 12
    seed: int = 0
    keep: int = 0
    on_progress: Callable[[int, int, str], None] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptMaps:
    """What the first images and their worst candidates look like, and their maps.

    Attributes:
        explained: The explanation of the images.
        candidates: (k, c, h, w) the least similar candidate of each; None where none was looked at.
        maps: (k, h, w) its maps; None likewise.
    """

    explained: Attribution
    candidates: Images | None = None
    maps: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class StabilityMeasurement:
    """The answer.

    Attributes:
        noise: (n,) mean similarity over noisy copies; None where not asked.
        adversarial: (n,) least similarity over candidates; None where not asked.
        changed_by_noise: Share of noisy copies that are predicted as another class.
        pulled_back: Share of candidates that had to be pulled back.
        worst: By candidate, on how many images it was the worst.
        kept: Of the first images, as many as the plan keeps; None where it keeps none.
    """

    noise: Floats | None
    adversarial: Floats | None
    changed_by_noise: float
    pulled_back: float
    worst: dict[str, int]
    kept: KeptMaps | None = None


def measure_stability(
    explainer: Explainer,
    classifier: Classifier,
    images: Images,
    plan: StabilityPlan,
    *,
    keys: Sequence[str],
) -> StabilityMeasurement:
    """Compare maps of images with those of changed ones.

    Args:
        explainer: Makes the maps; on a changed image it draws what it drew on the clean one.
        classifier: Comes back as it was.
        images: (n, c, h, w) on the CPU within the classifier's bounds.
        plan: What is asked.
        keys: One stable name per image.

    Raises:
        MetricFailed: A map that can't be compared, or no candidate keeps an image's prediction;
            says which image. Or noise so small that it changes no pixel of an image.
        GradientUnavailable: The model is said to have gradients, and its logits have none.
        NonFiniteOutput: The model answered NaN or infinity.

    Cost: the explainer's for every copy and candidate (corners and 6), 2 forward and backward
        passes per step, and the forward passes of pulling back.
    Randomness: fixed by the seed and the keys, not by the batch size.
    """
    with torch.inference_mode(mode=False), classifier.guard(seed=plan.seed):
        return _Stability(explainer, classifier, images, plan, tuple(keys)).run()


class _Stability:
    def __init__(
        self,
        explainer: Explainer,
        classifier: Classifier,
        images: Images,
        plan: StabilityPlan,
        keys: tuple[str, ...],
    ) -> None:
        self._explainer, self._classifier = explainer, classifier
        double = classifier.dtype is torch.float64
        self._images = images.detach().cpu().to(torch.float64 if double else torch.float32)
        self._plan, self._keys = plan, keys
        self._targets: Labels = classifier.predict(self._images)
        self._attribution = self._explained(self._images)
        self._clean = self._attribution.maps
        noisy = plan.copies if plan.noise is not None else 0
        near = plan.corners + 2 * _LOOKS if plan.epsilon is not None else 0
        self._looks, self._total = 0, noisy + near
        self._nearest: Images | None = None
        self._nearest_maps: torch.Tensor | None = None

    def run(self) -> StabilityMeasurement:
        noise, changed = self._under_noise()
        adversarial, pulled, worst = self._within_epsilon()
        return StabilityMeasurement(
            noise=noise,
            adversarial=adversarial,
            changed_by_noise=changed,
            pulled_back=pulled,
            worst=worst,
            kept=self._kept(),
        )

    def _kept(self) -> KeptMaps | None:
        if not self._plan.keep:
            return None
        return KeptMaps(
            explained=self._attribution, candidates=self._nearest, maps=self._nearest_maps
        )

    def _under_noise(self) -> tuple[Floats | None, float]:
        if self._plan.noise is None:
            return None, 0.0
        found: list[Floats] = []
        changed = []
        for copy in range(self._plan.copies):
            drawn = self._drawn("noise", copy, lambda g, size: g.standard_normal(size))
            moved = (self._images + self._plan.noise * drawn).clamp(*self._classifier.bounds)
            same = (moved == self._images).flatten(1).all(dim=1).nonzero().flatten().tolist()
            if same:
                message = f"expected noise that changes every image, but {self._plan.noise:g} "
                raise MetricFailed(f"{message}leaves image {same[0]} as it is; use more")
            found.append(self._similar(self._explained(moved).maps))
            predicted = self._classifier.predict(moved)
            changed.append(float((predicted != self._targets).double().mean()))
            self._report("noise")
        return np.mean(found, axis=0), float(np.mean(changed))

    def _within_epsilon(self) -> tuple[Floats | None, float, dict[str, int]]:
        if self._plan.epsilon is None:
            return None, 0.0, {}
        found: list[Floats] = []
        pulled, names = [], []
        for name, candidate in self._candidates(self._plan.epsilon):
            kept, share, lost = self._pulled_back(candidate)
            lost |= (candidate == self._images).flatten(1).all(dim=1)  # says nothing
            maps = self._explained(kept).maps
            scores = np.where(lost.numpy(), np.inf, self._similar(maps))
            self._keep_worst(kept, maps, scores, found)
            found.append(scores)
            pulled.append(share)
            names.append(name)
            self._report(name)
        table = np.stack(found)
        without = np.flatnonzero(np.isinf(table).all(axis=0))
        if without.size:
            message = "expected a point near the image that keeps the prediction, got none for "
            raise MetricFailed(f"{message}image {without[0]}: its class changes at once")
        counts = np.bincount(table.argmin(axis=0), minlength=len(names))
        worst = {name: int(count) for name, count in zip(names, counts, strict=True) if count}
        return table.min(axis=0), float(np.mean(pulled)), worst

    def _keep_worst(
        self, candidates: Images, maps: torch.Tensor, scores: Floats, before: list[Floats]
    ) -> None:
        """Keep what is the least similar so far, of the images that are to be shown."""
        count = self._plan.keep
        if self._nearest is None or self._nearest_maps is None:
            self._nearest, self._nearest_maps = candidates[:count].clone(), maps[:count].clone()
            return
        lowest = np.min(before, axis=0)
        for at in np.flatnonzero(scores[:count] < lowest[:count]).tolist():
            self._nearest[at], self._nearest_maps[at] = candidates[at], maps[at]

    def _candidates(self, epsilon: float) -> Iterator[tuple[str, Images]]:
        bounds = self._classifier.bounds
        for number in range(self._plan.corners):
            drawn = self._drawn("corner", number, lambda g, size: g.choice((-1.0, 1.0), size))
            yield f"corner {number + 1}", (self._images + epsilon * drawn).clamp(*bounds)
        if not self._classifier.gradient_available:
            return
        looks = {round(self._plan.steps * at / _LOOKS) for at in range(1, _LOOKS + 1)}
        for name, sign in (("up the loss", 1.0), ("down the loss", -1.0)):
            point = self._images
            for step in range(1, self._plan.steps + 1):
                moved = point + sign * _STEP_SHARE * epsilon * self._loss_signs(point)
                change = (moved - self._images).clamp(-epsilon, epsilon)
                point = (self._images + change).clamp(*bounds)
                if step in looks:
                    yield f"{name}, step {step}", point

    def _loss_signs(self, points: Images) -> Images:
        def ask(part: slice) -> Images:
            inputs = points[part].detach().clone().requires_grad_()
            with torch.enable_grad():
                logits = self._classifier.logits(inputs)
                targets = self._targets[part].to(logits.device)
                loss = functional.cross_entropy(logits, targets, reduction="sum")
                gradient = None
                if loss.requires_grad:
                    (gradient,) = torch.autograd.grad(loss, inputs, allow_unused=True)
            if gradient is None:
                message = "expected logits with a gradient for the walks along the loss, got logits"
                raise GradientUnavailable(f"{message} that are cut from the graph")
            return gradient.sign()

        parts = batched(len(points), self._classifier.batch_size, ask)
        return torch.cat([signs for _, signs in parts])

    def _pulled_back(self, candidate: Images) -> tuple[Images, float, torch.Tensor]:
        """The candidate, nearer to the image where it changes the prediction; which are lost."""
        change = candidate - self._images
        kept = candidate.clone()
        broken = self._classifier.predict(kept) != self._targets
        share = float(broken.double().mean())
        for halving in range(1, _HALVINGS + 1):
            rows = broken.nonzero().flatten()
            if not len(rows):
                break
            kept[rows] = self._images[rows] + change[rows] / 2**halving
            broken[rows] = self._classifier.predict(kept[rows]) != self._targets[rows]
        return kept, share, broken

    def _similar(self, maps: torch.Tensor) -> Floats:
        return map_similarity(self._plan.similarity, self._clean, maps)

    def _explained(self, images: Images) -> Attribution:
        return self._explainer.explain(
            self._classifier, images, self._targets, keys=self._keys, seed=self._plan.seed
        )

    def _drawn(
        self, what: str, number: int, draw: Callable[[np.random.Generator, tuple[int, ...]], Floats]
    ) -> Images:
        size = tuple(self._images.shape[1:])
        seed = self._plan.seed
        drawn = [draw(image_generator(seed, key, what, number), size) for key in self._keys]
        return torch.from_numpy(np.stack(drawn)).to(self._images)

    def _report(self, what: str) -> None:
        self._looks += 1
        if self._plan.on_progress is not None:
            count = len(self._images)
            self._plan.on_progress(self._looks * count, self._total * count, what)
